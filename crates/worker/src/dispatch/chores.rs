//! What the dispatcher asks of the server on the side: counts, consumers, and a look after what went wrong.

use std::time::{Duration, Instant};

use std::collections::{HashMap, HashSet};

use tollgate_queue::Backlog;
use tollgate_queue::wait::QueueCount;
use tollgate_types::{Gate, LaneKey};

use super::{BUSY_FOR, COUNT_IDLE, DOUBT_EVERY, Dispatcher};
use crate::board::At;
use crate::context::Context;
use crate::unreadable;
use crate::worker::WorkerStatus;

/// Something that was asked of the server on the side.
pub(super) enum Chore {
    Counted(Option<Backlog>),
    /// The queues of parked jobs were counted, if they could be.
    CountedParked(Option<Parked>),
    Cleared,
    Opened {
        at: At,
        ready: bool,
    },
    /// What happened while the intake was away was looked into, up to so many losses.
    Examined {
        losses: Option<u64>,
    },
    Renewed,
}

/// What waits behind gates.
pub(super) struct Parked {
    jobs: HashMap<(Gate, LaneKey), u64>,
    /// The answers among the gates that somebody is fetching.
    aloft: HashSet<String>,
}

/// While jobs flow, lanes are counted this often: 0.5 ms of work each at 300 lanes.
const COUNT_BUSY: Duration = Duration::from_millis(25);
/// Queues of parked jobs are counted this often: one question, 8 ms of the server's work at 300 queues.
const COUNT_PARKED: Duration = Duration::from_millis(250);
/// How long before jobs in flight are read again after that failed.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// Consumers made at a time; a hostile team can name many lanes.
const OPENING_MAX: usize = 16;
/// Stray lanes cleared in one go.
const STRAYS_MAX: usize = 64;
/// So many pulls forgotten in a row mean a connection that stands and does not deliver.
const SILENT_PULLS_MAX: u32 = 8;

