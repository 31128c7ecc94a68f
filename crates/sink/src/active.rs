//! What the active sink does: read a batch, store its manifest, insert it under its token, commit. Nothing else writes
//! to ClickHouse's usage tables.
//!
//! What a crash (kill -9, power, a lost server) leaves behind, step by step:
//!
//! - before the manifest is stored: nothing happened. The next sink reads the same records and may cut them
//!   differently.
//! - after the manifest, before the insert: the next sink reads exactly these records again and inserts them.
//! - in the insert, on either side: the table may have the batch, half of its partitions, or the table and not the
//!   rollup. The next sink sends the same batch under the same token; ClickHouse adds what is missing.
//! - after the insert, before the commit: the same, and ClickHouse adds nothing.
//! - after the commit: the records are done. They are never inserted under another token, because batches start after
//!   the committed sequence and a pending batch is never cut anew.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::{LogEntry, LogError, Tail};
use tollgate_types::EventError;
use tollgate_usage::{Row, StoreError, rows};

use crate::backoff::delay;
use crate::entombed::Entombed;
use crate::lease::{Lead, Left};
use crate::manifest::{Pending, Step};
use crate::sink::Sink;

impl Sink {
    /// Moves records until the office ends.
    pub(crate) async fn serve(&mut self, lead: &mut Lead, stop: &CancellationToken) -> Left {
        loop {
            match self.serve_incarnation(lead, stop).await {
                Err(left) => return left,
                Ok(()) => {
                    if let Err(left) = self.reopen(lead, stop).await {
                        return left;
                    }
                }
            }
        }
    }

