//! A request for a message as a chat completion request.
//!
//! | message | chat completion |
//! |---|---|
//! | `system` | a `system` message first |
//! | `text`, `image`, `document` of a user | parts of a `user` message |
//! | `tool_result` | a `tool` message, before what else the user says |
//! | `text`, `tool_use` of the assistant | `content`, `tool_calls` with the input as text |
//! | `thinking`, `redacted_thinking` | `thinking_blocks`, whole |
//! | `max_tokens`, `stop_sequences` | `max_completion_tokens`, `stop` |
//! | `tools`, `tool_choice` | `tools`, `tool_choice`, `parallel_tool_calls` |
//! | `metadata.user_id` | `user` |
//! | `cache_control` of a text | stays on its part; elsewhere it is left out, because it changes the price alone |
//!
//! Other fields, such as `thinking` and `top_k`, pass as they are: the vendor knows them, or refuses them.
//! Source: <https://docs.anthropic.com/en/api/messages>.

use serde_json::{Map, Value, json};

/// What a chat completion cannot express, or is no request for a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{at}` {why}")]
pub struct Inexpressible {
    /// The field, such as `messages.0.content.1.type`.
    pub at: String,
    /// What is wrong with it, to follow its name.
    pub why: &'static str,
}

type Result<T> = std::result::Result<T, Inexpressible>;

/// Fields that mean something that no chat completion can do, and would be lost.
const INEXPRESSIBLE: [&str; 3] = ["container", "mcp_servers", "context_management"];

fn refuse<T>(at: &str, why: &'static str) -> Result<T> {
    Err(Inexpressible { at: at.to_owned(), why })
}

/// A request for a chat completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    /// Its body.
    pub body: Map<String, Value>,
    /// Whether thoughts are asked for.
    pub thoughts: bool,
}

/// The request for a chat completion that a request for a message is.
///
/// # Errors
/// The field that cannot be expressed.
pub fn chat(mut fields: Map<String, Value>) -> Result<Chat> {
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
    let mut out = Map::new();
    let Some(Value::Array(messages)) = take("messages") else {
        return refuse("messages", "must be a list of messages");
    };
    let Some(max_tokens) = take("max_tokens") else { return refuse("max_tokens", "is missing") };
    out.insert("max_completion_tokens".to_owned(), max_tokens);
    let mut said = Vec::new();
    if let Some(system) = take("system") {
        said.push(json!({ "role": "system", "content": texts(system, "system")? }));
    }
    for (at, message) in messages.into_iter().enumerate() {
        one_message(message, &format!("messages.{at}"), &mut said)?;
    }
    out.insert("messages".to_owned(), said.into());
    if let Some(stop) = take("stop_sequences").filter(|stop| stop != &json!([])) {
        out.insert("stop".to_owned(), stop);
    }
    if let Some(tools) = take("tools").filter(|tools| tools != &json!([])) {
        out.insert("tools".to_owned(), self::tools(tools)?);
    }
    if let Some(choice) = take("tool_choice") {
        if choice["disable_parallel_tool_use"] == true {
            out.insert("parallel_tool_calls".to_owned(), false.into());
        }
        out.insert("tool_choice".to_owned(), tool_choice(&choice)?);
    }
    if let Some(user) = take("metadata").and_then(|mut metadata| metadata.get_mut("user_id").map(Value::take)) {
        out.insert("user".to_owned(), user);
    }
    // It says how fast an answer may be; a job says that by its class.
    let _ = take("service_tier");
    let thoughts = fields.get("thinking").is_some_and(|thinking| thinking["type"] != "disabled");
    if let Some(name) = INEXPRESSIBLE.into_iter().find(|name| fields.get(*name).is_some_and(|value| !value.is_null())) {
        return refuse(name, "cannot be expressed by a job; leave it out");
    }
    out.extend(fields);
    Ok(Chat { body: out, thoughts })
}

