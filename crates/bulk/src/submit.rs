//! Submitting: many acknowledgements under way, in bounded memory, and a note of how far it is.
//!
//! Killed anywhere: lines behind the note may be accepted already. Submitted again they have the same ids, so the server
//! takes them for duplicates within two minutes, and the broker answers them from their results after that.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tollgate_client::SubmitError;
use tollgate_types::batch::{BatchSpec, LineSet, Submitted, VERSION, part_of};
use tollgate_types::headers::KEY;
use tollgate_types::{JobId, UnixMillis};

use crate::bulk::{Bulk, shape};
use crate::records::RecordError;
use crate::source::{Source, Unreadable, Whole};

/// Lines whose acknowledgement is awaited: enough to hide the way to the server and back, few enough not to fill the
/// server's own queue (10,000 messages a stream).
const UNDER_WAY: usize = 512;
/// Their bytes, at most.
const UNDER_WAY_BYTES: usize = 16 << 20;
/// How often it is noted how far it is, and asked whether to stop.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// How long a server may be away, or a queue full, before the submission gives up; it can go on later.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// JetStream's codes for a stream that is full: by messages, by bytes, of resources, of storage.
const FULL: [u64; 4] = [10_077, 10_047, 10_023, 10_028];

/// How far a submission is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// All lines up to this one are accepted.
    pub through: u64,
    /// How many this call submitted.
    pub submitted: u64,
    /// How many of them the server had already.
    pub duplicates: u64,
    /// Whether it was told to stop before its end.
    pub stopped: bool,
}

/// Why a submission ended before its end. It can go on from where it is.
#[derive(Debug, thiserror::Error)]
pub enum SubmitFailure {
    /// The file cannot be read any more.
    #[error("the file cannot be read to its end")]
    Unreadable(#[source] Unreadable),
    /// The file is not the one that was checked.
    #[error("the file changed while it was submitted; cancel the batch, and submit the file as it is now")]
    Changed,
    /// The server does not take it.
    #[error("line {line} was not accepted")]
    NotAccepted {
        /// Which request.
        line: u64,
        /// Why not.
        #[source]
        source: SubmitError,
    },
    /// The note could not be written.
    #[error("it could not be noted how far it is")]
    Records(#[from] RecordError),
}

/// Which requests of a file are jobs of a batch.
#[derive(Clone, Debug, Default)]
pub enum Chosen {
    /// All of them.
    #[default]
    All,
    /// These, by part; they are numbered anew, from 1.
    These(Vec<LineSet>),
}

impl Chosen {
    /// Whether a request is chosen.
    pub fn has(&self, number: u64) -> bool {
        let Chosen::These(sets) = self else { return true };
        let (part, at) = part_of(number);
        usize::try_from(part).ok().and_then(|part| sets.get(part)).is_some_and(|set| set.contains(at))
    }

    /// How many there are of `all`.
    pub fn count(&self, all: u64) -> u64 {
        match self {
            Chosen::All => all,
            Chosen::These(sets) => sets.iter().map(LineSet::count).sum(),
        }
    }
}

impl Bulk {
    /// Submits what a batch has behind line `from`, reading its file from the beginning. `now` is the wall clock, and
    /// `look` is told how far it is, a few times a second.
    ///
    /// # Errors
    /// [`SubmitFailure`]; what was accepted by then stays so.
    pub async fn submit<R: AsyncRead + Unpin>(
        &self,
        spec: &BatchSpec,
        (mut source, chosen, from): (Source<R>, &Chosen, u64),
        now: impl Fn() -> UnixMillis,
        mut look: impl FnMut(Submission),
    ) -> Result<Submission, SubmitFailure> {
        let shape = shape(spec);
        let mut under_way = UnderWay::default();
        let mut so_far = Submission { through: from, ..Submission::default() };
        let (mut number, mut noted, mut looked) = (0, Instant::now(), Instant::now());
        let whole = loop {
            let Some(raw) = source.next().await.map_err(SubmitFailure::Unreadable)? else {
                break Some(source.whole().await.map_err(SubmitFailure::Unreadable)?);
            };
            if !chosen.has(raw.number) {
                continue;
            }
            number += 1;
            if number <= from {
                continue;
            }
            // It was right when it was checked.
            let made = raw.text.and_then(|text| shape.make(&text).ok()).ok_or(SubmitFailure::Changed)?;
            under_way.push(self, spec, number, made.line);
            while under_way.is_full() {
                so_far.note(under_way.next().await?);
            }
            if looked.elapsed() >= Duration::from_millis(200) {
                look(so_far);
                looked = Instant::now();
            }
            if noted.elapsed() >= NOTE_EVERY {
                self.note(&spec.id, &so_far.record(false, now())).await?;
                if self.is_stopped(&spec.id).await? {
                    so_far.stopped = true;
                    break None;
                }
                noted = Instant::now();
            }
        };
        while !under_way.is_empty() {
            so_far.note(under_way.next().await?);
        }
        look(so_far);
        self.note(&spec.id, &so_far.record(true, now())).await?;
        let expected = Whole { sha256: spec.sha256.clone(), bytes: spec.bytes };
        match whole {
            Some(whole) if whole != expected => Err(SubmitFailure::Changed),
            Some(_) | None => Ok(so_far),
        }
    }

    /// What each job says beside its line.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(key) = self.key() {
            headers.insert(KEY, key.as_str());
        }
        headers
    }

