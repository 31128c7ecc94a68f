//! Embeddings in OpenAI's shape, as adapters of other wire formats read the request and write the answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_types::Tokens;

use crate::adapter::{Reported, Sent, Unusable};
use crate::neutral::{Result, unsupported};

/// The texts to embed. Token ids are of OpenAI's encodings, which no other vendor reads.
pub(crate) fn texts(input: Option<Value>) -> Result<Vec<Value>> {
    match input {
        Some(Value::Array(inputs)) if inputs.iter().all(Value::is_string) => Ok(inputs),
        Some(text @ Value::String(_)) => Ok(vec![text]),
        Some(_) | None => unsupported("`input` is of token ids; send texts"),
    }
}

/// What an answer has to know of its request.
#[derive(Deserialize)]
struct Asked {
    model: String,
    encoding_format: Option<String>,
}

/// The answer in OpenAI's shape: `vectors` as they came, or as base64 of little-endian numbers of four bytes if the request
/// asked for that. The model is the one that was asked for; vendors do not repeat theirs.
pub(crate) fn list(
    vectors: &[&RawValue],
    sent: &Sent<'_>,
    reported: &Reported,
) -> std::result::Result<Box<RawValue>, Unusable> {
    if vectors.len() as u64 != sent.n {
        let message = format!("{} embeddings for {} inputs", vectors.len(), sent.n);
        return Err(Unusable::bad(message, reported.clone()));
    }
    let asked: Option<Asked> = serde_json::from_slice(sent.body).ok();
    let base64 = asked.as_ref().is_some_and(|asked| asked.encoding_format.as_deref() == Some("base64"));
    let mut data = Vec::with_capacity(vectors.len());
    for (index, raw) in vectors.iter().enumerate() {
        let numbers: Vec<f32> = serde_json::from_str(raw.get()).unwrap_or_default();
        if numbers.is_empty() {
            return Err(Unusable::bad("an embedding without a vector", reported.clone()));
        }
        let vector = if base64 { to_base64(&numbers) } else { (*raw).to_owned() };
        data.push(Embedding { object: "embedding", index, embedding: vector });
    }
    let usage = reported.tokens.map(|Tokens { input, .. }| json!({ "prompt_tokens": input, "total_tokens": input }));
    let model = asked.map(|asked| asked.model).unwrap_or_default();
    let list = List { object: "list", data, model, usage };
    Ok(serde_json::value::to_raw_value(&list).expect("values always serialise"))
}

#[derive(serde::Serialize)]
struct List {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Option<Value>,
}

#[derive(serde::Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Box<RawValue>,
}

fn to_base64(numbers: &[f32]) -> Box<RawValue> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let text = STANDARD.encode(bytes);
    serde_json::value::to_raw_value(&text).expect("texts always serialise")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn listed(vectors: &[&str], body: &'static str, n: u64) -> std::result::Result<Value, String> {
        let vectors: Vec<Box<RawValue>> = vectors.iter().map(|v| serde_json::from_str(v).expect("JSON")).collect();
        let vectors: Vec<&RawValue> = vectors.iter().map(AsRef::as_ref).collect();
        let sent = Sent { body: &Bytes::from_static(body.as_bytes()), max_tokens: Some(0), n };
        let list = list(&vectors, &sent, &Reported::default()).map_err(|unusable| unusable.message)?;
        Ok(serde_json::from_str(list.get()).expect("JSON"))
    }

    #[test]
    fn vectors_come_in_the_form_that_was_asked_for() {
        let numbers = listed(&["[1, -0.5]"], r#"{"model":"m","encoding_format":"float"}"#, 1).expect("a list");
        assert_eq!(numbers["data"][0], json!({ "object": "embedding", "index": 0, "embedding": [1, -0.5] }));
        assert_eq!((&numbers["model"], &numbers["usage"]), (&json!("m"), &Value::Null));
        let base64 = listed(&["[1, -0.5]"], r#"{"model":"m","encoding_format":"base64"}"#, 1).expect("a list");
        // 1.0 is 00 00 80 3f, -0.5 is 00 00 00 bf.
        assert_eq!(base64["data"][0]["embedding"], "AACAPwAAAL8=");
    }

    #[test]
    fn what_is_not_a_vector_for_each_input_is_no_answer() {
        for (vectors, n, message) in [
            (vec!["[1]"], 2, "1 embeddings for 2 inputs"),
            (vec!["[]"], 1, "an embedding without a vector"),
            (vec![r#"["a"]"#], 1, "an embedding without a vector"),
        ] {
            assert_eq!(listed(&vectors, r#"{"model":"m"}"#, n).unwrap_err(), message);
        }
    }

    #[test]
    fn token_ids_are_for_openai_alone() {
        assert_eq!(texts(Some(json!("a"))).expect("a text"), [json!("a")]);
        assert_eq!(texts(Some(json!(["a", "b"]))).expect("texts").len(), 2);
        for tokens in [json!([1, 2]), json!([[1], [2]])] {
            assert!(texts(Some(tokens)).is_err());
        }
    }
}
