//! Reads a response that is not 2xx: xAI puts a sentence where others put a code, and its statuses are wide.

use tollgate_types::{Failure, FailureKind};

use crate::adapter::Refusal;
use crate::refusal;

/// Starts of messages, with the status that they come with and what they mean. They are xAI's own words: what it quotes of
/// a prompt stands behind them.
const KNOWN: &[(u16, &str, FailureKind)] = &[
    (400, "incorrect api key provided", FailureKind::Auth),
    (400, "this model's maximum prompt length is", FailureKind::ContextLength),
    (403, "content violates usage guidelines", FailureKind::ContentPolicy),
    (403, "your newly created team doesn't have any credits", FailureKind::QuotaExhausted),
];

/// The failure that a response means.
///
/// A team without credit, or at its limit of spending, gets a 429 that does not pass.
pub(super) fn refuse(refusal: &Refusal<'_>) -> Failure {
    let mut failure = refusal::refuse(refusal);
    let message = refusal::message_of(refusal.body).unwrap_or_default().to_lowercase();
    let known = KNOWN.iter().find(|(status, start, _)| *status == refusal.status && message.starts_with(start));
    if let Some((_, _, kind)) = known {
        failure.kind = *kind;
    }
    if refusal.status == 429 && message.starts_with("your team ") && message.contains("credits") {
        failure.kind = FailureKind::QuotaExhausted;
    }
    failure
}
