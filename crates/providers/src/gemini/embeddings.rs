//! Embeddings: each text is a request of its own in one batch, and its vector comes back at the same place.
//!
//! | embeddings | batch |
//! |---|---|
//! | `input`, of texts alone | one request each; at most [`BATCH_MAX`] |
//! | `dimensions` | `outputDimensionality` |
//! | `encoding_format` | none; base64 is made here |
//!
//! Fields that OpenAI does not have, such as `taskType`, go along with every request. Usage comes with newer models only;
//! without it the texts are counted here.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_types::Tokens;
use tollgate_types::job::Request;

use super::resource;
use crate::adapter::{Read, Sent, To, Unsendable, Unusable};
use crate::neutral::{Fields, Result, unsupported};
use crate::usage::{Counts, count, report};
use crate::{embedding, payload};

/// The most texts of one batch; Gemini refuses more (<https://ai.google.dev/gemini-api/docs/embeddings>).
const BATCH_MAX: usize = 100;

/// The body to send.
pub(super) fn body(body: &Bytes, _request: &Request, to: &To<'_>) -> Result<Bytes> {
    let mut fields = Fields::read(body)?;
    ["model", "encoding_format"].iter().for_each(|name| drop(fields.take(name)));
    let texts = embedding::texts(fields.take("input"))?;
    if texts.len() > BATCH_MAX {
        return unsupported(format!(
            "`input` has {} texts, and a batch has {BATCH_MAX}; make several jobs",
            texts.len()
        ));
    }
    let model: String = serde_json::from_str(to.model_json).map_err(|_| Unsendable::AnotherBody)?;
    let mut request = json!({ "model": resource(&model) });
    if let Some(dimensions) = fields.take("dimensions") {
        request["outputDimensionality"] = dimensions;
    }
    for (name, value) in fields.rest(&[("user", "null")])? {
        request[name] = value;
    }
    let one = |text: Value| {
        let mut request = request.clone();
        request["content"] = json!({ "parts": [{ "text": text }] });
        request
    };
    let requests: Vec<Value> = texts.into_iter().map(one).collect();
    Ok(json!({ "requests": requests }).to_string().into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    embeddings: Option<Vec<Embedding<'a>>>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    values: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawUsage<'a> {
    #[serde(borrow)]
    prompt_token_count: Option<&'a RawValue>,
}

/// Reads an answer: a vector for each text.
pub(super) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> std::result::Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let batch: Batch<'_> = payload::parse(&text, "batch of embeddings")?;
    payload::refuse_error(batch.error)?;
    let counts = |raw: &RawValue| {
        let usage: RawUsage<'_> = serde_json::from_str(raw.get()).ok()?;
        let tokens = Tokens { input: count(usage.prompt_token_count)??, ..Tokens::default() };
        Some(Counts { tokens, reasoning_is_known: true, silent: 0 })
    };
    let reported = batch.usage_metadata.map(|raw| report(raw, counts(raw), sent, 0)).unwrap_or_default();
    let embeddings = batch.embeddings.unwrap_or_default();
    let vectors: Vec<&RawValue> = embeddings.iter().filter_map(|embedding| embedding.values).collect();
    let body = embedding::list(&vectors, sent, &reported)?;
    Ok(Read { body, finish: "stop".to_owned(), answer_text_bytes: 0, reported })
}
