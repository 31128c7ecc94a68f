//! A chat completion request as a request for a message.
//!
//! | chat completion | message |
//! |---|---|
//! | `system` and `developer` messages, wherever they stand | `system`, in their order |
//! | `user`, `assistant`; several in a row | turns; one turn |
//! | `tool` messages | `tool_result` blocks at the beginning of a user turn |
//! | `tool_calls` | `tool_use` blocks, with the arguments as an object |
//! | `image_url`, as data or as an address | `image`; the address is passed on, never fetched here |
//! | `max_completion_tokens`, `max_tokens` | `max_tokens`; [`ANSWER_TOKENS`] if neither is there |
//! | `stop` | `stop_sequences` |
//! | `tools`, `tool_choice`, `parallel_tool_calls` | `tools`, `tool_choice` |
//! | `response_format` with a schema | `output_config.format` |
//! | `reasoning_effort` | `output_config.effort` |
//! | `user`, `safety_identifier` | `metadata.user_id` |
//!
//! Fields that a chat completion does not have, such as `thinking` or `top_k`, are passed on as they are.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollgate_types::job::ChatRequest;

use crate::adapter::Unsendable;

/// How long an answer may be where the request does not say: Anthropic wants a number. What is longer ends with `length`,
/// for everybody to see.
const ANSWER_TOKENS: u64 = 4096;

/// Fields without a meaning for the answer: what OpenAI stores, caches or bills by, and how the answer is sent.
const WITHOUT_MEANING: &[&str] = &[
    "stream",
    "stream_options",
    "metadata",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
];

/// Fields that Anthropic has nothing for, each with the value at which it asks for nothing.
const WITHOUT_COUNTERPART: &[(&str, &str)] = &[
    ("n", "1"),
    ("seed", "null"),
    ("logit_bias", "{}"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("frequency_penalty", "0"),
    ("presence_penalty", "0"),
    ("prediction", "null"),
    ("audio", "null"),
    ("modalities", r#"["text"]"#),
    ("web_search_options", "null"),
    ("functions", "[]"),
    ("function_call", "null"),
    ("verbosity", r#""medium""#),
    ("moderation", "null"),
    ("service_tier", r#""auto""#),
];

type Result<T> = std::result::Result<T, Unsendable>;

fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(Unsendable::Unsupported(what.into()))
}

/// The body to send.
pub(super) fn body(body: &Bytes, request: &ChatRequest, model_json: &str) -> Result<Bytes> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|_| Unsendable::AnotherBody)?;
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());

    let mut out = Map::new();
    let model: Value = serde_json::from_str(model_json).map_err(|_| Unsendable::AnotherBody)?;
    take("model");
    out.insert("model".into(), model);
    take("max_tokens");
    take("max_completion_tokens");
    out.insert("max_tokens".into(), request.max_tokens.unwrap_or(ANSWER_TOKENS).into());
    let (system, turns) = conversation(take("messages").unwrap_or_default())?;
    if !system.is_empty() {
        out.insert("system".into(), system.into());
    }
    out.insert("messages".into(), turns.into());

    if let Some(temperature) = take("temperature") {
        if temperature.as_f64().is_some_and(|degrees| degrees > 1.0) {
            return unsupported("`temperature` is above 1, its highest");
        }
        out.insert("temperature".into(), temperature);
    }
    if let Some(stop) = take("stop") {
        let all = if stop.is_array() { stop } else { json!([stop]) };
        out.insert("stop_sequences".into(), all);
    }
    let tools = take("tools").map(tools).transpose()?.filter(|tools| !tools.is_empty());
    let choice = tool_choice(take("tool_choice"), take("parallel_tool_calls"))?;
    if let Some(tools) = tools {
        out.insert("tools".into(), tools.into());
        out.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    }
    if let Some(config) = output_config(take("response_format"), take("reasoning_effort"), take("output_config"))? {
        out.insert("output_config".into(), config);
    }
    let (identifier, user) = (take("safety_identifier"), take("user"));
    if let Some(user) = identifier.or(user) {
        out.insert("metadata".into(), json!({ "user_id": user }));
    }
    WITHOUT_MEANING.iter().for_each(|name| drop(take(name)));
    for (name, nothing) in WITHOUT_COUNTERPART {
        let asks = take(name).filter(|value| !asks_for_nothing(value, nothing));
        if asks.is_some() {
            return unsupported(format!("it has nothing like `{name}`"));
        }
    }
    // The rest is Anthropic's own, or for Anthropic to refuse.
    out.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    Ok(serde_json::to_vec(&out).expect("values always serialise").into())
}

