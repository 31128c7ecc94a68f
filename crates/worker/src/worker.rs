//! A worker: the dispatcher and its two companions, which renew leases and follow the teams.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tollgate_queue::Leases;
use tollgate_queue::connect::ConnectFailure;

use crate::config::{Config, Parts};
use crate::context::Context;
use crate::dispatch::Dispatcher;
use crate::intake::Intake;

/// How a worker is doing, for readiness and dashboards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Jobs in flight.
    pub running: usize,
    /// Lanes known.
    pub lanes: usize,
    /// How often the connection that jobs come in by was lost.
    pub intake_losses: u64,
    /// Why no jobs are pulled, if none are.
    pub holding: Option<&'static str>,
}

/// A worker.
pub struct Worker {
    cx: Arc<Context>,
    leases: Leases,
    status: watch::Sender<WorkerStatus>,
}

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The connection for jobs could not be made.
    #[error("cannot connect for jobs")]
    Connect(#[from] ConnectFailure),
    /// The inbox for jobs could not be made.
    #[error("cannot subscribe for jobs")]
    Subscribe(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Worker {
    /// Puts a worker together; nothing happens before [`Worker::run`].
    pub fn new(config: Config, parts: Parts) -> Worker {
        let (status, _) = watch::channel(WorkerStatus::default());
        Worker { cx: Arc::new(Context::new(config, parts)), leases: Leases::default(), status }
    }

    /// How the worker is doing, to be watched.
    pub fn status(&self) -> watch::Receiver<WorkerStatus> {
        self.status.subscribe()
    }

    /// Takes jobs and runs them until `stop` is cancelled, then drains: no more pulls, what came in is handed back,
    /// jobs in flight may end within the drain time, and what is left then is handed back too.
    ///
    /// # Errors
    /// Returns why it ended although nobody asked.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        let Worker { cx, leases, status } = self;
        let intake = Intake::open(&cx.connection, &cx.config.name).await?;
        let ack_wait = cx.config.lanes.ack_wait;
        let (keeper, connection, teams) = (leases.clone(), cx.connection.clone(), cx.teams.clone());
        let dispatcher = Dispatcher::new(cx, intake, leases, status);
        // The two companions never end by themselves; dropping them ends them.
        tokio::select! {
            outcome = dispatcher.run(stop) => outcome,
            () = keeper.keep(&connection, ack_wait) => unreachable!("leases are kept for ever"),
            () = teams.follow() => unreachable!("teams are followed for ever"),
        }
    }
}
