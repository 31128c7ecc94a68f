//! What was said of an answer so far, and what is left of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What was said of each choice of a completion.
#[derive(Default)]
pub(crate) struct Rest {
    choices: BTreeMap<u64, Choice>,
}

#[derive(Default)]
struct Choice {
    text: String,
    /// The arguments of each call of a tool.
    calls: BTreeMap<u64, String>,
    ended: bool,
}

impl Rest {
    /// Notes what a chunk says.
    pub(crate) fn note(&mut self, chunk: &Value) {
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let said = self.choices.entry(choice["index"].as_u64().unwrap_or(0)).or_default();
            let delta = &choice["delta"];
            said.text.push_str(delta["content"].as_str().unwrap_or_default());
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let arguments = said.calls.entry(call["index"].as_u64().unwrap_or(0)).or_default();
                arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
            }
            said.ended |= !choice["finish_reason"].is_null();
        }
    }

    /// The chunks that say all of a completion that was not said; `None` if what was said is not how it begins.
    pub(crate) fn of(&self, completion: &Value) -> Option<Vec<Value>> {
        let nothing = Choice::default();
        let mut chunks = Vec::new();
        for choice in completion["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            let begun = self.choices.contains_key(&index);
            let said = self.choices.get(&index).unwrap_or(&nothing);
            let message = &choice["message"];
            let mut part = |delta: Value, finish: &Value| {
                let choice = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish });
                chunks.push(json!({
                    "id": completion["id"], "object": "chat.completion.chunk", "created": completion["created"],
                    "model": completion["model"], "choices": [choice],
                }));
            };
            if !begun {
                let mut head = json!({ "role": "assistant", "content": "" });
                for name in ["refusal", "reasoning_content", "thinking_blocks"] {
                    if let Some(value) = message.get(name).filter(|value| !value.is_null()) {
                        head[name] = value.clone();
                    }
                }
                part(head, &Value::Null);
            }
            let text = message["content"].as_str().unwrap_or_default();
            let left = text.strip_prefix(said.text.as_str())?;
            if !left.is_empty() {
                part(json!({ "content": left }), &Value::Null);
            }
            for call in left_of_calls(&message["tool_calls"], &said.calls)? {
                part(json!({ "tool_calls": [call] }), &Value::Null);
            }
            if !said.ended {
                part(json!({}), &choice["finish_reason"]);
            }
        }
        Some(chunks)
    }
}

fn left_of_calls(calls: &Value, said: &BTreeMap<u64, String>) -> Option<Vec<Value>> {
    let calls = calls.as_array().map(Vec::as_slice).unwrap_or_default();
    if said.keys().any(|&index| index >= calls.len() as u64) {
        return None;
    }
    let mut left = Vec::new();
    for (index, call) in (0..).zip(calls) {
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        match said.get(&index) {
            None => {
                let mut whole = call.clone();
                whole["index"] = index.into();
                left.push(whole);
            }
            Some(said) => {
                let more = arguments.strip_prefix(said.as_str())?;
                if !more.is_empty() {
                    left.push(json!({ "index": index, "function": { "arguments": more } }));
                }
            }
        }
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: Value, finish: Value) -> Value {
        json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
    }

    fn completion() -> Value {
        json!({ "id": "c", "model": "m", "created": 1, "choices": [{ "index": 0, "finish_reason": "tool_calls",
            "message": { "content": "Hello", "tool_calls": [
                { "id": "t0", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                { "id": "t1", "type": "function", "function": { "name": "g", "arguments": "{}" } } ] } }] })
    }

    fn deltas(chunks: &[Value]) -> Vec<Value> {
        chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
    }

    #[test]
    fn what_was_not_said_is_said_once() {
        let mut rest = Rest::default();
        let whole = rest.of(&completion()).expect("nothing was said");
        assert_eq!(deltas(&whole)[1], json!({ "content": "Hello" }));
        assert_eq!(whole.last().expect("an end")["choices"][0]["finish_reason"], "tool_calls");
        rest.note(&chunk(json!({ "role": "assistant", "content": "Hel" }), Value::Null));
        rest.note(&chunk(
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\"" } }] }),
            Value::Null,
        ));
        let left = rest.of(&completion()).expect("it is how it begins");
        let calls = [
            json!({ "index": 0, "function": { "arguments": ":1}" } }),
            json!({ "index": 1, "id": "t1",
            "type": "function", "function": { "name": "g", "arguments": "{}" } }),
        ];
        let expected = [
            json!({ "content": "lo" }),
            json!({ "tool_calls": [calls[0]] }),
            json!({ "tool_calls": [calls[1]] }),
            json!({}),
        ];
        assert_eq!(deltas(&left), expected);
        for chunk in &left {
            rest.note(chunk);
        }
        assert_eq!(rest.of(&completion()), Some(Vec::new()), "all is said");
    }

    #[test]
    fn what_was_said_and_is_not_in_the_answer_cannot_be_taken_back() {
        let mut rest = Rest::default();
        rest.note(&chunk(json!({ "content": "Help" }), Value::Null));
        assert_eq!(rest.of(&completion()), None);
        let mut rest = Rest::default();
        rest.note(&chunk(json!({ "tool_calls": [{ "index": 2, "function": { "arguments": "" } }] }), Value::Null));
        assert_eq!(rest.of(&completion()), None);
    }
}