/// Text, or parts of text with the marks for a cache.
fn texts(content: Value, at: &str) -> Result<Value> {
    match content {
        text @ Value::String(_) => Ok(text),
        Value::Array(blocks) => {
            let text = |(n, block): (usize, Value)| match block["type"].as_str() {
                Some("text") => Ok(text_part(&block)),
                _ => refuse(&format!("{at}.{n}"), "must be a text"),
            };
            blocks.into_iter().enumerate().map(text).collect()
        }
        _ => refuse(at, "must be a text or a list of blocks"),
    }
}

fn text_part(block: &Value) -> Value {
    let mut part = json!({ "type": "text", "text": block["text"] });
    if let Some(cache) = block.get("cache_control").filter(|cache| !cache.is_null()) {
        part["cache_control"] = cache.clone();
    }
    part
}

fn one_message(mut message: Value, at: &str, said: &mut Vec<Value>) -> Result<()> {
    let content = message.get_mut("content").map(Value::take).unwrap_or_default();
    let role = message["role"].as_str().unwrap_or_default();
    match (role, content) {
        ("user" | "assistant" | "system", text @ Value::String(_)) => {
            said.push(json!({ "role": role, "content": text }));
            Ok(())
        }
        ("system", content) => {
            said.push(json!({ "role": role, "content": texts(content, &format!("{at}.content"))? }));
            Ok(())
        }
        ("user", Value::Array(blocks)) => user(blocks, at, said),
        ("assistant", Value::Array(blocks)) => assistant(blocks, at, said),
        ("user" | "assistant", _) => refuse(&format!("{at}.content"), "must be a text or a list of blocks"),
        _ => refuse(&format!("{at}.role"), "must be user or assistant"),
    }
}

fn user(blocks: Vec<Value>, at: &str, said: &mut Vec<Value>) -> Result<()> {
    let (mut parts, has_results) = (Vec::new(), blocks.iter().any(|block| block["type"] == "tool_result"));
    for (n, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}.content.{n}");
        match block["type"].as_str().unwrap_or_default() {
            "tool_result" => said.push(tool_result(block, &at)?),
            _ => parts.push(part(&block, &at)?),
        }
    }
    // One that says nothing is for the vendor to refuse.
    if !parts.is_empty() || !has_results {
        said.push(json!({ "role": "user", "content": parts }));
    }
    Ok(())
}

/// A block of a user as a part of a message.
fn part(block: &Value, at: &str) -> Result<Value> {
    let source = &block["source"];
    let text = |name: &str| source[name].as_str().unwrap_or_default();
    match (block["type"].as_str().unwrap_or_default(), text("type")) {
        ("text", _) => Ok(text_part(block)),
        ("image" | "document", "base64") if !source["media_type"].is_string() || !source["data"].is_string() => {
            refuse(&format!("{at}.source"), "has no media type or no data")
        }
        ("image", "base64") => {
            let url = format!("data:{};base64,{}", text("media_type"), text("data"));
            Ok(json!({ "type": "image_url", "image_url": { "url": url } }))
        }
        ("image", "url") => Ok(json!({ "type": "image_url", "image_url": { "url": source["url"] } })),
        ("document", "base64") => {
            let data = format!("data:{};base64,{}", text("media_type"), text("data"));
            let name = block["title"].as_str().unwrap_or("document.pdf");
            Ok(json!({ "type": "file", "file": { "filename": name, "file_data": data } }))
        }
        ("document", "text") => Ok(json!({ "type": "text", "text": source["data"] })),
        ("image" | "document", _) => refuse(&format!("{at}.source"), "must be base64 data, text or an address"),
        _ => refuse(&format!("{at}.type"), "is a kind of block that cannot be expressed by a job"),
    }
}