    /// Submits one line for as long as it takes, within [`PATIENCE`]; whether the server had it already.
    async fn submit_line(&self, spec: &BatchSpec, line: Bytes, id: JobId) -> Result<bool, SubmitError> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            let own = self.headers();
            let error = match self.producer().submit_with(spec.class, line.clone(), Some(id.clone()), own).await {
                Ok(receipt) => return Ok(receipt.duplicate),
                Err(error) => error,
            };
            let passes = match &error {
                SubmitError::NoResponders(_) | SubmitError::Unknown(_) => true,
                SubmitError::Refused { code, .. } => FULL.contains(code),
                SubmitError::TooLarge { .. } => false,
            };
            if !passes || begun.elapsed() >= PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// A line that was accepted.
struct Accepted {
    line: u64,
    bytes: usize,
    duplicate: bool,
}

impl Submission {
    fn note(&mut self, accepted: Accepted) {
        self.through = accepted.line;
        self.submitted += 1;
        self.duplicates += u64::from(accepted.duplicate);
    }

    fn record(&self, ended: bool, at: UnixMillis) -> Submitted {
        Submitted { version: VERSION, through: self.through, ended, at }
    }
}

type Pending<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Accepted, SubmitFailure>> + Send + 'a>>;

/// Lines whose acknowledgement is awaited, in their order.
#[derive(Default)]
struct UnderWay<'a> {
    pending: FuturesOrdered<Pending<'a>>,
    bytes: usize,
}

impl<'a> UnderWay<'a> {
    fn push(&mut self, bulk: &'a Bulk, spec: &'a BatchSpec, line: u64, text: Bytes) {
        let bytes = text.len();
        self.bytes += bytes;
        self.pending.push_back(Box::pin(async move {
            match bulk.submit_line(spec, text, spec.id.job(line)).await {
                Ok(duplicate) => Ok(Accepted { line, bytes, duplicate }),
                Err(source) => Err(SubmitFailure::NotAccepted { line, source }),
            }
        }));
    }

    fn is_full(&self) -> bool {
        self.pending.len() >= UNDER_WAY || self.bytes >= UNDER_WAY_BYTES
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    async fn next(&mut self) -> Result<Accepted, SubmitFailure> {
        let accepted = self.pending.next().await.expect("something is under way")?;
        self.bytes -= accepted.bytes;
        Ok(accepted)
    }
}
