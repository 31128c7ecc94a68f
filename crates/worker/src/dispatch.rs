//! The loop that starts lives: count the lanes, pull what the order grants, run each job as a task of its own.
//!
//! A slot is taken before a job is pulled and given back when its life ends, so nothing is leased that has no slot.
//! Nothing is pulled while the results do not answer, or after a stop was asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_providers::Caller;
use tollgate_queue::connect::Health;
use tollgate_queue::dead::DeadLetters;
use tollgate_queue::state::State;
use tollgate_queue::teams::Teams;
use tollgate_queue::{
    Arrival, Backlog, Connection, Delivery, Lanes, Leases, Pull, PullEvent, Puller, Results, ServerClock,
};
use tollgate_types::{Class, LaneKey};

use crate::board::Board;
use crate::config::{Config, Parts};
use crate::life;
use crate::routes::Routes;
use crate::unreadable;

/// What every life of this worker shares.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) connection: Connection,
    pub(crate) clock: ServerClock,
    pub(crate) lanes: Lanes,
    pub(crate) results: Results,
    pub(crate) dead: DeadLetters,
    pub(crate) state: State,
    pub(crate) teams: Teams,
    pub(crate) routes: Routes,
    pub(crate) caller: Caller,
    /// One suspect at a time.
    pub(crate) suspect_slot: Arc<Semaphore>,
    /// Cancelled when jobs in flight must be handed back.
    pub(crate) giving_up: CancellationToken,
}

/// How a worker is doing, for readiness and dashboards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Jobs in flight.
    pub running: usize,
    /// Lanes known.
    pub lanes: usize,
    /// Why no jobs are pulled, if none are.
    pub holding: Option<&'static str>,
}

/// A worker.
pub struct Worker {
    cx: Arc<Context>,
    health: watch::Receiver<Health>,
    leases: Leases,
    status: watch::Sender<WorkerStatus>,
}

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The inbox for jobs could not be made.
    #[error("cannot subscribe for jobs")]
    Subscribe(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection is closed for good.
    #[error("the connection to nats is closed")]
    Closed,
}

impl Worker {
    /// Puts a worker together; nothing happens before [`Worker::run`].
    pub fn new(config: Config, parts: Parts) -> Worker {
        let health = parts.connection.health();
        let cx = Context {
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
        };
        let (status, _) = watch::channel(WorkerStatus::default());
        Worker { cx: Arc::new(cx), health, leases: Leases::default(), status }
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
        let Worker { cx, health, leases, status } = self;
        let puller = Puller::open(&cx.connection).await.map_err(|error| WorkerError::Subscribe(error.into()))?;
        let ack_wait = cx.config.lanes.ack_wait;
        let (keeper, connection, teams) = (leases.clone(), cx.connection.clone(), cx.teams.clone());
        let dispatcher = Dispatcher::new(cx, puller, leases, health, status);
        // The two companions never end by themselves; dropping them ends them.
        tokio::select! {
            outcome = dispatcher.run(stop) => outcome,
            () = keeper.keep(&connection, ack_wait) => unreachable!("leases are kept for ever"),
            () = teams.follow() => unreachable!("teams are followed for ever"),
        }
    }
}

struct Dispatcher {
    cx: Arc<Context>,
    puller: Puller,
    leases: Leases,
    health: watch::Receiver<Health>,
    status: watch::Sender<WorkerStatus>,
    board: Board,
    /// The pull under way of each lane.
    pulls: HashMap<usize, Pull>,
    lives: JoinSet<Ended>,
    chores: JoinSet<Chore>,
    counting: bool,
    /// Counts in a row that failed.
    miscounts: u32,
    /// Stray jobs are being ended.
    clearing: bool,
    last_count: Instant,
    last_doubt: Instant,
    last_plan: Instant,
    last_job: Instant,
    losses: u64,
    silent_pulls: u32,
}

/// A life that ended.
struct Ended {
    lane: usize,
    settled: bool,
}

/// Something that was asked of the server on the side.
enum Chore {
    Counted(Option<Backlog>),
    Cleared,
    Opened { lane: usize, ready: bool },
    Inspected,
}

