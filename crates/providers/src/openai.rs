//! OpenAI's chat completions, embeddings and responses, and every server that copies them.
//!
//! Source: the OpenAI API reference, `POST /v1/chat/completions`, `/v1/embeddings` and `/v1/responses`
//! (<https://platform.openai.com/docs/api-reference>), and the differences of its copies where a comment says so. Copies
//! stand behind one another (a proxy in front of xAI answers as xAI does), so what they differ in is read here for all.

mod embeddings;
mod request;
mod response;
mod responses;
mod responses_stream;
mod stream;
mod usage;

use reqwest::Url;

use crate::adapter::{Adapter, Credential, Exchange};
use crate::refusal;
use crate::stream::Streaming;

pub(crate) use request::body;
pub(crate) use response::{answer_text, read};
pub(crate) use stream::Chunks;

pub(crate) static ADAPTER: Adapter = Adapter {
    chat: CHAT,
    embeddings: Some(EMBEDDINGS),
    responses: Some(RESPONSES),
    base_path: "/v1",
    credential: Credential::Bearer,
    headers: &[],
    listing: "models",
    refuse: refusal::refuse,
};

pub(crate) const CHAT: Exchange = Exchange {
    path: |_| "chat/completions".to_owned(),
    body,
    read,
    answer_text: response::answer_text,
    streaming: Some(Streaming {
        endpoint: Url::clone,
        body: request::stream_body,
        reader: || Box::<stream::Chunks>::default(),
    }),
};

pub(crate) const EMBEDDINGS: Exchange = Exchange {
    path: |_| "embeddings".to_owned(),
    body,
    read: embeddings::read,
    answer_text: |_| String::new(),
    streaming: None,
};

pub(crate) const RESPONSES: Exchange = Exchange {
    path: |_| "responses".to_owned(),
    body,
    read: responses::read,
    answer_text: responses::answer_text,
    streaming: Some(Streaming {
        endpoint: Url::clone,
        body: request::stream_body_as_it_is,
        reader: || Box::<responses_stream::Events>::default(),
    }),
};
