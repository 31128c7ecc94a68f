//! Why a policy cannot be applied.

/// A policy that cannot be applied: where it is wrong, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: {problem}")]
pub struct PolicyError {
    /// The field, as a dotted path below the policy, such as `input.paymentcard`.
    pub path: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}
