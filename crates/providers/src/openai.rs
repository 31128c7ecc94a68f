//! OpenAI's chat completions, and every server that copies them.
//!
//! Source: the OpenAI API reference, `POST /v1/chat/completions`
//! (<https://platform.openai.com/docs/api-reference/chat>), and the differences of its copies where a comment says so.

mod request;
mod response;
mod stream;
mod usage;

use reqwest::Url;

use crate::adapter::{Adapter, Credential};
use crate::refusal;
use crate::stream::Streaming;

pub(crate) use response::answer_text;

pub(crate) static ADAPTER: Adapter = Adapter {
    path: |_| "chat/completions".to_owned(),
    base_path: "/v1",
    credential: Credential::Bearer,
    headers: &[],
    body: request::body,
    read: response::read,
    refuse: refusal::refuse,
    answer_text: response::answer_text,
    streaming: Some(Streaming {
        endpoint: Url::clone,
        body: request::stream_body,
        reader: || Box::<stream::Chunks>::default(),
    }),
};
