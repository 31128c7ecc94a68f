//! What every life of a worker shares.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_policy::estimate::OutputEstimates;
use tollgate_providers::Caller;
use tollgate_queue::Directory;
use tollgate_queue::dead::DeadLetters;
use tollgate_queue::state::State;
use tollgate_queue::{Batches, Blobs, Connection, InFlight, Lanes, Results, ServerClock, Wait};

use crate::cache::Cache;
use crate::config::{Config, Parts};
use crate::copies::Watchfulness;
use crate::fleet::Fleet;
use crate::flight::Claims;
use crate::gates::Gates;
use crate::guards::Guards;
use crate::ledger::{self, Ledger};
use crate::limiter::{self, Limiter};
use crate::meters::Meters;
use crate::room::Room;
use crate::routes::Routes;
use crate::running::Running;
use crate::stopped::Stopped;

/// What every life of this worker shares.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) connection: Connection,
    pub(crate) clock: ServerClock,
    pub(crate) lanes: Lanes,
    pub(crate) wait: Wait,
    pub(crate) results: Results,
    /// Bodies that do not fit a message, and how much memory is left for them.
    pub(crate) blobs: Blobs,
    pub(crate) blob_room: Arc<Room>,
    pub(crate) dead: DeadLetters,
    pub(crate) state: State,
    pub(crate) in_flight: InFlight,
    /// Until when it is asked of every job whether there is a copy of it.
    pub(crate) watchful: Watchfulness,
    pub(crate) directory: Directory,
    pub(crate) routes: Arc<Routes>,
    pub(crate) caller: Caller,
    pub(crate) meters: Meters,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) gates: Gates,
    /// The teams' guardrails.
    pub(crate) guards: Guards,
    pub(crate) cache: Cache,
    pub(crate) claims: Claims,
    /// How long answers are expected to be.
    pub(crate) estimates: Mutex<OutputEstimates>,
    /// What runs here, to be cancelled.
    pub(crate) running: Running,
    /// Which batches are stopped.
    pub(crate) stopped: Stopped,
    /// One suspect at a time.
    pub(crate) suspect_slot: Arc<Semaphore>,
    /// Cancelled when jobs in flight must be handed back.
    pub(crate) giving_up: CancellationToken,
}

/// An answer of a model that nobody has seen yet is expected to have so many tokens.
const ANSWER_TOKENS: u64 = 256;

impl Context {
    /// Puts the parts together.
    pub(crate) fn new(config: Config, parts: Parts) -> Context {
        let process = uuid::Uuid::now_v7().simple().to_string();
        let routes = Arc::new(parts.routes);
        let ledger = Ledger::new(ledger::Setup {
            records: parts.records.clone(),
            directory: parts.directory.clone(),
            clock: parts.clock.clone(),
            log: parts.log,
            process: process.clone(),
            lease_time: config.lease,
            crash: config.crash.clone(),
        });
        let limiter = Limiter::new(limiter::Setup {
            records: parts.records,
            directory: parts.directory.clone(),
            clock: parts.clock.clone(),
            process: process.clone(),
            lease_time: config.lease,
        });
        let blobs = Blobs::new(&parts.connection.client);
        let blob_room = Arc::new(Room::new(config.bodies_bytes_max, config.concurrency));
        let batches = Batches::new(parts.connection.client.clone());
        let fleet = Fleet::new(&routes, parts.clock.clone());
        let gates = Gates {
            directory: parts.directory.clone(),
            ledger: ledger.clone(),
            limiter: limiter.clone(),
            fleet: fleet.clone(),
            routes: routes.clone(),
            pool: config.pool.clone(),
            parked: Default::default(),
            aloft: Default::default(),
            let_wait: Default::default(),
        };
        Context {
            cache: Cache::new(&parts.connection, config.cache_memory_bytes_max),
            claims: Claims::new(&parts.connection),
            in_flight: InFlight::new(parts.state.clone(), parts.clock.clone(), &config.name, &process),
            watchful: Watchfulness::new(parts.clock.now()),
            meters: Meters::new(&routes),
            estimates: Mutex::new(OutputEstimates::new(ANSWER_TOKENS.min(config.output_tokens_default))),
            config,
            connection: parts.connection,
            clock: parts.clock,
            lanes: parts.lanes,
            wait: parts.wait,
            results: parts.results,
            blobs,
            blob_room,
            dead: parts.dead,
            state: parts.state,
            guards: Guards::new(parts.directory.clone(), parts.checkers),
            directory: parts.directory,
            routes,
            caller: parts.caller,
            ledger,
            limiter,
            fleet,
            gates,
            running: Running::default(),
            stopped: Stopped::new(batches),
            suspect_slot: Arc::new(Semaphore::new(1)),
            giving_up: CancellationToken::new(),
        }
    }
}
