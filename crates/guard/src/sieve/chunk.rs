//! The chunks of a stream: the texts that are taken out of them, and put into them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::screen::is_name;

/// Which text of an answer: the choice, the field, and the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) choice: u64,
    pub(super) field: Field,
    pub(super) call: u64,
}

/// The fields of a delta whose texts are streams of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    ReasoningContent,
    Reasoning,
    Content,
    Refusal,
    /// Of a call of the tool.
    Arguments,
    /// Of a call of a tool that takes a text as it is.
    Input,
    /// Of the one function, as it was before there were tools.
    FunctionCall,
}

const TEXTS: [(Field, &str); 4] = [
    (Field::ReasoningContent, "reasoning_content"),
    (Field::Reasoning, "reasoning"),
    (Field::Content, "content"),
    (Field::Refusal, "refusal"),
];

/// The texts of a call: the object that they stand in, and their names there.
const CALLED: [(Field, &str, &str); 2] =
    [(Field::Arguments, "function", "arguments"), (Field::Input, "custom", "input")];

/// What was taken out of a chunk.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) pieces: Vec<(Key, String)>,
    /// The choices that end with it.
    pub(super) ended: Vec<u64>,
}

/// What else of a chunk may leave: numbers, and names that machines gave. A text at any other place could come in pieces
/// that say nothing by themselves; it comes with the result.
const OF_CHUNK: [&str; 9] =
    ["id", "object", "created", "model", "system_fingerprint", "service_tier", "provider", "item_id", "item_type"];
const OF_CHOICE: [&str; 5] = ["index", "finish_reason", "native_finish_reason", "stop_reason", "logprobs"];
const OF_CALL: [&str; 3] = ["index", "id", "type"];

/// Leaves in a chunk whose texts were taken only what cannot be a piece of another text.
pub(super) fn strip(chunk: &mut Map<String, Value>) {
    chunk.retain(|name, value| match name.as_str() {
        "choices" => {
            objects(value).for_each(strip_choice);
            true
        }
        "usage" => {
            strip_texts(value);
            true
        }
        name => OF_CHUNK.contains(&name) && !value.is_array() && !value.is_object(),
    });
}

fn strip_choice(choice: &mut Map<String, Value>) {
    choice.retain(|name, value| match (name.as_str(), value.as_object_mut()) {
        ("delta", Some(delta)) => {
            delta.retain(|name, value| strip_delta(name, value));
            true
        }
        (name, _) => OF_CHOICE.contains(&name) && is_fact(value),
    });
}

/// Whether a field of a delta may leave, after what else is in it has gone.
fn strip_delta(name: &str, value: &mut Value) -> bool {
    match name {
        "tool_calls" => {
            objects(value).for_each(|call| call.retain(|name, value| strip_call(name, value)));
            true
        }
        "function_call" => strip_call("function", value),
        "role" => is_fact(value),
        // Clients begin with an empty one.
        name => TEXTS.iter().any(|(_, text)| *text == name) && (value.is_null() || value == ""),
    }
}

fn strip_call(name: &str, value: &mut Value) -> bool {
    match (name, value.as_object_mut()) {
        ("function" | "custom", Some(function)) => {
            function.retain(|name, value| value == "" || (name == "name" && is_fact(value)));
            true
        }
        (name, _) => OF_CALL.contains(&name) && is_fact(value),
    }
}

