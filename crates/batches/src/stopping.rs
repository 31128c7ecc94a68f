//! Batches that are to be stopped: what waits of them is cancelled, wherever it waits, until nothing is left.
//!
//! The workers do it, a stretch of the backlog at a time, because they know who runs what; here is who asks them, and goes
//! on whoever is killed. A submitter may still be at work: only a round through the backlog that began after it left, and
//! found nothing, is the last one. Everything that it could have found has its end in the log by then, so that the batch has
//! ended once that is counted.
//!
//! A team may write as many records as it likes, about batches of any size that do not exist. So each team has its own
//! place in them, a few batches at a time, and its turn; who writes many waits for his own.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_queue::ApiError;
use tollgate_queue::office::{Left, Term};
use tollgate_queue::service::{Stretch, Swept, WholeBatch, cancel_batch};
use tollgate_types::batch::{Stop, Submitted};
use tollgate_types::{BatchId, Team};

use crate::book::{Books, Of, is_counted};
use crate::count::end_of;
use crate::counter::Counter;

/// How often new ones are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A submitter that has not said how far it is for so long is gone: it says so every few seconds.
const SUBMITTER_SILENT: Duration = Duration::from_secs(15);
/// Batches that are cancelled at once: each reads its team's backlog.
const ASKED_MAX: usize = 4;
/// A team's batches that are looked after at once; they are asked for one after the other.
const OPEN_MAX: usize = 16;
/// Records of one team that are read before it is the next one's turn.
const READ_MAX: usize = 64;

/// Those that are known.
#[derive(Default)]
pub(crate) struct Stopping {
    looked: Option<Instant>,
    teams: BTreeMap<String, OfTeam>,
    /// The team that was asked for last.
    turn: String,
    /// Questions that are not answered yet: counting goes on meanwhile.
    asked: JoinSet<(Of, Result<Swept, ApiError>)>,
}

/// One team's.
#[derive(Default)]
struct OfTeam {
    /// Where records begin that were not read yet.
    from: u64,
    open: BTreeMap<BatchId, Round>,
    /// Whether a question is not answered yet.
    waits: bool,
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
    /// When it was last asked for.
    asked: Option<Instant>,
    /// Once this sequence of the log is counted, the batch has ended.
    ends_at: Option<u64>,
}