fn asks_for_nothing(value: &Value, nothing: &str) -> bool {
    let nothing: Value = serde_json::from_str(nothing).expect("the table is JSON");
    let same_number = || value.as_f64().is_some_and(|value| Some(value) == nothing.as_f64());
    *value == nothing || same_number()
}

/// The system blocks and the turns.
fn conversation(messages: Value) -> Result<(Vec<Value>, Vec<Value>)> {
    let Value::Array(messages) = messages else { return unsupported("`messages` is no list") };
    let mut system = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    for (at, message) in messages.into_iter().enumerate() {
        let place = format!("messages[{at}]");
        let Value::Object(mut message) = message else { return unsupported(format!("`{place}` is no message")) };
        let role = message.remove("role");
        let content = message.remove("content").filter(|content| !content.is_null());
        let blocks = match role.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "system" | "developer" => {
                system.extend(blocks_of(content, &place)?);
                refuse_rest(message, &place)?;
                continue;
            }
            "user" => (Role::User, blocks_of(content, &place)?),
            "assistant" => (Role::Assistant, answered(content, &mut message, &place)?),
            "tool" => (Role::User, vec![tool_result(content, &mut message, &place)?]),
            _ => return unsupported(format!("`{place}.role` is none of its roles")),
        };
        refuse_rest(message, &place)?;
        let (role, blocks) = blocks;
        match turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.blocks.extend(blocks),
            None => turns.push(Turn { role, blocks }),
        }
    }
    if turns.first().is_none_or(|turn| turn.role != Role::User) {
        return unsupported("a conversation that does not begin with the user");
    }
    Ok((system, turns.into_iter().map(Turn::into_json).collect()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
}

struct Turn {
    role: Role,
    blocks: Vec<Value>,
}

impl Turn {
    fn into_json(self) -> Value {
        let role = match self.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        json!({ "role": role, "content": self.blocks })
    }
}

/// What is left of a message must ask for nothing.
fn refuse_rest(message: Map<String, Value>, place: &str) -> Result<()> {
    // What answers carry for people, and comes back with them.
    const OURS: [&str; 2] = ["annotations", "reasoning_content"];
    let asks = message.iter().find(|(name, value)| !value.is_null() && !OURS.contains(&name.as_str()));
    match asks {
        Some((name, value)) if *value != json!([]) => {
            unsupported(format!("it has nothing like `{place}.{}`", shown(name)))
        }
        Some(_) | None => Ok(()),
    }
}

/// A field's name in a message: short, and without what could be anything.
fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

/// A message's content as blocks; empty text leaves none, because Anthropic refuses it.
fn blocks_of(content: Option<Value>, place: &str) -> Result<Vec<Value>> {
    let parts = match content {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(text_block(&text).into_iter().collect()),
        Some(Value::Array(parts)) => parts,
        Some(_) => return unsupported(format!("`{place}.content` is neither text nor a list of parts")),
    };
    let mut blocks = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let place = format!("{place}.content[{at}]");
        match part["type"].as_str().unwrap_or_default() {
            "text" => match part.get("cache_control") {
                // Anthropic's own marks for its cache are passed on.
                Some(_) => blocks.push(part.clone()),
                None => blocks.extend(text_block(part["text"].as_str().unwrap_or_default())),
            },
            "refusal" => blocks.extend(text_block(part["refusal"].as_str().unwrap_or_default())),
            "image_url" => blocks.push(image(&part["image_url"], &place)?),
            "file" => blocks.push(document(&part["file"], &place)?),
            // Anthropic's own, for who writes for it alone.
            "image" | "document" | "thinking" | "redacted_thinking" => blocks.push(part.clone()),
            other => return unsupported(format!("`{place}` is of the type `{}`", shown(other))),
        }
    }
    Ok(blocks)
}

fn text_block(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "type": "text", "text": text }))
}

fn image(image: &Value, place: &str) -> Result<Value> {
    let url = image["url"].as_str().unwrap_or_default();
    let source = match data_of(url) {
        Some((media_type, data)) => json!({ "type": "base64", "media_type": media_type, "data": data }),
        None if url.starts_with("https://") => json!({ "type": "url", "url": url }),
        None => return unsupported(format!("`{place}` is neither an https address nor base64 data")),
    };
    Ok(json!({ "type": "image", "source": source }))
}

fn document(file: &Value, place: &str) -> Result<Value> {
    match file["file_data"].as_str().and_then(data_of) {
        Some(("application/pdf", data)) => {
            let source = json!({ "type": "base64", "media_type": "application/pdf", "data": data });
            Ok(json!({ "type": "document", "source": source }))
        }
        Some(_) | None => unsupported(format!("`{place}` is no PDF as base64 data")),
    }
}

/// Media type and base64 text of a `data:` address.
fn data_of(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}

