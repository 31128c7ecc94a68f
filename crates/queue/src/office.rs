//! One active, others stand by: who may do what only one may do at a time, such as settling accounts.
//!
//! There is no clock in it. The record carries a value that the one in office advances, and touches when there is
//! nothing to say. Who stands by watches the record's revision; only when it has not changed for three leases, by his
//! own monotonic clock, does he swap himself in. Whoever loses a swap is out of office at once, so that two never both
//! write; what is done beside the record must bear that the former one is late to notice.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::state::{State, StateError};

/// How many leases a record must stay unchanged before somebody else may take it.
const PATIENCE: u32 = 3;
/// How often a record is touched in a lease when there is nothing to say.
const TOUCHES: u32 = 2;
/// How often who stands by looks in a lease, and the longest pause between two looks.
const LOOKS: u32 = 4;
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// Why a time in office ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Somebody else holds the record now, or it is gone.
    Fenced,
    /// The process is to stop.
    Stopped,
}

/// An office, for one who wants it.
pub struct Office {
    state: State,
    key: String,
    name: String,
    lease: Duration,
    /// The last revision seen, and since when.
    seen: Option<(u64, Instant)>,
}

/// A time in office: the record as we last wrote it.
#[derive(Debug)]
pub struct Term {
    state: State,
    key: String,
    record: Record,
    revision: u64,
    written: Instant,
    lease: Duration,
}

/// What is stored under the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Empty when nobody is in office.
    owner: String,
    /// Counts times in office: with the owner it names one.
    term: u64,
    value: Value,
}

impl Record {
    fn bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts, numbers and JSON always serialise").into()
    }
}

/// The value of an office as whoever is in it last wrote it, for everybody else; `null` if nobody ever did.
///
/// # Errors
/// Why it could not be read; one that cannot be understood counts as unreadable.
pub async fn value(state: &State, key: &str) -> Result<Value, StateError> {
    let Some((bytes, _)) = state.get(key).await? else { return Ok(Value::Null) };
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| StateError::Unreadable(error.into()))?;
    Ok(record.value)
}

impl Office {
    /// An office kept under `key`, wanted by `name`, which must be unique: after a crash, who comes back under it takes
    /// the office back at once. Nothing is asked yet.
    pub fn new(state: State, key: impl Into<String>, name: impl Into<String>, lease: Duration) -> Office {
        Office { state, key: key.into(), name: name.into(), lease, seen: None }
    }

