//! Chunks of a chat completion, put together again.
//!
//! A chunk with choices is passed on byte for byte if it is whole, and completed if a copy of OpenAI leaves something
//! out. One without choices (what was used, what a filter thinks of the prompt) is not passed on: it holds no delta.
//!
//! The pieces are joined by their kind, not by their names, so that what only some servers send (audio, citations,
//! thoughts) ends up whole too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{response, usage};
use crate::adapter::{Read, Sent, Unusable};
use crate::sse::Event;
use crate::stream::{Broken, Delta, Partial, Reader, Stage, parse};

/// What a chunk needs to be passed on as it is, beside its object and its choices.
const NAMED: [&str; 3] = ["id", "created", "model"];

/// The fields of an object in their order, unread.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for All<'a> {
            type Value = Fields<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Text(name), raw)) = map.next_entry()? {
                    fields.push((name, raw));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(All(std::marker::PhantomData))
    }
}

#[derive(serde::Deserialize)]
struct Piece<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<Fields<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

/// One choice, as far as it came.
#[derive(Default)]
struct Choice {
    message: Map<String, Value>,
    /// Each call with the index under which its pieces come.
    tool_calls: Vec<(Option<u64>, Value)>,
    finish_reason: Option<String>,
    logprobs: Value,
}

/// Puts chunks together.
#[derive(Default)]
pub(crate) struct Chunks {
    /// All that is said of the whole, by name, as it was said last.
    head: BTreeMap<String, Box<RawValue>>,
    choices: BTreeMap<u64, Choice>,
    usage: Option<Box<RawValue>>,
    /// The usage came after every choice had ended.
    usage_is_total: bool,
    done: bool,
    kept_bytes: usize,
}

impl Reader for Chunks {
    fn push(&mut self, event: &Event) -> Result<Vec<Delta>, Broken> {
        if event.data.starts_with(b"[DONE]") {
            self.done = true;
            return Ok(Vec::new());
        }
        if event.name == "error" {
            return Err(Broken::Error);
        }
        let Fields(fields) = parse(event, "chunk")?;
        let (mut object, mut choices, mut usage, mut named) = ("", "[]", None, 0);
        for (name, raw) in &fields {
            let says = !is_nothing(raw);
            match &**name {
                "error" if says => return Err(Broken::Error),
                "choices" if says => choices = raw.get(),
                "usage" if says => usage = Some(*raw),
                "object" => object = raw.get(),
                // What is of one chunk only: neither the completion nor another chunk has it.
                "error" | "choices" | "usage" | "obfuscation" => {}
                name if says => {
                    named |= NAMED.iter().position(|of| *of == name).map_or(0, |at| 1 << at);
                    self.learn(name, raw);
                }
                _ => {}
            }
        }
        // Old servers of vLLM send the error itself.
        if object == "\"error\"" {
            return Err(Broken::Error);
        }
        let pieces: Vec<Piece<'_>> = serde_json::from_str(choices)
            .map_err(|_| Broken::Unreadable("an event with choices that are none".to_owned()))?;
        let passed_on = !pieces.is_empty();
        let mut writes = false;
        for piece in pieces {
            writes |= self.add(piece);
        }
        if let Some(raw) = usage {
            self.usage = Some(raw.to_owned());
            self.usage_is_total = self.stage() != Stage::Open;
        }
        if !passed_on {
            return Ok(Vec::new());
        }
        let is_whole = named == 7 && object == "\"chat.completion.chunk\"" && !event.data.contains(&b'\n');
        let json = if is_whole { event.data.clone() } else { self.completed(choices) };
        Ok(vec![Delta { json, writes }])
    }

    fn stage(&self) -> Stage {
        let all_ended = || !self.choices.is_empty() && self.choices.values().all(|c| c.finish_reason.is_some());
        match self.done {
            true => Stage::Over,
            false if all_ended() => Stage::Answered,
            false => Stage::Open,
        }
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn partial(&self, sent: &Sent<'_>) -> Partial {
        let text = response::answer_text(&self.completion());
        let reported = usage::read(self.usage.as_deref(), sent, text.len());
        Partial { text, reported, is_total: self.usage_is_total }
    }

    fn finish(self: Box<Self>, sent: &Sent<'_>) -> Result<Read, Unusable> {
        let whole: Box<str> = self.completion().into();
        response::read(whole.into_string().into_bytes(), sent)
    }
}

impl Chunks {
    /// Keeps what a chunk says of the whole. Azure's first chunk has an empty id and an empty model.
    fn learn(&mut self, name: &str, raw: &RawValue) {
        let is_known = || self.head.get(name).is_some_and(|known| known.get() == raw.get());
        if is_known() {
            return;
        }
        self.kept_bytes += raw.get().len();
        self.head.insert(name.to_owned(), raw.to_owned());
    }

    /// Joins a piece to its choice; says whether the model wrote something in it.
    fn add(&mut self, piece: Piece<'_>) -> bool {
        let choice = self.choices.entry(piece.index.unwrap_or(0)).or_default();
        let mut writes = false;
        for (name, raw) in piece.delta.map_or_else(Vec::new, |Fields(fields)| fields) {
            let is_new = !choice.message.contains_key(&*name);
            if is_nothing(raw) && !is_new {
                continue;
            }
            writes |= name != "role" && !is_nothing(raw);
            self.kept_bytes += choice.join(&name, raw);
        }
        if let Some(logprobs) = piece.logprobs {
            self.kept_bytes += logprobs.get().len();
            merge(&mut choice.logprobs, serde_json::from_str(logprobs.get()).unwrap_or_default());
        }
        // Some servers send an empty reason along until there is one.
        let reason = piece.finish_reason.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        choice.finish_reason = reason.filter(|reason| !reason.is_empty()).or(choice.finish_reason.take());
        writes
    }

