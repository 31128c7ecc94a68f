//! The loop that starts lives: count the lanes, pull what the order grants, run each job as a task of its own.
//!
//! A slot is taken before a job is pulled and given back when its life ends, so nothing is leased that has no slot.
//! Nothing is pulled while the results do not answer, or after a stop was asked for.

mod chores;
mod slots;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_policy::order::Cost;
use tollgate_queue::connect::Health;
use tollgate_queue::{Arrival, Delivery, Leases, Pull, PullEvent, Settlement};

use crate::board::{At, Board};
use crate::context::Context;
use crate::intake::Intake;
use crate::life::{self, Lived, Start};
use crate::notes::{NOTES_MAX, Note, Notes};
use crate::worker::{WorkerError, WorkerStatus};
use chores::Chore;
use slots::UseOfSlots;

/// The loop and what it knows.
pub(crate) struct Dispatcher {
    cx: Arc<Context>,
    intake: Intake,
    /// Of the connection that results go out by.
    health: watch::Receiver<Health>,
    leases: Leases,
    status: watch::Sender<WorkerStatus>,
    board: Board,
    /// The pull under way of each queue, with what the order charged for each of its slots.
    pulls: HashMap<At, (Pull, Cost)>,
    lives: JoinSet<Ended>,
    notes: mpsc::Receiver<Note>,
    noting: mpsc::Sender<Note>,
    /// What moved a lane's or a gate's door: money, permits.
    doors: [watch::Receiver<u64>; 3],
    use_of_slots: UseOfSlots,
    chores: JoinSet<Chore>,
    counting: bool,
    counting_parked: bool,
    /// Counts in a row that failed.
    miscounts: u32,
    /// Stray jobs are being ended.
    clearing: bool,
    /// What happened while the intake was away is being looked into.
    examining: bool,
    last_count: Instant,
    last_count_parked: Instant,
    last_doubt: Instant,
    last_plan: Instant,
    last_job: Instant,
    silent_pulls: u32,
}

/// A life that ended.
struct Ended {
    at: At,
    /// What came of it; `None` after a panic.
    lived: Option<Lived>,
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
        let (noting, notes) = mpsc::channel(NOTES_MAX);
        let doors = [cx.ledger.changes(), cx.limiter.changes(), cx.fleet.changes()];
        Dispatcher {
            cx,
            intake,
            health,
            leases,
            status,
            board: Board::default(),
            pulls: HashMap::new(),
            lives: JoinSet::new(),
            notes,
            noting,
            doors,
            use_of_slots: UseOfSlots::default(),
            chores: JoinSet::new(),
            counting: false,
            counting_parked: false,
            miscounts: 0,
            clearing: false,
            examining: false,
            last_count: now - COUNT_IDLE,
            last_count_parked: now - COUNT_IDLE,
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
                Some(note) = self.notes.recv() => self.board.correct(note.lane, note.by),
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
        let asked: usize = self.pulls.values().map(|(pull, _)| pull.slots).sum();
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
        if self.doors.iter().any(|door| door.has_changed().unwrap_or(false)) {
            self.doors.iter_mut().for_each(watch::Receiver::mark_unchanged);
            self.board.refresh(&self.cx.gates, now);
        }
        for wish in self.board.plan(free, self.cx.config.concurrency, &self.cx.gates, now) {
            let Some(key) = self.board.queue(wish.at).map(|queue| queue.key.clone()) else { continue };
            match self.intake.puller.pull(&key, wish.slots, wish.wait).await {
                Ok(pull) => drop(self.pulls.insert(wish.at, (pull, wish.charged))),
                Err(error) => {
                    tracing::warn!(%error, "pull not sent");
                    self.board.not_sent(wish);
                }
            }
        }
    }