fn is_fact(value: &Value) -> bool {
    match value {
        Value::String(name) => is_name(name),
        Value::Array(_) | Value::Object(_) => false,
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Takes all strings out of what was used, which is told in numbers.
fn strip_texts(value: &mut Value) {
    match value {
        Value::String(_) => *value = Value::Null,
        Value::Array(list) => list.iter_mut().for_each(strip_texts),
        Value::Object(map) => map.values_mut().for_each(strip_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The objects of a list; what else is in it goes.
fn objects(list: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    if let Some(members) = list.as_array_mut() {
        members.retain(Value::is_object);
    } else {
        *list = json!([]);
    }
    list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Takes the texts out of a chunk.
pub(super) fn take(chunk: &mut Map<String, Value>) -> Taken {
    let mut taken = Taken::default();
    for choice in chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = index(choice);
        if choice.get("finish_reason").is_some_and(|reason| !reason.is_null()) {
            taken.ended.push(number);
        }
        if let Some(logprobs) = choice.get_mut("logprobs") {
            // They tell piece by piece what is held back or replaced in the text.
            *logprobs = Value::Null;
        }
        if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
            take_delta(number, delta, &mut taken.pieces);
        }
    }
    taken
}

fn take_delta(choice: u64, delta: &mut Map<String, Value>, pieces: &mut Vec<(Key, String)>) {
    for (field, name) in TEXTS {
        pieces.extend(take_text(delta, name).map(|text| (Key { choice, field, call: 0 }, text)));
    }
    if let Some(function) = delta.get_mut("function_call").and_then(Value::as_object_mut) {
        let key = Key { choice, field: Field::FunctionCall, call: 0 };
        pieces.extend(take_text(function, "arguments").map(|text| (key, text)));
        if function.is_empty() {
            delta.remove("function_call");
        }
    }
    let Some(calls) = delta.get_mut("tool_calls").and_then(Value::as_array_mut) else { return };
    for call in calls.iter_mut() {
        let number = index(call);
        for (field, within, name) in CALLED {
            let key = Key { choice, field, call: number };
            let Some(function) = call.get_mut(within).and_then(Value::as_object_mut) else { continue };
            pieces.extend(take_text(function, name).map(|text| (key, text)));
        }
    }
    calls.retain(says_more);
    if calls.is_empty() {
        delta.remove("tool_calls");
    }
}

/// Takes a text out of an object; an empty one stays, because clients begin with it.
fn take_text(object: &mut Map<String, Value>, name: &str) -> Option<String> {
    match object.get(name) {
        Some(Value::String(text)) if !text.is_empty() => {}
        _ => return None,
    }
    match object.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Whether there is more to a call than its number, after its arguments were taken.
fn says_more(call: &Value) -> bool {
    let Some(call) = call.as_object() else { return true };
    let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    call.iter()
        .any(|(name, value)| name != "index" && !(matches!(name.as_str(), "function" | "custom") && empty(value)))
}

fn index(of: &Value) -> u64 {
    of.get("index").and_then(Value::as_u64).unwrap_or_default()
}

/// What chunks of the same answer have in common.
pub(super) fn frame(chunk: &Map<String, Value>) -> Map<String, Value> {
    let common = chunk.iter().filter(|(name, _)| !matches!(name.as_str(), "choices" | "usage"));
    common.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Puts a text into a chunk.
pub(super) fn put(chunk: &mut Map<String, Value>, key: Key, text: String) {
    let choices = chunk.entry("choices").or_insert_with(|| json!([]));
    let Some(choices) = choices.as_array_mut() else { return };
    let place = choices.iter().position(|choice| index(choice) == key.choice).unwrap_or_else(|| {
        choices.push(json!({"index": key.choice, "delta": {}, "finish_reason": null}));
        choices.len() - 1
    });
    let Some(choice) = choices[place].as_object_mut() else { return };
    let Some(delta) = choice.entry("delta").or_insert_with(|| json!({})).as_object_mut() else { return };
    let name = match key.field {
        Field::Arguments => {
            return put_call(delta, json!({"index": key.call, "function": {"arguments": text}}));
        }
        Field::Input => return put_call(delta, json!({"index": key.call, "custom": {"input": text}})),
        Field::FunctionCall => {
            delta.insert("function_call".to_owned(), json!({"arguments": text}));
            return;
        }
        Field::ReasoningContent => "reasoning_content",
        Field::Reasoning => "reasoning",
        Field::Content => "content",
        Field::Refusal => "refusal",
    };
    delta.insert(name.to_owned(), Value::String(text));
}

fn put_call(delta: &mut Map<String, Value>, call: Value) {
    let calls = delta.entry("tool_calls").or_insert_with(|| json!([]));
    if let Some(calls) = calls.as_array_mut() {
        calls.push(call);
    }
}

/// The chunks that texts leave in: one for each choice.
pub(super) fn of_texts(frame: &Map<String, Value>, texts: BTreeMap<Key, String>) -> Vec<Value> {
    let mut chunks: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        put(chunks.entry(key.choice).or_insert_with(|| frame.clone()), key, text);
    }
    chunks.into_values().map(Value::Object).collect()
}

/// Takes off what a chunk says of choices before it says that they have ended; `None` if nothing.
pub(super) fn split(chunk: &mut Map<String, Value>, ended: &[u64]) -> Option<Map<String, Value>> {
    let mut first = frame(chunk);
    let mut before = Vec::new();
    for choice in chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = index(choice);
        let Some(delta) = choice.get_mut("delta").filter(|_| ended.contains(&number)) else { continue };
        if delta.as_object().is_some_and(|delta| !delta.is_empty()) {
            before.push(json!({"index": number, "delta": delta.take(), "finish_reason": null}));
            *delta = json!({});
        }
    }
    let any = !before.is_empty();
    first.insert("choices".to_owned(), Value::Array(before));
    any.then_some(first)
}

/// Whether nothing is left in a chunk that anybody would miss.
pub(super) fn is_hollow(chunk: &Map<String, Value>) -> bool {
    let empty = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value == &json!({}));
    let choices = chunk.get("choices").and_then(Value::as_array);
    let hollow = |choice: &Value| {
        choice.as_object().is_some_and(|choice| {
            empty(choice.get("finish_reason")) && empty(choice.get("delta")) && !choice.contains_key("message")
        })
    };
    empty(chunk.get("usage")) && choices.is_some_and(|choices| !choices.is_empty() && choices.iter().all(hollow))
}
