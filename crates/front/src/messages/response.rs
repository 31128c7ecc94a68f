//! A chat completion as a message.

use serde_json::{Value, json};

/// The message that a completion's first choice is.
pub(crate) fn message(completion: &Value) -> Value {
    let choice = &completion["choices"][0];
    json!({
        "id": id(completion),
        "type": "message",
        "role": "assistant",
        "model": completion["model"],
        "content": blocks(&choice["message"]),
        "stop_reason": stop_reason(&choice["finish_reason"]),
        "stop_sequence": null,
        "usage": usage(&completion["usage"]),
    })
}

/// The message's id, which begins as Anthropic's do.
pub(super) fn id(completion: &Value) -> String {
    let id = completion["id"].as_str().unwrap_or_default();
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") }
}

/// Why it ended.
pub(super) fn stop_reason(finish: &Value) -> Value {
    match finish.as_str() {
        Some("stop") => "end_turn".into(),
        Some("length") => "max_tokens".into(),
        Some("tool_calls" | "function_call") => "tool_use".into(),
        Some("content_filter") => "refusal".into(),
        Some(_) | None => Value::Null,
    }
}

/// What was used, with the cache beside the input and not inside.
pub(super) fn usage(usage: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let details = &usage["prompt_tokens_details"];
    let (read, written) = (count(&details["cached_tokens"]), count(&details["cache_write_tokens"]));
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
        let message = message(&completion);
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
        for (finish, expected) in
            [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")]
        {
            assert_eq!(stop_reason(&finish.into()), expected);
        }
        assert_eq!(stop_reason(&Value::Null), Value::Null);
    }
}
