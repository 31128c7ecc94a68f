//! The whole log, each record once, also where a tombstone took its place.
//!
//! A tombstone is stored before the record that it stands for is removed, so at every moment a reader finds one of the
//! two, or both. It counts where the reader did not meet the record itself: that it knows by what it read. A record that
//! is removed while the log is read, just before the reader comes to it, has its tombstone behind the end that the
//! reader set out for; so where records were missing, it reads on to the end of now.

use std::time::Duration;

use tollgate_types::UnixMillis;

use super::ranges::Ranges;
use super::{Bounds, CommitLog, LogEntry, LogError, Tail};

/// Reads the log from its first record to its last.
#[derive(Debug)]
pub struct Whole {
    log: CommitLog,
    tail: Tail,
    first: u64,
    until: u64,
    seen: u64,
    /// What was met, itself or by its tombstone.
    met: Ranges,
    /// Whether records were missing since the end was last looked for.
    missing: bool,
    extensions: u32,
    oldest: Option<UnixMillis>,
}

/// A record that counts, or a message that is none.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The record. Read from its tombstone, it has the sequence and the time that it had itself.
    pub entry: LogEntry,
    /// Whether it was read from its tombstone: then records after it may have come before it.
    pub late: bool,
}

/// Records read at once.
const BATCH: usize = 2_000;
/// How long the server may take for a batch.
const WAIT: Duration = Duration::from_secs(2);
/// Batches without anything, in a row, before the log counts as out of reach.
const QUIET_MAX: u32 = 15;
/// How often the reader goes on to a new end. What is read then is what came in the meantime, a small part of what was
/// read before; that records of it are removed at once, time and again, is nothing that happens.
const EXTENSIONS_MAX: u32 = 8;

impl Whole {
    pub(super) fn new(log: CommitLog, bounds: Bounds) -> Whole {
        let first = bounds.first.max(1);
        let tail = log.tail(first);
        let (until, seen) = (bounds.last, first - 1);
        let (met, missing, extensions, oldest) = (Ranges::default(), false, 0, None);
        Whole { log, tail, first, until, seen, met, missing, extensions, oldest }
    }

    /// The next records that count, and messages that are no records; `None` at the end, which is at or after the end
    /// of when it began. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::TimedOut`] when the server brings nothing, [`LogError::Recreated`].
    pub async fn next(&mut self) -> Result<Option<Vec<Counted>>, LogError> {
        let mut quiet = 0;
        while self.seen < self.until || self.extend().await? {
            let batch = self.tail.next_batch(BATCH, WAIT).await?;
            // The last records may have been removed: then the end of the log is the end.
            if batch.is_empty() && self.tail.pending() == Some(0) {
                (self.seen, self.missing) = (self.until, true);
                continue;
            }
            if batch.is_empty() {
                quiet += 1;
                if quiet >= QUIET_MAX {
                    return Err(LogError::TimedOut { first: self.seen + 1, last: self.until });
                }
                continue;
            }
            return Ok(Some(batch.into_iter().filter_map(|entry| self.count(entry)).collect()));
        }
        Ok(None)
    }

    /// Whether the first record that was ever stored is there, so that nothing was removed by the stream's own limits.
    pub fn begins_with_the_first(&self) -> bool {
        self.first <= 1
    }

    /// Since when the log is complete, known once it is read; `None` if it is from its beginning.
    ///
    /// What the stream's own limits remove are its oldest messages; so whatever the oldest message that is there is,
    /// every record that was stored after it is there, or its tombstone is.
    pub fn complete_since(&self) -> Option<UnixMillis> {
        self.oldest.filter(|_| !self.met.covers(1, self.first - 1))
    }

    /// Looks for a later end, if something was missing.
    async fn extend(&mut self) -> Result<bool, LogError> {
        if !self.missing || self.extensions >= EXTENSIONS_MAX {
            return Ok(false);
        }
        // Before the question: what is missing from now on is behind the new end.
        self.missing = false;
        self.extensions += 1;
        self.until = self.log.bounds().await?.last;
        Ok(self.seen < self.until)
    }

    fn count(&mut self, entry: LogEntry) -> Option<Counted> {
        self.missing |= entry.seq > self.seen + 1;
        self.seen = entry.seq;
        self.oldest = self.oldest.or(Some(entry.at));
        self.met.insert(entry.seq);
        let Some(buried) = &entry.buried else { return Some(Counted { entry, late: false }) };
        let (seq, at) = (buried.tombstone.sequence, buried.tombstone.at);
        if !self.met.insert(seq) {
            return None;
        }
        let (subject, event) = (entry.subject, Ok(buried.event.clone()));
        Some(Counted { entry: LogEntry { seq, subject, at, event, buried: None }, late: true })
    }
}
