//! Embeddings: `/api/embed`, whose vectors stand in one list.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_types::Tokens;
use tollgate_types::job::Request;

use super::request::{options, refuse_unknown};
use crate::adapter::{Read, Sent, To, Unsendable, Unusable};
use crate::neutral::{Fields, Result};
use crate::usage::{Counts, count, report};
use crate::{embedding, payload};

/// The body to send.
pub(super) fn body(body: &Bytes, _request: &Request, to: &To<'_>) -> Result<Bytes> {
    let mut fields = Fields::read(body)?;
    ["model", "encoding_format"].iter().for_each(|name| drop(fields.take(name)));
    let model: Value = serde_json::from_str(to.model_json).map_err(|_| Unsendable::AnotherBody)?;
    let mut out = json!({ "model": model, "input": embedding::texts(fields.take("input"))?, "truncate": false });
    let options = options(fields.take("options"), to)?;
    if !options.is_empty() {
        out["options"] = options.into();
    }
    for name in ["dimensions", "keep_alive"] {
        if let Some(value) = fields.take(name) {
            out[name] = value;
        }
    }
    refuse_unknown(fields, &[])?;
    Ok(out.to_string().into())
}

#[derive(Deserialize)]
struct Embedded<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    embeddings: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    prompt_eval_count: Option<&'a RawValue>,
}

/// Reads an answer: a vector for each text.
pub(super) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> std::result::Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let embedded: Embedded<'_> = payload::parse(&text, "list of embeddings")?;
    payload::refuse_error(embedded.error)?;
    let counted = embedded.prompt_eval_count.map(|raw| {
        let tokens = count(Some(raw)).flatten().map(|input| Tokens { input, ..Tokens::default() });
        let counts = tokens.map(|tokens| Counts { tokens, reasoning_is_known: true, silent: 0 });
        let usage = serde_json::value::to_raw_value(&json!({ "prompt_eval_count": raw })).expect("it serialises");
        report(&usage, counts, sent, 0)
    });
    let reported = counted.unwrap_or_default();
    let body = embedding::list(&embedded.embeddings.unwrap_or_default(), sent, &reported)?;
    Ok(Read { body, finish: "stop".to_owned(), answer_text_bytes: 0, reported })
}
