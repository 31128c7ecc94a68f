//! Guardrails: finds, scores, redacts and restores what must not pass.

mod detect;
mod policy;

pub use detect::Found;
pub use policy::{Action, Keywords, OnFailure, Pattern, Policy, Risk};
