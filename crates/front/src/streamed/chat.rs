//! A streamed chat completion in OpenAI's events.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Rest, Speaker};
use crate::refused::{Refused, Shape};

/// Chunks as they come, and their end.
pub(super) struct Chunks {
    /// Whether a last chunk tells the usage, and all others say that they do not.
    usage: bool,
    rest: Rest,
}

impl Chunks {
    pub(super) fn new(usage: bool) -> Chunks {
        Chunks { usage, rest: Rest::default() }
    }

    fn event(&mut self, mut chunk: Value) -> Option<String> {
        self.rest.note(&chunk);
        let fields = chunk.as_object_mut()?;
        fields.remove("usage");
        // The provider's last chunk has the usage alone; ours is made of the result, which is sure to have it.
        if fields.get("choices").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            return None;
        }
        if self.usage {
            fields.insert("usage".to_owned(), Value::Null);
        }
        Some(data(&chunk))
    }
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// What was said cannot be taken back.
pub(crate) fn begun_anew() -> Refused {
    let why = "the answer began anew in the middle; the job has it whole";
    Refused::new(StatusCode::BAD_GATEWAY, "stream_restarted", why)
}

impl Speaker for Chunks {
    fn piece(&mut self, chunk: Value) -> Vec<String> {
        self.event(chunk).into_iter().collect()
    }

    fn finish(&mut self, answer: &Value) -> Result<Vec<String>, Refused> {
        let rest = self.rest.of(answer).ok_or_else(begun_anew)?;
        let mut events: Vec<String> = rest.into_iter().filter_map(|chunk| self.event(chunk)).collect();
        if self.usage {
            events.push(data(&json!({
                "id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"],
                "model": answer["model"], "choices": [], "usage": answer["usage"],
            })));
        }
        events.push("data: [DONE]\n\n".to_owned());
        Ok(events)
    }

    fn fail(&mut self, refused: &Refused, request_id: &str) -> String {
        data(&refused.body(Shape::OpenAi, request_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hello" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 } })
    }

    #[test]
    fn usage_comes_last_if_it_is_asked_for_and_never_else() {
        for usage in [true, false] {
            let mut chunks = Chunks::new(usage);
            let with_usage = json!({ "choices": [{ "index": 0, "delta": { "content": "Hel" } }], "usage": { "x": 1 } });
            let piece = chunks.piece(with_usage).concat();
            assert_eq!(piece.contains("\"usage\":null"), usage, "{piece}");
            assert!(!piece.contains("\"x\""), "{piece}");
            assert!(chunks.piece(json!({ "choices": [], "usage": { "x": 1 } })).is_empty());
            let end = chunks.finish(&answer()).expect("it is how it begins");
            assert_eq!(end.concat().contains("\"total_tokens\":3"), usage, "{end:?}");
            assert!(end[0].contains(r#""content":"lo""#), "{end:?}");
            assert_eq!(end.last().map(String::as_str), Some("data: [DONE]\n\n"));
        }
    }

    #[test]
    fn an_answer_that_began_anew_ends_the_stream_with_an_error() {
        let mut chunks = Chunks::new(false);
        chunks.piece(json!({ "choices": [{ "index": 0, "delta": { "content": "Help" } }] }));
        let refused = chunks.finish(&answer()).expect_err("it is another answer");
        let event = chunks.fail(&refused, "req_1");
        assert!(event.starts_with(r#"data: {"error":{"#) && event.ends_with("\n\n"), "{event}");
    }
}
