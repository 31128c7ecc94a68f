//! Ollama's own format, because its copy of OpenAI's cannot set the length of the context.
//!
//! Source: the Ollama API, `POST /api/chat` and `/api/embed` (<https://docs.ollama.com/api>), and
//! <https://github.com/ollama/ollama/blob/main/api/types.go> for `truncate` and `shift`.
//!
//! By default Ollama drops the beginning of a prompt that is too long for its context, and says so nowhere in the answer. A
//! bound by bytes cannot tell which prompts those are: a token may be one byte long or a hundred. So every request says
//! `truncate: false` and `shift: false`, by which a server since late 2025 refuses such a prompt (`context_length`), and the
//! deployment says how long the context is (`context_tokens`, Ollama's `num_ctx`). An older server does not know the two
//! words and still cuts; give it a context as long as the longest job.

mod embeddings;
mod request;
mod response;

use crate::adapter::{Adapter, Credential, Exchange};
use crate::{openai, refusal};

pub(crate) static ADAPTER: Adapter = Adapter {
    chat: Exchange {
        path: |_| "api/chat".to_owned(),
        body: request::body,
        read: response::read,
        // Answers have the neutral shape by then.
        answer_text: openai::answer_text,
        streaming: None,
    },
    embeddings: Some(Exchange {
        path: |_| "api/embed".to_owned(),
        body: embeddings::body,
        read: embeddings::read,
        answer_text: |_| String::new(),
        streaming: None,
    }),
    responses: None,
    base_path: "",
    credential: Credential::Bearer,
    headers: &[],
    listing: "api/tags",
    refuse: refusal::refuse,
};
