//! The three books side by side: the results, the raw table, the rollup. For `reconcile` and `demo`.

use std::time::Duration;

use tollgate_queue::commit_log::{CommitLog, Counted, LogEntry, LogError};
use tollgate_queue::state::State;
use tollgate_sink::SinkProgress;
use tollgate_types::{EventError, UnixMillis};
use tollgate_usage::reconcile::{self, Difference, Ledger};
use tollgate_usage::{HourRange, Source, Store, StoreError};

use crate::exit::{Code, Failure};

/// What the commit log says, folded.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// The totals of the records in the range.
    pub ledger: Ledger,
    /// How many records those were.
    pub records: u64,
    /// Messages in the stream that are no records; they count nowhere.
    pub strays: u64,
}

impl Folded {
    /// Takes one entry in, if it lies in the range.
    pub fn take(&mut self, entry: &LogEntry, range: HourRange) {
        let second = entry.at.0.div_euclid(1000);
        if second < range.from_seconds() || second >= range.to_seconds() {
            return;
        }
        match &entry.event {
            Ok(event) => {
                reconcile::book(&mut self.ledger, event);
                self.records += 1;
            }
            Err(_) => self.strays += 1,
        }
    }
}

/// Reads the log from its beginning to `last` and folds what lies in the range, each record once, also where a tombstone
/// took its place. Cancel safe.
///
/// # Errors
/// A failure with [`Code::Nats`] when the log cannot be read to that end.
pub async fn fold(log: &CommitLog, last: u64, range: HourRange) -> Result<Folded, Failure> {
    let mut folded = Folded::default();
    let mut whole = log.whole().await.map_err(unread)?;
    while let Some(batch) = whole.next().await.map_err(unread)? {
        for Counted { entry, .. } in batch.iter().filter(|record| record.entry.seq <= last) {
            // A record that counts and cannot be read leaves no sum to compare.
            if let Err(error @ EventError::Newer(_)) = &entry.event {
                return Err(
                    Failure::new(Code::Failed, format!("record {} cannot be counted", entry.seq)).because(error)
                );
            }
            folded.take(entry, range);
        }
    }
    Ok(folded)
}

/// A failure to read the log.
pub fn unread(error: LogError) -> Failure {
    let failure = Failure::new(Code::Nats, "the results cannot be read").because(&error);
    match error {
        LogError::Missing => failure.try_this("run `tollgate init`"),
        LogError::Recreated { .. } | LogError::TimedOut { .. } | LogError::Unavailable(_) => failure,
    }
}

/// Waits until ClickHouse has every record up to `last`. Cancel safe.
///
/// # Errors
/// A failure with [`Code::Timeout`] after `within`.
pub async fn catch_up(state: &State, log: &CommitLog, last: u64, within: Duration) -> Result<(), Failure> {
    if last == 0 {
        return Ok(());
    }
    let caught = SinkProgress::catch_up(state, log.identity(), last, within).await;
    caught.map(drop).map_err(|error| {
        let failure = Failure::new(Code::Timeout, "ClickHouse does not have everything yet").because(&error);
        failure.try_this("check that a process with the role `sink` runs and reaches ClickHouse: `tollgate doctor`")
    })
}

/// The three books and where they differ.
#[derive(Clone, Debug)]
pub struct Books {
    /// What the results say: the truth.
    pub log: Folded,
    /// What the raw table says.
    pub raw: Ledger,
    /// What the rollup says.
    pub rollup: Ledger,
    /// Every number on which they do not agree.
    pub differences: Vec<Difference>,
}

/// Asks ClickHouse for its two books and compares. Cancel safe.
///
/// # Errors
/// [`StoreError`].
pub async fn compare(log: Folded, store: &Store, range: HourRange) -> Result<Books, StoreError> {
    let raw = store.totals(range, Source::Raw).await?;
    let rollup = store.totals(range, Source::Rollup).await?;
    let differences = reconcile::reconcile(&log.ledger, &raw, &rollup);
    Ok(Books { log, raw, rollup, differences })
}

/// When the stream of that identity was made: what ClickHouse holds of before is of another.
pub fn created_at(identity: &str) -> UnixMillis {
    let nanos = i128::from_str_radix(identity, 16).unwrap_or(0);
    UnixMillis(i64::try_from(nanos / 1_000_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: i64, event: Result<(), &str>) -> LogEntry {
        let json = r#"{"version":1,"kind":"result","job":"j","team":"a","class":"batch","run":"r","worker":"w",
            "delivery":1,"status":"rejected","attempts":[],"cache":"miss","accepted_at":0,"queued_ms":0,"run_ms":0}"#;
        let event = event
            .map_err(|why| EventError::Malformed(why.to_owned()))
            .map(|()| serde_json::from_str(json).expect("an event"));
        LogEntry { seq: 1, subject: "tollgate.results.a.j".into(), at: UnixMillis(at), event, buried: None }
    }

    #[test]
    fn only_records_in_the_range_are_folded_and_strays_are_counted_apart() {
        let mut folded = Folded::default();
        let range = HourRange::covering(UnixMillis(3_600_000), UnixMillis(7_200_000));
        for (at, event) in
            [(3_599_999, Ok(())), (3_600_000, Ok(())), (7_199_999, Ok(())), (7_200_000, Ok(())), (4_000_000, Err("no"))]
        {
            folded.take(&entry(at, event), range);
        }
        assert_eq!((folded.records, folded.strays), (2, 1));
        assert_eq!(reconcile::sum(&folded.ledger).jobs, 2);
    }

    #[test]
    fn an_identity_tells_when_its_stream_was_made() {
        let nanos: i128 = 1_763_000_000_123_456_789;
        assert_eq!(created_at(&format!("{nanos:x}")), UnixMillis(1_763_000_000_123));
        assert_eq!(created_at("none"), UnixMillis(0));
    }
}