    /// Waits for the office, for as long as it takes; `None` when told to stop.
    ///
    /// The value is that of whoever was in office before, `null` for the first. Cancel safe: an office that was taken
    /// unseen is taken again by the same name.
    pub async fn stand_by(&mut self, stop: &CancellationToken) -> Option<Term> {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let pause = match self.look().await {
                Ok(Some(term)) => return Some(term),
                Ok(None) => {
                    failures = 0;
                    (self.lease / LOOKS).min(LOOK_EVERY_MAX).mul_f64(rand::random_range(0.5..1.0))
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(office = self.key, error = &error as &dyn std::error::Error, failures, "no answer");
                    backoff(failures)
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        None
    }

    /// Takes the office if it may be taken now.
    async fn look(&mut self) -> Result<Option<Term>, StateError> {
        let found = self.state.get(&self.key).await?;
        let asked = Instant::now();
        let Some((bytes, revision)) = found else {
            let record = Record { owner: self.name.clone(), term: 1, value: Value::Null };
            return match self.state.create(&self.key, record.bytes()).await {
                Ok(revision) => Ok(Some(self.term(record, revision, asked))),
                Err(StateError::Conflict) => Ok(None),
                Err(error) => Err(error),
            };
        };
        let Ok(there) = serde_json::from_slice::<Record>(&bytes) else {
            tracing::error!(office = self.key, revision, "the record of an office cannot be read; nobody takes it");
            return Ok(None);
        };
        if !self.may_take(&there.owner, revision, asked) {
            return Ok(None);
        }
        let record = Record { owner: self.name.clone(), term: there.term + 1, value: there.value };
        match self.state.update(&self.key, record.bytes(), revision).await {
            Ok(revision) => Ok(Some(self.term(record, revision, asked))),
            Err(StateError::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the record may be taken: nobody holds it, it is ours from before, or it has not changed for too long.
    fn may_take(&mut self, owner: &str, revision: u64, now: Instant) -> bool {
        let since = match self.seen {
            Some((seen, since)) if seen == revision => since,
            _ => now,
        };
        self.seen = Some((revision, since));
        owner.is_empty() || owner == self.name || now.duration_since(since) >= self.lease * PATIENCE
    }

    fn term(&self, record: Record, revision: u64, written: Instant) -> Term {
        tracing::info!(office = self.key, term = record.term, "in office");
        Term { state: self.state.clone(), key: self.key.clone(), record, revision, written, lease: self.lease }
    }
}

impl Term {
    /// The value as it was last written.
    pub fn value(&self) -> &Value {
        &self.record.value
    }

    /// The number of this time in office; each is larger than every earlier one.
    pub fn number(&self) -> u64 {
        self.record.term
    }

    /// When the record must be touched, if nothing else is written.
    pub fn touch_at(&self) -> Instant {
        self.written + self.lease / TOUCHES
    }

    /// Whether nobody else can be in office yet: the record was written within the patience of those who stand by.
    pub fn is_sure(&self) -> bool {
        self.written.elapsed() < self.lease * PATIENCE
    }

    /// Stores a new value, however long it takes; tries at least once even when told to stop.
    ///
    /// Cancelled, the value may or may not be stored; the next call finds out.
    ///
    /// # Errors
    /// [`Left`], after which this term is of no more use.
    pub async fn advance(&mut self, value: Value, stop: &CancellationToken) -> Result<(), Left> {
        let next = Record { value, ..self.record.clone() };
        let mut failures = 0;
        loop {
            let asked = Instant::now();
            let error = match self.state.update(&self.key, next.bytes(), self.revision).await {
                Ok(revision) => {
                    (self.record, self.revision, self.written) = (next, revision, asked);
                    return Ok(());
                }
                Err(StateError::Conflict) => match self.state.get(&self.key).await {
                    // A try of ours that got no answer was stored all the same: its revision is the one to swap.
                    Ok(found) => {
                        self.revision = self.ours(found)?;
                        continue;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            failures += 1;
            tracing::warn!(office = self.key, error = &error as &dyn std::error::Error, failures, "record not stored");
            tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                () = sleep(backoff(failures)) => {}
            }
        }
    }

    /// Stores the record unchanged: the new revision shows that somebody is there.
    ///
    /// # Errors
    /// As [`Term::advance`].
    pub async fn touch(&mut self, stop: &CancellationToken) -> Result<(), Left> {
        self.advance(self.record.value.clone(), stop).await
    }

    /// Waits, and stays in office meanwhile.
    ///
    /// # Errors
    /// As [`Term::advance`]; [`Left::Stopped`] as soon as it is told to stop.
    pub async fn wait(&mut self, length: Duration, stop: &CancellationToken) -> Result<(), Left> {
        let until = Instant::now() + length;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                () = tokio::time::sleep_until(until.min(self.touch_at())) => {}
            }
            if Instant::now() >= until {
                return Ok(());
            }
            self.touch(stop).await?;
        }
    }

    /// Leaves office, so that another takes over at once instead of after his patience. One try: it is only kindness.
    pub async fn release(self) {
        let left = Record { owner: String::new(), ..self.record };
        if let Err(error) = self.state.update(&self.key, left.bytes(), self.revision).await {
            tracing::warn!(office = self.key, error = &error as &dyn std::error::Error, "office not released");
        }
    }

    /// The revision of a record that is still ours: owner and term name one time in office, so nobody else writes it.
    fn ours(&self, found: Option<(Bytes, u64)>) -> Result<u64, Left> {
        let (bytes, revision) = found.ok_or(Left::Fenced)?;
        let there: Record = serde_json::from_slice(&bytes).map_err(|_| Left::Fenced)?;
        let ours = (there.owner.as_str(), there.term) == (self.record.owner.as_str(), self.record.term);
        if ours { Ok(revision) } else { Err(Left::Fenced) }
    }
}

/// 50–100 ms at first, up to 0.8–1.6 s.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(100 << (failures.clamp(1, 5) - 1)).mul_f64(rand::random_range(0.5..1.0))
}
