//! A chat completion as a message.

use serde_json::{Value, json};

/// The message that a completion's first choice is; `None` for what is no completion.
pub fn message(completion: &Value) -> Option<Value> {
    let choice = completion["choices"].as_array()?.first()?;
    let Stop { reason, sequence } = Stop::of(choice);
    Some(json!({
        "id": id(completion),
        "type": "message",
        "role": "assistant",
        "model": completion["model"],
        "content": blocks(&choice["message"]),
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage(&completion["usage"]),
    }))
}

/// The message's id, which begins as Anthropic's do.
pub fn id(completion: &Value) -> String {
    let id = completion["id"].as_str().unwrap_or_default();
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") }
}

/// Why a message ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// Anthropic's word; `null` before the end.
    pub reason: Value,
    /// The sequence that stopped it, where that is known.
    pub sequence: Value,
}

impl Stop {
    /// Of a choice, whole or the last of its chunks. Which sequence stopped it stands in `stop_reason`, where the adapter for
    /// Anthropic's own models and servers such as vLLM tell it.
    pub fn of(choice: &Value) -> Stop {
        let sequence = &choice["stop_reason"];
        let reason = match choice["finish_reason"].as_str() {
            None => return Stop::default(),
            Some("length") => "max_tokens",
            Some("tool_calls" | "function_call") => "tool_use",
            Some("content_filter") => "refusal",
            Some("stop") if sequence.is_string() => {
                return Stop { reason: "stop_sequence".into(), sequence: sequence.clone() };
            }
            Some(_) => "end_turn",
        };
        Stop { reason: reason.into(), sequence: Value::Null }
    }
}

/// What was used, with the cache beside the input and not inside.
pub fn usage(usage: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let details = &usage["prompt_tokens_details"];
    let read = count(&details["cached_tokens"]);
    let written = count(&details["cache_write_tokens"]).max(count(&details["cache_creation_tokens"]));
    json!({
        "input_tokens": count(&usage["prompt_tokens"]).saturating_sub(read + written),
        "output_tokens": count(&usage["completion_tokens"]),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    })
}

fn blocks(message: &Value) -> Vec<Value> {
    let mut blocks: Vec<Value> = message["thinking_blocks"].as_array().cloned().unwrap_or_default();
    for text in [&message["content"], &message["refusal"]].into_iter().filter_map(Value::as_str) {
        if !text.is_empty() {
            blocks.push(json!({ "type": "text", "text": text }));
        }
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        blocks.push(json!({
            "type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input(arguments),
        }));
    }
    blocks
}

/// A tool's input. What the model wrote and is no object is kept as it is, under a name of its own.
fn input(arguments: &str) -> Value {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        Ok(_) | Err(_) => json!({ "arguments": arguments }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_becomes_a_message() {
        let completion = json!({ "id": "chatcmpl-1", "model": "m", "choices": [{ "finish_reason": "tool_calls",
            "message": { "content": "Hello", "thinking_blocks": [{ "type": "thinking", "thinking": "hm", "signature": "s" }],
                "tool_calls": [{ "id": "t1", "function": { "name": "look", "arguments": "{\"at\":1}" } },
                               { "id": "t2", "function": { "name": "look", "arguments": "oops" } }] } }],
            "usage": { "prompt_tokens": 20, "completion_tokens": 5,
                "prompt_tokens_details": { "cached_tokens": 7, "cache_write_tokens": 3 } } });
        let message = message(&completion).expect("it is one");
        assert_eq!(message["id"], "msg_chatcmpl-1");
        assert_eq!(message["stop_reason"], "tool_use");
        assert_eq!(
            message["usage"],
            json!({ "input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 7 })
        );
        let kinds: Vec<&str> = message["content"]
            .as_array()
            .expect("blocks")
            .iter()
            .map(|block| block["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["thinking", "text", "tool_use", "tool_use"]);
        assert_eq!(message["content"][2]["input"], json!({ "at": 1 }));
        assert_eq!(message["content"][3]["input"], json!({ "arguments": "oops" }));
    }

    #[test]
    fn every_end_has_its_word() {
        let of = |finish: Value, sequence: Value| {
            let Stop { reason, sequence } = Stop::of(&json!({ "finish_reason": finish, "stop_reason": sequence }));
            (reason, sequence)
        };
        for (finish, expected) in [
            ("stop", "end_turn"),
            ("length", "max_tokens"),
            ("tool_calls", "tool_use"),
            ("content_filter", "refusal"),
            ("something new", "end_turn"),
        ] {
            assert_eq!(of(finish.into(), Value::Null), (expected.into(), Value::Null));
        }
        assert_eq!(of("stop".into(), "END".into()), ("stop_sequence".into(), "END".into()));
        assert_eq!(of("stop".into(), 7.into()), ("end_turn".into(), Value::Null), "a token's number is no sequence");
        assert_eq!(of("length".into(), "END".into()), ("max_tokens".into(), Value::Null));
        assert_eq!(of(Value::Null, Value::Null), (Value::Null, Value::Null));
        assert_eq!(message(&json!({ "object": "list" })), None);
    }
}
