//! The life of one order. Each step may be taken again; killed at any of them, whoever comes next begins at the top and
//! finds what is there.
//!
//! ```text
//! ended? → made already? ── no ─→ stopped, too late? → read and check its file → make the batch (O0, O1)
//!              └── yes ───────────────────────────────────────────────────────────┤
//!                                             stopped? leave ← ── submit (O2) ←── ┘
//! ```
//!
//! - before the batch is made: nothing is submitted; the file is read again.
//! - after it (O1), or while it is submitted (O2): lines behind the note of how far that is have the same ids again.
//! - a file that goes meanwhile: the outcome says so first, then the batch is stopped. Killed in between, whoever finds
//!   the outcome stops it.
//! - a stop that was said before the batch was made is seen by nobody else: nothing was submitted, and its end is
//!   announced here. One that was said after it is for whoever counts.

use std::io;

use tokio_util::io::StreamReader;
use tollgate_bulk::side::Input;
use tollgate_bulk::source::{Source, Unreadable};
use tollgate_bulk::{BeginError, Begun, Bulk, Checked, Chosen, Plan, RecordError, Standing, SubmitFailure};
use tollgate_client::{Producer, SubmitError};
use tollgate_queue::ApiError;
use tollgate_types::batch::{self, BatchDone, BatchEnd, BatchFormat, Stop, StopReason, Tally};
use tollgate_types::order::{FileError, OrderEnd, VERSION};
use tollgate_types::{BatchId, BatchOrder, BatchOutcome, BatchSpec, FileRecord, Team};

use crate::clerk::Clerk;
use crate::judge::{Judged, gone, judge, whole};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing is left to do.
    Closed,
    /// It is to be taken again.
    Later,
}

