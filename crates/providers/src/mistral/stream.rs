//! Mistral's stream as OpenAI's: the same chunks, but for what differs in whole answers too.

use bytes::Bytes;
use serde_json::Value;

use super::response;
use crate::adapter::{Read, Sent, Unusable};
use crate::openai::Chunks;
use crate::sse::Event;
use crate::stream::{Broken, Delta, Partial, Reader, Stage};

/// Puts Mistral's chunks together.
#[derive(Default)]
pub(super) struct Typed(Chunks);

/// Words without which a chunk is OpenAI's as it is: the types of its content's parts, and an end of its own.
const ITS_OWN: [&str; 3] = ["\"type\"", "\"model_length\"", "\"error\""];

impl Reader for Typed {
    fn push(&mut self, event: &Event) -> Result<Vec<Delta>, Broken> {
        let text = std::str::from_utf8(&event.data).unwrap_or_default();
        if !ITS_OWN.iter().any(|word| text.contains(word)) {
            return self.0.push(event);
        }
        let Ok(mut chunk) = serde_json::from_str::<Value>(text) else { return self.0.push(event) };
        let choices = chunk.get_mut("choices").and_then(Value::as_array_mut);
        let choices = choices.map(Vec::as_mut_slice).unwrap_or_default();
        if choices.iter().any(|choice| choice["finish_reason"] == "error") {
            return Err(Broken::Unreadable("a chunk that an error ended".to_owned()));
        }
        let changed = choices.iter_mut().fold(false, |changed, choice| response::neutral(choice, "delta") | changed);
        match changed {
            false => self.0.push(event),
            true => self.0.push(&Event { name: event.name.clone(), data: Bytes::from(chunk.to_string()) }),
        }
    }

    fn stage(&self) -> Stage {
        self.0.stage()
    }

    fn kept_bytes(&self) -> usize {
        self.0.kept_bytes()
    }

    fn partial(&self, sent: &Sent<'_>) -> Partial {
        self.0.partial(sent)
    }

    fn finish(self: Box<Self>, sent: &Sent<'_>) -> Result<Read, Unusable> {
        Box::new(self.0).finish(sent)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stream::testing;
    use crate::vendor::Vendor;

    fn stream(choices: &[Value]) -> String {
        let chunk = |choice: &Value| {
            let chunk = json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [choice] });
            format!("data: {chunk}\n\n")
        };
        let usage = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
        choices.iter().map(chunk).chain([format!("{usage}\n\n"), "data: [DONE]\n\n".to_owned()]).collect()
    }

    #[test]
    fn plain_chunks_pass_as_they_are_and_end_as_the_whole_answer() {
        let text = stream(&[
            json!({ "index": 0, "delta": { "role": "assistant", "content": "" }, "finish_reason": null }),
            json!({ "index": 0, "delta": { "content": "Hel" }, "finish_reason": null }),
            json!({ "index": 0, "delta": { "content": "lo" }, "finish_reason": "model_length" }),
        ]);
        let told = testing::read(Vendor::Mistral, &text);
        let first = text.lines().nth(2).expect("a line").trim_start_matches("data: ");
        assert_eq!(told.deltas[1], first.as_bytes(), "byte for byte");
        assert_eq!(told.chunks()[2]["choices"][0]["finish_reason"], "length");
        let body = told.body();
        assert_eq!(body["choices"][0]["message"]["content"], "Hello");
        assert_eq!(
            (&body["choices"][0]["finish_reason"], &body["usage"]["completion_tokens"]),
            (&json!("length"), &json!(7))
        );
    }

    #[test]
    fn thoughts_and_texts_in_parts_become_their_own_fields() {
        let part = |part: Value| json!({ "index": 0, "delta": { "content": [part] }, "finish_reason": null });
        let text = stream(&[
            part(json!({ "type": "thinking", "thinking": [{ "type": "text", "text": "hm " }] })),
            part(json!({ "type": "thinking", "thinking": [{ "type": "text", "text": "yes" }] })),
            json!({ "index": 0, "delta": { "content": "It " }, "finish_reason": null }),
            part(json!({ "type": "text", "text": "is." })),
            json!({ "index": 0, "delta": { "content": "" }, "finish_reason": "stop" }),
        ]);
        let told = testing::read(Vendor::Mistral, &text);
        let of_openai = testing::joined(&told.deltas);
        assert_eq!(of_openai["choices"][0]["message"]["content"], "It is.");
        let body = told.body();
        assert_eq!(body["choices"][0]["message"]["content"], "It is.");
        assert_eq!(body["choices"][0]["message"]["reasoning_content"], "hm yes");
    }

    #[test]
    fn what_is_no_chunk_is_no_panic() {
        for text in ["[\"type\"]", "\"error\"", "{\"choices\":[[\"type\"],1]}", "{\"type\":1,\"choices\":7}"] {
            testing::read(Vendor::Mistral, &format!("data: {text}\n\n"));
        }
    }

    #[test]
    fn an_error_that_ends_the_answer_breaks_the_stream() {
        let text = stream(&[json!({ "index": 0, "delta": { "content": "x" }, "finish_reason": "error" })]);
        assert!(testing::read(Vendor::Mistral, &text).broken.is_some());
        let error = "data: {\"object\":\"error\",\"message\":\"overloaded\",\"type\":\"service_unavailable\",\"code\":\"3505\"}\n\n";
        assert_eq!(testing::read(Vendor::Mistral, error).broken, Some(Broken::Error));
    }
}
