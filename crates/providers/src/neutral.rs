//! The neutral request, a chat completion, as adapters of other wire formats read it: field by field, so that what is
//! left over is known, and refused by name instead of being dropped.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::adapter::Unsendable;
use crate::json;

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

pub(crate) type Result<T> = std::result::Result<T, Unsendable>;

/// Refuses: what the vendor has nothing for, without a word of the prompt.
pub(crate) fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(Unsendable::Unsupported(what.into()))
}

/// The fields of a request, each to be taken once.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn read(body: &[u8]) -> Result<Fields> {
        serde_json::from_slice(body).map(Fields).map_err(|_| Unsendable::AnotherBody)
    }

    /// Takes a field out; `null` is none.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Takes out what has no meaning for the answer, and what the vendor has nothing for: each field with the value at
    /// which it asks for nothing. The rest is the vendor's own, or for the vendor to refuse.
    pub(crate) fn rest(
        mut self,
        without_counterpart: &[(&str, &str)],
    ) -> Result<impl Iterator<Item = (String, Value)>> {
        WITHOUT_MEANING.iter().for_each(|name| drop(self.take(name)));
        for (name, nothing) in without_counterpart {
            let asks = self.take(name).filter(|value| !asks_for_nothing(value, nothing));
            if asks.is_some() {
                return unsupported(format!("it has nothing like `{name}`"));
            }
        }
        Ok(self.0.into_iter().filter(|(_, value)| !value.is_null()))
    }
}

fn asks_for_nothing(value: &Value, nothing: &str) -> bool {
    let nothing: Value = serde_json::from_str(nothing).expect("the table is JSON");
    let same_number = || value.as_f64().is_some_and(|value| Some(value) == nothing.as_f64());
    *value == nothing || same_number()
}

/// What is left of a message must ask for nothing.
pub(crate) fn refuse_rest(message: &Map<String, Value>, place: &str) -> Result<()> {
    // What answers carry for people, and comes back with them.
    const OURS: [&str; 2] = ["annotations", "reasoning_content"];
    let asks = |(name, value): &(&String, &Value)| {
        !value.is_null() && **value != Value::Array(Vec::new()) && !OURS.contains(&name.as_str())
    };
    match message.iter().find(asks) {
        Some((name, _)) => unsupported(format!("it has nothing like `{place}.{}`", shown(name))),
        None => Ok(()),
    }
}

/// A name in a message of ours: short, and without what could be anything.
pub(crate) fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

/// A body that was written without `stream`, asking for one.
pub(crate) fn with_stream(body: Bytes) -> Bytes {
    // It is an object that has a model, and no `stream`: that has no meaning for the answer, and was left out.
    let mut out = Vec::from(body);
    out.pop();
    out.extend_from_slice(b",\"stream\":true}");
    out.into()
}

/// A body to send, about as long as the one that it was made of.
pub(crate) fn written(out: &impl Serialize, of: &Bytes) -> Bytes {
    const FRAME_BYTES: usize = 512;
    json::to_bytes(out, of.len() + FRAME_BYTES)
}

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The user, and tools with their results.
    User,
    /// The model.
    Model,
}

/// What one side says until the other one does.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) role: Role,
    pub(crate) parts: Vec<Value>,
}

/// A conversation of messages in a row, with the system's words apart.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) system: Vec<Value>,
    pub(crate) turns: Vec<Turn>,
}

impl Conversation {
    /// Reads the messages; `translate` turns one into parts, taking out of it what it understands.
    ///
    /// Several messages of one side in a row are one turn. The system's words are gathered wherever they stand.
    pub(crate) fn read(
        messages: Value,
        mut translate: impl FnMut(Speaker, Option<Value>, &mut Map<String, Value>, &str) -> Result<Vec<Value>>,
    ) -> Result<Conversation> {
        let mut conversation = Conversation::default();
        for (speaker, parts) in each_message(messages, |speaker, content, message, place| {
            translate(speaker, content, message, place).map(|parts| (speaker, parts))
        })? {
            conversation.add(speaker, parts);
        }
        if conversation.turns.first().is_none_or(|turn| turn.role != Role::User) {
            return unsupported("a conversation that does not begin with the user");
        }
        Ok(conversation)
    }

    fn add(&mut self, speaker: Speaker, parts: Vec<Value>) {
        let role = match speaker {
            Speaker::System => return self.system.extend(parts),
            Speaker::User | Speaker::Tool => Role::User,
            Speaker::Assistant => Role::Model,
        };
        match self.turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.parts.extend(parts),
            None => self.turns.push(Turn { role, parts }),
        }
    }
}

