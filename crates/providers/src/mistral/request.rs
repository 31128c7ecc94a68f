//! A chat completion request as Mistral's.
//!
//! | OpenAI's | Mistral's |
//! |---|---|
//! | `developer` messages | `system` messages |
//! | `max_completion_tokens`, `max_tokens` | `max_tokens` |
//! | `seed` | `random_seed` |
//! | `tool_choice: "required"` | `"any"` |
//! | ids of tool calls, of any form | nine letters and digits, the same for the call and its result |
//! | `input_audio`, `file` as data | `input_audio` and `document_url`, as data addresses or plain data |
//! | `refusal` of an earlier turn | its text |
//!
//! Fields that a chat completion does not have, such as `safe_prompt`, are passed on as they are.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollgate_types::Digest;
use tollgate_types::job::Request;

use crate::adapter::{To, Unsendable};
use crate::neutral::{self, Choice, Fields, Result, Speaker, data_of, shown, unsupported};

/// Fields that Mistral has nothing for, each with the value at which it asks for nothing.
const WITHOUT_COUNTERPART: &[(&str, &str)] = &[
    ("logit_bias", "{}"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("audio", "null"),
    ("modalities", r#"["text"]"#),
    ("web_search_options", "null"),
    ("functions", "[]"),
    ("function_call", "null"),
    ("verbosity", r#""medium""#),
    ("moderation", "null"),
    ("service_tier", r#""auto""#),
    // Identifiers for a vendor's own abuse detection.
    ("user", "null"),
    ("safety_identifier", "null"),
];

/// The body to send.
pub(super) fn body(body: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes> {
    let mut fields = Fields::read(body)?;
    ["model", "max_tokens", "max_completion_tokens"].iter().for_each(|name| drop(fields.take(name)));
    let model: Value = serde_json::from_str(to.model_json).map_err(|_| Unsendable::AnotherBody)?;
    let mut out = Map::from_iter([("model".to_owned(), model)]);
    out.extend(request.max_tokens.map(|max| ("max_tokens".to_owned(), max.into())));
    let messages = neutral::each_message(fields.take("messages").unwrap_or_default(), message)?;
    out.insert("messages".into(), messages.into());
    out.extend(fields.take("seed").map(|seed| ("random_seed".to_owned(), seed)));
    let functions = fields.take("tools").map(neutral::functions).transpose()?.unwrap_or_default();
    let choice = fields.take("tool_choice").map(neutral::choice).transpose()?;
    let parallel = fields.take("parallel_tool_calls");
    if !functions.is_empty() {
        out.insert("tools".into(), functions.into_iter().map(tool).collect());
        out.extend(choice.map(|choice| ("tool_choice".to_owned(), tool_choice(choice))));
        out.extend(parallel.map(|parallel| ("parallel_tool_calls".to_owned(), parallel)));
    }
    if let Some(effort) = fields.take("reasoning_effort") {
        if !matches!(effort.as_str(), Some("none" | "high")) {
            return unsupported("`reasoning_effort` is neither none nor high");
        }
        out.insert("reasoning_effort".into(), effort);
    }
    out.extend(fields.rest(WITHOUT_COUNTERPART)?);
    Ok(neutral::written(&out, body))
}

/// The body to send for a stream.
pub(super) fn stream_body(bytes: &Bytes, request: &Request, to: &To<'_>) -> Result<Bytes> {
    Ok(neutral::with_stream(body(bytes, request, to)?))
}

fn message(speaker: Speaker, content: Option<Value>, message: &mut Map<String, Value>, place: &str) -> Result<Value> {
    let mut content = chunks(content, place)?;
    let mut out = match speaker {
        Speaker::System => json!({ "role": "system" }),
        Speaker::User => json!({ "role": "user" }),
        Speaker::Assistant => {
            let mut out = json!({ "role": "assistant" });
            if let Some(Value::String(refusal)) = message.remove("refusal") {
                content = Some(refusal.into());
            }
            let calls: Vec<Value> = neutral::tool_calls(message, place)?.into_iter().map(call).collect();
            if !calls.is_empty() {
                out["tool_calls"] = calls.into();
            }
            // Mistral's own: the answer is to begin with this.
            out.as_object_mut().expect("it is one").extend(message.remove_entry("prefix"));
            out
        }
        Speaker::Tool => {
            let Some(id) = message.remove("tool_call_id").as_ref().and_then(Value::as_str).map(short_id) else {
                return unsupported(format!("`{place}` has no `tool_call_id`"));
            };
            let mut out = json!({ "role": "tool", "tool_call_id": id });
            out.as_object_mut().expect("it is one").extend(message.remove_entry("name"));
            out
        }
    };
    if let Some(content) = content {
        out["content"] = content;
    }
    Ok(out)
}

/// A message's content: text as it is, parts as Mistral's chunks.
fn chunks(content: Option<Value>, place: &str) -> Result<Option<Value>> {
    let Some(content @ Value::Array(_)) = content else { return Ok(content) };
    let mut chunks = Vec::new();
    for (part, place) in neutral::parts_of(Some(content), place)? {
        chunks.push(match part["type"].as_str().unwrap_or_default() {
            "refusal" => json!({ "type": "text", "text": part["refusal"] }),
            "input_audio" if part["input_audio"].is_object() => {
                json!({ "type": "input_audio", "input_audio": part["input_audio"]["data"] })
            }
            "file" => match part["file"]["file_data"].as_str() {
                Some(data) if data_of(data).is_some() => json!({ "type": "document_url", "document_url": data }),
                Some(_) | None => return unsupported(format!("`{place}` is no base64 data")),
            },
            // Mistral's own, for who writes for it alone, and what both have.
            "text" | "image_url" | "document_url" | "reference" | "thinking" | "input_audio" => part,
            other => return unsupported(format!("`{place}` is of the type `{}`", shown(other))),
        });
    }
    Ok(Some(chunks.into()))
}

fn call(call: neutral::ToolCall) -> Value {
    // As they were written; only none at all is no JSON.
    let written = call.whole["function"]["arguments"].as_str().filter(|text| !text.trim().is_empty());
    let arguments = written.unwrap_or("{}");
    json!({
        "id": short_id(&call.id),
        "type": "function",
        "function": { "name": call.name, "arguments": arguments },
    })
}

/// An id as Mistral wants it: nine letters and digits. Another is made into one, always the same, so that a call and its
/// result keep the same; two different ones meet once in 10^16.
fn short_id(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const LENGTH: usize = 9;
    if id.len() == LENGTH && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let hash = Digest::of(&[id.as_bytes()]).short();
    let mut rest = u64::from_str_radix(&hash, 16).expect("sixteen hexadecimal digits");
    let digit = |_| {
        let digit = DIGITS[usize::try_from(rest % 62).expect("it is below 62")];
        rest /= 62;
        char::from(digit)
    };
    (0..LENGTH).map(digit).collect()
}

/// A tool must have parameters here.
fn tool(mut function: Value) -> Value {
    if function.get("parameters").is_none_or(Value::is_null) {
        function["parameters"] = json!({ "type": "object", "properties": {} });
    }
    json!({ "type": "function", "function": function })
}

fn tool_choice(choice: Choice) -> Value {
    match choice {
        Choice::Auto => "auto".into(),
        Choice::None => "none".into(),
        Choice::Required => "any".into(),
        Choice::Function(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_fit_and_stay_the_same() {
        assert_eq!(short_id("abcDEF123"), "abcDEF123");
        let made = short_id("call_abcdefghijklmnop");
        assert!(made.len() == 9 && made.bytes().all(|b| b.is_ascii_alphanumeric()), "{made}");
        assert_eq!(made, short_id("call_abcdefghijklmnop"));
        assert_ne!(made, short_id("call_abcdefghijklmnoq"));
        for odd in ["", "short", "abc-DEF12", "éééé1"] {
            assert_eq!(short_id(odd).len(), 9, "{odd}");
        }
    }
}
