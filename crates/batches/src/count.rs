//! Counting a stretch of the log: into the parts of each batch it concerns, then how each batch stands, then its end.
//!
//! What a crash leaves behind, step by step:
//!
//! - before the first part is swapped: nothing happened; the stretch is read again.
//! - between two parts: the first has the stretch, the second does not. The next counter folds it again; the first part
//!   knows by its own sequence that it has it.
//! - after the parts, before the progress: it is made anew of the parts, whatever it said.
//! - after the progress, before the end is announced: the stretch is read again, because its note comes last, and the end
//!   is found again. It is stored create-only, so it is announced once.
//!
//! Two counters at once (a paused one that wakes) swap against each other: who comes second reads again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_queue::ApiError;
use tollgate_queue::batches::Swapped;
use tollgate_queue::commit_log::LogEntry;
use tollgate_queue::office::{Left, Term};
use tollgate_types::batch::{self, BatchDone, BatchEnd, Stop, StopReason, VERSION};
use tollgate_types::{BatchId, BatchSpec, UnixMillis, UsageEvent};

use crate::book::{Book, Books, Of, Part, fold};
use crate::counter::Counter;

/// Before something that failed is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// What a stretch says about one batch: for each part, sequence, line's place, and event, in the order of the log.
type Parts<'a> = BTreeMap<u64, Vec<(u64, u64, &'a UsageEvent)>>;

impl Counter {
    pub(crate) async fn count(
        &self,
        stretch: &[LogEntry],
        books: &mut Books,
        term: &mut Term,
        stop: &CancellationToken,
    ) -> Result<(), Left> {
        let through = stretch.last().map_or(0, |entry| entry.seq);
        let at = stretch.last().map_or(UnixMillis::default(), |entry| entry.at);
        for (of, parts) in by_batch(stretch) {
            // Records of as many batches as there are take a while.
            if Instant::now() >= term.touch_at() {
                term.touch(stop).await?;
            }
            loop {
                match self.count_one(&of, &parts, (through, at), books).await {
                    Ok(Swapped::Stored(_)) => break,
                    Ok(Swapped::Conflict) => books.forget(&of),
                    Err(error) => {
                        books.forget(&of);
                        tracing::warn!(batch = %of.1, error = &error as &dyn std::error::Error, "not counted; again");
                        term.wait(PAUSE, stop).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn count_one(
        &self,
        of: &Of,
        parts: &Parts<'_>,
        (through, at): (u64, UnixMillis),
        books: &mut Books,
    ) -> Result<Swapped, ApiError> {
        let (team, id) = (of.0.as_str(), &of.1);
        let book = books.open(of, &self.batches).await?;
        let Some(spec) = book.spec.clone() else { return Ok(Swapped::Stored(0)) };
        for (&number, records) in parts {
            if number >= batch::parts(spec.jobs) {
                continue;
            }
            let part = book.parts.entry(number).or_insert_with(Part::empty);
            let mut lines = part.lines.clone();
            if lines.log != self.log.identity() {
                (lines.log, lines.through) = (self.log.identity().to_owned(), 0);
            }
            let fresh = records
                .iter()
                .filter(|(seq, place, _)| *seq > lines.through && number * batch::LINES_PER_PART + place < spec.jobs);
            let fresh: Vec<_> = fresh.collect();
            if fresh.is_empty() {
                continue;
            }
            fresh.iter().for_each(|(_, place, event)| fold(&mut lines, *place, event));
            lines.through = through;
            match self.batches.swap_lines((team, id, number), &lines, part.sequence).await? {
                Swapped::Stored(sequence) => (part.lines, part.sequence) = (lines, sequence),
                Swapped::Conflict => return Ok(Swapped::Conflict),
            }
            self.config.crash.point("B0");
        }
        book.at = book.at.max(at);
        let progress = book.progress(spec.jobs);
        match self.batches.swap_progress((team, id), &progress, book.progress_at).await? {
            Swapped::Stored(sequence) => book.progress_at = sequence,
            Swapped::Conflict => return Ok(Swapped::Conflict),
        }
        self.judge(team, &spec, book).await?;
        Ok(Swapped::Stored(0))
    }

    /// Stops a batch that reached its cap, and announces the end of one that is complete.
    async fn judge(&self, team: &str, spec: &BatchSpec, book: &mut Book) -> Result<(), ApiError> {
        let tally = book.tally();
        let complete = tally.ends.total() >= spec.jobs;
        if spec.max_cost_usd.is_some_and(|cap| tally.cost_nanousd >= cap.0) && !book.stopped && !complete {
            let stop = Stop { version: VERSION, reason: StopReason::MaxCost, at: book.at };
            if let Swapped::Stored(_) = self.batches.say_stop((team, &spec.id), &stop).await? {
                tracing::info!(team, batch = %spec.id, "a batch reached its cap and is stopped");
            }
            book.stopped = true;
        }
        if complete && !book.done {
            let end = match self.batches.stop(team, &spec.id).await? {
                Some(stop) if tally.ends.cancelled > 0 => end_of(stop.reason),
                _ => BatchEnd::Completed,
            };
            self.announce(team, spec, book, end).await?;
        }
        Ok(())
    }

    /// Announces the end of a batch.
    pub(crate) async fn announce(
        &self,
        team: &str,
        spec: &BatchSpec,
        book: &mut Book,
        end: BatchEnd,
    ) -> Result<(), ApiError> {
        let tally = book.tally();
        let done = BatchDone {
            version: VERSION,
            id: format!("{team}:{}:done", spec.id),
            team: team.to_owned(),
            batch: spec.id.clone(),
            end,
            file: spec.file.clone(),
            key: spec.key.clone(),
            jobs: spec.jobs,
            not_submitted: spec.jobs.saturating_sub(tally.ends.total()),
            tally,
            created_at: spec.created_at,
            ended_at: book.at,
        };
        self.batches.say_done(&done).await?;
        book.done = true;
        metrics::counter!("tollgate_batches_ended_total", "end" => end.as_str()).increment(1);
        Ok(())
    }
}

pub(crate) fn end_of(reason: StopReason) -> BatchEnd {
    match reason {
        StopReason::Cancelled => BatchEnd::Cancelled,
        StopReason::MaxCost => BatchEnd::MaxCost,
    }
}

fn by_batch(stretch: &[LogEntry]) -> BTreeMap<Of, Parts<'_>> {
    let mut all: BTreeMap<Of, Parts<'_>> = BTreeMap::new();
    for entry in stretch {
        let Ok(event) = &entry.event else { continue };
        let Some((id, line)) = BatchId::of_job(&event.job) else { continue };
        let (part, place) = batch::part_of(line);
        let records = all.entry((event.team.clone(), id)).or_default().entry(part).or_default();
        records.push((entry.seq, place, event));
    }
    all
}
