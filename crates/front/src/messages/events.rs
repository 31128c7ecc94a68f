//! A streamed chat completion in Anthropic's events.
//!
//! Blocks come one after another: a block ends when another begins. Source:
//! <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use serde_json::{Value, json};
use tollgate_messages::response::{self, Stop};

use crate::refused::{Refused, Shape};
use crate::streamed::chat::begun_anew;
use crate::streamed::{Rest, Speaker};

/// Events as the chunks come.
pub(crate) struct Events {
    model: String,
    /// Whether thoughts are told: only to who asked for them, because others could not send them back.
    thoughts: bool,
    begun: bool,
    /// The index of the next block.
    next: u64,
    open: Option<Open>,
    stop: Stop,
    rest: Rest,
}

/// The block that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thoughts,
    /// The call of a tool with that index in the completion.
    Call(u64),
}

fn event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default())
}

impl Events {
    pub(crate) fn new(model: &str, thoughts: bool) -> Events {
        let (model, rest) = (model.to_owned(), Rest::default());
        Events { model, thoughts, begun: false, next: 0, open: None, stop: Stop::default(), rest }
    }

    fn begin(&mut self, chunk: &Value, out: &mut Vec<String>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let model = chunk["model"].as_str().unwrap_or(&self.model);
        out.push(event(&json!({ "type": "message_start", "message": {
            "id": response::id(chunk), "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0 },
        } })));
    }

    fn close(&mut self, out: &mut Vec<String>) {
        if self.open.take().is_some() {
            out.push(event(&json!({ "type": "content_block_stop", "index": self.next - 1 })));
        }
    }

    /// Opens a block unless it is the one that is open.
    fn into(&mut self, block: Open, begins: impl FnOnce() -> Value, out: &mut Vec<String>) {
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        out.push(event(&json!({ "type": "content_block_start", "index": self.next, "content_block": begins() })));
        self.next += 1;
        self.open = Some(block);
    }

    fn delta(&self, delta: &Value, out: &mut Vec<String>) {
        out.push(event(&json!({ "type": "content_block_delta", "index": self.next - 1, "delta": delta })));
    }

    fn take(&mut self, chunk: &Value, out: &mut Vec<String>) {
        self.rest.note(chunk);
        let choice = &chunk["choices"][0];
        if choice.is_null() {
            return;
        }
        self.begin(chunk, out);
        let delta = &choice["delta"];
        if self.thoughts {
            self.think(delta, out);
        }
        for text in [&delta["content"], &delta["refusal"]].into_iter().filter_map(Value::as_str) {
            if !text.is_empty() {
                self.into(Open::Text, || json!({ "type": "text", "text": "" }), out);
                self.delta(&json!({ "type": "text_delta", "text": text }), out);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let begins = || json!({ "type": "tool_use", "id": call["id"], "name": function["name"], "input": {} });
            self.into(Open::Call(call["index"].as_u64().unwrap_or(0)), begins, out);
            let arguments = function["arguments"].as_str().unwrap_or_default();
            if !arguments.is_empty() {
                self.delta(&json!({ "type": "input_json_delta", "partial_json": arguments }), out);
            }
        }
        if !choice["finish_reason"].is_null() {
            self.stop = Stop::of(choice);
        }
    }

    /// Thoughts as they come, and their signature at their end.
    fn think(&mut self, delta: &Value, out: &mut Vec<String>) {
        if let Some(thought) = delta["reasoning_content"].as_str().filter(|thought| !thought.is_empty()) {
            self.into(Open::Thoughts, || json!({ "type": "thinking", "thinking": "", "signature": "" }), out);
            self.delta(&json!({ "type": "thinking_delta", "thinking": thought }), out);
        }
        for block in delta["thinking_blocks"].as_array().into_iter().flatten() {
            if block["type"] == "thinking" && self.open == Some(Open::Thoughts) {
                self.delta(&json!({ "type": "signature_delta", "signature": block["signature"] }), out);
            } else {
                self.close(out);
                out.push(event(&json!({ "type": "content_block_start", "index": self.next, "content_block": block })));
                self.next += 1;
                self.open = Some(Open::Thoughts);
            }
            self.close(out);
        }
    }
}

impl Speaker for Events {
    fn piece(&mut self, chunk: Value) -> Vec<String> {
        let mut out = Vec::new();
        self.take(&chunk, &mut out);
        out
    }

