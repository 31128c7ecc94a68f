//! A message in events, put together again.
//!
//! | event | chunk |
//! |---|---|
//! | `message_start` | the role |
//! | `content_block_start` of a tool | a call with its id and name |
//! | `text_delta`, `thinking_delta`, `input_json_delta` | `content`, `reasoning_content`, a piece of the call's arguments |
//! | `content_block_stop` of thoughts | `thinking_blocks`, whole with their signature |
//! | `message_delta` | the finish reason |
//! | `ping`, and what is not known | nothing |
//!
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::response;
use crate::adapter::{Read, Reported, Sent, Unusable};
use crate::sse::Event;
use crate::stream::{Broken, Delta, Head, Partial, Reader, Stage, parse};

#[derive(Deserialize)]
struct Sign {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<Map<String, Value>>,
    index: Option<u64>,
    content_block: Option<Map<String, Value>>,
    delta: Option<Map<String, Value>>,
    usage: Option<Map<String, Value>>,
}

/// A block as far as it came.
struct Block {
    block: Map<String, Value>,
    /// The input of a tool, as text: it is JSON only once it is whole.
    input: String,
    /// Which call of a tool it is, from 0.
    call: Option<usize>,
}

/// Puts events together.
pub(super) struct Events {
    head: Head,
    message: Map<String, Value>,
    blocks: BTreeMap<u64, Block>,
    usage: Map<String, Value>,
    stage: Stage,
    kept_bytes: usize,
}

impl Events {
    pub(super) fn new() -> Self {
        Events {
            head: Head::new(),
            message: Map::new(),
            blocks: BTreeMap::new(),
            usage: Map::new(),
            stage: Stage::Open,
            kept_bytes: 0,
        }
    }
}

impl Reader for Events {
    fn push(&mut self, event: &Event) -> Result<Vec<Delta>, Broken> {
        if event.name == "error" {
            return Err(Broken::Error);
        }
        let sign: Sign = parse(event, "event of a message")?;
        let kind = sign.kind.as_deref().unwrap_or(&event.name);
        if matches!(kind, "message_start" | "content_block_start" | "message_delta") {
            self.kept_bytes += event.data.len();
        }
        let (index, delta) = (sign.index.unwrap_or(0), sign.delta.unwrap_or_default());
        let deltas = match kind {
            "message_start" => self.start(sign.message.unwrap_or_default()),
            "content_block_start" => self.open(index, sign.content_block.unwrap_or_default()),
            "content_block_delta" => self.grow(index, &delta),
            "content_block_stop" => self.close(index),
            "message_delta" => self.end(delta, sign.usage),
            "message_stop" => {
                self.stage = Stage::Over;
                None
            }
            "error" => return Err(Broken::Error),
            _ => None,
        };
        Ok(deltas.into_iter().collect())
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn partial(&self, sent: &Sent<'_>) -> Partial {
        let blocks: Vec<Value> = self.blocks.values().map(Block::whole).collect();
        let written = response::written(&blocks);
        let calls = self.blocks.values().map(|block| block.input.as_str());
        let text: Vec<&str> = [written.thoughts.as_str(), &written.text].into_iter().chain(calls).collect();
        let text = text.concat();
        let reported = match self.usage.is_empty() {
            true => Reported::default(),
            false => response::reported(&raw(&self.usage), sent, text.len()),
        };
        Partial { text, reported, is_total: self.stage != Stage::Open }
    }

    fn finish(self: Box<Self>, sent: &Sent<'_>) -> Result<Read, Unusable> {
        let mut message = self.message;
        message.insert("content".into(), self.blocks.values().map(Block::whole).collect());
        message.insert("usage".into(), self.usage.into());
        response::read(serde_json::to_vec(&message).expect("values always serialise"), sent)
    }
}

impl Events {
    fn start(&mut self, mut message: Map<String, Value>) -> Option<Delta> {
        self.head.id = text_of(&message, "id").to_owned();
        self.head.model = text_of(&message, "model").to_owned();
        if let Some(Value::Object(usage)) = message.remove("usage") {
            self.count(usage);
        }
        self.message = message;
        self.chunk(json!({ "role": "assistant", "content": "" }), None)
    }

