//! The body of a plain answer, its fields in the vendor's order.

use serde::Serialize;
use serde_json::Value;

/// A `chat.completion` object with one choice.
#[derive(Serialize)]
pub(crate) struct Completion<'a> {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) created: u64,
    pub(crate) model: &'a str,
    pub(crate) choices: [Choice; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Value>,
    pub(crate) service_tier: &'static str,
    pub(crate) system_fingerprint: &'static str,
}

/// The only choice of an answer.
#[derive(Serialize)]
pub(crate) struct Choice {
    pub(crate) index: u32,
    pub(crate) message: Message,
    pub(crate) logprobs: Option<()>,
    pub(crate) finish_reason: &'static str,
}

/// What the assistant says.
#[derive(Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    pub(crate) content: String,
    pub(crate) refusal: Option<()>,
}