/// Why an order is to be taken again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the broker's records cannot be read or written")]
    Api(#[from] ApiError),
    #[error("the records of the batch cannot be read or written")]
    Records(#[from] RecordError),
    #[error("its batch cannot be made")]
    Begin(#[from] BeginError),
    #[error("its file cannot be read now")]
    File(#[from] io::Error),
    #[error("not all of it was submitted")]
    Submit(#[from] SubmitFailure),
}

/// An order with what it is worked on by.
struct Case<'a> {
    team: &'a Team,
    order: BatchOrder,
    bulk: Bulk,
}

impl Clerk {
    /// Takes one order as far as it goes. May be dropped at any time with the effect of a crash.
    pub(crate) async fn take(&self, team: &Team, id: &BatchId) -> Taken {
        match self.live(team, id).await {
            Ok(()) => Taken::Closed,
            // The team itself writes those records; who spoils its own must not be looked at for ever.
            Err(Trouble::Records(error @ RecordError::Unreadable(_))) => {
                tracing::error!(%team, batch = %id, %error, "an order is given up");
                Taken::Closed
            }
            Err(error) => {
                tracing::warn!(%team, batch = %id, error = &error as &dyn std::error::Error, "an order is taken again");
                Taken::Later
            }
        }
    }

    async fn live(&self, team: &Team, id: &BatchId) -> Result<(), Trouble> {
        let Some((order, _)) = self.batches.order(team.as_str(), id).await? else { return Ok(()) };
        let producer = Producer::new(self.connection.client.clone(), team.clone());
        let bulk = Bulk::new(producer).under_key(order.key.clone());
        let case = Case { team, order, bulk };
        let outcome = self.batches.outcome(team.as_str(), id).await?;
        let standing = match case.bulk.standing(id).await? {
            Some(standing) => standing,
            None if outcome.is_some() => return Ok(()),
            None => match self.begin(&case).await? {
                Some(standing) => standing,
                None => return Ok(()),
            },
        };
        if standing.done.is_some() {
            return Ok(());
        }
        if outcome.is_some() {
            self.stop(&case).await?;
        }
        if let Some(before_all) = self.batches.stopped_first(team.as_str(), id).await? {
            return self.leave(&case, &standing, before_all).await;
        }
        if standing.is_submitted() { Ok(()) } else { self.submit(&case, standing).await }
    }

    /// Checks the file and makes the batch; `None` if the order ended instead.
    async fn begin(&self, case: &Case<'_>) -> Result<Option<Standing>, Trouble> {
        let (team, order) = (case.team.as_str(), &case.order);
        if self.batches.stop(team, &order.id).await?.is_some() {
            return self.end(case, OrderEnd::Cancelled, Vec::new()).await;
        }
        let now = self.clock.now();
        if now >= order.deadline {
            return self.end(case, OrderEnd::Expired, Vec::new()).await;
        }
        let Some(record) = self.files.record(team, &order.input, now).await? else {
            return self.end(case, OrderEnd::Failed, vec![gone()]).await;
        };
        let checked = match judge(order, || self.open(team, &record)).await? {
            Judged::Right(checked) => checked,
            Judged::Wrong(errors) => return self.end(case, OrderEnd::Failed, errors).await,
        };
        if checked.whole.sha256 != record.sha256 {
            let error = whole("file_damaged", "the file is not what was uploaded; upload it again");
            return self.end(case, OrderEnd::Failed, vec![error]).await;
        }
        self.config.crash.point("O0");
        let begun = case.bulk.begin(&self.plan(order, &record, &checked)).await?;
        self.config.crash.point("O1");
        Ok(Some(match begun {
            Begun::New(spec) => Standing { spec: *spec, submitted: None, progress: None, stop: None, done: None },
            Begun::Known(standing) => *standing,
        }))
    }

    fn plan(&self, order: &BatchOrder, record: &FileRecord, checked: &Checked) -> Plan {
        Plan {
            id: Some(order.id.clone()),
            format: BatchFormat::OpenAi,
            file: record.name.clone(),
            whole: checked.whole.clone(),
            jobs: checked.requests,
            class: order.class,
            options: order.options.clone(),
            model: None,
            key: None,
            max_cost_usd: None,
            again: None,
            asked: String::new(),
            created_at: self.clock.now(),
        }
    }

    /// Submits what is missing.
    async fn submit(&self, case: &Case<'_>, standing: Standing) -> Result<(), Trouble> {
        let (team, order) = (case.team.as_str(), &case.order);
        let Standing { spec, submitted, .. } = standing;
        let from = submitted.map_or(0, |submitted| submitted.through);
        let Some(record) = self.files.record(team, &order.input, self.clock.now()).await? else {
            return self.abandon(case, &spec, gone()).await;
        };
        let submitting = async {
            let source = Source::open(self.open(team, &record)).await.map_err(SubmitFailure::Unreadable)?;
            let look = |_| self.config.crash.point("O2");
            case.bulk.submit(&spec, (source, &Chosen::All, from), || self.clock.now(), look).await
        };
        match submitting.await {
            Ok(_) => Ok(()),
            Err(SubmitFailure::Unreadable(Unreadable::Io(error))) if error.kind() == io::ErrorKind::NotFound => {
                self.abandon(case, &spec, gone()).await
            }
            Err(SubmitFailure::Changed) => {
                let error = whole("file_damaged", "the file is not what was uploaded; upload it again");
                self.abandon(case, &spec, error).await
            }
            Err(SubmitFailure::NotAccepted { line, source: SubmitError::TooLarge { .. } }) => {
                let error = whole("request_too_large", "the request is larger than a job may be");
                self.abandon(case, &spec, FileError { line: Some(line), ..error }).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is not submitted yet never can be: the order says why, and the batch is stopped.
    async fn abandon(&self, case: &Case<'_>, spec: &BatchSpec, error: FileError) -> Result<(), Trouble> {
        self.end::<()>(case, OrderEnd::Failed, vec![error]).await?;
        self.config.crash.point("O3");
        self.stop(case).await?;
        case.bulk.leave(&spec.id, self.clock.now()).await?;
        Ok(())
    }

    async fn stop(&self, case: &Case<'_>) -> Result<(), Trouble> {
        let stop = Stop { version: batch::VERSION, reason: StopReason::Cancelled, at: self.clock.now() };
        self.batches.say_stop((case.team.as_str(), &case.order.id), &stop).await?;
        Ok(())
    }

    /// Leaves a batch that is stopped. Of one that was stopped before it was made nothing was ever submitted, and nobody
    /// else ends it.
    async fn leave(&self, case: &Case<'_>, standing: &Standing, before_all: bool) -> Result<(), Trouble> {
        let (spec, now) = (&standing.spec, self.clock.now());
        case.bulk.leave(&spec.id, now).await?;
        if !before_all {
            return Ok(());
        }
        let team = case.team.to_string();
        let done = BatchDone {
            version: batch::VERSION,
            id: format!("{team}:{}:done", spec.id),
            team,
            batch: spec.id.clone(),
            end: BatchEnd::Cancelled,
            file: spec.file.clone(),
            key: None,
            jobs: spec.jobs,
            not_submitted: spec.jobs,
            tally: Tally::default(),
            created_at: spec.created_at,
            ended_at: now,
        };
        self.batches.say_done(&done).await?;
        Ok(())
    }

    /// Says how the order ended.
    async fn end<T>(&self, case: &Case<'_>, end: OrderEnd, errors: Vec<FileError>) -> Result<Option<T>, Trouble> {
        let batch = case.order.id.clone();
        tracing::info!(team = %case.team, %batch, ?end, "an order ended");
        let outcome = BatchOutcome { version: VERSION, batch, end, errors, at: self.clock.now() };
        self.batches.say_outcome(case.team.as_str(), &outcome).await?;
        Ok(None)
    }

    /// The bytes of a file, from the beginning.
    fn open(&self, team: &str, record: &FileRecord) -> Input {
        Box::pin(StreamReader::new(self.files.read(team, record)))
    }
}
