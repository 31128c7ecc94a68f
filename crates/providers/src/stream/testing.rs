//! What the tests of all readers do: let one read a text.

use bytes::Bytes;
use serde_json::Value;

use super::{Broken, Partial, Stage};
use crate::adapter::{Read, Sent, Unusable};
use crate::openai;
use crate::sse::Parser;
use crate::vendor::Vendor;

/// What a reader made of a text.
pub(crate) struct Told {
    /// The deltas as they were given.
    pub(crate) deltas: Vec<Bytes>,
    /// Which of them the model wrote something in.
    pub(crate) writes: Vec<bool>,
    /// How far the stream was in the end.
    pub(crate) stage: Stage,
    /// The answer, of a stream that came to its end.
    pub(crate) read: Option<Result<Read, Unusable>>,
    /// What there was in the end.
    pub(crate) partial: Partial,
    /// Why an event could not be taken.
    pub(crate) broken: Option<Broken>,
}

impl Told {
    /// The deltas as JSON.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        self.deltas.iter().map(|delta| serde_json::from_slice(delta).expect("a delta is JSON")).collect()
    }

    /// The answer.
    pub(crate) fn body(self) -> Value {
        let read = self.read.expect("the stream ended").expect("it is an answer");
        serde_json::from_str(read.body.get()).expect("JSON")
    }
}

/// Lets a vendor's reader read a text, as far as it goes.
pub(crate) fn read(vendor: Vendor, text: &str) -> Told {
    let mut reader = (vendor.adapter().chat.streaming.as_ref().expect("it streams").reader)();
    let mut events = Vec::new();
    assert_eq!(Parser::new(1 << 20).feed(text.as_bytes(), &mut events), Ok(()));
    let (mut deltas, mut writes, mut broken) = (Vec::new(), Vec::new(), None);
    for event in events {
        match reader.push(&event) {
            Ok(more) => more.into_iter().for_each(|delta| {
                deltas.push(delta.json);
                writes.push(delta.writes);
            }),
            Err(why) => {
                broken = Some(why);
                break;
            }
        }
    }
    with_body(|sent| {
        let (stage, partial) = (reader.stage(), reader.partial(sent));
        let read = (stage != Stage::Open).then(|| reader.finish(sent));
        Told { deltas, writes, stage, read, partial, broken }
    })
}

/// What a vendor's whole answer is read as.
pub(crate) fn read_whole(vendor: Vendor, text: &str) -> Value {
    let read = with_body(|sent| (vendor.adapter().chat.read)(text.as_bytes().to_vec(), sent)).expect("it is an answer");
    serde_json::from_str(read.body.get()).expect("JSON")
}

/// What a client of OpenAI's makes of deltas.
pub(crate) fn joined(deltas: &[Bytes]) -> Value {
    let mut reader = (openai::ADAPTER.chat.streaming.as_ref().expect("it streams").reader)();
    for delta in deltas {
        let event = crate::sse::Event { name: String::new(), data: delta.clone() };
        reader.push(&event).expect("a delta is a chunk");
    }
    let read = with_body(|sent| reader.finish(sent)).expect("deltas are an answer");
    serde_json::from_str(read.body.get()).expect("JSON")
}

fn with_body<T>(ask: impl FnOnce(&Sent<'_>) -> T) -> T {
    let body = Bytes::from(vec![b'x'; 400]);
    ask(&Sent { body: &body, max_tokens: None, n: 2 })
}