/// Reads the messages one by one; `translate` takes out of each what it understands, and what is left is refused.
pub(crate) fn each_message<T>(
    messages: Value,
    mut translate: impl FnMut(Speaker, Option<Value>, &mut Map<String, Value>, &str) -> Result<T>,
) -> Result<Vec<T>> {
    let Value::Array(messages) = messages else { return unsupported("`messages` is no list") };
    let one = |(at, message): (usize, Value)| {
        let place = format!("messages[{at}]");
        let Value::Object(mut message) = message else { return unsupported(format!("`{place}` is no message")) };
        let role = message.remove("role");
        let speaker = match role.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "system" | "developer" => Speaker::System,
            "user" => Speaker::User,
            "assistant" => Speaker::Assistant,
            "tool" => Speaker::Tool,
            _ => return unsupported(format!("`{place}.role` is none of its roles")),
        };
        let content = message.remove("content").filter(|content| !content.is_null());
        let translated = translate(speaker, content, &mut message, &place)?;
        refuse_rest(&message, &place)?;
        Ok(translated)
    };
    messages.into_iter().enumerate().map(one).collect()
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// `system` or `developer`.
    System,
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
    /// `tool`.
    Tool,
}

/// A message's content as a list of parts, text as one part of that type; with the place of each.
pub(crate) fn parts_of(content: Option<Value>, place: &str) -> Result<Vec<(Value, String)>> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => {
            Ok(vec![(serde_json::json!({ "type": "text", "text": text }), format!("{place}.content"))])
        }
        Some(Value::Array(parts)) => {
            let placed = |(at, part)| (part, format!("{place}.content[{at}]"));
            Ok(parts.into_iter().enumerate().map(placed).collect())
        }
        Some(_) => unsupported(format!("`{place}.content` is neither text nor a list of parts")),
    }
}

/// A call of a tool in an earlier turn.
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) name: String,
    /// An object.
    pub(crate) arguments: Value,
    /// The call as it came.
    pub(crate) whole: Value,
}

/// Takes the tool calls out of an assistant's message.
pub(crate) fn tool_calls(message: &mut Map<String, Value>, place: &str) -> Result<Vec<ToolCall>> {
    let calls = message.remove("tool_calls").unwrap_or_default();
    let call = |(at, call): (usize, &Value)| {
        let place = format!("{place}.tool_calls[{at}]");
        let function = &call["function"];
        let (Some(id), Some(name)) = (call["id"].as_str(), function["name"].as_str()) else {
            return unsupported(format!("`{place}` has no id or is no function"));
        };
        let text = function["arguments"].as_str().unwrap_or_default().trim();
        let arguments = if text.is_empty() { "{}" } else { text };
        match serde_json::from_str(arguments) {
            Ok(arguments @ Value::Object(_)) => {
                Ok(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments, whole: call.clone() })
            }
            Ok(_) | Err(_) => unsupported(format!("`{place}.function.arguments` is no JSON object")),
        }
    };
    calls.as_array().into_iter().flatten().enumerate().map(call).collect()
}

/// The functions of `tools`.
pub(crate) fn functions(tools: Value) -> Result<Vec<Value>> {
    let Value::Array(tools) = tools else { return unsupported("`tools` is no list") };
    let function = |(at, mut tool): (usize, Value)| match (tool["type"].as_str(), tool["function"]["name"].as_str()) {
        (Some("function"), Some(_)) => Ok(tool["function"].take()),
        _ => unsupported(format!("`tools[{at}]` is no function")),
    };
    tools.into_iter().enumerate().map(function).collect()
}

/// Which tool is to be called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// Any, but one.
    Required,
    /// This one.
    Function(String),
}

/// Reads `tool_choice`.
pub(crate) fn choice(choice: Value) -> Result<Choice> {
    let word = choice.as_str();
    match (word, choice["function"]["name"].as_str()) {
        (Some("auto"), _) => Ok(Choice::Auto),
        (Some("none"), _) => Ok(Choice::None),
        (Some("required"), _) => Ok(Choice::Required),
        (None, Some(name)) => Ok(Choice::Function(name.to_owned())),
        _ => unsupported("`tool_choice` is none of its choices"),
    }
}

/// The schema of a `response_format` that has one.
pub(crate) fn schema(format: &Value) -> Result<Value> {
    match &format["json_schema"]["schema"] {
        schema @ Value::Object(_) => Ok(schema.clone()),
        _ => unsupported("`response_format.json_schema.schema` is no schema"),
    }
}

/// Media type and base64 text of a `data:` address.
pub(crate) fn data_of(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}