    /// Opens the intake anew after its client ended for good; what ended it is looked for before the next pull.
    async fn reopen(&mut self, stop: &CancellationToken) {
        tracing::error!("the connection for jobs ended for good; making another");
        for (at, (pull, charged)) in std::mem::take(&mut self.pulls) {
            self.board.returned(at, pull.slots, charged, false);
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
                let Some(at) = self.board.find(&arrival.queue) else { return };
                let mut charged = 0;
                if let Some((pull, each)) = self.pulls.get_mut(&at) {
                    charged = *each;
                    pull.slots -= 1;
                    if pull.slots == 0 {
                        self.pulls.remove(&at);
                    }
                }
                self.start(at, charged, *arrival, draining);
            }
            PullEvent::Drained { pull } => {
                self.over(pull, true);
            }
            PullEvent::Ended { pull, consumer_gone, reason } => {
                tracing::debug!(reason, "pull ended");
                if let Some(at) = self.over(pull, false).filter(|_| consumer_gone) {
                    if let Some(queue) = self.board.queue(at) {
                        tracing::warn!(queue = %queue.key, "the queue's consumer is gone; making it again");
                    }
                    self.board.lost_consumer(at);
                }
            }
        }
    }

    /// Ends the pull with this number, if it is still under way, and returns its queue.
    fn over(&mut self, id: u64, drained: bool) -> Option<At> {
        self.silent_pulls = 0;
        let at = self.pulls.iter().find(|(_, (pull, _))| pull.id == id).map(|(&at, _)| at)?;
        let (pull, charged) = self.pulls.remove(&at)?;
        self.board.returned(at, pull.slots, charged, drained);
        self.board.look(at.lane, &self.cx.gates, Instant::now());
        Some(at)
    }

    fn start(&mut self, at: At, charged: Cost, arrival: Arrival, draining: bool) {
        let now = Instant::now();
        self.last_job = now;
        let Some(delivery) = Delivery::take(&self.cx.connection, &self.leases, arrival) else { return };
        let (charged, entrance) = self.board.started(at, charged, now);
        self.board.look(at.lane, &self.cx.gates, now);
        let start = Start { entrance, notes: Notes::new(at.lane, charged, self.noting.clone()) };
        let cx = self.cx.clone();
        self.lives.spawn(async move {
            if draining {
                delivery.settle(Settlement::Release).await;
                return Ended { at, lived: Some(Lived { settled: false, cost: None }) };
            }
            // A panic drops the delivery: its lease runs out and the job comes again, as after a crash.
            let life = AssertUnwindSafe(life::live(delivery, start, &cx));
            Ended { at, lived: life.catch_unwind().await.ok() }
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        // Panics are caught inside, and nobody aborts a life.
        let Ok(Ended { at, lived }) = ended else { return };
        if lived.is_none() {
            let lane = self.board.lane(at.lane).map(|lane| lane.key.to_string()).unwrap_or_default();
            tracing::error!(lane, "a job's life panicked");
            metrics::counter!("tollgate_panics_total").increment(1);
        }
        let Lived { settled, cost } = lived.unwrap_or(Lived { settled: false, cost: None });
        self.board.ended(at, settled, cost);
        self.board.look(at.lane, &self.cx.gates, Instant::now());
    }

    async fn drain(mut self) -> Result<(), WorkerError> {
        tracing::info!(running = self.lives.len(), "draining");
        self.chores.abort_all();
        let deadline = tokio::time::sleep(self.cx.config.drain);
        tokio::pin!(deadline);
        let mut gave_up = false;
        // Long pulls may still bring jobs; they are handed back until the server has let go of them.
        while !self.lives.is_empty() || !self.pulls.is_empty() {
            let pulls_end = self.pulls.values().map(|(pull, _)| pull.until).max().unwrap_or_else(Instant::now);
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
        // Money and permits that nobody needs any more, before their leases would end.
        self.cx.ledger.leave().await;
        self.cx.limiter.leave().await;
        self.cx.claims.give_up_dropped().await;
        tracing::info!("drained");
        Ok(())
    }
}
