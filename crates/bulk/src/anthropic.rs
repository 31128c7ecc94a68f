//! The `params` of one of Anthropic's requests as the body of a chat completion ([`tollgate_messages`]). A batch takes what it
//! knows: another field is refused by name, because nobody is there to see what came of it.

use serde_json::{Map, Value};

use crate::check::LineError;

/// What a request cannot do without.
const NEEDED: [&str; 3] = ["model", "max_tokens", "messages"];
/// What else it may have.
const KNOWN: [&str; 11] = [
    "system",
    "stop_sequences",
    "metadata",
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "top_k",
    "thinking",
    "output_config",
    "service_tier",
];

/// The body of a chat completion for the `params` of a request.
pub(crate) fn body(mut params: Map<String, Value>) -> Result<Map<String, Value>, LineError> {
    if let Some(name) = NEEDED.iter().find(|name| params.get(**name).is_none_or(Value::is_null)) {
        return Err(LineError::missing(&format!("params.{name}")));
    }
    params.retain(|name, value| !(value.is_null() || (name == "stream" && *value == false)));
    let known = |name: &str| NEEDED.contains(&name) || KNOWN.contains(&name);
    if let Some(name) = params.keys().find(|name| !known(name)) {
        let shown: String = name.chars().take(64).collect();
        return Err(wrong(&format!("params.{shown}"), "is not taken in a batch"));
    }
    let chat = tollgate_messages::chat(params).map_err(|error| wrong(&format!("params.{}", error.at), error.why))?;
    Ok(chat.body)
}

fn wrong(param: &str, what: &str) -> LineError {
    LineError::new("invalid_request", format!("`{param}` {what}"), Some(param))
}

#[cfg(test)]
mod tests;
