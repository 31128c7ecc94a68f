//! What every life of a worker shares.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_providers::Caller;
use tollgate_queue::dead::DeadLetters;
use tollgate_queue::state::State;
use tollgate_queue::teams::Teams;
use tollgate_queue::{Connection, InFlight, Lanes, Results, ServerClock};

use crate::config::{Config, Parts};
use crate::meters::Meters;
use crate::routes::Routes;

/// What every life of this worker shares.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) connection: Connection,
    pub(crate) clock: ServerClock,
    pub(crate) lanes: Lanes,
    pub(crate) results: Results,
    pub(crate) dead: DeadLetters,
    pub(crate) state: State,
    pub(crate) in_flight: InFlight,
    pub(crate) teams: Teams,
    pub(crate) routes: Routes,
    pub(crate) caller: Caller,
    pub(crate) meters: Meters,
    /// One suspect at a time.
    pub(crate) suspect_slot: Arc<Semaphore>,
    /// Cancelled when jobs in flight must be handed back.
    pub(crate) giving_up: CancellationToken,
}

impl Context {
    /// Puts the parts together.
    pub(crate) fn new(config: Config, parts: Parts) -> Context {
        let process = uuid::Uuid::now_v7().simple().to_string();
        Context {
            in_flight: InFlight::new(parts.state.clone(), &config.name, &process),
            meters: Meters::new(&parts.routes),
            config,
            connection: parts.connection,
            clock: parts.clock,
            lanes: parts.lanes,
            results: parts.results,
            dead: parts.dead,
            state: parts.state,
            teams: parts.teams,
            routes: parts.routes,
            caller: parts.caller,
            suspect_slot: Arc::new(Semaphore::new(1)),
            giving_up: CancellationToken::new(),
        }
    }
}