    /// Moves records of the stream as it is now; returns when the stream was made anew.
    async fn serve_incarnation(&self, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        self.adopt_stream(lead, stop).await?;
        if lead.manifest().survey_end.is_none() {
            if !self.finish_pending(&Entombed::unsurveyed(), lead, stop).await? {
                return Ok(());
            }
            match self.log.bounds().await {
                Ok(bounds) => lead.advance(Step::Survey { end: bounds.last }, stop).await?,
                // The log is opened again, for as long as it takes.
                Err(_) => return Ok(()),
            }
        }
        let Some(entombed) = self.survey(lead, stop).await? else { return Ok(()) };
        if !self.finish_pending(&entombed, lead, stop).await? {
            return Ok(());
        }
        let mut tail = self.log.tail(lead.manifest().committed_seq + 1);
        loop {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Left::Stopped),
                read = tail.next_batch(self.config.batch_rows_max.clamp(1, READ_MAX), self.config.batch_wait) => read,
            };
            let Ok(entries) = read else { return Ok(()) };
            let readable = readable(&entries);
            if readable.is_empty() {
                self.idle(lead, stop).await?;
            }
            for batch in cut(readable, self.config.batch_rows_max) {
                self.deliver(batch, &entombed, lead, stop).await?;
            }
            report(lead, &tail);
            if readable.len() < entries.len() {
                self.wait_for_a_newer_one(&entries[readable.len()], lead, stop).await?;
                tail = self.log.tail(lead.manifest().committed_seq + 1);
            }
        }
    }

    /// Holds before a record that this version cannot read: passing over it would lose its cost.
    async fn wait_for_a_newer_one(
        &self,
        entry: &LogEntry,
        lead: &mut Lead,
        stop: &CancellationToken,
    ) -> Result<(), Left> {
        tracing::error!(
            seq = entry.seq,
            "a record of a newer version of tollgate; stop this sink and start a newer one"
        );
        self.pause(NEWER_PAUSE, lead, stop).await
    }

    async fn reopen(&mut self, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        let mut failures = 0;
        loop {
            match self.log.reopen().await {
                Ok(log) => {
                    self.log = log;
                    return Ok(());
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        failures,
                        "the commit log cannot be opened"
                    );
                    self.pause(delay(failures), lead, stop).await?;
                }
            }
        }
    }

    /// Starts over when the stream is not the one that the record counts in.
    async fn adopt_stream(&self, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        let manifest = lead.manifest();
        if manifest.stream == self.log.identity() {
            return Ok(());
        }
        tracing::error!(
            was = manifest.stream,
            is = self.log.identity(),
            committed_seq = manifest.committed_seq,
            pending = ?manifest.pending,
            "the results stream was made anew; records of the old one that are not in clickhouse are lost"
        );
        lead.advance(Step::Recreated { stream: self.log.identity().to_owned() }, stop).await
    }

    /// Reads which tombstones count in what is still to be moved; `None` if the stream is another. It is read again by
    /// each who takes over before the survey's end is passed, and never after it.
    async fn survey(&self, lead: &mut Lead, stop: &CancellationToken) -> Result<Option<Entombed>, Left> {
        let (end, committed) = (lead.manifest().survey_end.unwrap_or_default(), lead.manifest().committed_seq);
        let mut entombed = Entombed::new(end);
        let mut tail = self.log.tail(committed + 1);
        let mut done = committed >= end;
        while !done {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Left::Stopped),
                read = tail.next_batch(SURVEY_BATCH, self.config.batch_wait) => read,
            };
            let Ok(entries) = read else { return Ok(None) };
            // The last ones may have been removed.
            done = entries.is_empty() && tail.pending() == Some(0);
            for entry in &entries {
                done |= entombed.survey(entry);
            }
            if lead.age() >= self.config.lease / 3 {
                lead.touch(stop).await?;
            }
        }
        Ok(Some(entombed))
    }

    /// Finishes what a sink before us began, if it did. Says no if the stream is another.
    async fn finish_pending(
        &self,
        entombed: &Entombed,
        lead: &mut Lead,
        stop: &CancellationToken,
    ) -> Result<bool, Left> {
        match lead.manifest().pending.clone() {
            Some(pending) => self.replay(&pending, entombed, lead, stop).await,
            None => Ok(true),
        }
    }

    /// Finishes it: exactly its records, under its token. Says no if the stream is another.
    async fn replay(
        &self,
        pending: &Pending,
        entombed: &Entombed,
        lead: &mut Lead,
        stop: &CancellationToken,
    ) -> Result<bool, Left> {
        tracing::info!(
            first = pending.first,
            last = pending.last,
            token = pending.token,
            "sink repeats a pending batch"
        );
        let mut failures = 0;
        let entries = loop {
            match self.log.read_range(pending.first, pending.last, self.config.lease).await {
                Ok(entries) => break entries,
                Err(LogError::Recreated { .. }) => return Ok(false),
                Err(error @ (LogError::Missing | LogError::TimedOut { .. } | LogError::Unavailable(_))) => {
                    failures += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        failures,
                        "the pending batch cannot be read"
                    );
                    self.pause(delay(failures), lead, stop).await?;
                }
            }
        };
        lose((pending.last - pending.first + 1).saturating_sub(entries.len() as u64), pending.first);
        let batch = self.batch(&entries, entombed);
        if batch.len() as u64 != pending.count {
            tracing::error!(
                token = pending.token,
                rows_then = pending.count,
                rows_now = batch.len(),
                "the pending batch does not read as it did"
            );
        }
        self.insert(&batch, &pending.token, lead, stop).await?;
        lead.advance(Step::Commit, stop).await?;
        Ok(true)
    }

    /// Moves one batch. The order is the point; see the top of the file.
    async fn deliver(
        &self,
        entries: &[LogEntry],
        entombed: &Entombed,
        lead: &mut Lead,
        stop: &CancellationToken,
    ) -> Result<(), Left> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let (first, last) = (first.seq, last.seq);
        let needed = lead.manifest().committed_seq + 1;
        lose((last + 1 - needed).saturating_sub(entries.len() as u64), needed);
        let malformed = count_malformed(entries);
        metrics::counter!("tollgate_sink_malformed_records_total").increment(malformed);
        let batch = self.batch(entries, entombed);
        if batch.is_empty() {
            return lead.advance(Step::Skip { to: last }, stop).await;
        }
        // A kill before this line: nothing happened. After it: the batch is replayed as it is, by us or another.
        lead.advance(Step::Begin { first, last, count: batch.len() as u64 }, stop).await?;
        let token = lead.manifest().pending.as_ref().map(|p| p.token.clone()).expect("it has just begun");
        // A kill here, or anywhere inside: replayed under the same token, counted once.
        self.insert(&batch, &token, lead, stop).await?;
        // A kill here: replayed, and ClickHouse drops the repetition.
        lead.advance(Step::Commit, stop).await
        // A kill from here on: the next sink starts behind the batch.
    }

    fn batch(&self, entries: &[LogEntry], entombed: &Entombed) -> Vec<Row> {
        let stream = self.log.identity();
        let counted = entries.iter().filter_map(|entry| entombed.counted(entry, stream));
        counted.flat_map(|(stamp, event)| rows(stamp, event)).collect()
    }

    /// Inserts a batch, trying for ever: the same rows under the same token.
    async fn insert(&self, batch: &[Row], token: &str, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        let mut failures: u32 = 0;
        loop {
            // A process that slept for long may be out of office, and ClickHouse forgets tokens in the end: it asks
            // before it inserts.
            if lead.age() >= self.config.lease {
                lead.touch(stop).await?;
            }
            match self.try_insert(batch, token, lead, stop).await? {
                Ok(()) => {
                    metrics::counter!("tollgate_sink_inserts_total").increment(1);
                    metrics::histogram!("tollgate_sink_batch_rows").record(batch.len() as f64);
                    metrics::gauge!("tollgate_sink_insert_failures_in_a_row").set(0.0);
                    return Ok(());
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    report_failure(&error, token, failures);
                    self.pause(delay(failures), lead, stop).await?;
                }
            }
        }
    }

    /// One try, with signs of life on the way and a bounded wait when told to stop.
    async fn try_insert(
        &self,
        batch: &[Row],
        token: &str,
        lead: &mut Lead,
        stop: &CancellationToken,
    ) -> Result<Result<(), StoreError>, Left> {
        let mut insert = pin!(self.store.insert(batch, token));
        let mut give_up: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                outcome = &mut insert => return Ok(outcome),
                () = stop.cancelled(), if give_up.is_none() => give_up = Some(Instant::now() + self.config.shutdown_grace),
                () = sleep_until(give_up.unwrap_or_else(Instant::now)), if give_up.is_some() => return Err(Left::Stopped),
                () = sleep(self.config.lease / 3) => lead.touch(stop).await?,
            }
        }
    }

    /// Waits, with signs of life on the way.
    async fn pause(&self, wait: Duration, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                () = sleep_until(until) => {}
                () = sleep(self.config.lease / 3) => lead.touch(stop).await?,
            }
        }
        if lead.age() >= self.config.lease / 3 { lead.touch(stop).await } else { Ok(()) }
    }

    /// Nothing came: shows that we are there, and looks whether needed records were removed while we waited.
    async fn idle(&self, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        if lead.age() < self.config.lease / 3 {
            return Ok(());
        }
        let needed = lead.manifest().committed_seq + 1;
        match self.log.bounds().await {
            Ok(bounds) if bounds.first > needed => {
                lose(bounds.first - needed, needed);
                lead.advance(Step::Skip { to: bounds.first - 1 }, stop).await
            }
            // The tail will say if the stream is another.
            Ok(_) | Err(_) => lead.touch(stop).await,
        }
    }
}

