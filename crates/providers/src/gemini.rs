//! Google's Gemini: requests in the shape of a chat completion go out as theirs, and their answers come back as one.
//! Embeddings likewise.
//!
//! Source: the Gemini API, `models.generateContent` (<https://ai.google.dev/api/generate-content>) and
//! `models.batchEmbedContents` (<https://ai.google.dev/api/embeddings>). What Gemini has nothing for is refused before the
//! call, with the field's name; nothing is dropped in silence.

mod embeddings;
mod error;
mod request;
mod response;
mod stream;

use crate::adapter::{Adapter, Credential, Exchange};
use crate::openai;
use crate::stream::Streaming;

pub(crate) static ADAPTER: Adapter = Adapter {
    chat: Exchange {
        path: |model| format!("{}:generateContent", resource(model)),
        body: request::body,
        read: response::read,
        // Answers have the neutral shape by then.
        answer_text: openai::answer_text,
        streaming: Some(Streaming {
            endpoint: stream::endpoint,
            body: request::body,
            reader: || Box::new(stream::Frames::new()),
        }),
    },
    embeddings: Some(Exchange {
        path: |model| format!("{}:batchEmbedContents", resource(model)),
        body: embeddings::body,
        read: embeddings::read,
        answer_text: |_| String::new(),
        streaming: None,
    }),
    responses: None,
    base_path: "/v1beta",
    credential: Credential::Header("x-goog-api-key"),
    headers: &[],
    listing: "models",
    refuse: error::refuse,
};

/// The model's name with its collection; tuned models come with theirs.
fn resource(model: &str) -> String {
    let collection = if model.contains('/') { "" } else { "models/" };
    format!("{collection}{model}")
}
