//! The events of a streamed response, as chunks of a chat completion: one choice for each thing that the model writes, under
//! its place in the output. The last event has the whole response, which is read as one that came whole.
//!
//! | event | chunk |
//! |---|---|
//! | `response.output_item.added` | `item_id` and `item_type` of the choice; of a call its id and its name |
//! | `response.output_text.delta`, `response.refusal.delta` of the first part | `content`, `refusal` |
//! | `response.function_call_arguments.delta` | the call's `arguments` |
//! | `response.output_item.done` | the choice's end |
//!
//! What else there is (thoughts, further parts, tools of the vendor's own) comes with the whole response.
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::responses;
use crate::adapter::{Read, Reported, Sent, Unusable};
use crate::json::to_bytes;
use crate::sse::Event;
use crate::stream::{Broken, Delta, Partial, Reader, Stage, parse};

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    item_id: Option<Cow<'a, str>>,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    content_index: u64,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

impl<'a> Said<'a> {
    /// What kinds of events there will be nobody knows: what is no text there is none.
    fn text(&self) -> Option<String> {
        self.delta.and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    fn item(&self) -> Option<Item<'a>> {
        self.item.and_then(|raw| serde_json::from_str(raw.get()).ok())
    }
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
}

/// Reads the events.
pub(crate) struct Events {
    id: String,
    model: String,
    created: i64,
    /// All that the model wrote until now.
    text: String,
    whole: Option<Box<RawValue>>,
}

impl Default for Events {
    fn default() -> Self {
        let created = OffsetDateTime::now_utc().unix_timestamp();
        Events { id: String::new(), model: String::new(), created, text: String::new(), whole: None }
    }
}

impl Reader for Events {
    fn push(&mut self, event: &Event) -> Result<Vec<Delta>, Broken> {
        if event.data.starts_with(b"[DONE]") {
            return Ok(Vec::new());
        }
        let said: Said<'_> = parse(event, "event of a response")?;
        let kind = said.kind.as_deref().unwrap_or_default();
        let at = said.output_index;
        let item_id = said.item_id.as_deref().unwrap_or_default();
        match kind {
            "error" => return Err(Broken::Error),
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(head) = said.response.and_then(|raw| serde_json::from_str::<Head<'_>>(raw.get()).ok()) {
                    self.id = head.id.map(Cow::into_owned).unwrap_or_default();
                    self.model = head.model.map(Cow::into_owned).unwrap_or_default();
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let whole = said.response.ok_or_else(|| Broken::Unreadable("an end without a response".to_owned()))?;
                self.whole = Some(whole.to_owned());
            }
            "response.output_item.added" => {
                let Some(item) = said.item() else { return Ok(Vec::new()) };
                return Ok(vec![self.added(at, &item)]);
            }
            "response.output_item.done" => {
                let item_id = said.item().and_then(|item| item.id).unwrap_or_default();
                return Ok(vec![self.chunk(at, (&item_id, None), json!({}), Some("stop"))]);
            }
            // Several parts of one item would run together in one text.
            "response.output_text.delta" | "response.refusal.delta" if said.content_index == 0 => {
                let field = if kind == "response.refusal.delta" { "refusal" } else { "content" };
                return Ok(self.written(said.text().as_deref(), |text| (at, item_id, json!({ field: text }))));
            }
            "response.function_call_arguments.delta" => {
                let call = |text: &str| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": text } }] });
                return Ok(self.written(said.text().as_deref(), |text| (at, item_id, call(text))));
            }
            _ if kind.ends_with(".delta") => self.text.push_str(said.text().as_deref().unwrap_or_default()),
            _ => {}
        }
        Ok(Vec::new())
    }

    fn stage(&self) -> Stage {
        if self.whole.is_some() { Stage::Over } else { Stage::Open }
    }

    fn kept_bytes(&self) -> usize {
        self.text.len() + self.whole.as_ref().map_or(0, |whole| whole.get().len())
    }

    fn partial(&self, _: &Sent<'_>) -> Partial {
        Partial { text: self.text.clone(), reported: Reported::default(), is_total: false }
    }

    fn finish(self: Box<Self>, sent: &Sent<'_>) -> Result<Read, Unusable> {
        let whole: Box<str> = self.whole.map_or_else(|| "{}".into(), Into::into);
        responses::read(whole.into_string().into_bytes(), sent)
    }
}

impl Events {
    fn added(&self, at: u64, item: &Item<'_>) -> Delta {
        let id = item.id.as_deref().unwrap_or_default();
        let kind = item.kind.as_deref().unwrap_or_default();
        let delta = match kind {
            "message" => json!({ "role": "assistant", "content": "" }),
            "function_call" => json!({ "tool_calls": [{ "index": 0, "id": item.call_id, "type": "function",
                "function": { "name": item.name, "arguments": "" } }] }),
            _ => json!({}),
        };
        self.chunk(at, (id, Some(kind)), delta, None)
    }

