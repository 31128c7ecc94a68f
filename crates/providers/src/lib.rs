//! A request out; an answer or a typed failure in.
//!
//! Start with [`http`]: a [`Caller`] sends one [`Call`] to one [`Deployment`] and returns what was [`Called`]. What is
//! particular to a vendor's wire format lives in that vendor's directory (`openai`, `azure`, `anthropic`, `gemini`,
//! `mistral`, `xai`, `ollama`), behind one match in `adapter`.
//! [`checker`] asks services that judge texts, [`tokens`] counts text where a provider does not, [`keys`] finds the keys and says which is used.
//!
//! Deliberately absent: retries, order, prices and budgets (they are decisions, and live in `policy`); the environment
//! (the binary reads it and passes a function); any logging of prompts, answers, keys or failure messages.

mod adapter;
mod address;
mod anthropic;
mod azure;
pub mod checker;
mod completion;
pub mod deployment;
mod embedding;
mod gemini;
pub mod http;
mod json;
pub mod keys;
mod mistral;
mod neutral;
mod ollama;
mod openai;
pub mod outbound;
mod payload;
mod refusal;
mod retry_after;
mod scrub;
mod sse;
mod stream;
pub mod tokens;
mod usage;
pub mod vendor;
mod xai;

pub use checker::{Checker, CheckerError, Opinion, Question, Speaks, Unanswered};
pub use deployment::{Deployment, DeploymentError, Timeouts};
pub use http::{Answer, Call, Called, Caller, CallerError, CallerOptions, OnDelta, Usage, install_crypto};
pub use keys::{ApiKey, KeyError, KeySource, Reload, Ring};
pub use stream::chunks_of_answer;
pub use vendor::Vendor;
