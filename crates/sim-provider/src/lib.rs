//! A simulated LLM provider: a real HTTP server with a seeded model and scripted faults.
//!
//! It speaks OpenAI chat completions (`POST /v1/chat/completions`, plain and streamed, `GET /v1/models`,
//! `GET /healthz`), and a little of embeddings and responses, over real sockets, so that everything above it runs as it
//! would against a paid API.
//!
//! Three things make it more than a stub:
//!
//! - **A model.** The time to the first token, the speed, the length and the true token counts of an answer are a pure
//!   function of the seed, the content of the request and how often that content was seen before ([`Profile`]).
//! - **Faults.** By chance, from a seeded [`FaultPlan`], or for one request, by a [`Directive`] in
//!   `metadata: {"sim": "429:retry-after=2;then=ok"}`. The grammar is in [`Directive`].
//! - **The truth.** Every request under `/v1` is logged when it has arrived and again when it is over, with what a real
//!   provider would have billed ([`Call`]): in memory, as JSON lines in a file, and over `GET /__sim/calls`.
//!
//! Deliberately absent: TLS, HTTP/2, other providers' formats, tool calls that the model chooses by itself, structured output, more than one choice,
//! and a real tokenizer (see [`Usage`] for what a token is here). The control routes under `/__sim` need no key: bind
//! the server to a loopback address.
//!
//! Start reading at `chat.rs`, the life of one request; `server.rs` owns the sockets.

mod answer;
mod attempts;
mod body;
mod bomb;
mod calls;
mod chat;
mod checker;
mod completion;
mod config;
mod control;
mod directive;
mod ending;
mod faults;
mod further;
mod jsonl;
mod model;
mod refusal;
mod request;
mod server;
mod sse;
mod stats;
mod usage;

pub use calls::{Call, Ended, Outcome, Received, Reported};
pub use checker::CheckerPlan;
pub use config::{Config, StartError};
pub use directive::{Directive, DirectiveError};
pub use faults::{Fault, FaultPlan, PlanError, PlannedFault, ResetAt, RetryAfter, WrongUsage};
pub use model::{LogNormal, Profile, UnknownProfile};
pub use server::{SimProvider, run};
pub use stats::Stats;
pub use usage::Usage;
