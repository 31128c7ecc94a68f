//! The chunks of a stream: the texts that are taken out of them, and put into them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

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
    /// Of the one function, as it was before there were tools.
    FunctionCall,
}

const TEXTS: [(Field, &str); 4] = [
    (Field::ReasoningContent, "reasoning_content"),
    (Field::Reasoning, "reasoning"),
    (Field::Content, "content"),
    (Field::Refusal, "refusal"),
];

/// What was taken out of a chunk.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) pieces: Vec<(Key, String)>,
    /// The choices that end with it.
    pub(super) ended: Vec<u64>,
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
        let key = Key { choice, field: Field::Arguments, call: index(call) };
        let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else { continue };
        pieces.extend(take_text(function, "arguments").map(|text| (key, text)));
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
    call.iter().any(|(name, value)| name != "index" && !(name == "function" && empty(value)))
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
            let calls = delta.entry("tool_calls").or_insert_with(|| json!([]));
            let call = json!({"index": key.call, "function": {"arguments": text}});
            calls.as_array_mut().into_iter().for_each(|calls| calls.push(call.clone()));
            return;
        }
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
