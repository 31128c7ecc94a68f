//! OpenAI's chat completions, and every server that copies them.
//!
//! Source: the OpenAI API reference, `POST /v1/chat/completions`
//! (<https://platform.openai.com/docs/api-reference/chat>), and the differences of its copies where a comment says so.

mod error;
mod request;
mod response;
mod usage;

use crate::adapter::Adapter;

pub(crate) static ADAPTER: Adapter = Adapter {
    path: "chat/completions",
    body: request::body,
    read: response::read,
    refuse: error::refuse,
    answer_text: response::answer_text,
};
