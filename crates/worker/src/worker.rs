//! A worker: the dispatcher and its companions, which renew leases, keep blocks of money and permits, follow what is
//! configured, and answer questions.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tollgate_queue::Leases;
use tollgate_queue::connect::ConnectFailure;

use crate::config::{Config, Parts};
use crate::context::Context;
use crate::desk::Desk;
use crate::dispatch::Dispatcher;
use crate::intake::Intake;
use crate::report;
use crate::scout::Scout;

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
        let (keeper, connection, directory) = (leases.clone(), cx.connection.clone(), cx.directory.clone());
        let (ledger, limiter, fleet) = (cx.ledger.clone(), cx.limiter.clone(), cx.fleet.clone());
        let (cache, keeper_of_claims) = (cx.clone(), cx.clone());
        let (desk, scout) = (Desk::new(cx.clone()), Scout::new(cx.clone()));
        let (reported, heard) = (cx.clone(), status.subscribe());
        let dispatcher = Dispatcher::new(cx, intake, leases, status);
        let working = async { tokio::join!(dispatcher.run(stop.clone()), scout.run(stop.clone())).0 };
        // The companions never end by themselves; dropping them ends them.
        tokio::select! {
            outcome = working => outcome,
            () = keeper.keep(&connection, ack_wait) => unreachable!("leases are kept for ever"),
            () = directory.follow() => unreachable!("the directory is followed for ever"),
            () = ledger.clone().follow() => unreachable!("accounts are followed for ever"),
            () = ledger.keep() => unreachable!("blocks are kept for ever"),
            () = limiter.keep() => unreachable!("permits are kept for ever"),
            () = cache.cache.follow() => unreachable!("purges are followed for ever"),
            () = keeper_of_claims.claims.keep() => unreachable!("claims are kept for ever"),
            () = fleet.keep(&connection) => unreachable!("the fleet is kept for ever"),
            () = report::keep(&reported, heard) => unreachable!("reports are made for ever"),
            () = desk.answer() => unreachable!("questions are answered for ever"),
        }
    }
}