    fn written<'a>(&mut self, text: Option<&str>, piece: impl FnOnce(&str) -> (u64, &'a str, Value)) -> Vec<Delta> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Vec::new() };
        self.text.push_str(text);
        let (at, item_id, delta) = piece(text);
        vec![Delta { writes: true, ..self.chunk(at, (item_id, None), delta, None) }]
    }

    fn chunk(&self, at: u64, (item_id, item_type): (&str, Option<&str>), delta: Value, finish: Option<&str>) -> Delta {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "item_id": item_id,
            "choices": [{ "index": at, "delta": delta, "logprobs": null, "finish_reason": finish }],
        });
        if let Some(kind) = item_type {
            chunk["item_type"] = kind.into();
        }
        const FRAME_BYTES: usize = 256;
        let json: Bytes = to_bytes(&chunk, FRAME_BYTES);
        Delta { json, writes: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(value: &Value) -> Event {
        Event { name: value["type"].as_str().expect("a type").to_owned(), data: value.to_string().into() }
    }

    fn whole() -> Value {
        json!({ "id": "resp_1", "object": "response", "status": "completed", "model": "m", "error": null,
            "incomplete_details": null, "output": [
                { "type": "message", "id": "msg_1", "role": "assistant",
                    "content": [{ "type": "output_text", "text": "Hello", "annotations": [] }] },
                { "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{\"a\":1}" } ],
            "usage": { "input_tokens": 3, "output_tokens": 5, "total_tokens": 8 } })
    }

    fn events() -> Vec<Value> {
        let place = |kind: &str, at: u64, item: &str, delta: &str| {
            json!({ "type": format!("response.{kind}.delta"), "output_index": at, "content_index": 0, "item_id": item,
                "delta": delta })
        };
        vec![
            json!({ "type": "response.created", "response": { "id": "resp_1", "model": "m", "output": [] } }),
            json!({ "type": "response.output_item.added", "output_index": 0, "item": { "type": "message", "id": "msg_1" } }),
            json!({ "type": "response.content_part.added", "output_index": 0, "part": {} }),
            place("output_text", 0, "msg_1", "Hel"),
            place("output_text", 0, "msg_1", "lo"),
            json!({ "type": "response.output_item.done", "output_index": 0, "item": { "type": "message", "id": "msg_1" } }),
            json!({ "type": "response.output_item.added", "output_index": 1,
                "item": { "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "" } }),
            place("function_call_arguments", 1, "fc_1", "{\"a\":1}"),
            json!({ "type": "response.something_new", "x": [1] }),
            json!({ "type": "response.completed", "response": whole() }),
        ]
    }

    fn read_all(events: &[Value]) -> (Events, Vec<Value>) {
        let (mut reader, mut chunks) = (Events::default(), Vec::new());
        for said in events {
            for delta in reader.push(&event(said)).expect("an event") {
                chunks.push(serde_json::from_slice(&delta.json).expect("JSON"));
            }
        }
        (reader, chunks)
    }

    #[test]
    fn events_are_chunks_of_one_choice_for_each_item_and_the_last_has_the_whole() {
        let (reader, chunks) = read_all(&events());
        assert_eq!(reader.stage(), Stage::Over);
        let seen: Vec<_> = chunks
            .iter()
            .map(|chunk| {
                let choice = &chunk["choices"][0];
                (choice["index"].as_u64().unwrap(), chunk["item_id"].as_str().unwrap(), choice["delta"].clone())
            })
            .collect();
        let call = |function: Value| json!({ "tool_calls": [{ "index": 0, "function": function }] });
        let begun = json!({ "tool_calls": [{ "index": 0, "id": "call_1", "type": "function",
            "function": { "name": "f", "arguments": "" } }] });
        let expected = [
            (0, "msg_1", json!({ "role": "assistant", "content": "" })),
            (0, "msg_1", json!({ "content": "Hel" })),
            (0, "msg_1", json!({ "content": "lo" })),
            (0, "msg_1", json!({})),
            (1, "fc_1", begun),
            (1, "fc_1", call(json!({ "arguments": "{\"a\":1}" }))),
        ];
        assert_eq!(seen, expected);
        assert!(chunks.iter().all(|chunk| chunk["id"] == "resp_1" && chunk["object"] == "chat.completion.chunk"));
        assert_eq!((&chunks[0]["item_type"], &chunks[4]["item_type"]), (&"message".into(), &"function_call".into()));
        let body = Bytes::from_static(b"{}");
        let read = Box::new(reader).finish(&Sent { body: &body, max_tokens: None, n: 1 }).expect("an answer");
        assert_eq!(serde_json::from_str::<Value>(read.body.get()).expect("JSON"), whole());
        assert_eq!(read.finish, "tool_calls");
    }

    #[test]
    fn one_that_breaks_off_tells_what_was_written() {
        let (reader, _) = read_all(&events()[..5]);
        let body = Bytes::from_static(b"{}");
        assert_eq!(reader.stage(), Stage::Open);
        assert_eq!(reader.partial(&Sent { body: &body, max_tokens: None, n: 1 }).text, "Hello");
    }

    #[test]
    fn an_error_is_one_and_a_failed_response_says_why() {
        let error = json!({ "type": "error", "code": "server_error", "message": "away" });
        assert_eq!(Events::default().push(&event(&error)).unwrap_err(), Broken::Error);
        let mut failed = whole();
        failed["status"] = "failed".into();
        failed["error"] = json!({ "code": "rate_limit_exceeded", "message": "slow down" });
        let (reader, _) = read_all(&[json!({ "type": "response.failed", "response": failed })]);
        let body = Bytes::from_static(b"{}");
        let unusable = Box::new(reader).finish(&Sent { body: &body, max_tokens: None, n: 1 }).unwrap_err();
        assert_eq!(unusable.kind, tollgate_types::FailureKind::RateLimited);
        let plain = Event { name: "x".into(), data: Bytes::from_static(b"no JSON") };
        assert!(matches!(Events::default().push(&plain), Err(Broken::Unreadable(_))));
    }
}
