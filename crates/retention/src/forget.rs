//! Forgetting: every text of a job goes, its end and its cost stay.
//!
//! ```text
//! find the jobs → end those that have no end → put tombstones in the place of results → remove every other copy
//!               → tell the workers
//! ```
//!
//! Each step may be repeated, and all of it is, as long as the request is kept ([`crate::request`]). Killed anywhere:
//! what was done stays, and the next time does the rest. The order matters: a job has its end, under its own id, before
//! a copy of it is removed, so a copy that was missed is answered when it comes and can neither run nor pay again.

use std::collections::BTreeSet;

use serde::Serialize;
use tollgate_queue::commit_log::{CommitLog, LogError};
use tollgate_queue::control::{self, Forgotten as Told};
use tollgate_queue::service::{self, Cancelling};
use tollgate_queue::state::State;
use tollgate_queue::texts::{Removed, Texts, TextsFailure, Wanted};
use tollgate_queue::tombs::{Removal, Tombs};
use tollgate_queue::{ApiError, Connection, CrashPlan, ServerClock};
use tollgate_types::{ErrorCode, JobId};

use crate::entomb::{Entomb, EntombError, Entombed};
use crate::passed::{PassedError, passed};
use crate::request::{Request, Whom};

/// Forgets.
pub struct Forget {
    connection: Connection,
    state: State,
    log: CommitLog,
    clock: ServerClock,
    tombs: Tombs,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// The jobs that were meant.
    pub jobs: u64,
    /// Results whose texts are gone since now.
    pub results: u64,
    /// Results without texts before.
    pub before: u64,
    /// Jobs that were ended first, because they waited or ran.
    pub cancelled: u64,
    /// Jobs that ended by themselves while they were being cancelled.
    pub ended: u64,
    /// Ids that nobody has ever seen, and that can never run now.
    pub unseen: u64,
    /// Results that the settler or the sink has still to read; their texts go as soon as they have.
    pub pending: u64,
    /// Other copies that were removed.
    pub removed: Removed,
}

impl Forgotten {
    /// Takes in what a further look came to; what is counted anew with each look is as it was last.
    pub fn add(&mut self, later: Forgotten) {
        let Removed { queued, parked, dead, captured, cached, chunks } = self.removed;
        let results = self.results + later.results;
        *self = Forgotten {
            results,
            before: (later.before + later.results).saturating_sub(results),
            cancelled: self.cancelled + later.cancelled,
            ended: self.ended + later.ended,
            jobs: self.jobs.max(later.jobs),
            unseen: self.unseen + later.unseen,
            removed: Removed {
                queued: queued + later.removed.queued,
                parked: parked + later.removed.parked,
                dead: dead + later.removed.dead,
                captured: captured + later.removed.captured,
                cached: cached + later.removed.cached,
                chunks: chunks + later.removed.chunks,
            },
            ..later
        };
    }
}

