//! Follows the commit log and posts what it says, from one process of many.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::{CommitLog, LogEntry, LogError};
use tollgate_queue::office::{Left, Office, Term};
use tollgate_queue::state::State;
use tollgate_types::UnixMillis;

use crate::exporter::{Exporter, ExporterConfig, Posted, Unusable};
use crate::spans::spans;

/// The office, in the broker's state.
pub const KEY: &str = "traces";

/// The most records of one post, and how long it may wait to fill.
const BATCH: (usize, Duration) = (256, Duration::from_secs(1));
/// The first and the longest wait before a post is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Before the log is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// Who exports, and how far back.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The unique name of this process.
    pub name: String,
    /// A process that stands by takes over after three of these without a sign of life.
    pub lease: Duration,
    /// Records older than this are not posted: after a long outage of the collector, new ones matter more.
    pub age_max: Duration,
    /// Where spans go.
    pub exporter: ExporterConfig,
}

/// The export, for one who wants it.
pub struct Traces {
    config: TracesConfig,
    exporter: Exporter,
    log: CommitLog,
    state: State,
}

/// How far the log is exported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The identity of the log.
    log: String,
    /// Everything up to this sequence is posted, refused or too old.
    through: u64,
}

impl Traces {
    /// An export that does nothing yet.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(config: TracesConfig, log: CommitLog, state: State) -> Result<Traces, Unusable> {
        let exporter = Exporter::new(&config.exporter)?;
        Ok(Traces { config, exporter, log, state })
    }

    /// Runs until `stop`: stands by, and posts while it is in office. Trouble is logged and waited out.
    ///
    /// Killed between a post and its note, the same spans are posted again, under the same ids.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut office = Office::new(self.state.clone(), KEY, &self.config.name, self.config.lease);
        while let Some(mut term) = office.stand_by(&stop).await {
            match self.serve(&mut term, &stop).await {
                Left::Stopped => {
                    term.release().await;
                    return;
                }
                Left::Fenced => tracing::warn!(name = self.config.name, "another process exports traces; standing by"),
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

    /// Posts what the log says as it is now; returns when it was made anew.
    async fn follow(&self, term: &mut Term, stop: &CancellationToken) -> Result<(), Left> {
        let through = match self.begin(term).await {
            Ok(through) => through,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the log cannot be read yet");
                return term.wait(PAUSE, stop).await;
            }
        };
        // Noted at once: whoever comes after us goes on from here, also if nothing was posted before.
        term.advance(json!(self.progress(through)), stop).await?;
        let mut tail = self.log.tail(through + 1);
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                batch = tail.next_batch(BATCH.0, BATCH.1) => batch,
            };
            match batch {
                Ok(batch) => {
                    if let Some(last) = batch.last() {
                        self.deliver(&batch, term, stop).await?;
                        term.advance(json!(self.progress(last.seq)), stop).await?;
                    } else if Instant::now() >= term.touch_at() {
                        term.touch(stop).await?;
                    }
                }
                Err(error @ LogError::Recreated { .. }) => {
                    tracing::warn!(%error, "traces go on with the new stream");
                    return Ok(());
                }
                Err(error) => tracing::warn!(%error, "log not read"),
            }
        }
    }

    /// Up to where it was exported before. The very first export begins with what happens from now on.
    async fn begin(&self, term: &Term) -> Result<u64, LogError> {
        match serde_json::from_value::<Progress>(term.value().clone()).ok() {
            Some(progress) if progress.log == self.log.identity() => Ok(progress.through),
            Some(_) => Ok(0),
            None => Ok(self.log.bounds().await?.last),
        }
    }

    fn progress(&self, through: u64) -> Progress {
        Progress { log: self.log.identity().to_owned(), through }
    }

    /// Posts a batch until it is taken, refused or too old.
    async fn deliver(&self, batch: &[LogEntry], term: &mut Term, stop: &CancellationToken) -> Result<(), Left> {
        let mut wait = AGAIN.0;
        loop {
            let fresh: Vec<&LogEntry> = batch.iter().filter(|entry| self.is_fresh(entry)).collect();
            let all: Vec<_> = fresh.iter().filter_map(|entry| entry.event.as_ref().ok()).flat_map(spans).collect();
            let count = all.len() as u64;
            if all.is_empty() {
                return Ok(());
            }
            let posted = tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                posted = self.exporter.post(all) => posted,
            };
            match posted {
                Posted::Taken => {
                    metrics::counter!("tollgate_spans_exported_total").increment(count);
                    return Ok(());
                }
                Posted::Refused(reason) => {
                    metrics::counter!("tollgate_spans_refused_total").increment(count);
                    tracing::error!(reason, count, "the collector refuses spans; they are left out");
                    return Ok(());
                }
                Posted::Again(reason, at_least) => {
                    tracing::warn!(reason, "the collector does not take spans; trying again");
                    term.wait(at_least.max(wait.mul_f64(rand::random_range(0.5..1.0))), stop).await?;
                    wait = (wait * 2).min(AGAIN.1);
                }
            }
        }
    }

    /// Both times are the wall clock's, here and on the server; a difference of some minutes does not matter.
    fn is_fresh(&self, entry: &LogEntry) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)).since(entry.at) <= self.config.age_max
    }
}
