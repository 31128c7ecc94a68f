//! The ground truth: what was received, what became of it, what it would have cost.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::faults::{Fault, WrongUsage};
use crate::jsonl::Jsonl;
use crate::stats::Stats;
use crate::usage::Usage;

/// One request from its arrival to its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// What arrived.
    pub received: Received,
    /// What became of it; `None` while it is under way.
    pub ended: Option<Ended>,
}

/// A request as it arrived, written down before anything is done with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Received {
    /// The number of the request on this server, from 1, in order of the log.
    pub ordinal: u64,
    /// A fresh id: the `x-request-id` of the response and, after `chatcmpl-`, the `id` of its body.
    pub id: Box<str>,
    /// The arrival of the headers, in milliseconds of Unix time.
    pub arrived_unix_ms: u64,
    /// The same, in nanoseconds since the server started, by a clock that never goes back.
    pub arrived_ns: u64,
    /// The HTTP method.
    pub method: Box<str>,
    /// The path, without the query.
    pub path: Box<str>,
    /// The `traceparent` header.
    pub traceparent: Option<Box<str>>,
    /// The `x-tollgate-job` header.
    pub job: Option<Box<str>>,
    /// The `x-tollgate-attempt` header.
    pub attempt: Option<Box<str>>,
    /// The `x-tollgate-run` header.
    pub run: Option<Box<str>>,
    /// The first 12 hex digits of the SHA-256 of the bearer key; `None` when no key was sent.
    pub key_hash: Option<Box<str>>,
    /// The model asked for; `None` when the body could not be understood.
    pub model: Option<Box<str>>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// How many bytes of the body arrived.
    pub body_bytes: u64,
    /// The SHA-256 of the body in hex; `None` when it did not arrive whole.
    pub body_sha256: Option<Box<str>>,
    /// How often this content had been asked before, from 0; `None` when the request is refused as it stands.
    pub content_attempt: Option<u32>,
    /// The fault chosen; `None` when the request is refused as it stands.
    pub fault: Option<Fault>,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ended {
    /// The ordinal of the request.
    pub ordinal: u64,
    /// The end, in nanoseconds since the server started.
    pub ended_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The status sent; `None` when no headers were.
    pub status: Option<u16>,
    /// How many bytes of the response body were handed to the connection.
    pub bytes_sent: u64,
    /// The usage that the response carried, true or not.
    pub usage_reported: Reported,
    /// What was generated up to the end; all zero when the model never ran.
    pub usage_true: Usage,
    /// Whether a real provider would have billed it: at least one token was generated.
    pub billable: bool,
}

/// How a request ended, as this side saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole response was handed to the connection. Whether the client read it, no server knows.
    Completed,
    /// The client closed the connection first.
    ClientLeft,
    /// A fault reset the connection.
    Reset,
    /// A fault ended the response too early, without a reset.
    Cut,
    /// The server was shut down first.
    ServerStopped,
}

/// The usage that a response carried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reported {
    /// None.
    Nothing,
    /// These counts.
    Counts(Usage),
    /// False ones.
    Wrong(WrongUsage, Usage),
}

impl Reported {
    /// The `usage` field of the response.
    pub(crate) fn wire(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Counts(usage) => serde_json::to_value(usage).expect("plain counts always serialise"),
            Self::Wrong(WrongUsage::Negative, usage) => {
                counts(json!(-1), json!(-(usage.completion_tokens as i64)), json!(-2))
            }
            Self::Wrong(WrongUsage::Absurd, usage) => {
                let absurd = 1_000_000_000_000_000 + usage.completion_tokens;
                counts(json!(absurd), json!(absurd), json!(2 * absurd))
            }
            Self::Wrong(WrongUsage::String, usage) => counts(
                json!(usage.prompt_tokens.to_string()),
                json!(usage.completion_tokens.to_string()),
                json!(usage.total_tokens().to_string()),
            ),
        }
    }
}

fn counts(prompt: Value, completion: Value, total: Value) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total})
}

impl Serialize for Reported {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_none(),
            Self::Counts(usage) => usage.serialize(serializer),
            Self::Wrong(..) => self.wire().serialize(serializer),
        }
    }
}

