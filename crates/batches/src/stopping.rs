//! Batches that are to be stopped: what waits of them is cancelled, wherever it waits, until nothing is left.
//!
//! The workers do it, a stretch of the backlog at a time, because they know who runs what; here is who asks them, and goes
//! on whoever is killed. A submitter may still be at work: only a round through the backlog that began after it left, and
//! found nothing, is the last one. Everything that it could have found has its end in the log by then, so that the batch has
//! ended once that is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tollgate_queue::ApiError;
use tollgate_queue::service::{Stretch, Swept, WholeBatch, cancel_batch};
use tollgate_types::batch::{Stop, Submitted};

use crate::book::{Books, Of};
use crate::count::end_of;
use crate::counter::Counter;

/// How often new ones are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A submitter that has not said how far it is for so long is gone: it says so every few seconds.
const SUBMITTER_SILENT: Duration = Duration::from_secs(15);

/// Batches that are cancelled at once: each reads its team's backlog.
const ASKED_MAX: usize = 4;

/// Those that are known.
#[derive(Default)]
pub(crate) struct Stopping {
    /// Where records of new ones begin.
    from: u64,
    looked: Option<Instant>,
    open: BTreeMap<Of, Round>,
    /// Questions that are not answered yet: counting goes on meanwhile.
    asked: JoinSet<(Of, Result<Swept, ApiError>)>,
}

/// A round through the backlog.
struct Round {
    stop: Stop,
    from: Option<Stretch>,
    cancelled: u64,
    /// Whether it began after the submitter had left.
    alone: bool,
    /// What the submitter last said, and since when.
    submitted: (Option<Submitted>, Instant),
    /// Whether a question is not answered yet.
    waits: bool,
    /// Once this sequence of the log is counted, the batch has ended.
    ends_at: Option<u64>,
}

impl Counter {
    /// Goes on with every batch that is to be stopped, one question each.
    pub(crate) async fn look_after_stops(
        &self,
        stopping: &mut Stopping,
        books: &mut Books,
        through: u64,
    ) -> Result<(), ApiError> {
        if stopping.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.find_stops(stopping, books).await?;
            stopping.looked = Some(Instant::now());
        }
        while let Some(answered) = stopping.asked.try_join_next() {
            if let Ok((of, answer)) = answered
                && let Some(round) = stopping.open.get_mut(&of)
            {
                round.waits = false;
                self.hear(round, answer).await?;
            }
        }
        let mut ended = Vec::new();
        for (of, round) in stopping.open.iter_mut().filter(|(_, round)| !round.waits) {
            if self.go_on(of, round, books, through).await? {
                ended.push(of.clone());
            } else if round.ends_at.is_none() && stopping.asked.len() < ASKED_MAX {
                round.waits = true;
                let (connection, of) = (self.connection.clone(), of.clone());
                let asked = WholeBatch { batch: of.1.clone(), from: round.from };
                stopping.asked.spawn(async move {
                    let answer = cancel_batch(&connection, &of.0, &asked).await;
                    (of, answer)
                });
            }
        }
        stopping.open.retain(|of, _| !ended.contains(of));
        Ok(())
    }

    async fn find_stops(&self, stopping: &mut Stopping, books: &mut Books) -> Result<(), ApiError> {
        while let Some(said) = self.batches.next(None, "stop", stopping.from).await? {
            let of = (said.team.to_string(), said.batch);
            let stop = self.batches.stop(&of.0, &of.1).await?;
            let book = books.open(&of, &self.batches).await?;
            if let (Some(stop), Some(_), false) = (stop, &book.spec, book.done) {
                book.stopped = true;
                let submitted = (self.batches.submitted(&of.0, &of.1).await?, Instant::now());
                let round =
                    Round { stop, from: None, cancelled: 0, alone: false, submitted, waits: false, ends_at: None };
                stopping.open.entry(of).or_insert(round);
            } else if book.spec.is_none() {
                // Whoever submits may still make it, and ends it by itself.
                books.forget(&of);
            }
            stopping.from = said.sequence + 1;
        }
        Ok(())
    }

    /// Whether the batch has ended.
    async fn go_on(&self, of: &Of, round: &mut Round, books: &mut Books, through: u64) -> Result<bool, ApiError> {
        let book = books.open(of, &self.batches).await?;
        let Some(spec) = book.spec.clone() else { return Ok(true) };
        if book.done {
            return Ok(true);
        }
        if let Some(ends_at) = round.ends_at {
            if through < ends_at {
                return Ok(false);
            }
            self.announce(&of.0, &spec, book, end_of(round.stop.reason)).await?;
            return Ok(true);
        }
        if round.from.is_none() {
            round.alone = self.submitter_left(of, round).await?;
        }
        Ok(false)
    }

    /// What came of a stretch.
    async fn hear(&self, round: &mut Round, answer: Result<Swept, ApiError>) -> Result<(), ApiError> {
        let Swept { cancelled, next } = match answer {
            Ok(swept) => swept,
            // Without a worker nothing runs either; the same stretch is asked for again.
            Err(ApiError::Absent { .. } | ApiError::Unknown) => return Ok(()),
            Err(error) => return Err(error),
        };
        round.cancelled += cancelled;
        round.from = next;
        if next.is_none() {
            let last = round.alone && round.cancelled == 0;
            round.cancelled = 0;
            round.ends_at = match last {
                // Without an answer there is another round.
                true => self.log.bounds().await.ok().map(|bounds| bounds.last),
                false => None,
            };
        }
        Ok(())
    }

    async fn submitter_left(&self, of: &Of, round: &mut Round) -> Result<bool, ApiError> {
        let now = self.batches.submitted(&of.0, &of.1).await?;
        if now != round.submitted.0 {
            round.submitted = (now, Instant::now());
        }
        let (last, since) = &round.submitted;
        Ok(last.as_ref().is_some_and(|last| last.ended) || since.elapsed() >= SUBMITTER_SILENT)
    }
}
