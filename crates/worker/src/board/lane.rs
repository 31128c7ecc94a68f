//! One lane on the board, and its queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tollgate_policy::estimate::LaneCost;
use tollgate_policy::order::{Cost, LaneId};
use tollgate_queue::QueueKey;
use tollgate_types::{Gate, LaneKey};

use crate::gates::Allowance;

/// One lane as this worker sees it.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Its name.
    pub(crate) key: Arc<LaneKey>,
    /// Its place in the order.
    pub(crate) id: LaneId,
    /// What its jobs cost lately.
    pub(crate) cost: LaneCost,
    /// How many of its jobs may begin.
    pub(crate) open: Allowance,
    /// Its own queue first, then those of its parked jobs.
    pub(crate) queues: Vec<Queue>,
    /// Asked for, or on the way to the money and permits that its allowance speaks of.
    pub(crate) asked: Asked,
    /// When anything last waited or ran in it.
    pub(crate) busy_at: Instant,
    /// When a job of it last started here.
    pub(crate) last_job: Option<Instant>,
}

/// One queue of a lane as this worker sees it.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Its name.
    pub(crate) key: Arc<QueueKey>,
    /// Jobs waiting or in flight anywhere, at the last count, less those that ended here since.
    pub(crate) backlog: usize,
    /// Jobs of it that run here.
    pub(crate) running: usize,
    /// Slots granted or of pulls under way.
    pub(crate) pulled: usize,
    /// Whether a pull is under way: its jobs do not say which pull brought them, so there is one at a time.
    pub(crate) pulling: bool,
    /// Jobs in the count that a pull did not find: other workers run them.
    pub(crate) elsewhere: usize,
    consumer: Consumer,
}

/// Whether the queue's consumer exists, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consumer {
    Missing,
    Asked,
    Ready,
}

/// Counts jobs between their grant and the moment when money and permits were decided: until then an allowance cannot
/// know of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<AtomicUsize>);

/// One job that is counted in [`Asked`] until this is dropped.
#[derive(Debug)]
pub(crate) struct Entering(Asked);

impl Asked {
    /// How many there are.
    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many more.
    pub(crate) fn add(&self, jobs: usize) {
        self.0.fetch_add(jobs, Ordering::Relaxed);
    }

    /// So many fewer.
    pub(crate) fn sub(&self, jobs: usize) {
        let less = |now: usize| Some(now.saturating_sub(jobs));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Hands one that was counted to the job itself.
    pub(crate) fn entering(&self) -> Entering {
        Entering(self.clone())
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// What a lane's first job is expected to cost until it is read: little. What is charged too much is given back within
/// milliseconds, but virtual time has gone on by it, and a lane that begins meanwhile begins behind all others; what is
/// charged too little is a debt that is made up for.
const FIRST_COST: Cost = 1_000;

impl Lane {
    pub(super) fn new(key: LaneKey, id: LaneId, now: Instant) -> Lane {
        let key = Arc::new(key);
        let own = Queue::new(QueueKey::of_lane(key.clone()));
        Lane {
            key,
            id,
            cost: LaneCost::new(FIRST_COST),
            open: Allowance::Closed,
            queues: vec![own],
            asked: Asked::default(),
            busy_at: now,
            last_job: None,
        }
    }

    /// The number of the queue of a gate, made where it was not known; and the gate that had that number before.
    ///
    /// There is a gate for each answer that jobs wait for, each for a moment: a queue of one that nothing waits for, runs
    /// or is asked for is used again.
    pub(super) fn queue_of(&mut self, gate: &Gate) -> (usize, Option<Gate>) {
        if let Some(at) = self.queues.iter().position(|queue| queue.gate() == Some(gate)) {
            return (at, None);
        }
        let queue = Queue::new(QueueKey::behind(gate.clone(), self.key.clone()));
        match self.queues.iter().position(Queue::is_left) {
            Some(at) => {
                let left = std::mem::replace(&mut self.queues[at], queue);
                (at, left.gate().cloned())
            }
            None => {
                self.queues.push(queue);
                (self.queues.len() - 1, None)
            }
        }
    }

    /// Whether nothing waits, runs or is asked for.
    pub(super) fn is_idle(&self) -> bool {
        self.queues.iter().all(|queue| queue.backlog == 0 && queue.running == 0 && queue.pulled == 0)
    }

    /// Jobs that run here or are asked for.
    pub(crate) fn in_flight(&self) -> usize {
        self.queues.iter().map(|queue| queue.running + queue.pulled).sum()
    }

    pub(super) fn started(&mut self, queue: usize, now: Instant) {
        self.last_job = Some(now);
        let queue = &mut self.queues[queue];
        queue.pulled = queue.pulled.saturating_sub(1);
        queue.pulling &= queue.pulled > 0;
        queue.running += 1;
    }
}

impl Queue {
    fn new(key: QueueKey) -> Queue {
        Queue {
            key: Arc::new(key),
            backlog: 0,
            running: 0,
            pulled: 0,
            pulling: false,
            elsewhere: 0,
            consumer: Consumer::Missing,
        }
    }

    /// The gate that its jobs were parked behind; `None` for the lane's own.
    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.key.gate.as_ref()
    }

    /// Whether it is of an answer that nobody waits for any more.
    fn is_left(&self) -> bool {
        let idle = self.backlog == 0 && self.running == 0 && self.pulled == 0 && !self.pulling;
        idle && self.consumer != Consumer::Asked && matches!(self.gate(), Some(Gate::Answer(_)))
    }

    pub(super) fn counted(&mut self, jobs: u64) {
        self.backlog = usize::try_from(jobs).unwrap_or(usize::MAX);
        self.elsewhere = self.elsewhere.min(self.backlog.saturating_sub(self.running));
    }

    pub(super) fn ask_for_consumer(&mut self) -> bool {
        let missing = self.consumer == Consumer::Missing && self.backlog > 0;
        if missing {
            self.consumer = Consumer::Asked;
        }
        missing
    }

    pub(super) fn opened(&mut self, ready: bool) {
        self.consumer = if ready { Consumer::Ready } else { Consumer::Missing };
    }

    pub(super) fn returned(&mut self, slots: usize, drained: bool) {
        self.pulled = self.pulled.saturating_sub(slots);
        self.pulling = false;
        if drained {
            self.elsewhere = self.backlog.saturating_sub(self.running);
        }
    }

    pub(super) fn ended(&mut self, settled: bool) {
        self.running = self.running.saturating_sub(1);
        if settled {
            self.backlog = self.backlog.saturating_sub(1);
        }
    }

    /// Whether a pull could be sent to it.
    pub(super) fn can_pull(&self) -> bool {
        self.consumer == Consumer::Ready && !self.pulling
    }

    /// Jobs that nobody is known to run.
    pub(super) fn waiting(&self) -> usize {
        self.backlog.saturating_sub(self.running + self.elsewhere)
    }

    /// Jobs that nobody is known to have, and that were not asked for.
    pub(super) fn available(&self) -> usize {
        self.backlog.saturating_sub(self.running + self.elsewhere + self.pulled)
    }
}