/// One line of the file.
#[derive(Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Line<'a> {
    Received(&'a Received),
    Ended(&'a Ended),
    /// The in-memory log, the counts and the contents' ordinals were forgotten here.
    Reset,
}

/// The calls in memory and, if asked for, in a file.
///
/// The file is written outside the lock of the memory; so its lines may be slightly out of the order of ordinals, but a
/// call's `received` is always before its `ended`.
pub(crate) struct CallLog {
    memory: Mutex<Memory>,
    calls_max: usize,
    file: Option<Jsonl>,
}

struct Memory {
    calls: VecDeque<Call>,
    /// The ordinal of the first call in `calls`.
    first: u64,
    stats: Stats,
}

impl CallLog {
    pub(crate) fn new(calls_max: usize, file: Option<Jsonl>) -> Self {
        let memory = Memory { calls: VecDeque::new(), first: 1, stats: Stats::default() };
        Self { memory: Mutex::new(memory), calls_max: calls_max.max(1), file }
    }

    /// Writes down an arrival and returns its ordinal.
    pub(crate) fn received(&self, mut received: Received) -> u64 {
        let mut memory = self.lock();
        let ordinal = memory.first + memory.calls.len() as u64;
        received.ordinal = ordinal;
        memory.stats.count_received(&received);
        let line = self.file.as_ref().map(|_| received.clone());
        memory.calls.push_back(Call { received, ended: None });
        if memory.calls.len() > self.calls_max {
            memory.calls.pop_front();
            memory.first += 1;
            memory.stats.forgotten += 1;
        }
        drop(memory);
        if let Some(received) = line {
            self.write(&Line::Received(&received));
        }
        ordinal
    }

    /// Writes down an end.
    pub(crate) fn ended(&self, ended: Ended) {
        self.write(&Line::Ended(&ended));
        let mut memory = self.lock();
        memory.stats.count_ended(&ended);
        let index = ended.ordinal.checked_sub(memory.first);
        if let Some(call) = index.and_then(|index| memory.calls.get_mut(index as usize)) {
            call.ended = Some(ended);
        }
    }

    /// Waits while the file is too far behind. Cancel safe.
    pub(crate) async fn keep_pace(&self) {
        if let Some(file) = &self.file {
            file.keep_pace().await;
        }
    }

    /// At most `limit` calls with ordinals above `since`, in order.
    pub(crate) fn since(&self, since: u64, limit: usize) -> Vec<Call> {
        let memory = self.lock();
        let skip = since.saturating_add(1).saturating_sub(memory.first).min(memory.calls.len() as u64);
        memory.calls.range(skip as usize..).take(limit).cloned().collect()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.lock().stats.clone();
        stats.log_write_errors = self.file.as_ref().map_or(0, Jsonl::errors);
        stats
    }

    /// Forgets the calls and counts. Ordinals go on, and calls under way still end in the file.
    pub(crate) fn reset(&self) {
        self.write(&Line::Reset);
        let mut memory = self.lock();
        memory.first += memory.calls.len() as u64;
        memory.calls = VecDeque::new();
        memory.stats = Stats::starting_with(memory.stats.in_flight);
    }

    /// Writes what is left to the file. Nothing may be logged afterwards.
    pub(crate) async fn close(&self) {
        if let Some(file) = &self.file {
            file.close().await;
        }
    }

    fn write(&self, line: &Line<'_>) {
        if let Some(file) = &self.file {
            file.append(&serde_json::to_vec(line).expect("a record of plain fields always serialises"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no holder of the lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Received {
        Received {
            ordinal: 0,
            id: "id".into(),
            arrived_unix_ms: 0,
            arrived_ns: 0,
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            traceparent: None,
            job: None,
            attempt: None,
            run: None,
            key_hash: None,
            model: Some("m".into()),
            stream: false,
            body_bytes: 0,
            body_sha256: None,
            content_attempt: Some(0),
            fault: Some(Fault::Ok),
        }
    }

    fn ended(ordinal: u64) -> Ended {
        Ended {
            ordinal,
            ended_ns: 1,
            outcome: Outcome::Completed,
            status: Some(200),
            bytes_sent: 0,
            usage_reported: Reported::Nothing,
            usage_true: Usage::default(),
            billable: false,
        }
    }

    #[test]
    fn the_oldest_calls_are_forgotten_and_counted() {
        let log = CallLog::new(3, None);
        let ordinals: Vec<u64> = (0..5).map(|_| log.received(received())).collect();
        assert_eq!(ordinals, [1, 2, 3, 4, 5]);
        ordinals.iter().for_each(|ordinal| log.ended(ended(*ordinal)));
        let kept = |since| log.since(since, 10).iter().map(|call| call.received.ordinal).collect::<Vec<_>>();
        assert_eq!(kept(0), [3, 4, 5]);
        assert_eq!(kept(3), [4, 5]);
        assert_eq!(kept(5), Vec::<u64>::new());
        assert_eq!(kept(u64::MAX), Vec::<u64>::new());
        let stats = log.stats();
        assert_eq!((stats.received, stats.ended, stats.forgotten, stats.in_flight), (5, 5, 2, 0));
        assert!(log.since(0, 10).iter().all(|call| call.ended.is_some()));
    }

    #[test]
    fn a_call_under_way_at_a_reset_ends_without_harm() {
        let log = CallLog::new(10, None);
        let ordinal = log.received(received());
        log.reset();
        assert_eq!(log.stats().in_flight, 1);
        log.ended(ended(ordinal));
        assert_eq!(log.received(received()), 2);
        let calls = log.since(0, 10);
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].ended, None);
        assert_eq!(log.stats().in_flight, 1);
    }
}