/// How often a sink that is too old looks again.
const NEWER_PAUSE: Duration = Duration::from_secs(10);
/// The most entries that are read at once, whatever a batch may hold: their headers stand in memory, a few KiB each.
const READ_MAX: usize = 20_000;
/// How many entries of a survey are read at once.
const SURVEY_BATCH: usize = 1000;

/// The entries before the first that only a newer version can read.
fn readable(entries: &[LogEntry]) -> &[LogEntry] {
    let newer = |entry: &LogEntry| matches!(entry.event, Err(EventError::Newer(_)));
    let until = entries.iter().position(newer).unwrap_or(entries.len());
    &entries[..until]
}

/// Records that were removed from the log before they were in ClickHouse: only retention or an operator does that. A
/// first sink also counts those whose tombstones it reads later, and books then.
fn lose(count: u64, from: u64) {
    let lost = metrics::counter!("tollgate_sink_lost_records_total");
    lost.increment(count);
    if count > 0 {
        tracing::error!(count, from, "records were removed from the results stream before they were in clickhouse");
    }
}

fn count_malformed(entries: &[LogEntry]) -> u64 {
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
    malformed
}

/// Cuts records into batches of at most so many rows; a batch has one record at least.
fn cut(mut entries: &[LogEntry], rows_max: usize) -> Vec<&[LogEntry]> {
    let mut batches = Vec::new();
    while !entries.is_empty() {
        let mut rows = 0;
        let fits = entries.iter().take_while(|entry| {
            rows += rows_max_of(entry);
            rows <= rows_max
        });
        let (batch, rest) = entries.split_at(fits.count().max(1));
        batches.push(batch);
        entries = rest;
    }
    batches
}

/// The most rows that a record makes: one for each call, and one more.
fn rows_max_of(entry: &LogEntry) -> usize {
    let event = entry.event.as_ref().ok().or_else(|| entry.buried.as_ref().map(|buried| &buried.event));
    event.map_or(0, |event| event.attempts.len() + 1)
}

fn report(lead: &Lead, tail: &Tail) {
    metrics::gauge!("tollgate_sink_committed_sequence").set(lead.manifest().committed_seq as f64);
    if let Some(pending) = tail.pending() {
        metrics::gauge!("tollgate_sink_lag_records").set(pending as f64);
    }
}

fn report_failure(error: &StoreError, token: &str, failures: u32) {
    let fault = error.fault();
    metrics::counter!("tollgate_sink_insert_failures_total", "fault" => fault.as_str()).increment(1);
    metrics::gauge!("tollgate_sink_insert_failures_in_a_row").set(f64::from(failures));
    if fault.is_transient() {
        tracing::warn!(error = error as &dyn std::error::Error, token, failures, "insert failed; the same batch again");
    } else {
        tracing::error!(
            error = error as &dyn std::error::Error,
            token,
            failures,
            fault = fault.as_str(),
            "insert refused; the same batch again until it is mended"
        );
    }
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
            let batches = cut(&entries, rows_max);
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