    /// A chunk in which something was missing, with what is known of the stream.
    fn completed(&self, choices: &str) -> Bytes {
        let mut out = BytesMut::with_capacity(256 + choices.len());
        let known = |name: &str, otherwise: &'static str| self.head.get(name).map_or(otherwise, |raw| raw.get());
        let (id, created, model) = (known("id", "\"\""), known("created", "0"), known("model", "\"\""));
        out.put_slice(b"{\"id\":");
        out.put_slice(id.as_bytes());
        out.put_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        out.put_slice(created.as_bytes());
        out.put_slice(b",\"model\":");
        out.put_slice(model.as_bytes());
        out.put_slice(b",\"choices\":");
        // A line feed in JSON stands between its parts, and means nothing there.
        out.extend(choices.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        out.put_slice(b"}");
        out.freeze()
    }

    /// What came until now, as a completion.
    fn completion(&self) -> Box<RawValue> {
        let mut whole: Map<String, Value> = Map::new();
        for (name, raw) in &self.head {
            whole.insert(name.clone(), serde_json::from_str(raw.get()).unwrap_or_default());
        }
        whole.insert("object".into(), "chat.completion".into());
        whole.insert("choices".into(), self.choices.iter().map(|(index, choice)| choice.whole(*index)).collect());
        if let Some(usage) = &self.usage {
            whole.insert("usage".into(), serde_json::from_str(usage.get()).unwrap_or_default());
        }
        serde_json::value::to_raw_value(&whole).expect("values always serialise")
    }
}

impl Choice {
    /// Joins a field of a delta; says by how many bytes the choice has grown, roughly.
    fn join(&mut self, name: &str, raw: &RawValue) -> usize {
        // Nearly every piece is the next words of a text: they need no value of their own.
        if let (Some(Value::String(known)), false) = (self.message.get_mut(name), NAMES.contains(&name))
            && let Ok(Text(more)) = serde_json::from_str(raw.get())
        {
            known.push_str(&more);
            return more.len();
        }
        let piece: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let grown = size(&piece);
        match (name, piece) {
            ("tool_calls", Value::Array(calls)) => calls.into_iter().for_each(|call| self.call(call)),
            (_, piece) => merge_field(&mut self.message, name.to_owned(), piece),
        }
        grown
    }

    /// Joins a piece of a call to it. Some servers count no calls, or give all of them the same index: there a new id
    /// means a new call.
    fn call(&mut self, piece: Value) {
        let Value::Object(mut piece) = piece else { return };
        let index = piece.remove("index").as_ref().and_then(Value::as_u64);
        let id = |call: &Value| call["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        let piece = Value::Object(piece);
        let same = self.tool_calls.iter_mut().rev().find(|(of, _)| index.is_none() || *of == index);
        let other_id = |call: &Value| id(call).zip(id(&piece)).is_some_and(|(one, other)| one != other);
        match same.filter(|(_, call)| !other_id(call)) {
            Some((_, call)) => merge(call, piece),
            None => self.tool_calls.push((index, piece)),
        }
    }

    fn whole(&self, index: u64) -> Value {
        let mut message = self.message.clone();
        message.entry("role").or_insert_with(|| "assistant".into());
        message.entry("content").or_insert(Value::Null);
        message.entry("refusal").or_insert(Value::Null);
        let calls_tools = !self.tool_calls.is_empty();
        if calls_tools {
            message.insert("tool_calls".into(), self.tool_calls.iter().map(|(_, call)| call.clone()).collect());
            // A stream opens with an empty text; a whole answer of calls alone has none.
            if message["content"] == "" {
                message["content"] = Value::Null;
            }
        }
        // xAI leaves it out where tools are called.
        let finish = self.finish_reason.as_deref().or(calls_tools.then_some("tool_calls"));
        json!({ "index": index, "message": message, "logprobs": self.logprobs, "finish_reason": finish })
    }
}

/// Texts that do not grow: some servers repeat them in each piece.
const NAMES: [&str; 5] = ["id", "type", "role", "index", "name"];

fn merge_field(fields: &mut Map<String, Value>, name: String, piece: Value) {
    match fields.get_mut(&name) {
        None => drop(fields.insert(name, piece)),
        Some(known) if NAMES.contains(&name.as_str()) && !known.is_null() && known != "" => {}
        Some(known) => merge(known, piece),
    }
}

/// Joins what came in pieces: texts and lists grow, objects do so field by field, and of all else the last counts.
fn merge(into: &mut Value, piece: Value) {
    match (into, piece) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Array(list), Value::Array(more)) => list.extend(more),
        (Value::Object(fields), Value::Object(more)) => {
            more.into_iter().for_each(|(name, piece)| merge_field(fields, name, piece));
        }
        // Mistral's thoughts come as lists of parts, and the text after them as text.
        (Value::Array(parts), Value::String(text)) => {
            let last = parts.last_mut().filter(|part| part["type"] == "text").and_then(|part| part.get_mut("text"));
            match last {
                Some(known) => merge(known, text.into()),
                None => parts.push(json!({ "type": "text", "text": text })),
            }
        }
        (into @ Value::String(_), Value::Array(mut more)) => {
            let text = into.take();
            if text != "" {
                more.insert(0, json!({ "type": "text", "text": text }));
            }
            *into = more.into();
        }
        (into, piece) => *into = piece,
    }
}

fn is_nothing(raw: &RawValue) -> bool {
    matches!(raw.get(), "null" | "\"\"" | "[]" | "{}" | "0")
}

/// About how many bytes of memory a value adds to what it is joined to.
fn size(value: &Value) -> usize {
    const EACH: usize = 32;
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|value| EACH + size(value)).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| EACH + name.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests;
