//! Reads embeddings: one vector for each input, passed on as they came.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage;
use crate::adapter::{Read, Sent, Unusable};
use crate::payload;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<Vec<Item<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}

/// Reads an answer: as many vectors as there were inputs, as numbers or as base64, none of them empty.
pub(crate) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let envelope: Envelope<'_> = payload::parse(&text, "list of embeddings")?;
    payload::refuse_error(envelope.error)?;
    let reported = usage::read_embeddings(envelope.usage, sent);
    let Some(data) = envelope.data else { return Err(payload::unusable("an answer without embeddings")) };
    if data.len() as u64 != sent.n {
        let message = format!("{} embeddings for {} inputs", data.len(), sent.n);
        return Err(Unusable::bad(message, reported));
    }
    let is_vector = |raw: &RawValue| raw.get().starts_with(['[', '"']) && !matches!(raw.get(), "[]" | "\"\"");
    if !data.iter().all(|item| item.embedding.is_some_and(is_vector)) {
        return Err(Unusable::bad("an embedding without a vector", reported));
    }
    let body = RawValue::from_string(text).expect("it was just read as JSON");
    Ok(Read { body, finish: "stop".to_owned(), answer_text_bytes: 0, reported })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tollgate_types::Tokens;

    use super::*;

    fn read_text(text: &str, n: u64) -> Result<Read, Unusable> {
        read(text.as_bytes().to_vec(), &Sent { body: &Bytes::from_static(b"{}"), max_tokens: Some(0), n })
    }

    #[test]
    fn vectors_are_passed_on_byte_for_byte_in_either_form() {
        let text = r#"{"object":"list","data":[{"index":0,"embedding":[0.10,-1]},{"index":1,"embedding":"AACAPw=="}],
            "usage":{"prompt_tokens":8,"total_tokens":8}}"#;
        let read = read_text(text, 2).expect("an answer");
        assert_eq!((read.body.get(), read.finish.as_str(), read.answer_text_bytes), (text, "stop", 0));
        assert_eq!(read.reported.tokens, Some(Tokens { input: 8, ..Tokens::default() }));
    }

    #[test]
    fn what_is_not_a_vector_for_each_input_is_no_answer() {
        for (text, message) in [
            (r#"{"object":"list"}"#, "an answer without embeddings"),
            (r#"{"data":[]}"#, "0 embeddings for 1 inputs"),
            (r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#, "2 embeddings for 1 inputs"),
            (r#"{"data":[{"embedding":[]}]}"#, "an embedding without a vector"),
            (r#"{"data":[{"embedding":{}}]}"#, "an embedding without a vector"),
            (r#"{"data":[{"index":0}]}"#, "an embedding without a vector"),
            (r#"{"data":7}"#, "JSON that is no list of embeddings"),
            (r#"{"error":{"message":"overloaded"}}"#, "an error in place of an answer: overloaded"),
        ] {
            assert_eq!(read_text(text, 1).unwrap_err().message, message, "{text}");
        }
        let billed = read_text(r#"{"data":[],"usage":{"prompt_tokens":3}}"#, 1).unwrap_err();
        assert_eq!(billed.reported.tokens, Some(Tokens { input: 3, ..Tokens::default() }));
    }
}
