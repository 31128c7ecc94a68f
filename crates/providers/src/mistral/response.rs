//! Mistral's chat completion as OpenAI's.
//!
//! | Mistral's | OpenAI's |
//! |---|---|
//! | content as a list of `text` and `thinking` chunks | `content`, `reasoning_content` |
//! | `reference` chunks | nothing |
//! | `model_length` | `length` |
//! | `error` | no answer |
//!
//! An answer that has none of these is passed on byte for byte.

use serde_json::Value;

use crate::adapter::{Read, Sent, Unusable};
use crate::openai;

/// Reads an answer.
pub(super) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> Result<Read, Unusable> {
    let mut read = openai::read(bytes, sent)?;
    let mut body: Value = serde_json::from_str(read.body.get()).expect("it was just read as JSON");
    let choices = body["choices"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    if choices.iter().any(|choice| choice["finish_reason"] == "error") {
        return Err(Unusable::bad("an answer that an error ended", read.reported));
    }
    let changed = choices.iter_mut().fold(false, |changed, choice| neutral(choice, "message") | changed);
    if changed {
        read.finish = body["choices"][0]["finish_reason"].as_str().unwrap_or_default().to_owned();
        read.body = serde_json::value::to_raw_value(&body).expect("values always serialise");
    }
    Ok(read)
}

/// Makes a choice OpenAI's, whose content is in the field `of`; says whether anything was Mistral's own.
pub(super) fn neutral(choice: &mut Value, of: &str) -> bool {
    let mut changed = false;
    if choice["finish_reason"] == "model_length" {
        choice["finish_reason"] = "length".into();
        changed = true;
    }
    if let Some(chunks) = choice[of]["content"].as_array() {
        let (text, thoughts) = (joined(chunks, "text"), joined(chunks, "thinking"));
        choice[of]["content"] = text.into();
        if !thoughts.is_empty() {
            choice[of]["reasoning_content"] = thoughts.into();
        }
        changed = true;
    }
    changed
}

/// The text of the chunks of one kind. Thoughts are chunks in a chunk.
fn joined(chunks: &[Value], kind: &str) -> String {
    let of_kind = chunks.iter().filter(|chunk| chunk["type"] == kind);
    let text = |chunk: &Value| match &chunk[kind] {
        Value::String(text) => text.clone(),
        Value::Array(inner) => joined(inner, "text"),
        _ => String::new(),
    };
    of_kind.map(text).collect()
}
