//! Guardrails: finds, scores, redacts and restores what must not pass.
//!
//! Start with [`Guard`]: a policy, compiled, through which the bodies of requests and answers go. Behind it,
//! `check` and `clauses` read the policy; `body` reads JSON in place, without building a tree; `screen` walks a body and
//! `look` asks the [`Detector`] about each text; the [`Vault`] keeps what placeholders stand for; `restore` puts it back.
//! [`Sieve`] does all of it for an answer that is still being written. What is found at all is in `detect`, by
//! [`Entity`]. `docs/guardrails.md` tells it to operators.
//!
//! Deliberately absent: any I/O, clock, randomness, and any log. External checkers are asked by the worker; here they are
//! names, and values that they found. What was found is in no `Debug` and no error.

mod body;
mod check;
mod clauses;
mod detect;
mod entity;
mod error;
mod guard;
mod language;
mod look;
mod outside;
mod policy;
mod restore;
mod screen;
mod sieve;
mod texts;
mod vault;

pub use check::{all_applied, check, knows};
pub use clauses::weight;
pub use detect::{Detector, Found, Rule, RuleError};
pub use entity::{Entity, Group};
pub use error::PolicyError;
pub use guard::{Guard, RISK, Screened, TEXT_BYTES_MAX, TOO_MANY, Texts, TooLarge, UNREADABLE, Verdict};
pub use outside::NotReplaced;
pub use policy::{Action, Followed, Hit, Keywords, OnFailure, Pattern, Policy, Risk, Side};
pub use sieve::{Sieve, Sifted};
pub use vault::Vault;