/// What a tool answered. That it failed is said in words, because a chat completion has no other place for it.
fn tool_result(mut block: Value, at: &str) -> Result<Value> {
    let failed = block["is_error"] == true;
    let mut parts = match block.get_mut("content").map(Value::take).unwrap_or_default() {
        Value::Null => Vec::new(),
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        Value::Array(blocks) => {
            let one = |(n, block): (usize, &Value)| part(block, &format!("{at}.content.{n}"));
            blocks.iter().enumerate().map(one).collect::<Result<_>>()?
        }
        _ => return refuse(&format!("{at}.content"), "must be a text or a list of blocks"),
    };
    if failed {
        parts.insert(0, json!({ "type": "text", "text": "The tool failed:" }));
    }
    let plain = match &parts[..] {
        [] => Value::from(""),
        [one] if one["type"] == "text" => one["text"].clone(),
        _ => parts.into(),
    };
    Ok(json!({ "role": "tool", "tool_call_id": block["tool_use_id"], "content": plain }))
}

fn assistant(blocks: Vec<Value>, at: &str, said: &mut Vec<Value>) -> Result<()> {
    let (mut parts, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    for (n, block) in blocks.into_iter().enumerate() {
        match block["type"].as_str().unwrap_or_default() {
            "text" => parts.push(text_part(&block)),
            "thinking" | "redacted_thinking" => thoughts.push(block),
            "tool_use" => calls.push(json!({
                "id": block["id"], "type": "function",
                "function": { "name": block["name"], "arguments": block["input"].to_string() },
            })),
            _ => {
                let at = format!("{at}.content.{n}.type");
                return refuse(&at, "is a kind of block that cannot be expressed by a job");
            }
        }
    }
    let marked = parts.iter().any(|part| part.get("cache_control").is_some());
    let content = match marked {
        true => Value::from(parts),
        false => {
            let text: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            if text.is_empty() { Value::Null } else { text.into() }
        }
    };
    let mut message = json!({ "role": "assistant", "content": content });
    for (name, list) in [("tool_calls", calls), ("thinking_blocks", thoughts)] {
        if !list.is_empty() {
            message[name] = list.into();
        }
    }
    said.push(message);
    Ok(())
}

fn tools(tools: Value) -> Result<Value> {
    let Value::Array(tools) = tools else { return refuse("tools", "must be a list") };
    let tool = |(n, tool): (usize, Value)| {
        if !matches!(tool["type"].as_str(), None | Some("custom")) {
            return refuse(&format!("tools.{n}.type"), "is a tool of Anthropic's own, which a job cannot express");
        }
        if !tool["name"].is_string() {
            return refuse(&format!("tools.{n}.name"), "must be a text");
        }
        let mut function = json!({ "name": tool["name"], "parameters": tool["input_schema"] });
        for optional in ["description", "strict"] {
            if let Some(value) = tool.get(optional).filter(|value| !value.is_null()) {
                function[optional] = value.clone();
            }
        }
        Ok(json!({ "type": "function", "function": function }))
    };
    tools.into_iter().enumerate().map(tool).collect()
}

fn tool_choice(choice: &Value) -> Result<Value> {
    match choice["type"].as_str().unwrap_or_default() {
        "auto" => Ok("auto".into()),
        "any" => Ok("required".into()),
        "none" => Ok("none".into()),
        "tool" => Ok(json!({ "type": "function", "function": { "name": choice["name"] } })),
        _ => refuse("tool_choice.type", "must be auto, any, tool or none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(request: Value) -> std::result::Result<Value, Option<String>> {
        let fields = request.as_object().expect("an object").clone();
        chat(fields).map(|chat| chat.body.into()).map_err(|refused| Some(refused.at))
    }

    fn with(more: Value) -> Value {
        let mut request = json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] });
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        request
    }

    #[test]
    fn a_request_becomes_a_chat_completion_and_unknown_fields_pass() {
        let more = json!({ "system": "Be brief.", "stop_sequences": ["x"], "temperature": 0.5, "top_k": 5, "stream": true,
            "metadata": { "user_id": "u1" }, "service_tier": "auto" });
        let expected = json!({ "model": "m", "max_completion_tokens": 9, "stop": ["x"], "temperature": 0.5, "top_k": 5,
            "stream": true, "user": "u1",
            "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" }] });
        assert_eq!(of(with(more)), Ok(expected));
    }

    #[test]
    fn blocks_become_parts_calls_and_results_of_tools() {
        let messages = json!([
            { "role": "user", "content": [
                { "type": "text", "text": "Look", "cache_control": { "type": "ephemeral" } },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA==" } },
                { "type": "image", "source": { "type": "url", "url": "https://x.example/a.png" } },
                { "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "BB==" } } ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" },
                { "type": "text", "text": "I " }, { "type": "text", "text": "look" },
                { "type": "tool_use", "id": "t1", "name": "look", "input": { "at": 1 } } ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": "nothing", "is_error": true },
                { "type": "text", "text": "Again" } ] },
        ]);
        let out = of(with(json!({ "messages": messages }))).expect("it can be expressed");
        let expected = json!([
            { "role": "user", "content": [
                { "type": "text", "text": "Look", "cache_control": { "type": "ephemeral" } },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } },
                { "type": "image_url", "image_url": { "url": "https://x.example/a.png" } },
                { "type": "file", "file": { "filename": "document.pdf", "file_data": "data:application/pdf;base64,BB==" } } ] },
            { "role": "assistant", "content": "I look",
                "tool_calls": [{ "id": "t1", "type": "function",
                    "function": { "name": "look", "arguments": "{\"at\":1}" } }],
                "thinking_blocks": [{ "type": "thinking", "thinking": "hm", "signature": "s" }] },
            { "role": "tool", "tool_call_id": "t1",
                "content": [{ "type": "text", "text": "The tool failed:" }, { "type": "text", "text": "nothing" }] },
            { "role": "user", "content": [{ "type": "text", "text": "Again" }] },
        ]);
        assert_eq!(out["messages"], expected);
    }

    #[test]
    fn tools_and_their_choice_are_functions() {
        let more = json!({ "tools": [{ "name": "look", "description": "looks", "input_schema": { "type": "object" } }],
            "tool_choice": { "type": "tool", "name": "look", "disable_parallel_tool_use": true } });
        let out = of(with(more)).expect("it can be expressed");
        assert_eq!(
            out["tools"],
            json!([{ "type": "function", "function": { "name": "look", "description": "looks",
            "parameters": { "type": "object" } } }])
        );
        assert_eq!(out["tool_choice"], json!({ "type": "function", "function": { "name": "look" } }));
        assert_eq!(out["parallel_tool_calls"], false);
        for (own, theirs) in [("auto", "auto"), ("any", "required"), ("none", "none")] {
            assert_eq!(of(with(json!({ "tool_choice": { "type": own } }))).expect("a choice")["tool_choice"], theirs);
        }
    }

    #[test]
    fn what_cannot_be_expressed_is_refused_by_name() {
        for (more, at) in [
            (json!({ "max_tokens": null }), "max_tokens"),
            (json!({ "messages": "Hi" }), "messages"),
            (json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages.0.role"),
            (json!({ "messages": [{ "role": "user", "content": 7 }] }), "messages.0.content"),
            (
                json!({ "messages": [{ "role": "user", "content": [{ "type": "search_result" }] }] }),
                "messages.0.content.0.type",
            ),
            (
                json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": { "type": "file" } }] }] }),
                "messages.0.content.0.source",
            ),
            (
                json!({ "messages": [{ "role": "assistant", "content": [{ "type": "server_tool_use" }] }] }),
                "messages.0.content.0.type",
            ),
            (
                json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": { "type": "base64" } }] }] }),
                "messages.0.content.0.source",
            ),
            (json!({ "tools": [{ "type": "bash_20250124", "name": "bash" }] }), "tools.0.type"),
            (json!({ "tools": [{ "input_schema": {} }] }), "tools.0.name"),
            (json!({ "tool_choice": { "type": "some" } }), "tool_choice.type"),
            (json!({ "mcp_servers": [{}] }), "mcp_servers"),
            (json!({ "system": [{ "type": "image" }] }), "system.0"),
        ] {
            assert_eq!(of(with(more)), Err(Some(at.to_owned())));
        }
    }
}