/// While jobs flow, lanes are counted this often: 0.5 ms of work each at 300 lanes.
const COUNT_BUSY: Duration = Duration::from_millis(25);
/// While nothing flows: how late a team's very first job may be noticed.
const COUNT_IDLE: Duration = Duration::from_millis(100);
/// Jobs flow if one came this recently.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// How often the board forgets which jobs it thinks others run.
const DOUBT_EVERY: Duration = Duration::from_secs(1);
/// Slots are gathered this long before a pull, so that a busy worker pulls batches.
const GATHER: Duration = Duration::from_millis(1);
/// Consumers made at a time; a hostile team can name many lanes.
const OPENING_MAX: usize = 16;
/// Stray lanes cleared in one go.
const STRAYS_MAX: usize = 64;
/// A count that fails is repeated; so many in a row are a stream that is gone.
const MISCOUNTS_MAX: u32 = 3;
/// So many pulls forgotten in a row mean a connection that stands and does not deliver.
const SILENT_PULLS_MAX: u32 = 8;

impl Dispatcher {
    fn new(
        cx: Arc<Context>,
        puller: Puller,
        leases: Leases,
        health: watch::Receiver<Health>,
        status: watch::Sender<WorkerStatus>,
    ) -> Self {
        let now = Instant::now();
        let losses = health.borrow().losses;
        Dispatcher {
            cx,
            puller,
            leases,
            health,
            status,
            board: Board::default(),
            pulls: HashMap::new(),
            lives: JoinSet::new(),
            chores: JoinSet::new(),
            counting: false,
            miscounts: 0,
            clearing: false,
            last_count: now - COUNT_IDLE,
            last_doubt: now,
            last_plan: now - GATHER,
            last_job: now - BUSY_FOR,
            losses,
            silent_pulls: 0,
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), WorkerError> {
        let mut tick = tokio::time::interval(GATHER * 5);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = self.puller.next() => self.came(event.ok_or(WorkerError::Closed)?, false),
                Some(ended) = self.lives.join_next() => self.ended(ended),
                Some(chore) = self.chores.join_next() => self.chore(chore),
                _ = tick.tick() => self.tick(),
            }
            self.plan().await;
        }
        self.drain().await
    }

    fn holding(&self) -> Option<&'static str> {
        if !self.health.borrow().connected {
            Some("not connected to nats")
        } else if !self.cx.results.writable() {
            Some("results cannot be read or written")
        } else if self.miscounts >= MISCOUNTS_MAX {
            Some("jobs cannot be counted")
        } else {
            None
        }
    }

    fn free(&self) -> usize {
        let asked: usize = self.pulls.values().map(|pull| pull.slots).sum();
        self.cx.config.concurrency.saturating_sub(self.lives.len() + asked)
    }

    async fn plan(&mut self) {
        let free = self.free();
        let enough = free >= (self.cx.config.concurrency / 8).max(1);
        if free == 0 || !(enough || self.last_plan.elapsed() >= GATHER) || self.holding().is_some() {
            return;
        }
        let now = Instant::now();
        self.last_plan = now;
        for wish in self.board.plan(free, self.cx.config.concurrency, now) {
            let key = self.board.lane(wish.lane).key.clone();
            match self.puller.pull(&key, wish.slots, wish.wait).await {
                Ok(pull) => {
                    self.board.pulling(wish.lane, wish.slots);
                    self.pulls.insert(wish.lane, pull);
                }
                Err(error) => tracing::warn!(%error, "pull not sent"),
            }
        }
    }

    /// Takes in what a pull brought. While draining, jobs are handed back at once.
    fn came(&mut self, event: PullEvent, draining: bool) {
        match event {
            PullEvent::Job(arrival) => {
                self.silent_pulls = 0;
                let Some(lane) = self.board.find(&arrival.lane) else { return };
                if let Some(pull) = self.pulls.get_mut(&lane) {
                    pull.slots -= 1;
                    if pull.slots == 0 {
                        self.pulls.remove(&lane);
                    }
                }
                self.start(lane, *arrival, draining);
            }
            PullEvent::Drained { pull } => {
                self.over(pull, true);
            }
            PullEvent::Ended { pull, consumer_gone, reason } => {
                tracing::debug!(reason, "pull ended");
                let lane = self.over(pull, false);
                if let Some(lane) = lane.filter(|_| consumer_gone) {
                    tracing::warn!(lane = %self.board.lane(lane).key, "the lane's consumer is gone; making it again");
                    self.board.lost_consumer(lane);
                }
            }
        }
    }

    /// Ends the pull with this number, if it is still under way, and returns its lane.
    fn over(&mut self, id: u64, drained: bool) -> Option<usize> {
        self.silent_pulls = 0;
        let lane = self.pulls.iter().find(|(_, pull)| pull.id == id).map(|(&lane, _)| lane)?;
        let pull = self.pulls.remove(&lane)?;
        self.board.returned(lane, pull.slots, drained);
        Some(lane)
    }

    fn start(&mut self, lane: usize, arrival: Arrival, draining: bool) {
        let now = Instant::now();
        self.last_job = now;
        let key = self.board.lane(lane).key.clone();
        let Some(delivery) = Delivery::take(&self.cx.connection, &self.leases, &key, arrival) else { return };
        self.board.started(lane, now);
        let cx = self.cx.clone();
        self.lives.spawn(async move {
            let settled = if draining {
                delivery.settle(tollgate_queue::Settlement::Release).await;
                false
            } else {
                life::live(delivery, &cx).await
            };
            Ended { lane, settled }
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Ended { lane, settled }) => self.board.ended(lane, settled),
            Err(error) => {
                // The delivery was dropped: its lease runs out and the job comes again, as after a crash.
                tracing::error!(%error, "a job's life panicked");
                metrics::counter!("tollgate_panics_total").increment(1);
                self.last_doubt = Instant::now() - DOUBT_EVERY;
            }
        }
    }

    fn chore(&mut self, chore: Result<Chore, tokio::task::JoinError>) {
        match chore {
            Ok(Chore::Counted(Some(mut backlog))) => {
                (self.counting, self.miscounts) = (false, 0);
                self.clear_strays(&mut backlog);
                let teams = self.cx.teams.clone();
                self.board.count(&backlog, |lane| weight(lane, &teams));
                self.open_lanes();
            }
            Ok(Chore::Counted(None)) => (self.counting, self.miscounts) = (false, self.miscounts.saturating_add(1)),
            Ok(Chore::Cleared) => self.clearing = false,
            Ok(Chore::Opened { lane, ready }) => self.board.opened(lane, ready),
            Ok(Chore::Inspected) => {}
            Err(error) => {
                (self.counting, self.clearing) = (false, false);
                tracing::error!(%error, "a chore panicked");
            }
        }
    }

    /// Takes lanes that get no consumer out of the count, and ends what is in them.
    fn clear_strays(&mut self, backlog: &mut Backlog) {
        let strays: Vec<LaneKey> = backlog.lanes.keys().filter(|lane| lane.is_stray()).cloned().collect();
        if strays.is_empty() {
            return;
        }
        backlog.lanes.retain(|lane, _| !lane.is_stray());
        if self.clearing || self.holding().is_some() {
            return;
        }
        self.clearing = true;
        let cx = self.cx.clone();
        self.chores.spawn(async move {
            for lane in strays.iter().take(STRAYS_MAX) {
                unreadable::clear_stray(lane, &cx).await;
            }
            Chore::Cleared
        });
    }

    fn open_lanes(&mut self) {
        for lane in self.board.to_open(OPENING_MAX) {
            let (cx, key) = (self.cx.clone(), self.board.lane(lane).key.clone());
            self.chores.spawn(async move {
                let opened = cx.lanes.ensure(&key).await;
                if let Err(error) = &opened {
                    tracing::error!(lane = %key, %error, "lane cannot be opened");
                } else {
                    // The last worker may have ended because of a job in this lane.
                    unreadable::clear_lane(&key, unreadable::OPENING, &cx).await;
                }
                Chore::Opened { lane, ready: opened.is_ok() }
            });
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let every = if now.duration_since(self.last_job) < BUSY_FOR { COUNT_BUSY } else { COUNT_IDLE };
        if !self.counting && now.duration_since(self.last_count) >= every {
            self.count(now);
        }
        if now.duration_since(self.last_doubt) >= DOUBT_EVERY {
            self.last_doubt = now;
            self.board.doubt();
            self.write_off(now);
            self.watch_connection();
            self.tell();
        }
    }

    fn count(&mut self, now: Instant) {
        self.counting = true;
        self.last_count = now;
        let cx = self.cx.clone();
        self.chores.spawn(async move {
            match cx.lanes.backlog().await {
                Ok(backlog) => Chore::Counted(Some(backlog)),
                Err(error) => {
                    tracing::warn!(%error, "lanes not counted");
                    Chore::Counted(None)
                }
            }
        });
    }

    /// A restarted server forgets pulls in silence; a connection that stands and delivers nothing is made anew.
    fn write_off(&mut self, now: Instant) {
        let overdue: Vec<usize> = self.pulls.iter().filter(|(_, p)| p.overdue(now)).map(|(&lane, _)| lane).collect();
        for lane in overdue {
            if let Some(pull) = self.pulls.remove(&lane) {
                self.board.returned(lane, pull.slots, false);
                self.silent_pulls += 1;
            }
        }
        if self.silent_pulls >= SILENT_PULLS_MAX && self.holding().is_none() {
            self.silent_pulls = 0;
            tracing::error!("connected to nats, but pulls are not answered; connecting anew");
            metrics::counter!("tollgate_stalled_connections_total").increment(1);
            let connection = self.cx.connection.clone();
            self.chores.spawn(async move {
                if let Err(error) = connection.renew().await {
                    tracing::error!(%error, "cannot connect anew");
                }
                Chore::Inspected
            });
        }
    }

    /// After a lost connection: was it a message that our client cannot read?
    fn watch_connection(&mut self) {
        let health = *self.health.borrow();
        if health.losses == self.losses || !health.connected {
            return;
        }
        self.losses = health.losses;
        for key in self.board.keys() {
            let cx = self.cx.clone();
            self.chores.spawn(async move {
                unreadable::clear_lane(&key, unreadable::LOST, &cx).await;
                Chore::Inspected
            });
        }
    }

    fn tell(&self) {
        let now = WorkerStatus { running: self.lives.len(), lanes: self.board.len(), holding: self.holding() };
        metrics::gauge!("tollgate_jobs_running").set(now.running as f64);
        metrics::gauge!("tollgate_lanes").set(now.lanes as f64);
        self.status.send_if_modified(|was| {
            let changed = *was != now;
            *was = now;
            changed
        });
    }

    async fn drain(mut self) -> Result<(), WorkerError> {
        tracing::info!(running = self.lives.len(), "draining");
        self.chores.abort_all();
        let deadline = tokio::time::sleep(self.cx.config.drain);
        tokio::pin!(deadline);
        let mut gave_up = false;
        // Long pulls may still bring jobs; they are handed back until the server has let go of them.
        while !self.lives.is_empty() || !self.pulls.is_empty() {
            let pulls_end = self.pulls.values().map(|pull| pull.until).max().unwrap_or_else(Instant::now);
            tokio::select! {
                event = self.puller.next() => match event {
                    Some(event) => self.came(event, true),
                    None => return Err(WorkerError::Closed),
                },
                Some(ended) = self.lives.join_next() => self.ended(ended),
                () = &mut deadline, if !gave_up => {
                    tracing::warn!(running = self.lives.len(), "drain time is over; handing jobs back");
                    gave_up = true;
                    self.cx.giving_up.cancel();
                }
                () = tokio::time::sleep_until(pulls_end.into()), if !self.pulls.is_empty() => self.pulls.clear(),
            }
        }
        tracing::info!("drained");
        Ok(())
    }
}

fn weight(lane: &LaneKey, teams: &Teams) -> u32 {
    let class = match lane.known_class() {
        Some(Class::Interactive) => 16,
        Some(Class::Standard) => 4,
        Some(Class::Batch) | None => 1,
    };
    let team = teams.record(&lane.team).map_or(1, |record| record.weight);
    class * team.clamp(1, 1000)
}
