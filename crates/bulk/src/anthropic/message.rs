//! A chat completion as one of Anthropic's messages.

use serde_json::{Map, Value, json};

/// The message of a chat completion; `None` if it is none.
pub(crate) fn message(completion: &Value) -> Option<Value> {
    let choice = completion["choices"].as_array()?.first()?;
    let said = &choice["message"];
    let mut content = Vec::new();
    if let Some(thoughts) = said["thinking_blocks"].as_array() {
        content.extend(thoughts.iter().cloned());
    }
    let text = said["content"].as_str().or(said["refusal"].as_str()).unwrap_or_default();
    if !text.is_empty() {
        content.push(json!({ "type": "text", "text": text }));
    }
    for call in said["tool_calls"].as_array().into_iter().flatten() {
        let arguments = call["function"]["arguments"].as_str().unwrap_or("{}");
        // What a model wrote need not be JSON.
        let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({ "arguments": arguments }));
        content.push(json!({
            "type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input,
        }));
    }
    let stop = match choice["finish_reason"].as_str() {
        Some("length") => "max_tokens",
        Some("tool_calls" | "function_call") => "tool_use",
        Some("content_filter") => "refusal",
        _ => "end_turn",
    };
    let mut message = Map::new();
    let id = completion["id"].as_str().unwrap_or_default();
    message.insert("id".into(), if id.starts_with("msg_") { id.into() } else { format!("msg_{id}").into() });
    message.insert("type".into(), "message".into());
    message.insert("role".into(), "assistant".into());
    message.insert("model".into(), completion["model"].clone());
    message.insert("content".into(), content.into());
    message.insert("stop_reason".into(), stop.into());
    message.insert("stop_sequence".into(), Value::Null);
    message.insert("usage".into(), usage(&completion["usage"]));
    Some(Value::Object(message))
}

/// Anthropic's counts do not overlap; those of a chat completion do.
fn usage(usage: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let prompt = &usage["prompt_tokens_details"];
    let read = count(&prompt["cached_tokens"]);
    let written = count(&prompt["cache_write_tokens"]).max(count(&prompt["cache_creation_tokens"]));
    json!({
        "input_tokens": count(&usage["prompt_tokens"]).saturating_sub(read + written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": count(&usage["completion_tokens"]),
    })
}
