//! Anthropic's messages: requests in the shape of a chat completion go out as theirs, and their answers come back as one.
//!
//! Source: the Messages API, `POST /v1/messages` (<https://docs.anthropic.com/en/api/messages>), version 2023-06-01. What
//! Anthropic has nothing for is refused before the call, with the field's name; nothing is dropped in silence.

mod request;
mod response;
mod stream;

use reqwest::Url;

use crate::adapter::{Adapter, Credential, Exchange};
use crate::stream::Streaming;
use crate::{openai, refusal};

pub(crate) static ADAPTER: Adapter = Adapter {
    chat: Exchange {
        path: |_| "messages".to_owned(),
        body: request::body,
        read: response::read,
        // Answers have the neutral shape by then.
        answer_text: openai::answer_text,
        streaming: Some(Streaming {
            endpoint: Url::clone,
            body: request::stream_body,
            reader: || Box::new(stream::Events::new()),
        }),
    },
    embeddings: None,
    responses: None,
    base_path: "/v1",
    credential: Credential::Header("x-api-key"),
    headers: &[("anthropic-version", "2023-06-01")],
    listing: "models",
    refuse: refusal::refuse,
};