impl Dispatcher {
    pub(super) fn chore(&mut self, chore: Result<Chore, tokio::task::JoinError>) {
        match chore {
            Ok(Chore::Counted(Some(mut backlog))) => {
                (self.counting, self.miscounts) = (false, 0);
                self.clear_strays(&mut backlog);
                backlog.lanes.retain(|lane, _| self.cx.gates.serves(lane));
                self.board.count(&backlog.lanes, &self.cx.gates, Instant::now());
                self.open_queues();
            }
            Ok(Chore::CountedParked(counts)) => {
                self.counting_parked = false;
                if let Some(Parked { jobs: mut counts, aloft }) = counts {
                    self.cx.gates.counted_aloft(aloft);
                    counts.retain(|(_, lane), _| self.cx.gates.serves(lane));
                    let parked = counts.iter().filter(|(_, jobs)| **jobs > 0).map(|(at, _)| at.clone());
                    self.cx.gates.counted_parked(parked);
                    self.board.count_parked(&counts, &self.cx.gates, Instant::now());
                    self.open_queues();
                }
            }
            Ok(Chore::Counted(None)) => (self.counting, self.miscounts) = (false, self.miscounts.saturating_add(1)),
            Ok(Chore::Cleared) => self.clearing = false,
            Ok(Chore::Opened { at, ready }) => self.board.opened(at, ready, &self.cx.gates, Instant::now()),
            Ok(Chore::Examined { losses }) => {
                self.examining = false;
                if let Some(losses) = losses {
                    self.intake.examined(losses);
                }
            }
            Ok(Chore::Renewed) => {}
            Err(error) => {
                (self.counting, self.clearing, self.examining) = (false, false, false);
                self.counting_parked = false;
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

    fn open_queues(&mut self) {
        for at in self.board.take_unopened(OPENING_MAX) {
            let Some(key) = self.board.queue(at).map(|queue| queue.key.clone()) else { continue };
            let cx = self.cx.clone();
            self.chores.spawn(async move {
                let opened = match &key.gate {
                    None => cx.lanes.ensure(&key.lane).await.map(|_| ()),
                    Some(_) => cx.wait.ensure(&key).await,
                };
                if let Err(error) = &opened {
                    tracing::error!(queue = %key, %error, "queue cannot be opened");
                } else if key.gate.is_none() {
                    // The last worker may have ended because of a job in this lane.
                    unreadable::clear_lane(&key.lane, unreadable::OPENING, &cx).await;
                }
                Chore::Opened { at, ready: opened.is_ok() }
            });
        }
    }

    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.examine();
        let every = if now.duration_since(self.last_job) < BUSY_FOR { COUNT_BUSY } else { COUNT_IDLE };
        if !self.counting && now.duration_since(self.last_count) >= every {
            self.count(now);
        }
        if !self.counting_parked && now.duration_since(self.last_count_parked) >= COUNT_PARKED {
            self.count_parked(now);
        }
        let waiting = self.board.waiting_in_the_open();
        self.use_of_slots.look(now, self.lives.len(), self.cx.config.concurrency, waiting);
        if now.duration_since(self.last_doubt) >= DOUBT_EVERY {
            self.last_doubt = now;
            self.board.doubt();
            self.write_off(now);
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

    fn count_parked(&mut self, now: Instant) {
        self.counting_parked = true;
        self.last_count_parked = now;
        let cx = self.cx.clone();
        self.chores.spawn(async move {
            match cx.wait.queues().await {
                Ok(queues) => {
                    let jobs = |count: QueueCount| count.waiting.saturating_add(count.in_flight);
                    let jobs: HashMap<_, _> = queues.into_iter().map(|(key, count)| (key, jobs(count))).collect();
                    let aloft = aloft(&jobs, &cx).await;
                    Chore::CountedParked(Some(Parked { jobs, aloft }))
                }
                Err(error) => {
                    tracing::warn!(%error, "parked jobs not counted");
                    Chore::CountedParked(None)
                }
            }
        });
    }

    /// A restarted server forgets pulls in silence; a connection that stands and delivers nothing is made anew.
    fn write_off(&mut self, now: Instant) {
        let overdue: Vec<At> = self.pulls.iter().filter(|(_, (p, _))| p.overdue(now)).map(|(&at, _)| at).collect();
        for at in overdue {
            if let Some((pull, charged)) = self.pulls.remove(&at) {
                self.board.returned(at, pull.slots, charged, false);
                self.silent_pulls += 1;
            }
        }
        if self.silent_pulls >= SILENT_PULLS_MAX && self.holding().is_none() {
            self.silent_pulls = 0;
            tracing::error!("connected to nats, but pulls are not answered; connecting anew");
            metrics::counter!("tollgate_stalled_connections_total").increment(1);
            let connection = self.intake.connection.clone();
            self.chores.spawn(async move {
                if let Err(error) = connection.renew().await {
                    tracing::error!(%error, "cannot connect anew");
                }
                Chore::Renewed
            });
        }
    }

    /// After a lost connection, before the next pull: who was in flight, and was it a message that our client cannot
    /// read?
    fn examine(&mut self) {
        if self.examining || !self.intake.unexamined() {
            return;
        }
        self.examining = true;
        let (cx, keys, losses) = (self.cx.clone(), self.board.keys(), self.intake.health.borrow().losses);
        self.chores.spawn(async move {
            cx.watchful.renew(cx.clock.now());
            if let Err(error) = cx.in_flight.look_back().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "jobs in flight not read; asking again");
                tokio::time::sleep(LOOK_PAUSE).await;
                return Chore::Examined { losses: None };
            }
            for key in keys {
                unreadable::clear_lane(&key, unreadable::LOST, &cx).await;
            }
            Chore::Examined { losses: Some(losses) }
        });
    }

    fn tell(&self) {
        self.cx.fleet.measure();
        let now = WorkerStatus {
            running: self.lives.len(),
            lanes: self.board.len(),
            intake_losses: self.intake.losses(),
            holding: self.holding(),
        };
        metrics::gauge!("tollgate_jobs_running").set(now.running as f64);
        metrics::gauge!("tollgate_lanes").set(now.lanes as f64);
        self.status.send_if_modified(|was| {
            let changed = *was != now;
            *was = now;
            changed
        });
    }
}

/// Which of the answers that jobs wait for are being fetched.
async fn aloft(counts: &HashMap<(Gate, LaneKey), u64>, cx: &Context) -> HashSet<String> {
    let waited_for = counts.iter().filter(|(_, jobs)| **jobs > 0).filter_map(|((gate, _), _)| match gate {
        Gate::Answer(digest) => Some(digest.clone()),
        Gate::Due | Gate::Account(_) | Gate::Model(_) => None,
    });
    let waited_for: HashSet<String> = waited_for.collect();
    if waited_for.is_empty() {
        return waited_for;
    }
    cx.claims.aloft(waited_for).await
}
