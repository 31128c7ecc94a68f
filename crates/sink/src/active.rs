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
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::LogError;
use tollgate_usage::{Row, StoreError};

use crate::ahead::{Ahead, Batch, Next, Reading};
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
            if !self.finish_pending(Arc::new(Entombed::unsurveyed()), lead, stop).await? {
                return Ok(());
            }
            match self.log.bounds().await {
                Ok(bounds) => lead.advance(Step::Survey { end: bounds.last }, stop).await?,
                // The log is opened again, for as long as it takes.
                Err(_) => return Ok(()),
            }
        }
        let Some(entombed) = self.survey(lead, stop).await? else { return Ok(()) };
        let entombed = Arc::new(entombed);
        if !self.finish_pending(entombed.clone(), lead, stop).await? {
            return Ok(());
        }
        let ahead =
            |lead: &Lead| Ahead::of(self.log.tail(lead.manifest().committed_seq + 1), self.reading(entombed.clone()));
        let mut batches = ahead(lead);
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Left::Stopped),
                next = batches.next() => next,
            };
            match next {
                Next::Batch(batch, pending) => {
                    self.deliver(&batch, lead, stop).await?;
                    report(lead, pending);
                }
                Next::Nothing(pending) => {
                    self.idle(lead, stop).await?;
                    report(lead, pending);
                }
                Next::Newer { seq } => {
                    self.wait_for_a_newer_one(seq, lead, stop).await?;
                    batches = ahead(lead);
                }
                Next::Recreated => return Ok(()),
            }
        }
    }

    fn reading(&self, entombed: Arc<Entombed>) -> Reading {
        let stream = self.log.identity().to_owned();
        Reading { entombed, stream, rows_max: self.config.batch_rows_max, wait: self.config.batch_wait }
    }

    /// Holds before a record that this version cannot read: passing over it would lose its cost.
    async fn wait_for_a_newer_one(&self, seq: u64, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        tracing::error!(seq, "a record of a newer version of tollgate; stop this sink and start a newer one");
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
        entombed: Arc<Entombed>,
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
        entombed: Arc<Entombed>,
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
        let batch = self.reading(entombed).batch(&entries);
        if batch.rows.len() as u64 != pending.count {
            tracing::error!(
                token = pending.token,
                rows_then = pending.count,
                rows_now = batch.rows.len(),
                "the pending batch does not read as it did"
            );
        }
        self.insert(&batch.rows, &pending.token, lead, stop).await?;
        lead.advance(Step::Commit, stop).await?;
        Ok(true)
    }

    /// Moves one batch. The order is the point; see the top of the file.
    async fn deliver(&self, batch: &Batch, lead: &mut Lead, stop: &CancellationToken) -> Result<(), Left> {
        let Batch { first, last, entries, rows } = batch;
        let needed = lead.manifest().committed_seq + 1;
        lose((last + 1 - needed).saturating_sub(*entries), needed);
        if rows.is_empty() {
            return lead.advance(Step::Skip { to: *last }, stop).await;
        }
        // A kill before this line: nothing happened. After it: the batch is replayed as it is, by us or another.
        lead.advance(Step::Begin { first: *first, last: *last, count: rows.len() as u64 }, stop).await?;
        let token = lead.manifest().pending.as_ref().map(|p| p.token.clone()).expect("it has just begun");
        // A kill here, or anywhere inside: replayed under the same token, counted once.
        self.insert(rows, &token, lead, stop).await?;
        // A kill here: replayed, and ClickHouse drops the repetition.
        lead.advance(Step::Commit, stop).await
        // A kill from here on: the next sink starts behind the batch.
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
/// How many entries of a survey are read at once.
const SURVEY_BATCH: usize = 1000;

/// Records that were removed from the log before they were in ClickHouse: only retention or an operator does that. A
/// first sink also counts those whose tombstones it reads later, and books then.
fn lose(count: u64, from: u64) {
    let lost = metrics::counter!("tollgate_sink_lost_records_total");
    lost.increment(count);
    if count > 0 {
        tracing::error!(count, from, "records were removed from the results stream before they were in clickhouse");
    }
}

fn report(lead: &Lead, pending: Option<u64>) {
    metrics::gauge!("tollgate_sink_committed_sequence").set(lead.manifest().committed_seq as f64);
    if let Some(pending) = pending {
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
