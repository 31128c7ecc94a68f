//! A chat completion request as a request to generate content.
//!
//! | chat completion | content |
//! |---|---|
//! | `system` and `developer` messages, wherever they stand | `systemInstruction`, in their order |
//! | `user`, `assistant`; several in a row | `user`, `model`; one content |
//! | `tool` messages | `functionResponse`, by the name of the call that they answer |
//! | `tool_calls` | `functionCall`, with the arguments as an object and its `thought_signature` |
//! | `image_url`, `input_audio`, `file` as data | `inlineData`; an address would have to be fetched, and is refused |
//! | `max_completion_tokens`, `max_tokens` | `maxOutputTokens`, in which thoughts count |
//! | `temperature`, `top_p`, `stop`, `seed`, `n`, the penalties | their namesakes in `generationConfig` |
//! | `tools`, `tool_choice` | `functionDeclarations`, `functionCallingConfig` |
//! | `response_format` | `responseMimeType`, `responseJsonSchema` |
//! | `reasoning_effort` | `thinkingConfig.thinkingLevel` |
//!
//! Fields that a chat completion does not have, such as `safetySettings`, are passed on as they are.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollgate_types::job::Request;

use crate::adapter::To;
use crate::neutral::{self, Choice, Conversation, Fields, Result, Role, Speaker, Turn, data_of, shown, unsupported};

/// The most `stop` sequences.
const STOPS_MAX: usize = 5;

