//! The sink as its process sees it: stand by, be active, stand by again, until told to stop.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::{State, StateError};
use tollgate_usage::Store;

use crate::backoff::delay;
use crate::lease::{Lead, Left, Watch};
use crate::manifest::{KEY, Manifest, Step};

/// How often one that stands by looks at the record: a released one is taken within this time.
const LOOK: Duration = Duration::from_millis(500);

/// How a sink works.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Names this process among those that could be active; one name is one process at a time.
    pub name: String,
    /// The most rows of one insert. Far below ClickHouse's block of a million, so that an insert stays one block.
    pub batch_rows_max: usize,
    /// How long a batch may wait to fill; so long may a record take to show in ClickHouse.
    pub batch_wait: Duration,
    /// A sink that stands by takes over after three of these without a sign of life.
    pub lease: Duration,
    /// How long a stop waits for the insert under way.
    pub shutdown_grace: Duration,
}

impl SinkConfig {
    /// Batches of up to 50,000 rows or a second, a lease of ten seconds.
    pub fn new(name: impl Into<String>) -> Self {
        SinkConfig {
            name: name.into(),
            batch_rows_max: 50_000,
            batch_wait: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(3),
        }
    }
}

/// Moves the commit log into ClickHouse while it is the active one.
#[derive(Debug)]
pub struct Sink {
    pub(crate) config: SinkConfig,
    pub(crate) log: CommitLog,
    pub(crate) state: State,
    pub(crate) store: Store,
}

impl Sink {
    /// A sink that does nothing yet. The schema must have been applied.
    pub fn new(config: SinkConfig, log: CommitLog, state: State, store: Store) -> Self {
        Sink { config, log, state, store }
    }

    /// Runs until `shutdown`: stands by, and moves records while it is in office.
    ///
    /// Trouble with either server is logged, counted and waited out. On shutdown the insert under way is finished
    /// within its grace or abandoned, which its stored manifest makes safe, and the office is released. May be
    /// dropped at any time with the effect of a crash: nothing is lost or counted twice, another takes over later.
    pub async fn run(mut self, shutdown: CancellationToken) {
        metrics::gauge!("tollgate_sink_active").set(0.0);
        while let Some(mut lead) = self.stand_by(&shutdown).await {
            metrics::gauge!("tollgate_sink_active").set(1.0);
            tracing::info!(
                name = self.config.name,
                term = lead.manifest().term,
                committed_seq = lead.manifest().committed_seq,
                "sink is active"
            );
            let left = self.serve(&mut lead, &shutdown).await;
            metrics::gauge!("tollgate_sink_active").set(0.0);
            match left {
                Left::Stopped => {
                    lead.release().await;
                    break;
                }
                Left::Fenced => tracing::warn!(name = self.config.name, "another sink took over; standing by"),
            }
        }
        tracing::info!(name = self.config.name, "sink stopped");
    }

    /// Waits until the record may be taken, and takes it; `None` at shutdown.
    async fn stand_by(&mut self, shutdown: &CancellationToken) -> Option<Lead> {
        let mut watch = Watch::default();
        let look = LOOK.min(self.config.lease / 3);
        let mut failures = 0;
        loop {
            if shutdown.is_cancelled() {
                return None;
            }
            match self.try_to_lead(&mut watch).await {
                Ok(Some(lead)) => return Some(lead),
                Ok(None) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(error = &*error, failures, "sink cannot take office yet");
                }
            }
            let wait = if failures == 0 { look } else { delay(failures).max(look) };
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = sleep(wait) => {}
            }
        }
    }

    async fn try_to_lead(
        &mut self,
        watch: &mut Watch,
    ) -> Result<Option<Lead>, Box<dyn std::error::Error + Send + Sync>> {
        let name = &self.config.name;
        let taken = match self.state.get(KEY).await? {
            None => {
                self.log = self.log.reopen().await?;
                // No sink has ever run, or its record was deleted. Tables tell how far they are; starting over would
                // count everything twice, because the batches would be cut elsewhere.
                let committed = self.store.last_sequence(self.log.identity()).await?.unwrap_or(0);
                let manifest = Manifest::new(self.log.identity(), committed, name);
                let created = self.state.create(KEY, manifest.to_bytes()).await;
                created.map(|revision| (manifest, revision))
            }
            Some((bytes, revision)) => {
                let manifest = Manifest::read(&bytes)?;
                if !watch.may_take(&manifest, revision, name, self.config.lease, Instant::now()) {
                    return Ok(None);
                }
                self.log = self.log.reopen().await?;
                let claimed = manifest.step(Step::Claim { owner: name.clone() })?;
                let updated = self.state.update(KEY, claimed.to_bytes(), revision).await;
                updated.map(|revision| (claimed, revision))
            }
        };
        match taken {
            Ok((manifest, revision)) => Ok(Some(Lead::new(self.state.clone(), manifest, revision))),
            Err(StateError::Conflict) => Ok(None),
            // A claim that was stored all the same bears our name: the next look takes it.
            Err(error) => Err(error.into()),
        }
    }
}
