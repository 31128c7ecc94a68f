//! What is looked for and what follows stands with the nouns, because it travels: see [`tollgate_types::guardrails`].

pub use tollgate_types::guardrails::{Action, Followed, Hit, Keywords, OnFailure, Pattern, Policy, Risk, Side};