    fn finish(&mut self, answer: &Value) -> Result<Vec<String>, Refused> {
        let rest = self.rest.of(answer).ok_or_else(begun_anew)?;
        let mut out = Vec::new();
        rest.iter().for_each(|chunk| self.take(chunk, &mut out));
        // The whole answer knows it, whatever its last piece said.
        self.stop = Stop::of(&answer["choices"][0]);
        self.begin(answer, &mut out);
        self.close(&mut out);
        out.push(event(&json!({
            "type": "message_delta", "usage": response::usage(&answer["usage"]),
            "delta": { "stop_reason": self.stop.reason, "stop_sequence": self.stop.sequence },
        })));
        out.push(event(&json!({ "type": "message_stop" })));
        Ok(out)
    }

    fn fail(&mut self, refused: &Refused, request_id: &str) -> String {
        event(&refused.body(Shape::Anthropic, request_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events in short: their kinds, with the index and what is written.
    fn short(events: &[String]) -> Vec<String> {
        let data = |event: &String| -> Value {
            let (_, data) = event.split_once("data: ").expect("it has data");
            serde_json::from_str(data).expect("JSON")
        };
        let of = |value: Value| {
            let delta = &value["delta"];
            let text = ["text", "partial_json", "thinking", "signature"].iter().find_map(|name| delta[name].as_str());
            let kind = value["type"].as_str().expect("a type").to_owned();
            match (value["index"].as_u64(), text) {
                (Some(index), Some(text)) => format!("{kind} {index} {text}"),
                (Some(index), None) => format!("{kind} {index}"),
                (None, _) => kind,
            }
        };
        events.iter().map(data).map(of).collect()
    }

    fn chunk(delta: Value, finish: Value) -> Value {
        json!({ "id": "c", "model": "m", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
    }

    fn answer() -> Value {
        json!({ "id": "c", "model": "m", "usage": { "prompt_tokens": 3, "completion_tokens": 4 },
            "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": { "content": "Hello",
                "tool_calls": [{ "id": "t", "function": { "name": "f", "arguments": "{}" } }] } }] })
    }

    #[test]
    fn blocks_follow_each_other_and_what_is_left_comes_at_the_end() {
        let mut events = Events::new("m", false);
        let mut all = events.piece(chunk(json!({ "role": "assistant", "content": "" }), Value::Null));
        all.extend(events.piece(chunk(json!({ "reasoning_content": "nobody asked" }), Value::Null)));
        all.extend(events.piece(chunk(json!({ "content": "Hel" }), Value::Null)));
        all.extend(events.finish(&answer()).expect("it is how it begins"));
        let expected = [
            "message_start",
            "content_block_start 0",
            "content_block_delta 0 Hel",
            "content_block_delta 0 lo",
            "content_block_stop 0",
            "content_block_start 1",
            "content_block_delta 1 {}",
            "content_block_stop 1",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(short(&all), expected);
        assert!(
            all[8].contains(r#""stop_reason":"tool_use""#) && all[8].contains(r#""output_tokens":4"#),
            "{}",
            all[8]
        );
    }

    #[test]
    fn thoughts_come_with_their_signature_to_who_asked_for_them() {
        let mut events = Events::new("m", true);
        let mut all = events.piece(chunk(json!({ "reasoning_content": "hm" }), Value::Null));
        let whole = json!([{ "type": "thinking", "thinking": "hm", "signature": "s" }, { "type": "redacted_thinking", "data": "d" }]);
        all.extend(events.piece(chunk(json!({ "thinking_blocks": whole }), Value::Null)));
        all.extend(events.piece(chunk(json!({ "content": "Hello" }), "stop".into())));
        let expected = [
            "message_start",
            "content_block_start 0",
            "content_block_delta 0 hm",
            "content_block_delta 0 s",
            "content_block_stop 0",
            "content_block_start 1",
            "content_block_stop 1",
            "content_block_start 2",
            "content_block_delta 2 Hello",
        ];
        assert_eq!(short(&all), expected);
    }

    #[test]
    fn a_sequence_that_stopped_it_is_told_at_the_end() {
        let mut events = Events::new("m", false);
        events.piece(chunk(json!({ "content": "a" }), "stop".into()));
        let answer = json!({ "id": "c", "model": "m", "choices": [{ "index": 0, "finish_reason": "stop", "stop_reason": "END",
            "message": { "content": "a" } }] });
        let all = events.finish(&answer).expect("it is how it begins").concat();
        assert!(all.contains(r#""stop_reason":"stop_sequence""#) && all.contains(r#""stop_sequence":"END""#), "{all}");
    }

    #[test]
    fn an_error_has_the_shape_of_an_event() {
        let event = Events::new("m", false).fail(&Refused::later("away"), "req_1");
        assert!(event.starts_with("event: error\ndata: {") && event.contains("overloaded_error"), "{event}");
    }
}
