//! xAI's Grok: OpenAI's chat completions and responses, with errors of its own.
//!
//! Source: the xAI API reference (<https://docs.x.ai/docs/api-reference>). Two differences of its answers, reasoning that
//! is counted beside the completion and calls of tools without a finish reason, are read in `openai`, because proxies
//! pass them on.

mod error;

use crate::adapter::{Adapter, Credential};
use crate::openai;

pub(crate) static ADAPTER: Adapter = Adapter {
    chat: openai::CHAT,
    embeddings: None,
    responses: Some(openai::RESPONSES),
    base_path: "/v1",
    credential: Credential::Bearer,
    headers: &[],
    listing: "models",
    refuse: error::refuse,
};
