//! A request out; an answer or a typed failure in.
//!
//! Start with [`http`]: a [`Caller`] sends one [`Call`] to one [`Deployment`] and returns what was [`Called`]. What is
//! particular to a vendor's wire format lives in that vendor's directory (`openai`, `anthropic`, `gemini`), behind one match in `adapter`.
//! [`tokens`] counts text where a provider does not, [`keys`] finds the keys.
//!
//! Deliberately absent: retries, order, prices and budgets (they are decisions, and live in `policy`); the environment
//! (the binary reads it and passes a function); any logging of prompts, answers, keys or failure messages.

mod adapter;
mod anthropic;
mod completion;
pub mod deployment;
mod gemini;
pub mod http;
pub mod keys;
mod neutral;
mod openai;
mod payload;
mod refusal;
mod retry_after;
mod scrub;
mod sse;
mod stream;
pub mod tokens;
mod usage;

pub use deployment::{Deployment, DeploymentError, Timeouts, Vendor};
pub use http::{Answer, Call, Called, Caller, CallerError, CallerOptions, OnDelta, Usage, install_crypto};
pub use keys::{ApiKey, KeyError, KeySource};
