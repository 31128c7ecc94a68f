//! The counter as its process sees it: stand by, be in office, stand by again, until told to stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::{CommitLog, LogError};
use tollgate_queue::office::{Left, Office, Term};
use tollgate_queue::state::State;
use tollgate_queue::{Batches, Connection, CrashPlan, Directory};

use crate::book::Books;
use crate::stopping::Stopping;

/// The office, in the broker's state.
pub const KEY: &str = "batches";

/// The most records that are counted at once, and how long they wait for others: so old is what `status` says.
const BATCH: (usize, Duration) = (1000, Duration::from_millis(250));
/// Before the log is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// How a counter works.
#[derive(Clone, Debug)]
pub struct CounterConfig {
    /// The unique name of this process.
    pub name: String,
    /// A process that stands by takes over after three of these without a sign of life.
    pub lease: Duration,
    /// Where the process dies on purpose; empty outside of tests.
    pub crash: CrashPlan,
}

impl CounterConfig {
    /// With a lease of five seconds.
    pub fn new(name: impl Into<String>) -> CounterConfig {
        CounterConfig { name: name.into(), lease: Duration::from_secs(5), crash: CrashPlan::default() }
    }
}

/// Counts batches, for one who wants to.
pub struct Counter {
    pub(crate) config: CounterConfig,
    pub(crate) connection: Connection,
    pub(crate) batches: Batches,
    pub(crate) log: CommitLog,
    pub(crate) directory: Directory,
    state: State,
}

/// How far the log is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The identity of the log.
    log: String,
    /// Everything up to this sequence is counted.
    through: u64,
}

impl Counter {
    /// A counter that does nothing yet. Whose batches are stopped goes by the directory, which somebody must follow.
    pub fn new(
        config: CounterConfig,
        connection: Connection,
        log: CommitLog,
        state: State,
        directory: Directory,
    ) -> Counter {
        let batches = Batches::new(connection.client.clone());
        Counter { config, connection, batches, log, directory, state }
    }

    /// Runs until `stop`: stands by, and counts while it is in office. Trouble with the server is logged and waited out.
    /// May be dropped at any time with the effect of a crash.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut office = Office::new(self.state.clone(), KEY, &self.config.name, self.config.lease);
        while let Some(mut term) = office.stand_by(&stop).await {
            match self.serve(&mut term, &stop).await {
                Left::Stopped => {
                    term.release().await;
                    return;
                }
                Left::Fenced => tracing::warn!(name = self.config.name, "another process counts batches; standing by"),
            }
        }
    }

    async fn serve(&mut self, term: &mut Term, stop: &CancellationToken) -> Left {
        loop {
            let left = match self.log.reopen().await {
                Ok(log) => {
                    self.log = log;
                    self.follow(term, stop).await
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the log cannot be opened yet");
                    term.wait(PAUSE, stop).await
                }
            };
            if let Err(left) = left {
                return left;
            }
        }
    }

    /// Counts what the log says as it is now; returns when it was made anew.
    async fn follow(&self, term: &mut Term, stop: &CancellationToken) -> Result<(), Left> {
        let mut through = self.begin(term);
        term.advance(json!(self.progress(through)), stop).await?;
        let mut tail = self.log.tail(through + 1);
        let (mut books, mut stopping) = (Books::default(), Stopping::default());
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                batch = tail.next_batch(BATCH.0, BATCH.1) => batch,
            };
            match batch {
                Ok(batch) => {
                    if let Some(last) = batch.last() {
                        self.count(&batch, &mut books, term, stop).await?;
                        through = last.seq;
                        self.config.crash.point("B1");
                        term.advance(json!(self.progress(through)), stop).await?;
                        metrics::gauge!("tollgate_batches_sequence").set(through as f64);
                    } else if Instant::now() >= term.touch_at() {
                        term.touch(stop).await?;
                    }
                }
                Err(error @ LogError::Recreated { .. }) => {
                    tracing::warn!(%error, "batches are counted on in the new stream");
                    return Ok(());
                }
                Err(error) => tracing::warn!(%error, "log not read"),
            }
            self.look_after_stops(&mut stopping, &mut books, through, (term, stop)).await?;
            if Instant::now() >= term.touch_at() {
                term.touch(stop).await?;
            }
        }
    }

    /// Up to where it was counted before.
    fn begin(&self, term: &Term) -> u64 {
        let progress: Progress = serde_json::from_value(term.value().clone()).unwrap_or_default();
        if progress.log == self.log.identity() { progress.through } else { 0 }
    }

    fn progress(&self, through: u64) -> Progress {
        Progress { log: self.log.identity().to_owned(), through }
    }
}
