//! Anthropic's requests as chat completions, and chat completions as Anthropic's messages. Pure.
//!
//! Source: the Messages API (<https://docs.anthropic.com/en/api/messages>). What a chat completion has nothing for is
//! refused by name; `top_k`, `thinking` and the marks for Anthropic's cache pass, for deployments of Anthropic's own.

mod message;

use serde_json::{Map, Value, json};

use crate::check::LineError;

pub(crate) use message::message;

/// The body of a chat completion for the `params` of a request.
pub(crate) fn body(mut params: Map<String, Value>) -> Result<Map<String, Value>, LineError> {
    for name in ["model", "max_tokens", "messages"] {
        if params.get(name).is_none_or(Value::is_null) {
            return Err(LineError::missing(&format!("params.{name}")));
        }
    }
    let mut body = Map::new();
    for name in ["model", "max_tokens", "temperature", "top_p", "top_k", "thinking", "output_config"] {
        body.extend(params.remove(name).map(|value| (name.to_owned(), value)));
    }
    let mut messages = Vec::new();
    if let Some(system) = params.remove("system") {
        messages.push(json!({ "role": "system", "content": content(system, "params.system")? }));
    }
    let Some(Value::Array(turns)) = params.remove("messages") else {
        return Err(wrong("params.messages", "must be an array of messages"));
    };
    for (at, turn) in turns.into_iter().enumerate() {
        messages.extend(turn_of(turn, &format!("params.messages.{at}"))?);
    }
    body.insert("messages".to_owned(), messages.into());
    body.extend(params.remove("stop_sequences").map(|stop| ("stop".to_owned(), stop)));
    if let Some(user) = params.remove("metadata").and_then(|mut metadata| Some(metadata.get_mut("user_id")?.take())) {
        body.insert("user".to_owned(), user);
    }
    if let Some(tools) = params.remove("tools") {
        body.insert("tools".to_owned(), tools_of(tools)?);
    }
    if let Some(choice) = params.remove("tool_choice") {
        tool_choice(&choice, &mut body)?;
    }
    let says_nothing = |name: &str, value: &Value| value.is_null() || (name == "stream" && *value == false);
    params.retain(|name, value| !says_nothing(name, value));
    match params.keys().next() {
        None => Ok(body),
        Some(name) => Err(wrong(&format!("params.{}", shown(name)), "is not taken in a batch")),
    }
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

fn wrong(param: &str, what: &str) -> LineError {
    LineError::new("invalid_request", format!("`{param}` {what}"), Some(param))
}

fn turn_of(mut turn: Value, place: &str) -> Result<Vec<Value>, LineError> {
    let given = turn.get_mut("content").map(Value::take).unwrap_or_default();
    match turn["role"].as_str() {
        Some("user") => user(given, place),
        Some("assistant") => Ok(vec![assistant(given, place)?]),
        Some("system") => Ok(vec![json!({ "role": "system", "content": content(given, place)? })]),
        _ => Err(wrong(&format!("{place}.role"), "must be `user` or `assistant`")),
    }
}

/// Results of tools are messages of their own, before what else the user says.
fn user(given: Value, place: &str) -> Result<Vec<Value>, LineError> {
    let Value::Array(blocks) = given else {
        return Ok(vec![json!({ "role": "user", "content": content(given, place)? })]);
    };
    let (mut messages, mut rest) = (Vec::new(), Vec::new());
    for (at, mut block) in blocks.into_iter().enumerate() {
        if block["type"] == "tool_result" {
            let inner = block.get_mut("content").map(Value::take).unwrap_or_default();
            let inner = if inner.is_null() { Value::from("") } else { inner };
            let inner = content(inner, &format!("{place}.content.{at}.content"))?;
            messages.push(json!({ "role": "tool", "tool_call_id": block["tool_use_id"], "content": inner }));
        } else {
            rest.push(part(block, &format!("{place}.content.{at}"))?);
        }
    }
    if !rest.is_empty() || messages.is_empty() {
        messages.push(json!({ "role": "user", "content": rest }));
    }
    Ok(messages)
}

fn assistant(given: Value, place: &str) -> Result<Value, LineError> {
    let Value::Array(blocks) = given else {
        return Ok(json!({ "role": "assistant", "content": content(given, place)? }));
    };
    let (mut parts, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    for (at, block) in blocks.into_iter().enumerate() {
        match block["type"].as_str() {
            Some("tool_use") => calls.push(json!({
                "id": block["id"], "type": "function",
                "function": { "name": block["name"], "arguments": block["input"].to_string() },
            })),
            Some("thinking" | "redacted_thinking") => thoughts.push(block),
            _ => parts.push(part(block, &format!("{place}.content.{at}"))?),
        }
    }
    let content = if parts.is_empty() { Value::Null } else { parts.into() };
    let mut message = json!({ "role": "assistant", "content": content });
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    if !thoughts.is_empty() {
        message["thinking_blocks"] = thoughts.into();
    }
    Ok(message)
}

/// A text, or blocks as parts.
fn content(given: Value, place: &str) -> Result<Value, LineError> {
    match given {
        Value::String(text) => Ok(text.into()),
        Value::Array(blocks) => {
            let blocks = blocks.into_iter().enumerate();
            blocks.map(|(at, block)| part(block, &format!("{place}.{at}"))).collect()
        }
        _ => Err(wrong(place, "must have a text or an array of blocks as its content")),
    }
}

fn part(block: Value, place: &str) -> Result<Value, LineError> {
    let source = &block["source"];
    match block["type"].as_str() {
        Some("text") => Ok(block),
        Some("image") if source["type"] == "base64" => {
            let (kind, data) = (source["media_type"].as_str(), source["data"].as_str());
            let (Some(kind), Some(data)) = (kind, data) else { return Err(wrong(place, "has no image data")) };
            Ok(json!({ "type": "image_url", "image_url": { "url": format!("data:{kind};base64,{data}") } }))
        }
        Some("image") if source["type"] == "url" => {
            Ok(json!({ "type": "image_url", "image_url": { "url": source["url"] } }))
        }
        Some("document") if source["type"] == "base64" && source["media_type"] == "application/pdf" => {
            let data = source["data"].as_str().unwrap_or_default();
            let file =
                json!({ "filename": "document.pdf", "file_data": format!("data:application/pdf;base64,{data}") });
            Ok(json!({ "type": "file", "file": file }))
        }
        Some(kind) => Err(wrong(place, &format!("is of the type `{}`, which is not taken here", shown(kind)))),
        None => Err(wrong(place, "has no `type`")),
    }
}

fn tools_of(tools: Value) -> Result<Value, LineError> {
    let Value::Array(tools) = tools else { return Err(wrong("params.tools", "must be an array of tools")) };
    let one = |(at, tool): (usize, Value)| {
        if tool["type"].as_str().is_some_and(|kind| kind != "custom") || !tool["name"].is_string() {
            return Err(wrong(&format!("params.tools.{at}"), "is no tool of your own with a `name`"));
        }
        let mut function = json!({ "name": tool["name"], "parameters": tool["input_schema"] });
        if let Some(description) = tool.get("description") {
            function["description"] = description.clone();
        }
        Ok(json!({ "type": "function", "function": function }))
    };
    tools.into_iter().enumerate().map(one).collect()
}

fn tool_choice(choice: &Value, body: &mut Map<String, Value>) -> Result<(), LineError> {
    let own = match choice["type"].as_str() {
        Some("auto") => json!("auto"),
        Some("any") => json!("required"),
        Some("none") => json!("none"),
        Some("tool") => json!({ "type": "function", "function": { "name": choice["name"] } }),
        _ => return Err(wrong("params.tool_choice", "must have the type auto, any, none or tool")),
    };
    body.insert("tool_choice".to_owned(), own);
    if choice["disable_parallel_tool_use"] == true {
        body.insert("parallel_tool_calls".to_owned(), false.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