/// Why it is not done; what was done stays, and all of it may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// It is not known what may be removed.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The results could not be read.
    #[error("the results cannot be read")]
    Log(#[from] LogError),
    /// The backlog could not be read.
    #[error(transparent)]
    Backlog(#[from] TextsFailure),
    /// The job has no end yet, and nobody is there to end it.
    #[error("no worker answers, so a job that may wait or run cannot be ended first")]
    NoWorker,
    /// The job was to be ended first, and was not.
    #[error("{job} could not be ended first")]
    Cancel {
        /// The job.
        job: JobId,
        /// Why not.
        #[source]
        source: ApiError,
    },
    /// The server did not do it.
    #[error("the server did not do it")]
    Api(#[from] ApiError),
    /// A result could not be entombed.
    #[error(transparent)]
    Entomb(#[from] EntombError),
}

/// How often a job may end and come again between two looks.
const TRIES: usize = 3;

impl Forget {
    /// Over a connection, which must be the broker's.
    pub fn new(connection: Connection, state: State, log: CommitLog, clock: ServerClock, crash: CrashPlan) -> Forget {
        let tombs = Tombs::new(&connection, Removal::Overwrite, crash);
        Forget { connection, state, log, clock, tombs }
    }

    /// The jobs that a request means: one, or all of an end user that are in the results, in the backlog, or dead, and
    /// were accepted before it was asked. It is looked for them again later, when the user may have come back.
    ///
    /// # Errors
    /// Why the results or the backlog could not be read.
    pub async fn find(&self, request: &Request) -> Result<BTreeSet<JobId>, ForgetError> {
        let user = match &request.whom {
            Whom::Job(job) => return Ok([job.clone()].into()),
            Whom::EndUser(user) => user,
        };
        let mut jobs = BTreeSet::new();
        // The backlog before the results: a job that ends meanwhile is found there.
        let mut texts = Texts::open(&self.connection, "forget").await?;
        for copy in texts.copies(request.team.as_str()).await? {
            if copy.user == *user && copy.at <= request.asked_at {
                jobs.insert(copy.job);
            }
        }
        let log = self.log.reopen().await?;
        let mut whole = log.whole().await?;
        while let Some(batch) = whole.next().await? {
            let events = batch.into_iter().filter_map(|counted| counted.entry.event.ok());
            let theirs = events.filter(|event| event.team == request.team.as_str() && event.user == *user);
            jobs.extend(theirs.filter(|event| event.accepted_at <= request.asked_at).map(|event| event.job));
        }
        Ok(jobs)
    }

    /// Does what a request asks for, as far as it can be done now. Idempotent.
    ///
    /// # Errors
    /// As [`Forget::look`].
    pub async fn once(&self, request: &Request) -> Result<Forgotten, ForgetError> {
        let mut done = Forgotten::default();
        self.look(request, &mut done).await.map(|()| done)
    }

    /// The same, noting what is done as it is done. Dropped, it is what a kill leaves: all of it may be repeated.
    ///
    /// # Errors
    /// [`ForgetError`]. That a job could not be ended first is the last that is told of: the texts of all others are gone
    /// then as far as they may.
    pub async fn look(&self, request: &Request, done: &mut Forgotten) -> Result<(), ForgetError> {
        let team = request.team.as_str();
        let jobs = self.find(request).await?;
        let log = self.log.reopen().await?;
        done.jobs = jobs.len() as u64;
        let mut wanted = Wanted::new();
        let not_ended = self.end(team, jobs, &mut wanted, done).await?;
        // Afterwards: the ends are among what must be read first.
        let passed = passed(&self.state, &log).await?;
        let entomb = Entomb::new(&self.tombs, &self.state, &log, passed);
        for job in wanted.keys() {
            match entomb.job(team, job, ErrorCode::Forgotten).await? {
                Entombed::Now => done.results += 1,
                Entombed::Before => done.before += 1,
                Entombed::NotPassed => done.pending += 1,
                // The stream's own limits were quicker.
                Entombed::NoResult => {}
            }
        }
        done.removed = Texts::open(&self.connection, "forget").await?.remove(team, &wanted).await?;
        self.tell(team, wanted.into_keys()).await;
        metrics::counter!("tollgate_results_forgotten_total").increment(done.results);
        not_ended.map_or(Ok(()), Err)
    }

    /// Sees to it that the jobs have ends, and notes the digests of the requests that these answer. Says which could not
    /// be ended, and why.
    async fn end(
        &self,
        team: &str,
        jobs: BTreeSet<JobId>,
        wanted: &mut Wanted,
        done: &mut Forgotten,
    ) -> Result<Option<ForgetError>, ForgetError> {
        let mut open: Vec<JobId> = jobs.into_iter().collect();
        for tries in 0..=TRIES {
            let mut without = Vec::new();
            for job in open {
                match self.tombs.find(team, &job).await? {
                    Some(lying) => drop(wanted.insert(job, lying.digest)),
                    None => without.push(job),
                }
            }
            open = without;
            if open.is_empty() || tries == TRIES {
                break;
            }
            let asked = match service::cancel(&self.connection, team, &open).await {
                Ok(asked) => asked,
                Err(ApiError::Absent { .. }) => return Ok(Some(ForgetError::NoWorker)),
                Err(source) => return Ok(Some(ForgetError::Cancel { job: open.swap_remove(0), source })),
            };
            for (job, cancelling) in asked {
                match cancelling {
                    Cancelling::Cancelled => done.cancelled += 1,
                    Cancelling::Ended => done.ended += 1,
                    // A copy that comes after this look finds the end that it gets here.
                    Cancelling::Unknown => {
                        done.unseen += u64::from(self.tombs.forbid(team, &job, self.clock.now()).await?);
                    }
                    Cancelling::Unread => {}
                }
            }
        }
        Ok(open.into_iter().next().map(|job| ForgetError::Cancel { job, source: ApiError::Unknown }))
    }

    /// Best effort: what a worker keeps in its own memory has a short life of its own.
    async fn tell(&self, team: &str, jobs: impl IntoIterator<Item = JobId>) {
        let jobs: Vec<JobId> = jobs.into_iter().collect();
        for some in jobs.chunks(Told::MAX) {
            let told = Told { team: team.to_owned(), jobs: some.to_vec() };
            if let Err(error) = control::announce_forgotten(&self.connection, &told).await {
                tracing::warn!(%error, "workers were not told of forgotten jobs");
            }
        }
    }
}
