//! The settler as its process sees it: stand by, be active, stand by again, until told to stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::directory::Directory;
use tollgate_queue::ledger::Records;
use tollgate_queue::office::{Left, Office};
use tollgate_queue::state::{State, StateError};
use tollgate_queue::{CrashPlan, ServerClock};

use crate::alerts::BudgetAlert;

/// How a settler works.
#[derive(Clone, Debug)]
pub struct SettlerConfig {
    /// Names this process among those that could be active.
    pub name: String,
    /// The most records folded at once.
    pub batch_records_max: usize,
    /// How long a record may wait for others: so much later does its hold become spend.
    pub batch_wait: Duration,
    /// A settler that stands by takes over after three of these without a sign of life.
    pub lease: Duration,
    /// How often blocks of dead workers are looked for, at least: with so many accounts that a look takes long, less often.
    pub sweep: Duration,
    /// Where the process dies on purpose; empty outside of tests.
    pub crash: CrashPlan,
}

impl SettlerConfig {
    /// Batches of up to 500 records or 50 ms, a lease of five seconds, a sweep every second.
    pub fn new(name: impl Into<String>) -> Self {
        SettlerConfig {
            name: name.into(),
            batch_records_max: 500,
            batch_wait: Duration::from_millis(50),
            lease: Duration::from_secs(5),
            sweep: Duration::from_secs(1),
            crash: CrashPlan::default(),
        }
    }
}

/// What a settler works with.
pub struct Settler {
    pub(crate) config: SettlerConfig,
    pub(crate) log: CommitLog,
    pub(crate) state: State,
    pub(crate) records: Records,
    pub(crate) directory: Directory,
    pub(crate) clock: ServerClock,
    pub(crate) alerts: mpsc::Sender<BudgetAlert>,
}

/// The key of the settler's own record in the state bucket.
pub const KEY: &str = "settler";

/// How far the log is folded into every account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The identity of the log.
    pub log: String,
    /// Everything up to this sequence is folded.
    pub through: u64,
}

impl Progress {
    /// How far the settler is, for everybody else; nothing is folded if there has never been one. Cancel safe.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn read(state: &State) -> Result<Progress, StateError> {
        let value = tollgate_queue::office::value(state, KEY).await?;
        if value.is_null() {
            return Ok(Progress::default());
        }
        serde_json::from_value(value).map_err(|error| StateError::Unreadable(error.into()))
    }
}

impl Settler {
    /// A settler that does nothing yet. Alerts that nobody takes are dropped when the channel is full: the account keeps
    /// what was announced, and the next settler does not repeat it.
    pub fn new(
        config: SettlerConfig,
        log: CommitLog,
        state: State,
        (records, directory, clock): (Records, Directory, ServerClock),
        alerts: mpsc::Sender<BudgetAlert>,
    ) -> Settler {
        Settler { config, log, state, records, directory, clock, alerts }
    }

    /// Runs until `shutdown`: stands by, and folds while it is in office. Trouble with the server is logged and waited
    /// out. May be dropped at any time with the effect of a crash.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut office = Office::new(self.state.clone(), KEY, &self.config.name, self.config.lease);
        metrics::gauge!("tollgate_settler_active").set(0.0);
        while let Some(mut term) = office.stand_by(&shutdown).await {
            metrics::gauge!("tollgate_settler_active").set(1.0);
            tracing::info!(name = self.config.name, "settler is active");
            let left = self.serve(&mut term, &shutdown).await;
            metrics::gauge!("tollgate_settler_active").set(0.0);
            match left {
                Left::Stopped => {
                    term.release().await;
                    break;
                }
                Left::Fenced => tracing::warn!(name = self.config.name, "another settler took over; standing by"),
            }
        }
        tracing::info!(name = self.config.name, "settler stopped");
    }
}
