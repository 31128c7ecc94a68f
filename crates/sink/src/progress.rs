//! How far the sink is, for everybody else: it reads the sink's record and never writes it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tollgate_queue::state::{State, StateError};

use crate::manifest::{KEY, Manifest};

/// How often the record is read while waiting: a batch takes tens of milliseconds.
const POLL: Duration = Duration::from_millis(50);

/// How far the sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkProgress {
    /// The incarnation of the results stream.
    pub stream: String,
    /// Every record up to this sequence is in ClickHouse.
    pub committed_seq: u64,
    /// The end of the stretch that is on its way, if one is.
    pub pending_last: Option<u64>,
    /// Who moves it, if anybody does; one that died is named until another takes over.
    pub owner: Option<String>,
    /// How many times somebody took over.
    pub term: u64,
}

/// Says why the progress is not known or not reached.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// The record could not be read from the server.
    #[error("the progress of the sink cannot be read")]
    State(#[from] StateError),
    /// The record is none that this code understands.
    #[error("the progress of the sink is not readable")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The time was up first.
    #[error("the sink did not reach sequence {until} in time; it is at {}", at.as_ref().map_or(0, |p| p.committed_seq))]
    TimedOut {
        /// The sequence waited for.
        until: u64,
        /// How far the sink was.
        at: Option<SinkProgress>,
    },
}

impl SinkProgress {
    /// Reads how far the sink is; `None` if there has never been one. Cancel safe.
    ///
    /// # Errors
    /// [`ProgressError::State`], [`ProgressError::Record`].
    pub async fn read(state: &State) -> Result<Option<Self>, ProgressError> {
        let Some((bytes, _)) = state.get(KEY).await? else { return Ok(None) };
        let manifest = Manifest::read(&bytes).map_err(|error| ProgressError::Record(error.into()))?;
        Ok(Some(SinkProgress {
            stream: manifest.stream,
            committed_seq: manifest.committed_seq,
            pending_last: manifest.pending.map(|pending| pending.last),
            owner: Some(manifest.owner).filter(|owner| !owner.is_empty()),
            term: manifest.term,
        }))
    }

    /// Waits until every record of `stream` up to `until` is in ClickHouse. Cancel safe.
    ///
    /// `stream` is the log's identity: progress in another incarnation of it does not count.
    ///
    /// # Errors
    /// [`ProgressError::TimedOut`] after `within`; [`ProgressError::Record`]. A server that is away is waited for.
    pub async fn catch_up(state: &State, stream: &str, until: u64, within: Duration) -> Result<Self, ProgressError> {
        let deadline = Instant::now() + within;
        let mut at = None;
        loop {
            match timeout_at(deadline, SinkProgress::read(state)).await {
                Ok(Ok(progress)) => at = progress,
                Ok(Err(ProgressError::State(error))) if error.is_transient() => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(ProgressError::TimedOut { until, at }),
            }
            match at {
                Some(there) if there.stream == stream && there.committed_seq >= until => return Ok(there),
                _ if Instant::now() >= deadline => return Err(ProgressError::TimedOut { until, at }),
                _ => sleep(POLL).await,
            }
        }
    }
}
