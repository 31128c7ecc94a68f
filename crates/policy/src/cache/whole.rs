//! Which answers are worth keeping: whole ones, that no policy cut and that nobody refused to give.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tollgate_types::{CacheRules, Endpoint};

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unkept {
    /// It was cut, filtered, refused, or does not say how it ended.
    NotWhole,
    /// It calls tools, and such answers are not kept.
    ToolCalls,
    /// It is larger than answers may be.
    TooLarge,
    /// It is of another model than the one that was asked for.
    StandIn,
    /// It cannot be read.
    Unreadable,
}

impl Unkept {
    /// A stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Unkept::NotWhole => "not_whole",
            Unkept::ToolCalls => "tool_calls",
            Unkept::TooLarge => "too_large",
            Unkept::StandIn => "stand_in",
            Unkept::Unreadable => "unreadable",
        }
    }
}

#[derive(Deserialize)]
struct Chat {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    message: Option<Message>,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default)]
    tool_calls: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    function_call: Option<IgnoredAny>,
    #[serde(default)]
    refusal: Option<String>,
    /// Where the provider's own search found what it says.
    #[serde(default)]
    annotations: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    status: Option<String>,
    #[serde(borrow)]
    output: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type", default)]
    kind: String,
}

/// Judges an answer's body.
///
/// # Errors
/// Why it is not kept.
pub fn judge(endpoint: Endpoint, body: &str, rules: &CacheRules) -> Result<(), Unkept> {
    if body.len() as u64 > rules.answer_bytes_max() {
        return Err(Unkept::TooLarge);
    }
    let calls_tools = match endpoint {
        Endpoint::ChatCompletions => chat(body)?,
        Endpoint::Responses => response(body)?,
        // A vector is whole or not there.
        Endpoint::Embeddings => false,
    };
    if calls_tools && !rules.tool_calls() { Err(Unkept::ToolCalls) } else { Ok(()) }
}

/// Whether a whole chat completion calls tools, or says what the provider's own search found.
fn chat(body: &str) -> Result<bool, Unkept> {
    let Chat { choices } = serde_json::from_str(body).map_err(|_| Unkept::Unreadable)?;
    let mut calls_tools = false;
    for choice in &choices {
        let message = choice.message.as_ref();
        let calls = message.is_some_and(|message| {
            let any = |some: &Option<Vec<IgnoredAny>>| some.as_ref().is_some_and(|some| !some.is_empty());
            message.function_call.is_some() || any(&message.tool_calls) || any(&message.annotations)
        });
        let refused = message.and_then(|message| message.refusal.as_deref()).is_some_and(|words| !words.is_empty());
        match choice.finish_reason.as_deref() {
            Some("stop" | "tool_calls" | "function_call") if !refused => calls_tools |= calls,
            Some(_) | None => return Err(Unkept::NotWhole),
        }
    }
    if choices.is_empty() { Err(Unkept::NotWhole) } else { Ok(calls_tools) }
}

/// Whether a whole response calls tools: the caller's, or the provider's own, whose findings grow old.
fn response(body: &str) -> Result<bool, Unkept> {
    let Response { status, output } = serde_json::from_str(body).map_err(|_| Unkept::Unreadable)?;
    if status.as_deref() != Some("completed") || output.is_empty() {
        return Err(Unkept::NotWhole);
    }
    for item in output.iter().filter(|item| item.kind == "message") {
        let parts: Vec<Part> = match item.content {
            Some(content) => serde_json::from_str(content.get()).map_err(|_| Unkept::Unreadable)?,
            None => Vec::new(),
        };
        if parts.iter().any(|part| part.kind == "refusal") {
            return Err(Unkept::NotWhole);
        }
    }
    Ok(output.iter().any(|item| item.kind.ends_with("_call") || item.kind == "mcp_approval_request"))
}