/// What the model wrote in an earlier turn, with the tools that it called.
fn answered(content: Option<Value>, message: &mut Map<String, Value>, place: &str) -> Result<Vec<Value>> {
    // Thoughts with their signatures come first, unchanged: Anthropic refuses tool results without them.
    let mut blocks = match message.remove("thinking_blocks") {
        Some(Value::Array(thoughts)) => thoughts,
        Some(_) | None => Vec::new(),
    };
    blocks.extend(blocks_of(content, place)?);
    let refusal = message.remove("refusal");
    blocks.extend(refusal.as_ref().and_then(Value::as_str).and_then(text_block));
    let calls = message.remove("tool_calls").unwrap_or_default();
    for (at, call) in calls.as_array().into_iter().flatten().enumerate() {
        let place = format!("{place}.tool_calls[{at}]");
        let function = &call["function"];
        let (Some(id), Some(name)) = (call["id"].as_str(), function["name"].as_str()) else {
            return unsupported(format!("`{place}` has no id or is no function"));
        };
        let arguments = function["arguments"].as_str().unwrap_or_default();
        let input: Value = match arguments.trim() {
            "" => json!({}),
            text => serde_json::from_str(text).unwrap_or_default(),
        };
        if !input.is_object() {
            return unsupported(format!("`{place}.function.arguments` is no JSON object"));
        }
        blocks.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
    }
    Ok(blocks)
}

fn tool_result(content: Option<Value>, message: &mut Map<String, Value>, place: &str) -> Result<Value> {
    let Some(id) = message.remove("tool_call_id") else {
        return unsupported(format!("`{place}` has no `tool_call_id`"));
    };
    message.remove("name");
    Ok(json!({ "type": "tool_result", "tool_use_id": id, "content": blocks_of(content, place)? }))
}

fn tools(tools: Value) -> Result<Vec<Value>> {
    let Value::Array(tools) = tools else { return unsupported("`tools` is no list") };
    let tool = |(at, tool): (usize, Value)| {
        let function = &tool["function"];
        match (tool["type"].as_str(), function["name"].as_str()) {
            (Some("function"), Some(name)) => {
                let schema = function.get("parameters").filter(|schema| !schema.is_null()).cloned();
                let mut own = json!({ "name": name, "input_schema": schema.unwrap_or(json!({ "type": "object" })) });
                for optional in ["description", "strict"] {
                    if let Some(value) = function.get(optional).filter(|value| !value.is_null()) {
                        own[optional] = value.clone();
                    }
                }
                Ok(own)
            }
            _ => unsupported(format!("`tools[{at}]` is no function")),
        }
    };
    tools.into_iter().enumerate().map(tool).collect()
}

fn tool_choice(choice: Option<Value>, parallel: Option<Value>) -> Result<Option<Value>> {
    let one_at_a_time = parallel == Some(Value::Bool(false));
    let mut own = match choice {
        None if one_at_a_time => json!({ "type": "auto" }),
        None => return Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => json!({ "type": "auto" }),
            "none" => return Ok(Some(json!({ "type": "none" }))),
            "required" => json!({ "type": "any" }),
            _ => return unsupported("`tool_choice` is none of its choices"),
        },
        Some(choice) => match choice["function"]["name"].as_str() {
            Some(name) => json!({ "type": "tool", "name": name }),
            None => return unsupported("`tool_choice` is none of its choices"),
        },
    };
    if one_at_a_time {
        own["disable_parallel_tool_use"] = true.into();
    }
    Ok(Some(own))
}

/// The form of the answer and the effort for it, in the object that Anthropic has for both.
fn output_config(format: Option<Value>, effort: Option<Value>, own: Option<Value>) -> Result<Option<Value>> {
    let mut config = own.unwrap_or(json!({}));
    match format.as_ref().map(|format| format["type"].as_str().unwrap_or_default()) {
        None | Some("text") => {}
        Some("json_schema") => {
            let schema = &format.unwrap_or_default()["json_schema"]["schema"];
            if !schema.is_object() {
                return unsupported("`response_format.json_schema.schema` is no schema");
            }
            config["format"] = json!({ "type": "json_schema", "schema": schema });
        }
        Some(_) => return unsupported("`response_format` without a schema; give a `json_schema`"),
    }
    match effort.as_ref().map(|effort| effort.as_str().unwrap_or_default()) {
        None => {}
        Some(effort @ ("low" | "medium" | "high" | "max")) => config["effort"] = effort.into(),
        Some(_) => return unsupported("`reasoning_effort` is none of low, medium, high, max"),
    }
    Ok((config != json!({})).then_some(config))
}

#[cfg(test)]
mod tests;
