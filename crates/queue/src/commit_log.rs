//! The results stream as what it is: the commit log of everything that was decided and paid.
//!
//! [`CommitLog`] names the log's incarnation and its bounds, [`Tail`] reads it in order from a sequence, and
//! [`CommitLog::read_range`] reads a stretch again. Nothing here acknowledges, deletes or creates anything: whoever
//! reads keeps his own place. Whoever adds up from the beginning reads by [`Whole`], which counts each record once, also
//! where a tombstone took its place.

mod ranges;
mod tail;
mod whole;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use tokio::time::Instant;
use tollgate_types::event::EventKind;
use tollgate_types::subjects::RESULTS_STREAM;
use tollgate_types::{EventError, Tombstone, UnixMillis, UsageEvent, headers, subjects};

pub use ranges::Ranges;
pub use tail::Tail;
pub use whole::{Counted, Whole};

/// How many entries are asked for at once when a range is read again.
const RANGE_BATCH_MAX: usize = 500;

/// Says why the commit log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The stream does not exist.
    #[error("the stream {RESULTS_STREAM} does not exist")]
    Missing,
    /// The stream was deleted and made anew: sequences of before mean nothing any more.
    #[error("the stream {RESULTS_STREAM} was made anew: it was {was} and is {is}")]
    Recreated {
        /// The identity that the reader was opened on.
        was: String,
        /// The identity that the server has now.
        is: String,
    },
    /// The range was not read to its end in the time given.
    #[error("the range {first}..={last} was not read in time")]
    TimedOut {
        /// The first sequence asked for.
        first: u64,
        /// The last sequence asked for.
        last: u64,
    },
    /// The server did not answer, or refused.
    #[error("the commit log is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl LogError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            LogError::Missing | LogError::Recreated { .. } => false,
            LogError::TimedOut { .. } | LogError::Unavailable(_) => true,
        }
    }
}

/// The lowest and highest sequence of the log; `first` is one more than `last` when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The sequence of the oldest record that is still there.
    pub first: u64,
    /// The sequence of the newest record that was ever stored.
    pub last: u64,
}

/// One message of the log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Its sequence in the stream.
    pub seq: u64,
    /// The subject it was published on.
    pub subject: String,
    /// When the server stored it, by the server's clock.
    pub at: UnixMillis,
    /// The usage event, or why the message does not count. A tombstone does not: whoever follows the log counted the
    /// record that it stands for when he came by it.
    pub event: Result<UsageEvent, EventError>,
    /// What a tombstone stands for.
    pub buried: Option<Box<Buried>>,
}

/// What a tombstone stands for.
#[derive(Clone, Debug)]
pub struct Buried {
    /// Which record it was.
    pub tombstone: Tombstone,
    /// What it said.
    pub event: UsageEvent,
}

impl LogEntry {
    /// A message of the log as its subject and its headers tell of it.
    fn new(seq: u64, subject: String, at: UnixMillis, headers: Option<&HeaderMap>) -> LogEntry {
        let event = judge(&subject, headers);
        let Some(header) = headers.and_then(|h| h.get(headers::TOMBSTONE)) else {
            return LogEntry { seq, subject, at, event, buried: None };
        };
        match (event, Tombstone::from_header(header.as_str())) {
            (Ok(event), Ok(tombstone)) if tombstone.sequence < seq => {
                let buried = Some(Box::new(Buried { tombstone, event }));
                LogEntry { seq, subject, at, event: Err(EventError::Tombstone(tombstone.sequence)), buried }
            }
            (Ok(_), Ok(_)) => {
                let event = Err(EventError::Malformed("it stands for a record that came after it".to_owned()));
                LogEntry { seq, subject, at, event, buried: None }
            }
            (Err(error), _) | (Ok(_), Err(error)) => LogEntry { seq, subject, at, event: Err(error), buried: None },
        }
    }
}

/// The results stream, as one incarnation of it was found.
#[derive(Clone, Debug)]
pub struct CommitLog {
    context: Context,
    stream: Stream<Info>,
    identity: String,
}