/// Fields that Gemini has nothing for, each with the value at which it asks for nothing.
const WITHOUT_COUNTERPART: &[(&str, &str)] = &[
    ("logit_bias", "{}"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("prediction", "null"),
    ("audio", "null"),
    ("modalities", r#"["text"]"#),
    ("web_search_options", "null"),
    ("functions", "[]"),
    ("function_call", "null"),
    ("parallel_tool_calls", "true"),
    ("verbosity", r#""medium""#),
    ("moderation", "null"),
    ("service_tier", r#""auto""#),
    // Identifiers for a vendor's own abuse detection.
    ("user", "null"),
    ("safety_identifier", "null"),
];

/// The body to send; the model stands in the address.
pub(super) fn body(body: &Bytes, request: &Request, _to: &To<'_>) -> Result<Bytes> {
    let mut fields = Fields::read(body)?;
    ["model", "max_tokens", "max_completion_tokens"].iter().for_each(|name| drop(fields.take(name)));
    let mut called = HashMap::new();
    let messages = fields.take("messages").unwrap_or_default();
    let Conversation { system, turns } = Conversation::read(messages, |speaker, content, message, place| {
        parts(speaker, content, message, place, &mut called)
    })?;
    let mut out = Map::new();
    if !system.is_empty() {
        out.insert("systemInstruction".into(), json!({ "parts": system }));
    }
    out.insert("contents".into(), turns.into_iter().map(content).collect());
    let functions = fields.take("tools").map(neutral::functions).transpose()?.unwrap_or_default();
    let choice = fields.take("tool_choice").map(neutral::choice).transpose()?;
    if !functions.is_empty() {
        let declarations: Vec<Value> = functions.into_iter().map(declaration).collect();
        out.insert("tools".into(), json!([{ "functionDeclarations": declarations }]));
        out.extend(choice.map(|choice| ("toolConfig".to_owned(), calling(choice))));
    }
    let config = generation_config(&mut fields, request)?;
    if !config.is_empty() {
        out.insert("generationConfig".into(), config.into());
    }
    out.extend(fields.rest(WITHOUT_COUNTERPART)?);
    Ok(neutral::written(&out, body))
}

fn content(Turn { role, parts }: Turn) -> Value {
    let role = match role {
        Role::User => "user",
        Role::Model => "model",
    };
    json!({ "role": role, "parts": parts })
}

/// One message as parts. `called` learns the name of each call, by which its result is known.
fn parts(
    speaker: Speaker,
    content: Option<Value>,
    message: &mut Map<String, Value>,
    place: &str,
    called: &mut HashMap<String, String>,
) -> Result<Vec<Value>> {
    match speaker {
        Speaker::System | Speaker::User => parts_of(content, place),
        Speaker::Assistant => {
            let mut parts = parts_of(content, place)?;
            let refusal = message.remove("refusal");
            parts.extend(refusal.as_ref().and_then(Value::as_str).and_then(text_part));
            for call in neutral::tool_calls(message, place)? {
                let mut part = json!({ "functionCall": { "name": call.name, "args": call.arguments } });
                if let Some(signature) = call.whole.get("thought_signature").filter(|signature| signature.is_string()) {
                    part["thoughtSignature"] = signature.clone();
                }
                parts.push(part);
                called.insert(call.id, call.name);
            }
            Ok(parts)
        }
        Speaker::Tool => {
            let id = message.remove("tool_call_id");
            message.remove("name");
            let name = id.as_ref().and_then(Value::as_str).and_then(|id| called.get(id));
            let Some(name) = name else {
                return unsupported(format!("`{place}.tool_call_id` is of no call before it"));
            };
            let response = json!({ "name": name, "response": response_of(content, place)? });
            Ok(vec![json!({ "functionResponse": response })])
        }
    }
}

/// A tool's result as the object that Gemini wants.
fn response_of(content: Option<Value>, place: &str) -> Result<Value> {
    let mut text = String::new();
    for (part, place) in neutral::parts_of(content, place)? {
        match (part["type"].as_str(), part["text"].as_str()) {
            (Some("text"), Some(piece)) => text.push_str(piece),
            _ => return unsupported(format!("`{place}` is no text")),
        }
    }
    Ok(match serde_json::from_str(&text) {
        Ok(object @ Value::Object(_)) => object,
        Ok(_) | Err(_) => json!({ "result": text }),
    })
}

fn parts_of(content: Option<Value>, place: &str) -> Result<Vec<Value>> {
    let mut parts = Vec::new();
    for (part, place) in neutral::parts_of(content, place)? {
        match part["type"].as_str().unwrap_or_default() {
            "text" => parts.extend(text_part(part["text"].as_str().unwrap_or_default())),
            "refusal" => parts.extend(text_part(part["refusal"].as_str().unwrap_or_default())),
            "image_url" => parts.push(inline(part["image_url"]["url"].as_str().and_then(data_of), &place)?),
            "file" => parts.push(inline(part["file"]["file_data"].as_str().and_then(data_of), &place)?),
            "input_audio" => {
                let audio = &part["input_audio"];
                let media_type = format!("audio/{}", shown(audio["format"].as_str().unwrap_or_default()));
                parts.push(inline(audio["data"].as_str().map(|data| (media_type.as_str(), data)), &place)?);
            }
            other => return unsupported(format!("`{place}` is of the type `{}`", shown(other))),
        }
    }
    Ok(parts)
}

fn text_part(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "text": text }))
}

fn inline(data: Option<(&str, &str)>, place: &str) -> Result<Value> {
    match data {
        Some((media_type, data)) => Ok(json!({ "inlineData": { "mimeType": media_type, "data": data } })),
        None => unsupported(format!("`{place}` is no base64 data; an address would have to be fetched")),
    }
}

fn declaration(function: Value) -> Value {
    let given = |name: &str| function.get(name).filter(|value| !value.is_null()).cloned();
    let mut declaration = json!({ "name": function["name"] });
    for (own, name) in [("description", "description"), ("parametersJsonSchema", "parameters")] {
        if let Some(value) = given(name) {
            declaration[own] = value;
        }
    }
    declaration
}

fn calling(choice: Choice) -> Value {
    let config = match choice {
        Choice::Auto => json!({ "mode": "AUTO" }),
        Choice::None => json!({ "mode": "NONE" }),
        Choice::Required => json!({ "mode": "ANY" }),
        Choice::Function(name) => json!({ "mode": "ANY", "allowedFunctionNames": [name] }),
    };
    json!({ "functionCallingConfig": config })
}

fn generation_config(fields: &mut Fields, request: &Request) -> Result<Map<String, Value>> {
    let mut config = match fields.take("generationConfig") {
        None => Map::new(),
        Some(Value::Object(own)) => own,
        Some(_) => return unsupported("`generationConfig` is no object"),
    };
    const SAME: [(&str, &str); 7] = [
        ("temperature", "temperature"),
        ("top_p", "topP"),
        ("top_k", "topK"),
        ("seed", "seed"),
        ("n", "candidateCount"),
        ("presence_penalty", "presencePenalty"),
        ("frequency_penalty", "frequencyPenalty"),
    ];
    for (name, own) in SAME {
        config.extend(fields.take(name).map(|value| (own.to_owned(), value)));
    }
    if let Some(max) = request.max_tokens {
        config.insert("maxOutputTokens".into(), max.into());
    }
    if let Some(stop) = fields.take("stop") {
        let all = if stop.is_array() { stop } else { json!([stop]) };
        if all.as_array().is_some_and(|all| all.len() > STOPS_MAX) {
            return unsupported("`stop` has more than five sequences");
        }
        config.insert("stopSequences".into(), all);
    }
    let format = fields.take("response_format");
    match format.as_ref().map(|format| format["type"].as_str().unwrap_or_default()) {
        None | Some("text") => {}
        Some(kind @ ("json_object" | "json_schema")) => {
            config.insert("responseMimeType".into(), "application/json".into());
            if kind == "json_schema" {
                let schema = neutral::schema(&format.unwrap_or_default())?;
                config.insert("responseJsonSchema".into(), schema);
            }
        }
        Some(_) => return unsupported("`response_format` is none of its formats"),
    }
    match fields.take("reasoning_effort").as_ref().map(|effort| effort.as_str().unwrap_or_default()) {
        None => {}
        Some(effort @ ("minimal" | "low" | "medium" | "high")) => {
            config.insert("thinkingConfig".into(), json!({ "thinkingLevel": effort }));
        }
        Some(_) => return unsupported("`reasoning_effort` is none of minimal, low, medium, high"),
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