    fn open(&mut self, index: u64, block: Map<String, Value>) -> Option<Delta> {
        let kind = text_of(&block, "type");
        let mut call = None;
        let chunk = match kind {
            "tool_use" => {
                let number = self.blocks.values().filter(|block| block.call.is_some()).count();
                call = Some(number);
                let function = json!({ "name": text_of(&block, "name"), "arguments": "" });
                let id = text_of(&block, "id");
                let call = json!({ "index": number, "id": id, "type": "function", "function": function });
                self.chunk(json!({ "tool_calls": [call] }), None)
            }
            "text" => self.text("content", text_of(&block, "text")),
            "thinking" => self.text("reasoning_content", text_of(&block, "thinking")),
            _ => None,
        };
        self.blocks.insert(index, Block { block, input: String::new(), call });
        chunk
    }

    fn grow(&mut self, index: u64, delta: &Map<String, Value>) -> Option<Delta> {
        let block = self.blocks.get_mut(&index)?;
        let kind = text_of(delta, "type");
        let (name, piece) = match kind {
            "text_delta" => ("text", text_of(delta, "text")),
            "thinking_delta" => ("thinking", text_of(delta, "thinking")),
            "signature_delta" => ("signature", text_of(delta, "signature")),
            "input_json_delta" => ("input", text_of(delta, "partial_json")),
            // Citations have no place in a chat completion.
            _ => return None,
        };
        self.kept_bytes += piece.len();
        if kind == "input_json_delta" {
            block.input.push_str(piece);
            let call = block.call.filter(|_| !piece.is_empty())?;
            let call = json!({ "index": call, "function": { "arguments": piece } });
            return self.chunk(json!({ "tool_calls": [call] }), None);
        }
        match block.block.entry(name).or_insert(Value::Null) {
            Value::String(text) => text.push_str(piece),
            absent => *absent = piece.into(),
        }
        match name {
            "text" => self.text("content", piece),
            "thinking" => self.text("reasoning_content", piece),
            _ => None,
        }
    }

    fn close(&mut self, index: u64) -> Option<Delta> {
        let block = self.blocks.get(&index)?;
        match text_of(&block.block, "type") {
            "thinking" | "redacted_thinking" => {
                let blocks = json!({ "thinking_blocks": [block.block] });
                self.chunk(blocks, None)
            }
            _ => None,
        }
    }

    fn end(&mut self, delta: Map<String, Value>, usage: Option<Map<String, Value>>) -> Option<Delta> {
        self.count(usage.unwrap_or_default());
        let reason = text_of(&delta, "stop_reason").to_owned();
        self.message.extend(delta);
        if reason.is_empty() {
            return None;
        }
        self.stage = Stage::Answered;
        response::finish(&reason).and_then(|finish| self.chunk(json!({}), Some(finish)))
    }

    /// Counts are cumulative: the last of each is the one.
    fn count(&mut self, usage: Map<String, Value>) {
        self.usage.extend(usage.into_iter().filter(|(_, count)| !count.is_null()));
    }

    fn text(&self, name: &str, text: &str) -> Option<Delta> {
        if text.is_empty() {
            return None;
        }
        // Nearly every chunk is one: it needs no values of its own.
        let delta = BTreeMap::from([(name, text)]);
        Some(Delta { json: self.head.chunk(0, &delta, None), writes: true })
    }

    fn chunk(&self, delta: Value, finish: Option<&str>) -> Option<Delta> {
        let writes = finish.is_none() && delta.get("role").is_none();
        Some(Delta { json: self.head.chunk(0, &delta, finish), writes })
    }
}

impl Block {
    fn whole(&self) -> Value {
        let mut block = self.block.clone();
        if !self.input.is_empty() {
            // The longest answer may cut a call: its text is kept as it is.
            let input = serde_json::from_str(&self.input).unwrap_or_else(|_| self.input.as_str().into());
            block.insert("input".into(), input);
        }
        block.into()
    }
}

fn text_of<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn raw(usage: &Map<String, Value>) -> Box<RawValue> {
    to_raw_value(usage).expect("values always serialise")
}

#[cfg(test)]
mod tests;
