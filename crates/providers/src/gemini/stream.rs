//! Generated content in frames, put together again.
//!
//! Each frame has the shape of a whole answer and holds the next parts of each candidate. There is no last frame: a
//! stream is at its end when every candidate has a reason to end, or the prompt was blocked.
//!
//! Source: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::response;
use crate::adapter::{Read, Reported, Sent, Unusable};
use crate::sse::Event;
use crate::stream::{Broken, Delta, Head, Partial, Reader, Stage, parse};

/// The address for a stream: another method, and events where the default is one long list.
pub(super) fn endpoint(whole: &Url) -> Url {
    let mut url = whole.clone();
    if let Some(model) = whole.path().strip_suffix(":generateContent") {
        url.set_path(&format!("{model}:streamGenerateContent"));
    }
    url.query_pairs_mut().append_pair("alt", "sse");
    url
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    error: Option<IgnoredAny>,
    candidates: Option<Vec<Piece>>,
    prompt_feedback: Option<Value>,
    response_id: Option<String>,
    model_version: Option<String>,
    usage_metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    index: Option<u64>,
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    parts: Option<Vec<Value>>,
}

/// One candidate, as far as it came.
#[derive(Default)]
struct Candidate {
    parts: Vec<Value>,
    calls: usize,
    finish_reason: Option<String>,
}

/// Puts frames together.
pub(super) struct Frames {
    head: Head,
    candidates: BTreeMap<u64, Candidate>,
    prompt_feedback: Option<Value>,
    usage: Map<String, Value>,
    usage_is_total: bool,
    kept_bytes: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Frames {
            head: Head::new(),
            candidates: BTreeMap::new(),
            prompt_feedback: None,
            usage: Map::new(),
            usage_is_total: false,
            kept_bytes: 0,
        }
    }
}

impl Reader for Frames {
    fn push(&mut self, event: &Event) -> Result<Vec<Delta>, Broken> {
        // An error can come as a list of one; nothing else comes as a list.
        if event.data.first() == Some(&b'[') {
            return Err(Broken::Error);
        }
        let frame: Frame = parse(event, "generated content")?;
        if frame.error.is_some() {
            return Err(Broken::Error);
        }
        self.kept_bytes += event.data.len();
        self.head.id = frame.response_id.unwrap_or(std::mem::take(&mut self.head.id));
        self.head.model = frame.model_version.unwrap_or(std::mem::take(&mut self.head.model));
        self.prompt_feedback = frame.prompt_feedback.or(self.prompt_feedback.take());
        let pieces = frame.candidates.unwrap_or_default();
        let deltas = pieces.into_iter().filter_map(|piece| self.add(piece)).collect();
        if let Some(usage) = frame.usage_metadata {
            self.usage = usage;
            self.usage_is_total = self.stage() != Stage::Open;
        }
        Ok(deltas)
    }

    fn stage(&self) -> Stage {
        let blocked = self.prompt_feedback.as_ref().is_some_and(|feedback| feedback["blockReason"].is_string());
        let ended = |candidate: &Candidate| candidate.finish_reason.is_some();
        match self.candidates.is_empty() {
            true if blocked => Stage::Answered,
            false if self.candidates.values().all(ended) => Stage::Answered,
            true | false => Stage::Open,
        }
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn partial(&self, sent: &Sent<'_>) -> Partial {
        let mut text = String::new();
        for candidate in self.candidates.values() {
            let written = response::written(Some(&json!({ "parts": candidate.parts })), "");
            text.push_str(&written.thoughts);
            text.push_str(&written.text);
            for call in &written.tool_calls {
                text.push_str(&call["function"].to_string());
            }
        }
        let reported = match self.usage.is_empty() {
            true => Reported::default(),
            false => {
                let usage = to_raw_value(&self.usage).expect("values always serialise");
                response::reported(&usage, sent, text.len())
            }
        };
        Partial { text, reported, is_total: self.usage_is_total }
    }

    fn finish(self: Box<Self>, sent: &Sent<'_>) -> Result<Read, Unusable> {
        let whole = |(index, candidate): (u64, Candidate)| {
            let content = json!({ "role": "model", "parts": candidate.parts });
            json!({ "index": index, "content": content, "finishReason": candidate.finish_reason })
        };
        let mut generated = json!({ "candidates": self.candidates.into_iter().map(whole).collect::<Vec<Value>>() });
        if !self.head.id.is_empty() {
            generated["responseId"] = self.head.id.into();
        }
        if !self.head.model.is_empty() {
            generated["modelVersion"] = self.head.model.into();
        }
        if let Some(feedback) = self.prompt_feedback {
            generated["promptFeedback"] = feedback;
        }
        if !self.usage.is_empty() {
            generated["usageMetadata"] = self.usage.into();
        }
        response::read(serde_json::to_vec(&generated).expect("values always serialise"), sent)
    }
}

impl Frames {
    /// Joins a piece to its candidate.
    fn add(&mut self, piece: Piece) -> Option<Delta> {
        let index = piece.index.unwrap_or(0);
        let is_first = !self.candidates.contains_key(&index);
        let candidate = self.candidates.entry(index).or_default();
        let mut delta = Map::new();
        for part in piece.content.and_then(|content| content.parts).unwrap_or_default() {
            candidate.add(part, &self.head.id, &mut delta);
        }
        let writes = !delta.is_empty();
        let ends = piece.finish_reason.is_some();
        candidate.finish_reason = piece.finish_reason.or(candidate.finish_reason.take());
        let reason = candidate.finish_reason.as_deref().filter(|_| ends);
        let finish = response::finish(reason, candidate.calls > 0);
        if is_first {
            delta.insert("role".into(), "assistant".into());
        }
        let tells = !delta.is_empty() || finish.is_some();
        tells.then(|| Delta { json: self.head.chunk(index, &delta, finish), writes })
    }
}

impl Candidate {
    /// Joins a part, and tells of it in the delta. Text that goes on is one part, as it would be in a whole answer: calls
    /// without an id are named by their place.
    fn add(&mut self, part: Value, response_id: &str, delta: &mut Map<String, Value>) {
        let is_text = |part: &Value| part["text"].is_string() && part.get("functionCall").is_none();
        if let Some(mut call) = response::tool_call(&part, response_id, self.parts.len()) {
            call["index"] = self.calls.into();
            self.calls += 1;
            if let Value::Array(calls) = delta.entry("tool_calls").or_insert_with(|| json!([])) {
                calls.push(call);
            }
        }
        let is_thought = part["thought"] == true;
        if let Some(text) = part["text"].as_str().filter(|text| !text.is_empty()) {
            let name = if is_thought { "reasoning_content" } else { "content" };
            if let Value::String(known) = delta.entry(name).or_insert_with(|| "".into()) {
                known.push_str(text);
            }
        }
        let last = self.parts.last_mut().filter(|last| is_text(last) && is_text(&part));
        match last.filter(|last| (last["thought"] == true) == is_thought) {
            Some(last) => {
                if let (Value::String(known), Some(text)) = (&mut last["text"], part["text"].as_str()) {
                    known.push_str(text);
                }
            }
            None => self.parts.push(part),
        }
    }
}

#[cfg(test)]
mod tests;
