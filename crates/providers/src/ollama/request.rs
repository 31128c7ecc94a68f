//! A chat completion request as Ollama's.
//!
//! | chat completion | Ollama's chat |
//! |---|---|
//! | `developer` messages | `system` messages |
//! | text parts | one text, a line each |
//! | `image_url`, as data alone | `images`; an address would have to be fetched, and is refused |
//! | `tool_calls` | the same, with the arguments as an object |
//! | `tool` messages | the same, with the name of the call that they answer |
//! | `reasoning_content` of an earlier turn | `thinking` |
//! | `max_completion_tokens`, `max_tokens` | `options.num_predict` |
//! | `temperature`, `top_p`, `top_k`, `min_p`, `seed`, `stop`, the penalties | their namesakes in `options` |
//! | `response_format` | `format` |
//! | `reasoning_effort` | `think` |
//! | `tool_choice` of `none` | no tools |
//!
//! `options`, `think` and `keep_alive` are passed on as they are. Ollama drops fields that it does not know without a word,
//! so all others are refused here.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollgate_types::job::Request;

use crate::adapter::{To, Unsendable};
use crate::neutral::{self, Choice, Fields, Result, Speaker, data_of, shown, unsupported};

/// Fields that Ollama has nothing for, each with the value at which it asks for nothing.
const WITHOUT_COUNTERPART: &[(&str, &str)] = &[
    ("n", "1"),
    ("logit_bias", "{}"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("prediction", "null"),
    ("audio", "null"),
    ("modalities", r#"["text"]"#),
    ("functions", "[]"),
    ("parallel_tool_calls", "true"),
    ("verbosity", r#""medium""#),
    ("service_tier", r#""auto""#),
];

/// The body to send.
pub(super) fn body(body: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes> {
    let mut fields = Fields::read(body)?;
    ["model", "max_tokens", "max_completion_tokens"].iter().for_each(|name| drop(fields.take(name)));
    let model: Value = serde_json::from_str(to.model_json).map_err(|_| Unsendable::AnotherBody)?;
    let mut called = HashMap::new();
    let messages = fields.take("messages").unwrap_or_default();
    let messages = neutral::each_message(messages, |speaker, content, rest, place| {
        message(speaker, content, rest, place, &mut called)
    })?;
    let mut out = json!({ "model": model, "messages": messages, "stream": false, "truncate": false, "shift": false });

    let functions = fields.take("tools").map(neutral::functions).transpose()?.unwrap_or_default();
    let choice = fields.take("tool_choice").map(neutral::choice).transpose()?;
    let offered = match choice {
        None | Some(Choice::Auto) => functions,
        Some(Choice::None) => Vec::new(),
        Some(Choice::Required | Choice::Function(_)) => return unsupported("it has nothing like `tool_choice`"),
    };
    if !offered.is_empty() {
        let tool = |function: Value| json!({ "type": "function", "function": function });
        out["tools"] = offered.into_iter().map(tool).collect();
    }
    if let Some(format) = fields.take("response_format").map(format).transpose()?.filter(|format| !format.is_null()) {
        out["format"] = format;
    }
    let mut options = options(fields.take("options"), to)?;
    sampling(&mut fields, request, &mut options);
    if !options.is_empty() {
        out["options"] = options.into();
    }
    let effort = fields.take("reasoning_effort").map(think).transpose()?;
    if let Some(think) = fields.take("think").or(effort) {
        out["think"] = think;
    }
    if let Some(keep_alive) = fields.take("keep_alive") {
        out["keep_alive"] = keep_alive;
    }
    refuse_unknown(fields, WITHOUT_COUNTERPART)?;
    Ok(neutral::written(&out, body))
}

/// One message. `called` learns the name of each call, by which its result is known.
fn message(
    speaker: Speaker,
    content: Option<Value>,
    message: &mut Map<String, Value>,
    place: &str,
    called: &mut HashMap<String, String>,
) -> Result<Value> {
    let (text, images) = content_of(content, place)?;
    let mut out = json!({ "content": text });
    if !images.is_empty() {
        out["images"] = images.into();
    }
    out["role"] = match speaker {
        Speaker::System => "system".into(),
        Speaker::User => "user".into(),
        Speaker::Assistant => {
            answered(&mut out, message, place, called)?;
            "assistant".into()
        }
        Speaker::Tool => {
            let id = message.remove("tool_call_id").unwrap_or_default();
            message.remove("name");
            let Some(name) = id.as_str().and_then(|id| called.get(id)) else {
                return unsupported(format!("`{place}.tool_call_id` is of no call before it"));
            };
            out["tool_name"] = name.clone().into();
            out["tool_call_id"] = id;
            "tool".into()
        }
    };
    Ok(out)
}

/// Adds what only the model says.
fn answered(
    out: &mut Value,
    message: &mut Map<String, Value>,
    place: &str,
    called: &mut HashMap<String, String>,
) -> Result<()> {
    if let Some(Value::String(refusal)) = message.remove("refusal") {
        out["content"] = refusal.into();
    }
    if let Some(thoughts @ Value::String(_)) = message.remove("reasoning_content") {
        out["thinking"] = thoughts;
    }
    let mut calls = Vec::new();
    for call in neutral::tool_calls(message, place)? {
        calls.push(json!({ "id": call.id, "function": { "name": call.name, "arguments": call.arguments } }));
        called.insert(call.id, call.name);
    }
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    Ok(())
}

/// A message's content as one text and pictures as base64.
fn content_of(content: Option<Value>, place: &str) -> Result<(String, Vec<Value>)> {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for (part, place) in neutral::parts_of(content, place)? {
        let text = |name: &str| part[name].as_str().unwrap_or_default().to_owned();
        match part["type"].as_str().unwrap_or_default() {
            kind @ ("text" | "refusal") => texts.push(text(kind)),
            "image_url" => match part["image_url"]["url"].as_str().and_then(data_of) {
                Some((_, data)) => images.push(data.into()),
                None => {
                    return unsupported(format!("`{place}` is no base64 data; an address would have to be fetched"));
                }
            },
            other => return unsupported(format!("`{place}` is of the type `{}`", shown(other))),
        }
    }
    Ok((texts.join("\n"), images))
}

/// The request's own options, with the context that the operator gave the deployment.
///
/// Another context makes Ollama load the model anew, for everybody who uses it; so it is the operator's to choose.
pub(super) fn options(own: Option<Value>, to: &To<'_>) -> Result<Map<String, Value>> {
    let mut options = match own {
        None => Map::new(),
        Some(Value::Object(own)) => own,
        Some(_) => return unsupported("`options` is no object"),
    };
    if options.contains_key("num_ctx") {
        return unsupported("`options.num_ctx` is the operator's to choose; remove it");
    }
    options.extend(to.context_tokens.map(|tokens| ("num_ctx".to_owned(), tokens.into())));
    Ok(options)
}

fn sampling(fields: &mut Fields, request: &Request, options: &mut Map<String, Value>) {
    const SAME: [&str; 7] = ["temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty"];
    for name in SAME {
        options.extend(fields.take(name).map(|value| (name.to_owned(), value)));
    }
    if let Some(stop) = fields.take("stop") {
        options.insert("stop".into(), if stop.is_array() { stop } else { json!([stop]) });
    }
    options.extend(request.max_tokens.map(|max| ("num_predict".to_owned(), max.into())));
}

fn format(format: Value) -> Result<Value> {
    match format["type"].as_str().unwrap_or_default() {
        "text" => Ok(Value::Null),
        "json_object" => Ok("json".into()),
        "json_schema" => neutral::schema(&format),
        _ => unsupported("`response_format` is none of its formats"),
    }
}

fn think(effort: Value) -> Result<Value> {
    match effort.as_str() {
        Some("none") => Ok(false.into()),
        Some("low" | "medium" | "high") => Ok(effort),
        Some(_) | None => unsupported("`reasoning_effort` is none of none, low, medium, high"),
    }
}

/// Refuses what is left and asks for something.
pub(super) fn refuse_unknown(fields: Fields, without_counterpart: &[(&str, &str)]) -> Result<()> {
    match fields.rest(without_counterpart)?.next() {
        Some((name, _)) => unsupported(format!("it has nothing like `{}`", shown(&name))),
        None => Ok(()),
    }
}