impl CommitLog {
    /// Opens the log; the stream must exist, it is never created here.
    ///
    /// Cancel safe: nothing is changed.
    ///
    /// # Errors
    /// [`LogError::Missing`] without the stream, [`LogError::Unavailable`] when the server does not answer.
    pub async fn open(context: &Context) -> Result<Self, LogError> {
        let stream = context.get_stream(RESULTS_STREAM).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(reply) if reply.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                LogError::Missing
            }
            GetStreamErrorKind::JetStream(_)
            | GetStreamErrorKind::Request
            | GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::InvalidStreamName => LogError::Unavailable(error.into()),
        })?;
        let identity = identity(stream.cached_info());
        Ok(CommitLog { context: context.clone(), stream, identity })
    }

    /// Opens the log again, whatever incarnation is there now.
    ///
    /// # Errors
    /// As [`CommitLog::open`].
    pub async fn reopen(&self) -> Result<Self, LogError> {
        CommitLog::open(&self.context).await
    }

    /// The name of this incarnation of the stream: its creation time in nanoseconds, hexadecimal.
    ///
    /// A stream that is deleted and made anew starts again at sequence 1; with the identity in front, a sequence
    /// names one record for ever.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Asks the server for the log's bounds. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Recreated`] when another incarnation answers, [`LogError::Unavailable`] when none does.
    pub async fn bounds(&self) -> Result<Bounds, LogError> {
        let info = self.stream.get_info().await.map_err(|error| LogError::Unavailable(error.into()))?;
        self.same_incarnation(&info)?;
        Ok(Bounds { first: info.state.first_sequence, last: info.state.last_sequence })
    }

    /// A reader of the whole log that counts each record once; see [`Whole`].
    ///
    /// # Errors
    /// As [`CommitLog::bounds`].
    pub async fn whole(&self) -> Result<Whole, LogError> {
        Ok(Whole::new(self.clone(), self.bounds().await?))
    }

    /// A reader whose first entry is the first one that exists at or after `sequence`.
    pub fn tail(&self, sequence: u64) -> Tail {
        Tail::new(self.clone(), sequence)
    }

    /// Reads every entry that still exists from `first` to `last`, both included, in order.
    ///
    /// Cancel safe: it leaves nothing but a consumer that the server removes by itself.
    ///
    /// # Errors
    /// [`LogError::TimedOut`] after `within`, so that a partial range is never taken for a whole one;
    /// [`LogError::Recreated`].
    pub async fn read_range(&self, first: u64, last: u64, within: Duration) -> Result<Vec<LogEntry>, LogError> {
        let until = Instant::now() + within;
        let mut tail = self.tail(first);
        let mut entries = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LogError::TimedOut { first, last });
            }
            let batch = tail.next_batch(RANGE_BATCH_MAX, left.min(Duration::from_millis(250))).await?;
            let passed = batch.last().is_some_and(|entry| entry.seq >= last);
            entries.extend(batch.into_iter().filter(|entry| entry.seq <= last));
            // The end of the range may have been removed: then the end of the log is the end of the range.
            if passed || tail.pending() == Some(0) {
                return Ok(entries);
            }
        }
    }

    fn same_incarnation(&self, info: &Info) -> Result<(), LogError> {
        let is = identity(info);
        if is == self.identity { Ok(()) } else { Err(LogError::Recreated { was: self.identity.clone(), is }) }
    }
}

fn identity(info: &Info) -> String {
    format!("{:x}", info.created.unix_timestamp_nanos())
}

/// Judges what a message of the log says: its usage event, if it carries one that belongs on its subject.
///
/// The stream also takes what somebody's stray acknowledgement or test leaves on its subjects; only the broker's
/// header makes a record, and only for the team and job of the subject, which the server enforces.
fn judge(subject: &str, headers: Option<&HeaderMap>) -> Result<UsageEvent, EventError> {
    let malformed = |reason: &str| EventError::Malformed(reason.to_owned());
    let header = headers.and_then(|h| h.get(headers::USAGE)).ok_or_else(|| malformed("it has no usage header"))?;
    let event = UsageEvent::from_header(header.as_str())?;
    let belongs = match event.kind {
        EventKind::Result => subject == subjects::result(&event.team, &event.job),
        EventKind::Extra | EventKind::Started => {
            subject.strip_prefix(&subjects::extra(&event.team, &event.job, "")).is_some_and(|run| !run.is_empty())
        }
    };
    if belongs { Ok(event) } else { Err(malformed("its usage header belongs on another subject")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"version":1,"kind":"KIND","job":"j-1","team":"search","class":"batch","run":"r","worker":"w",
        "delivery":1,"status":"failed","attempts":[],"cache":"miss","accepted_at":0,"queued_ms":0,"run_ms":0}"#;

    fn check(subject: &str, header: Option<&str>, expected: Result<(), &str>) {
        let mut map = HeaderMap::new();
        if let Some(header) = header {
            map.insert(headers::USAGE, header.replace('\n', " ").as_str());
        }
        let judged = judge(subject, Some(&map));
        match expected {
            Ok(()) => assert!(judged.is_ok(), "{subject}: {judged:?}"),
            Err(part) => assert!(judged.as_ref().is_err_and(|e| e.to_string().contains(part)), "{subject}: {judged:?}"),
        }
    }

    #[test]
    fn only_a_usage_event_on_its_own_subject_is_a_record() {
        let of = |kind: &str| EVENT.replace("KIND", kind);
        check("tollgate.results.search.j-1", Some(&of("result")), Ok(()));
        check("tollgate.extra.search.j-1.r", Some(&of("extra")), Ok(()));
        check("tollgate.extra.search.j-1.r", Some(&of("started")), Ok(()));
        check("tollgate.results.search.j-1", None, Err("no usage header"));
        check("tollgate.results.search.j-1", Some("{\"stream\":\"X\",\"seq\":1}"), Err("invalid type"));
        check("tollgate.results.search.j-1", Some("not json"), Err("expected"));
        check("tollgate.results.other.j-1", Some(&of("result")), Err("another subject"));
        check("tollgate.results.search.j-2", Some(&of("result")), Err("another subject"));
        check("tollgate.results.search.j-1", Some(&of("extra")), Err("another subject"));
        check("tollgate.extra.search.j-1.", Some(&of("extra")), Err("another subject"));
        let newer = of("result").replace("\"version\":1", "\"version\":2");
        check("tollgate.results.search.j-1", Some(&newer), Err("version 2"));
    }
}
