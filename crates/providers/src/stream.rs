//! The seam between vendors for streamed answers: a reader takes events, gives deltas in one shape, and puts the whole
//! answer together.
//!
//! A reader makes of the events what the vendor would have sent as a whole, and has that read by the same code: so a
//! streamed answer ends as the same completion as a whole one, and is judged alike.

#[cfg(test)]
pub(crate) mod testing;

use bytes::Bytes;
use reqwest::Url;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tollgate_types::job::Request;

use crate::adapter::{Read, Reported, Sent, To, Unsendable, Unusable};
use crate::json;
use crate::sse::Event;

/// How a vendor streams.
#[derive(Clone, Copy)]
pub(crate) struct Streaming {
    /// The address to ask for a stream, from the one for a whole answer.
    pub(crate) endpoint: fn(&Url) -> Url,
    /// The body to send, as the adapter's, but for a stream.
    pub(crate) body: fn(&Bytes, &Request, &To<'_>) -> Result<Bytes, Unsendable>,
    /// A reader at the start of a stream.
    pub(crate) reader: fn() -> Box<dyn Reader>,
}

/// Reads one stream of a vendor: pure, without a clock or a connection.
pub(crate) trait Reader: Send {
    /// Takes the next event. After an error no other event may follow.
    fn push(&mut self, event: &Event) -> Result<Vec<Delta>, Broken>;
    /// How far the stream is.
    fn stage(&self) -> Stage;
    /// How many bytes of the answer are kept, roughly.
    fn kept_bytes(&self) -> usize;
    /// What there is of a stream that broke off.
    fn partial(&self, sent: &Sent<'_>) -> Partial;
    /// The whole answer, judged as one that came whole. Only for a stream that is no longer open.
    fn finish(self: Box<Self>, sent: &Sent<'_>) -> Result<Read, Unusable>;
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The model writes.
    Open,
    /// The model is done; what was used may follow.
    Answered,
    /// The vendor's last event came.
    Over,
}

/// A piece of the answer for who reads along.
#[derive(Debug)]
pub(crate) struct Delta {
    /// One `chat.completion.chunk`, on one line.
    pub(crate) json: Bytes,
    /// Whether the model wrote something in it: not only a role or an end.
    pub(crate) writes: bool,
}

/// Why an event ends a stream before its time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is an error of the provider's.
    Error,
    /// It is nothing that the vendor sends: what it is, without a word of it.
    Unreadable(String),
}

/// What there is of an answer that did not end.
#[derive(Debug)]
pub(crate) struct Partial {
    /// All that the model wrote.
    pub(crate) text: String,
    /// What the provider said was used until then.
    pub(crate) reported: Reported,
    /// Whether it said so after the model was done: then nothing is missing in it.
    pub(crate) is_total: bool,
}

/// Reads an event's data as JSON of the kind that is `wanted`.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(event: &'a Event, wanted: &str) -> Result<T, Broken> {
    // Bytes that are known to be text need not be looked at again, text by text.
    let read = match std::str::from_utf8(&event.data) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(&event.data),
    };
    read.map_err(|error| {
        let what = if error.is_data() { format!("JSON that is no {wanted}") } else { "no JSON".to_owned() };
        Broken::Unreadable(format!("an event of {} bytes that holds {what}", event.data.len()))
    })
}

/// What is the same in all chunks of a stream whose vendor has other events.
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) model: String,
    created: i64,
}

#[derive(Serialize)]
struct Chunk<'a, D> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [ChunkChoice<'a, D>; 1],
}

#[derive(Serialize)]
struct ChunkChoice<'a, D> {
    index: u64,
    delta: D,
    logprobs: (),
    finish_reason: Option<&'a str>,
}

impl Head {
    /// A stream that starts now.
    pub(crate) fn new() -> Self {
        Head { id: String::new(), model: String::new(), created: OffsetDateTime::now_utc().unix_timestamp() }
    }

    /// One piece of a choice, as a chunk.
    pub(crate) fn chunk(&self, index: u64, delta: impl Serialize, finish_reason: Option<&str>) -> Bytes {
        let choices = [ChunkChoice { index, delta, logprobs: (), finish_reason }];
        let (id, model) = (self.id.as_str(), self.model.as_str());
        let chunk = Chunk { id, object: "chat.completion.chunk", created: self.created, model, choices };
        // A token's chunk: the names around it, and what the head and the token have.
        const FRAME_BYTES: usize = 192;
        json::to_bytes(&chunk, FRAME_BYTES + self.id.len() + self.model.len())
    }
}

/// A whole completion as the one chunk of its stream.
pub(crate) fn chunk_of_whole(body: &RawValue) -> Bytes {
    let mut whole: Map<String, Value> = serde_json::from_str(body.get()).unwrap_or_default();
    whole.insert("object".into(), "chat.completion.chunk".into());
    for choice in objects_of(whole.get_mut("choices")) {
        let mut delta = choice.remove("message").unwrap_or_default();
        for (index, call) in objects_of(delta.get_mut("tool_calls")).enumerate() {
            call.insert("index".into(), index.into());
        }
        choice.insert("delta".into(), delta);
    }
    serde_json::to_vec(&whole).expect("values always serialise").into()
}

/// The most pieces that an answer is cut into, and the least that one has, in bytes.
const PIECES_MAX: usize = 64;
const PIECE_BYTES_MIN: usize = 32;

/// A whole completion as the chunks of a stream: what each choice is, its text in pieces, and how it ended.
pub fn chunks_of_answer(body: &RawValue) -> Vec<Bytes> {
    let mut whole: Map<String, Value> = serde_json::from_slice(&chunk_of_whole(body)).unwrap_or_default();
    let usage = whole.remove("usage").filter(|usage| !usage.is_null());
    let choices = whole.remove("choices");
    let Some(Value::Array(choices)) = choices else { return vec![json::to_bytes(&whole, 0)] };
    let chunk = |choices: Vec<Value>| {
        let mut chunk = whole.clone();
        chunk.insert("choices".into(), choices.into());
        chunk
    };
    let mut chunks = Vec::new();
    for choice in &choices {
        let part = |delta: Value, finish: &Value| {
            let index = &choice["index"];
            chunk(vec![serde_json::json!({ "index": index, "delta": delta, "finish_reason": finish })])
        };
        let mut head = choice["delta"].clone();
        let text = head.get_mut("content").map(Value::take);
        chunks.push(part(head, &Value::Null));
        for piece in pieces(text.as_ref().and_then(Value::as_str).unwrap_or_default()) {
            chunks.push(part(serde_json::json!({ "content": piece }), &Value::Null));
        }
        chunks.push(part(serde_json::json!({}), &choice["finish_reason"]));
    }
    if let Some(usage) = usage {
        let mut last = chunk(Vec::new());
        last.insert("usage".into(), usage);
        chunks.push(last);
    }
    chunks.iter().map(|chunk| json::to_bytes(chunk, 0)).collect()
}

/// A text in pieces of about the same length.
fn pieces(mut text: &str) -> Vec<&str> {
    let bytes = text.len().div_ceil(PIECES_MAX).max(PIECE_BYTES_MIN);
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let mut ends = bytes.min(text.len())..=text.len();
        let end = ends.find(|&end| text.is_char_boundary(end)).expect("a text ends at a border");
        let (piece, rest) = text.split_at(end);
        pieces.push(piece);
        text = rest;
    }
    pieces
}

fn objects_of(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests;
