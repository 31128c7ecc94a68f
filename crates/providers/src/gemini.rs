//! Google's Gemini: requests in the shape of a chat completion go out as theirs, and their answers come back as one.
//!
//! Source: the Gemini API, `models.generateContent` (<https://ai.google.dev/api/generate-content>). What Gemini has
//! nothing for is refused before the call, with the field's name; nothing is dropped in silence.

mod error;
mod request;
mod response;
mod stream;

use crate::adapter::{Adapter, Credential};
use crate::openai;
use crate::stream::Streaming;

pub(crate) static ADAPTER: Adapter = Adapter {
    path: |model| {
        // Tuned models come with their collection.
        let collection = if model.contains('/') { "" } else { "models/" };
        format!("{collection}{model}:generateContent")
    },
    base_path: "/v1beta",
    credential: Credential::Header("x-goog-api-key"),
    headers: &[],
    body: request::body,
    read: response::read,
    refuse: error::refuse,
    // Answers have the neutral shape by then.
    answer_text: openai::answer_text,
    streaming: Some(Streaming {
        endpoint: stream::endpoint,
        body: request::body,
        reader: || Box::new(stream::Frames::new()),
    }),
};