impl Counter {
    /// Goes on with the batches that are to be stopped. Trouble with the server is logged; what was left undone comes with the
    /// next time.
    ///
    /// # Errors
    /// [`Left`]: the office is lost.
    pub(crate) async fn look_after_stops(
        &self,
        stopping: &mut Stopping,
        books: &mut Books,
        through: u64,
        (term, stop): (&mut Term, &CancellationToken),
    ) -> Result<(), Left> {
        if stopping.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            match self.find_stops(stopping, (term, stop)).await? {
                // With more to read, it goes on as soon as what is new in the log is counted.
                Ok(whole) => stopping.looked = whole.then(Instant::now),
                Err(error) => later(&error),
            }
        }
        while let Some(answered) = stopping.asked.try_join_next() {
            if let Ok(((team, batch), answer)) = answered
                && let Some(of) = stopping.teams.get_mut(&team)
            {
                of.waits = false;
                if let Some(round) = of.open.get_mut(&batch) {
                    self.hear(round, answer).await;
                }
            }
        }
        self.announce_ended(stopping, books, through, (term, stop)).await?;
        if let Err(error) = self.ask_for_some(stopping).await {
            later(&error);
        }
        Ok(())
    }

    /// Reads on in each team's records; says whether all are read that need be.
    async fn find_stops(
        &self,
        stopping: &mut Stopping,
        (term, stop): (&mut Term, &CancellationToken),
    ) -> Result<Result<bool, ApiError>, Left> {
        let teams: Vec<String> = self.directory.teams().into_iter().map(|(team, _)| team).collect();
        // One question tells that there is nothing new, however many teams there are.
        let last = match self.batches.last_of("stop").await {
            Ok(last) => last.unwrap_or(0),
            Err(error) => return Ok(Err(error)),
        };
        stopping.teams.retain(|team, _| teams.contains(team));
        let mut whole = true;
        for team in teams {
            let Ok(name) = team.parse::<Team>() else { continue };
            let of = stopping.teams.entry(team).or_default();
            let mut read = 0;
            while of.from <= last && of.open.len() < OPEN_MAX {
                if read == READ_MAX {
                    whole = false;
                    break;
                }
                read += 1;
                if Instant::now() >= term.touch_at() {
                    term.touch(stop).await?;
                }
                if let Err(error) = self.read_stop(&name, of, last).await {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(whole))
    }

    /// Reads a team's next record, and what is said of its batch until that has ended: of most it has.
    async fn read_stop(&self, team: &Team, of: &mut OfTeam, last: u64) -> Result<(), ApiError> {
        let Some(said) = self.batches.next(Some(team), "stop", of.from).await? else {
            of.from = last + 1;
            return Ok(());
        };
        let (name, batch) = (team.as_str(), said.batch);
        if self.batches.done(name, &batch).await?.is_none()
            && let Some(stop) = self.batches.stop(name, &batch).await?
            && self.batches.spec(name, &batch).await?.is_some_and(|spec| is_counted(&spec, &batch))
        {
            let submitted = (self.batches.submitted(name, &batch).await?, Instant::now());
            let round = Round { stop, from: None, cancelled: 0, alone: false, submitted, asked: None, ends_at: None };
            of.open.entry(batch).or_insert(round);
        }
        of.from = said.sequence + 1;
        Ok(())
    }

    /// Announces the end of those of which nothing is left.
    async fn announce_ended(
        &self,
        stopping: &mut Stopping,
        books: &mut Books,
        through: u64,
        (term, stop): (&mut Term, &CancellationToken),
    ) -> Result<(), Left> {
        for (team, of) in &mut stopping.teams {
            let ended = of.open.iter().filter(|(_, round)| round.ends_at.is_some_and(|at| at <= through));
            let ended: Vec<_> = ended.map(|(batch, round)| (batch.clone(), round.stop.reason)).collect();
            for (batch, reason) in ended {
                if Instant::now() >= term.touch_at() {
                    term.touch(stop).await?;
                }
                let announced = async {
                    let book = books.open(&(team.clone(), batch.clone()), &self.batches).await?;
                    match book.spec.clone() {
                        Some(spec) if !book.done => self.announce(team, &spec, book, end_of(reason)).await,
                        Some(_) | None => Ok(()),
                    }
                };
                match announced.await {
                    Ok(()) => drop(of.open.remove(&batch)),
                    Err(error) => later(&error),
                }
            }
        }
        Ok(())
    }

    /// Asks the workers for a stretch of as many batches as may be asked for at once: one of each team, in turn.
    async fn ask_for_some(&self, stopping: &mut Stopping) -> Result<(), ApiError> {
        let Stopping { teams, turn, asked, .. } = stopping;
        let behind = teams.keys().filter(|team| **team > *turn);
        let order: Vec<String> = behind.chain(teams.keys().filter(|team| **team <= *turn)).cloned().collect();
        for team in order {
            let Some(of) = teams.get_mut(&team).filter(|of| !of.waits) else { continue };
            if asked.len() >= ASKED_MAX {
                break;
            }
            let open = of.open.iter().filter(|(_, round)| round.ends_at.is_none());
            let Some(batch) = open.min_by_key(|(_, round)| round.asked).map(|(batch, _)| batch.clone()) else {
                continue;
            };
            let round = of.open.get_mut(&batch).expect("it was just found");
            if round.from.is_none() {
                if self.batches.done(&team, &batch).await?.is_some() {
                    of.open.remove(&batch);
                    continue;
                }
                round.alone = self.submitter_left(&team, &batch, round).await?;
            }
            (round.asked, of.waits) = (Some(Instant::now()), true);
            let question = WholeBatch { batch: batch.clone(), from: round.from };
            let connection = self.connection.clone();
            turn.clone_from(&team);
            asked.spawn(async move {
                let answer = cancel_batch(&connection, &team, &question).await;
                ((team, batch), answer)
            });
        }
        Ok(())
    }

    /// What came of a stretch.
    async fn hear(&self, round: &mut Round, answer: Result<Swept, ApiError>) {
        let Swept { cancelled, next } = match answer {
            Ok(swept) => swept,
            // Without a worker nothing runs either; the same stretch is asked for again.
            Err(ApiError::Absent { .. } | ApiError::Unknown) => return,
            Err(error) => return later(&error),
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
    }

    async fn submitter_left(&self, team: &str, batch: &BatchId, round: &mut Round) -> Result<bool, ApiError> {
        let now = self.batches.submitted(team, batch).await?;
        if now != round.submitted.0 {
            round.submitted = (now, Instant::now());
        }
        let (last, since) = &round.submitted;
        Ok(last.as_ref().is_some_and(|last| last.ended) || since.elapsed() >= SUBMITTER_SILENT)
    }
}

fn later(error: &ApiError) {
    tracing::warn!(error = error as &dyn std::error::Error, "stopped batches are looked after later");
}
