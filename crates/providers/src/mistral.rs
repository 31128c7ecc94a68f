//! Mistral, hosted or at home: chat completions and embeddings that are OpenAI's but for some names and a few forms.
//!
//! Source: the Mistral API, `POST /v1/chat/completions` and `/v1/embeddings` (<https://docs.mistral.ai/api>). Mistral
//! refuses fields that it does not know, so what it has other names for is translated, and what it has nothing for is
//! refused before the call, with the field's name.

mod embeddings;
mod request;
mod response;
mod stream;

use reqwest::Url;

use crate::adapter::{Adapter, Credential, Exchange};
use crate::stream::Streaming;
use crate::{openai, refusal};

pub(crate) static ADAPTER: Adapter = Adapter {
    chat: Exchange {
        body: request::body,
        read: response::read,
        streaming: Some(Streaming {
            endpoint: Url::clone,
            body: request::stream_body,
            reader: || Box::<stream::Typed>::default(),
        }),
        ..openai::CHAT
    },
    embeddings: Some(Exchange { body: embeddings::body, ..openai::EMBEDDINGS }),
    responses: None,
    base_path: "/v1",
    credential: Credential::Bearer,
    headers: &[],
    listing: "models",
    refuse: refusal::refuse,
};
