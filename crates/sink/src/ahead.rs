//! Reading ahead: the next batch is read and made while the one before it is inserted.
//!
//! Nothing is stored here. What was read ahead and not delivered is read again by whoever is in office then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tollgate_queue::commit_log::{LogEntry, Tail};
use tollgate_types::EventError;
use tollgate_usage::{Row, rows};

use crate::entombed::Entombed;

/// The most entries that are read at once, whatever a batch may hold: their headers stand in memory, a few KiB each.
const READ_MAX: usize = 20_000;

/// Records as the rows that they add.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The first sequence.
    pub(crate) first: u64,
    /// The last one.
    pub(crate) last: u64,
    /// How many entries there were from the first to the last.
    pub(crate) entries: u64,
    pub(crate) rows: Vec<Row>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A batch, and how many records the server still had behind what was read with it, if it said so.
    Batch(Batch, Option<u64>),
    /// Nothing came for a while; and how many records the server still had, when it last said.
    Nothing(Option<u64>),
    /// A record that only a newer version can read; nothing comes after it.
    Newer {
        /// Its sequence.
        seq: u64,
    },
    /// The log is another one; nothing comes after that.
    Recreated,
}

/// How records are read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Which of a record and its tombstone counts.
    pub(crate) entombed: Arc<Entombed>,
    /// The identity of the log.
    pub(crate) stream: String,
    /// The most rows of a batch; one record may have more.
    pub(crate) rows_max: usize,
    /// How long to wait for a batch to fill.
    pub(crate) wait: Duration,
}

/// A reader that is one batch ahead. Dropped, it stops.
pub(crate) struct Ahead {
    incoming: mpsc::Receiver<Next>,
    /// Ends with this.
    _reader: JoinSet<()>,
}

impl Ahead {
    /// Begins to read.
    pub(crate) fn of(tail: Tail, reading: Reading) -> Ahead {
        // One waits here while another is inserted: so many are in memory, no more.
        let (sender, incoming) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        reader.spawn(read(tail, reading, sender));
        Ahead { incoming, _reader: reader }
    }

    /// What comes next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Next {
        // The reader ends with its last word, or with its process.
        self.incoming.recv().await.unwrap_or(Next::Recreated)
    }
}

async fn read(mut tail: Tail, reading: Reading, to: mpsc::Sender<Next>) {
    // Room first: what is not read yet is not in memory.
    while let Ok(room) = to.reserve().await {
        let Ok(mut entries) = tail.next_batch(reading.rows_max.clamp(1, READ_MAX), reading.wait).await else {
            return room.send(Next::Recreated);
        };
        let newer = entries.iter().position(|entry| matches!(entry.event, Err(EventError::Newer(_))));
        let newer = newer.map(|at| entries.drain(at..).next().expect("it is there").seq);
        let last_word = newer.map(|seq| Next::Newer { seq });
        let pending = tail.pending();
        if entries.is_empty() {
            let ends = last_word.is_some();
            room.send(last_word.unwrap_or(Next::Nothing(pending)));
            match ends {
                true => return,
                false => continue,
            }
        }
        report_malformed(&entries);
        let made = reading.clone();
        // A second of work at worst, in a process that may have jobs to run too.
        let made = spawn_blocking(move || cut(&entries, made.rows_max).map(|cut| made.batch(cut)).collect::<Vec<_>>());
        // It fails only with its process.
        let Ok(batches) = made.await else { return };
        let mut batches = batches.into_iter();
        if let Some(batch) = batches.next() {
            room.send(Next::Batch(batch, pending));
        }
        for next in batches.map(|batch| Next::Batch(batch, pending)).chain(last_word) {
            let ends = matches!(next, Next::Newer { .. });
            if to.send(next).await.is_err() || ends {
                return;
            }
        }
    }
}

impl Reading {
    /// The rows of some entries, in their order.
    pub(crate) fn batch(&self, entries: &[LogEntry]) -> Batch {
        let counted = entries.iter().filter_map(|entry| self.entombed.counted(entry, &self.stream));
        Batch {
            first: entries.first().map_or(0, |entry| entry.seq),
            last: entries.last().map_or(0, |entry| entry.seq),
            entries: entries.len() as u64,
            rows: counted.flat_map(|(stamp, event)| rows(stamp, event)).collect(),
        }
    }
}

fn report_malformed(entries: &[LogEntry]) {
    let mut malformed = 0;
    for entry in entries.iter().filter(|entry| entry.buried.is_none()) {
        if let Err(reason) = &entry.event {
            malformed += 1;
            tracing::warn!(
                seq = entry.seq,
                subject = entry.subject,
                %reason,
                "a message of the results stream is no record"
            );
        }
    }
    metrics::counter!("tollgate_sink_malformed_records_total").increment(malformed);
}

/// Cuts records into batches of at most so many rows; a batch has one record at least.
fn cut(mut entries: &[LogEntry], rows_max: usize) -> impl Iterator<Item = &[LogEntry]> {
    std::iter::from_fn(move || {
        if entries.is_empty() {
            return None;
        }
        let mut rows = 0;
        let fits = entries.iter().take_while(|entry| {
            rows += rows_max_of(entry);
            rows <= rows_max
        });
        let (batch, rest) = entries.split_at(fits.count().max(1));
        entries = rest;
        Some(batch)
    })
}

/// The most rows that a record makes: one for each call, and one more.
fn rows_max_of(entry: &LogEntry) -> usize {
    let event = entry.event.as_ref().ok().or_else(|| entry.buried.as_ref().map(|buried| &buried.event));
    event.map_or(0, |event| event.attempts.len() + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_types::{UnixMillis, UsageEvent};

    use super::*;

    fn entry(seq: u64, calls: usize) -> LogEntry {
        let call = json!({
            "provider": "p", "model": "m", "outcome": "ok", "http_status": 200, "started_at": 0, "latency_ms": 1,
            "first_byte_ms": 0, "tokens": {"input": 7, "output": 3}, "usage_source": "provider", "cost_nanousd": 1,
            "price_version": "1",
        });
        let event: UsageEvent = serde_json::from_value(json!({
            "version": 1, "kind": "result", "job": "j", "team": "search", "class": "batch", "run": "r", "worker": "w",
            "delivery": 1, "status": "succeeded", "cache": "miss", "accepted_at": 0, "queued_ms": 0, "run_ms": 0,
            "attempts": vec![call; calls],
        }))
        .expect("an event");
        LogEntry { seq, subject: String::new(), at: UnixMillis(0), event: Ok(event), buried: None }
    }

    #[test]
    fn batches_are_as_large_as_their_rows_allow_and_lose_no_record() {
        let check = |calls: &[usize], rows_max: usize, expected: &[usize]| {
            let entries: Vec<LogEntry> = calls.iter().zip(1..).map(|(calls, seq)| entry(seq, *calls)).collect();
            let batches: Vec<_> = cut(&entries, rows_max).collect();
            assert_eq!(batches.iter().map(|batch| batch.len()).collect::<Vec<_>>(), expected, "{calls:?}");
            let all: Vec<u64> = batches.iter().flat_map(|batch| batch.iter().map(|entry| entry.seq)).collect();
            assert_eq!(all, (1..=calls.len() as u64).collect::<Vec<_>>());
        };
        check(&[], 4, &[]);
        check(&[1, 1, 1, 1, 1], 4, &[2, 2, 1]);
        check(&[1, 8, 1], 4, &[1, 1, 1]);
        check(&[0, 0, 0, 0, 1], 4, &[4, 1]);
    }
}
