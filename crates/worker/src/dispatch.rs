//! The loop that starts lives: count the lanes, pull what the order grants, run each job as a task of its own.
//!
//! A slot is taken before a job is pulled and given back when its life ends, so nothing is leased that has no slot.
//! Nothing is pulled while the results do not answer, or after a stop was asked for.

mod chores;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_queue::connect::Health;
use tollgate_queue::{Arrival, Delivery, Leases, Pull, PullEvent, Settlement};

use crate::board::Board;
use crate::context::Context;
use crate::intake::Intake;
use crate::life;
use crate::worker::{WorkerError, WorkerStatus};
use chores::Chore;

/// The loop and what it knows.
pub(crate) struct Dispatcher {
    cx: Arc<Context>,
    intake: Intake,
    /// Of the connection that results go out by.
    health: watch::Receiver<Health>,
    leases: Leases,
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
    /// What happened while the intake was away is being looked into.
    examining: bool,
    last_count: Instant,
    last_doubt: Instant,
    last_plan: Instant,
    last_job: Instant,
    silent_pulls: u32,
}

/// A life that ended.
struct Ended {
    lane: usize,
    /// Whether the job left the queue; `None` after a panic.
    settled: Option<bool>,
}

/// While nothing flows: how late a team's very first job may be noticed.
const COUNT_IDLE: Duration = Duration::from_millis(100);
/// Jobs flow if one came this recently.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// How often the board forgets which jobs it thinks others run.
const DOUBT_EVERY: Duration = Duration::from_secs(1);
/// Slots are gathered this long before a pull, so that a busy worker pulls batches.
const GATHER: Duration = Duration::from_millis(1);
/// A count that fails is repeated; so many in a row are a stream that is gone.
const MISCOUNTS_MAX: u32 = 3;
/// How long to wait before the intake is opened once more.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

impl Dispatcher {
    pub(crate) fn new(cx: Arc<Context>, intake: Intake, leases: Leases, status: watch::Sender<WorkerStatus>) -> Self {
        let now = Instant::now();
        let health = cx.connection.health();
        Dispatcher {
            cx,
            intake,
            health,
            leases,
            status,
            board: Board::default(),
            pulls: HashMap::new(),
            lives: JoinSet::new(),
            chores: JoinSet::new(),
            counting: false,
            miscounts: 0,
            clearing: false,
            examining: false,
            last_count: now - COUNT_IDLE,
            last_doubt: now,
            last_plan: now - GATHER,
            last_job: now - BUSY_FOR,
            silent_pulls: 0,
        }
    }

    /// Runs until `stop` is cancelled, then drains.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), WorkerError> {
        let mut tick = tokio::time::interval(GATHER * 5);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = self.intake.puller.next() => match event {
                    Some(event) => self.came(event, false),
                    None => self.reopen(&stop).await,
                },
                Some(ended) = self.lives.join_next() => self.ended(ended),
                Some(chore) = self.chores.join_next() => self.chore(chore),
                _ = tick.tick() => self.tick(),
            }
            self.plan().await;
        }
        self.drain().await
    }

    fn holding(&self) -> Option<&'static str> {
        if !self.health.borrow().connected || !self.intake.health.borrow().connected {
            Some("not connected to nats")
        } else if !self.cx.results.writable() {
            Some("results cannot be read or written")
        } else if self.miscounts >= MISCOUNTS_MAX {
            Some("jobs cannot be counted")
        } else if self.cx.in_flight.stuck() {
            Some("jobs in flight cannot be kept")
        } else if self.intake.unexamined() {
            Some("looking at what was in flight")
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
            match self.intake.puller.pull(&key, wish.slots, wish.wait).await {
                Ok(pull) => {
                    self.board.pulling(wish.lane, wish.slots);
                    self.pulls.insert(wish.lane, pull);
                }
                Err(error) => tracing::warn!(%error, "pull not sent"),
            }
        }
    }

    /// Opens the intake anew after its client ended for good; what ended it is looked for before the next pull.
    async fn reopen(&mut self, stop: &CancellationToken) {
        tracing::error!("the connection for jobs ended for good; making another");
        for (lane, pull) in std::mem::take(&mut self.pulls) {
            self.board.returned(lane, pull.slots, false);
        }
        loop {
            match Intake::open(&self.cx.connection, &self.cx.config.name).await {
                Ok(intake) => break self.intake.replace(intake),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no connection for jobs yet"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REOPEN_PAUSE) => {}
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
            if draining {
                delivery.settle(Settlement::Release).await;
                return Ended { lane, settled: Some(false) };
            }
            // A panic drops the delivery: its lease runs out and the job comes again, as after a crash.
            let life = AssertUnwindSafe(life::live(delivery, &cx));
            Ended { lane, settled: life.catch_unwind().await.ok() }
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        // Panics are caught inside, and nobody aborts a life.
        let Ok(Ended { lane, settled }) = ended else { return };
        if settled.is_none() {
            tracing::error!(lane = %self.board.lane(lane).key, "a job's life panicked");
            metrics::counter!("tollgate_panics_total").increment(1);
        }
        self.board.ended(lane, settled.unwrap_or(false));
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
                event = self.intake.puller.next(), if !self.pulls.is_empty() => match event {
                    Some(event) => self.came(event, true),
                    None => self.pulls.clear(),
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
        self.cx.in_flight.leave().await;
        tracing::info!("drained");
        Ok(())
    }
}
