//! A chat completion request as a request for a message.
//!
//! | chat completion | message |
//! |---|---|
//! | `system` and `developer` messages, wherever they stand | `system`, in their order |
//! | `user`, `assistant`; several in a row | turns; one turn |
//! | `tool` messages | `tool_result` blocks of a user turn |
//! | `tool_calls` | `tool_use` blocks, with the arguments as an object |
//! | `image_url`, as data or as an address | `image`; the address is passed on, never fetched here |
//! | `file` with a PDF | `document` |
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
use tollgate_types::job::Request;

use crate::adapter::{To, Unsendable};
use crate::neutral::{self, Choice, Conversation, Fields, Result, Role, Speaker, Turn, data_of, shown, unsupported};

/// How long an answer may be where the request does not say: Anthropic wants a number. What is longer ends with `length`,
/// for everybody to see.
const ANSWER_TOKENS: u64 = 4096;

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

/// The body to send.
pub(super) fn body(body: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes> {
    let mut fields = Fields::read(body)?;
    let mut out = Map::new();
    let model: Value = serde_json::from_str(to.model_json).map_err(|_| Unsendable::AnotherBody)?;
    out.insert("model".into(), model);
    ["model", "max_tokens", "max_completion_tokens"].iter().for_each(|name| drop(fields.take(name)));
    out.insert("max_tokens".into(), request.max_tokens.unwrap_or(ANSWER_TOKENS).into());
    let Conversation { system, turns } = Conversation::read(fields.take("messages").unwrap_or_default(), blocks)?;
    if !system.is_empty() {
        out.insert("system".into(), system.into());
    }
    out.insert("messages".into(), turns.into_iter().map(turn).collect());

    if let Some(temperature) = fields.take("temperature") {
        if temperature.as_f64().is_some_and(|degrees| degrees > 1.0) {
            return unsupported("`temperature` is above 1, its highest");
        }
        out.insert("temperature".into(), temperature);
    }
    if let Some(stop) = fields.take("stop") {
        let all = if stop.is_array() { stop } else { json!([stop]) };
        out.insert("stop_sequences".into(), all);
    }
    let tools = fields.take("tools").map(neutral::functions).transpose()?.filter(|tools| !tools.is_empty());
    let choice = tool_choice(fields.take("tool_choice"), fields.take("parallel_tool_calls"))?;
    if let Some(tools) = tools {
        out.insert("tools".into(), tools.into_iter().map(tool).collect());
        out.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    }
    let (format, effort) = (fields.take("response_format"), fields.take("reasoning_effort"));
    if let Some(config) = output_config(format, effort, fields.take("output_config"))? {
        out.insert("output_config".into(), config);
    }
    let (identifier, user) = (fields.take("safety_identifier"), fields.take("user"));
    if let Some(user) = identifier.or(user) {
        out.insert("metadata".into(), json!({ "user_id": user }));
    }
    out.extend(fields.rest(WITHOUT_COUNTERPART)?);
    Ok(neutral::written(&out, body))
}

/// The body to send for a stream.
pub(super) fn stream_body(bytes: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes> {
    Ok(neutral::with_stream(body(bytes, request, to)?))
}

fn turn(Turn { role, parts }: Turn) -> Value {
    let role = match role {
        Role::User => "user",
        Role::Model => "assistant",
    };
    json!({ "role": role, "content": parts })
}

/// One message as blocks.
fn blocks(
    speaker: Speaker,
    content: Option<Value>,
    message: &mut Map<String, Value>,
    place: &str,
) -> Result<Vec<Value>> {
    match speaker {
        Speaker::System | Speaker::User => blocks_of(content, place),
        Speaker::Assistant => answered(content, message, place),
        Speaker::Tool => {
            let Some(id) = message.remove("tool_call_id") else {
                return unsupported(format!("`{place}` has no `tool_call_id`"));
            };
            message.remove("name");
            Ok(vec![json!({ "type": "tool_result", "tool_use_id": id, "content": blocks_of(content, place)? })])
        }
    }
}

/// A message's content as blocks; empty text leaves none, because Anthropic refuses it.
fn blocks_of(content: Option<Value>, place: &str) -> Result<Vec<Value>> {
    let mut blocks = Vec::new();
    for (part, place) in neutral::parts_of(content, place)? {
        match part["type"].as_str().unwrap_or_default() {
            // Anthropic's own marks for its cache are passed on.
            "text" if part.get("cache_control").is_some() => blocks.push(part),
            "text" => blocks.extend(text_block(part["text"].as_str().unwrap_or_default())),
            "refusal" => blocks.extend(text_block(part["refusal"].as_str().unwrap_or_default())),
            "image_url" => blocks.push(image(&part["image_url"], &place)?),
            "file" => blocks.push(document(&part["file"], &place)?),
            // Anthropic's own, for who writes for it alone.
            "image" | "document" | "thinking" | "redacted_thinking" => blocks.push(part),
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
    let calls = neutral::tool_calls(message, place)?.into_iter();
    blocks.extend(
        calls.map(|call| json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments })),
    );
    Ok(blocks)
}

fn tool(function: Value) -> Value {
    let given = |name: &str| function.get(name).filter(|value| !value.is_null()).cloned();
    let schema = given("parameters").unwrap_or(json!({ "type": "object" }));
    let mut tool = json!({ "name": function["name"], "input_schema": schema });
    for optional in ["description", "strict"] {
        if let Some(value) = given(optional) {
            tool[optional] = value;
        }
    }
    tool
}

fn tool_choice(choice: Option<Value>, parallel: Option<Value>) -> Result<Option<Value>> {
    let one_at_a_time = parallel == Some(Value::Bool(false));
    let mut own = match choice.map(neutral::choice).transpose()? {
        None if one_at_a_time => json!({ "type": "auto" }),
        None => return Ok(None),
        Some(Choice::None) => return Ok(Some(json!({ "type": "none" }))),
        Some(Choice::Auto) => json!({ "type": "auto" }),
        Some(Choice::Required) => json!({ "type": "any" }),
        Some(Choice::Function(name)) => json!({ "type": "tool", "name": name }),
    };
    if one_at_a_time {
        own["disable_parallel_tool_use"] = true.into();
    }
    Ok(Some(own))
}

/// The form of the answer and the effort for it, in the object that Anthropic has for both.
fn output_config(format: Option<Value>, effort: Option<Value>, own: Option<Value>) -> Result<Option<Value>> {
    let mut config = own.unwrap_or(json!({}));
    if !config.is_object() {
        return unsupported("`output_config` is no object");
    }
    match format.as_ref().map(|format| format["type"].as_str().unwrap_or_default()) {
        None | Some("text") => {}
        Some("json_schema") => {
            let schema = neutral::schema(&format.unwrap_or_default())?;
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
