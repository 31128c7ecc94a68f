//! Which lanes are open, and which gates: paused, out of money, out of permits, or free to go.
//!
//! A door that is as wide as a lane closes the lane, whose jobs stay untouched in their queue. A narrower one lets the
//! lane's other jobs pass; the jobs that it stops are parked behind it ([`crate::park`]) and come back through here.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tollgate_queue::Directory;
use tollgate_types::{Class, Gate, LaneKey, Scope};

use crate::board::{Doors, Weights};
use crate::config::Pool;
use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::limiter::{Limited, Limiter};
use crate::routes::{Priced, Routes};

/// How many jobs may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// None.
    Closed,
    /// So many, those that were asked for already included.
    UpTo(usize),
    /// As many as there are slots.
    Free,
}

impl Allowance {
    /// How many more may be asked for when `asked` are on their way.
    pub(crate) fn left(self, asked: usize) -> usize {
        match self {
            Allowance::Closed => 0,
            Allowance::UpTo(jobs) => jobs.saturating_sub(asked),
            Allowance::Free => usize::MAX,
        }
    }

    /// The narrower of two.
    pub(crate) fn and(self, other: Allowance) -> Allowance {
        match (self, other) {
            (Allowance::Closed, _) | (_, Allowance::Closed) => Allowance::Closed,
            (Allowance::UpTo(a), Allowance::UpTo(b)) => Allowance::UpTo(a.min(b)),
            (Allowance::UpTo(jobs), Allowance::Free) | (Allowance::Free, Allowance::UpTo(jobs)) => {
                Allowance::UpTo(jobs)
            }
            (Allowance::Free, Allowance::Free) => Allowance::Free,
        }
    }
}

/// Everything that can close a lane or a gate.
pub(crate) struct Gates {
    pub(crate) directory: Directory,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) pool: Pool,
    /// Where jobs are parked, as far as is known.
    pub(crate) parked: RwLock<HashSet<(Gate, LaneKey)>>,
    /// Which answers another job is fetching, of those that parked jobs wait for, by the short digest of their key.
    pub(crate) aloft: RwLock<HashSet<String>>,
    /// Which answers a job was let wait for here lately: a count may not know of it yet.
    pub(crate) let_wait: Mutex<HashMap<Gate, Instant>>,
}

/// The most answers that jobs wait for at a time: each such gate is a consumer, and counting them all takes the server
/// eight milliseconds. Beyond it jobs call for themselves.
const ANSWERS_MAX: usize = 256;
/// A job that was let wait is in the counts after this.
const COUNTED_AFTER: Duration = Duration::from_secs(2);

/// Why a lane or a job does not run, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// A stable word.
    pub(crate) gate: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Gates {
    /// Whether this worker serves the lane at all.
    pub(crate) fn serves(&self, lane: &LaneKey) -> bool {
        self.pool.serves(lane)
    }

    /// Whether jobs of the lane are parked behind a gate: then others of it line up behind them, instead of taking the
    /// permits that those wait for.
    pub(crate) fn someone_waits(&self, gate: &Gate, lane: &LaneKey) -> bool {
        let parked = self.parked.read().expect("no holder panics");
        // Asked for every job; mostly nothing is parked.
        !parked.is_empty() && parked.contains(&(gate.clone(), lane.clone()))
    }

    /// Takes in where jobs are parked, as it was counted.
    pub(crate) fn counted_parked(&self, at: impl Iterator<Item = (Gate, LaneKey)>) {
        *self.parked.write().expect("no holder panics") = at.collect();
    }

    /// A job was parked since the last count.
    pub(crate) fn parked_one(&self, gate: Gate, lane: LaneKey) {
        if let Gate::Answer(digest) = &gate {
            // Seen claimed just now; the next count looks again.
            self.aloft.write().expect("no holder panics").insert(digest.clone());
        }
        self.parked.write().expect("no holder panics").insert((gate, lane));
    }

    /// Takes in which answers are being fetched.
    pub(crate) fn counted_aloft(&self, aloft: HashSet<String>) {
        *self.aloft.write().expect("no holder panics") = aloft;
    }

    /// Whether one more job may wait for the answer of this gate; then it is taken to wait there.
    pub(crate) fn may_wait_for(&self, gate: &Gate, now: Instant) -> bool {
        let mut let_wait = self.let_wait.lock().expect("no holder panics");
        let_wait.retain(|_, since| now.duration_since(*since) < COUNTED_AFTER);
        let parked = self.parked.read().expect("no holder panics");
        let counted = parked.iter().map(|(gate, _)| gate).filter(|gate| matches!(gate, Gate::Answer(_)));
        let answers: HashSet<&Gate> = counted.chain(let_wait.keys()).collect();
        let may = answers.contains(gate) || answers.len() < ANSWERS_MAX;
        if may {
            let_wait.insert(gate.clone(), now);
        }
        may
    }

    fn is_aloft(&self, digest: &str) -> bool {
        self.aloft.read().expect("no holder panics").contains(digest)
    }

    /// What keeps each deployment of a model from taking calls, in words.
    fn why_of_model(&self, gate: &Gate) -> String {
        let Gate::Model(digest) = gate else { return String::new() };
        let serving = self.routes.behind(digest).map_or(&[][..], |serving| &serving.deployments);
        let why = |priced: &Priced| {
            let limited = Limited::of(priced);
            let of_fleet = self.fleet.why_closed(priced).map(|why| format!("{limited} {why}"));
            of_fleet.unwrap_or_else(|| self.limiter.why_closed(&limited))
        };
        let each: Vec<String> = serving.iter().map(why).collect();
        format!("no deployment of the model takes calls now: {}", each.join("; "))
    }

    /// How many jobs the deployments of a model take, or when they take none, those of the models that stand in for it.
    fn of_model(&self, digest: &str) -> Allowance {
        // Nobody serves it any more: its jobs come and hear that.
        let Some(serving) = self.routes.behind(digest) else { return Allowance::Free };
        let of_one =
            |priced: &Priced| self.fleet.allowance(priced).and(self.limiter.allowance(&Limited::of(priced), true));
        let of_all = |those: &[Priced]| those.iter().map(of_one).reduce(either).unwrap_or(Allowance::Closed);
        match of_all(&serving.deployments) {
            Allowance::Closed if !self.fleet.any_open(serving.deployments.iter()) => {
                let fallbacks = serving.stand_ins.fallbacks.iter();
                let running = fallbacks.filter(|model| self.directory.model_pause(model).is_none());
                running.map(|model| of_all(self.routes.of(model))).reduce(either).unwrap_or(Allowance::Closed)
            }
            allowance => allowance,
        }
    }

    /// Why the lane is closed; `None` when it is open.
    pub(crate) fn why_closed(&self, lane: &LaneKey) -> Option<Reason> {
        if let Some(pause) = self.directory.lane_pause(lane) {
            let because = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
            let message = format!("paused by {} at {}{because}", pause.author, pause.at.to_rfc3339());
            return Some(Reason { gate: "paused", message });
        }
        for scope in wide(lane) {
            if self.ledger.allowance_of_lane(&scope.account()) == Allowance::Closed {
                let message = self.ledger.why_closed(&scope.account());
                return Some(Reason { gate: "budget", message });
            }
        }
        let limited = Limited::Scope(team(lane));
        (self.limiter.allowance(&limited, false).left(0) == 0)
            .then(|| Reason { gate: "rate", message: self.limiter.why_closed(&limited) })
    }

    /// Why a gate is closed; `None` when it is open.
    pub(crate) fn why_shut(&self, gate: &Gate) -> Option<Reason> {
        if Doors::gate(self, gate).left(0) > 0 {
            return None;
        }
        let reason = match gate {
            Gate::Due => return None,
            Gate::Answer(_) => {
                let message = "an identical job is being answered; this one gets the same answer".to_owned();
                Reason { gate: "answer", message }
            }
            Gate::Account(id) if self.ledger.allowance(id) == Allowance::Closed => {
                Reason { gate: "budget", message: self.ledger.why_closed(id) }
            }
            Gate::Account(id) => {
                let message = self.limiter.why_closed_account(id);
                Reason { gate: "rate", message }
            }
            Gate::Model(_) => match self.directory.gate_pause(gate) {
                Some(pause) => Reason { gate: "paused", message: format!("the model is paused by {}", pause.author) },
                None => Reason { gate: "model", message: self.why_of_model(gate) },
            },
        };
        Some(reason)
    }
}

/// The scopes that all jobs of a lane share.
fn wide(lane: &LaneKey) -> [Scope; 2] {
    [Scope::Organisation, team(lane)]
}

fn team(lane: &LaneKey) -> Scope {
    Scope::Team { team: lane.team.clone() }
}

impl Doors for Gates {
    fn lane(&self, lane: &LaneKey, busy: bool) -> Allowance {
        // Before the team is looked for: the backlog of one that was removed may be kept by a pause.
        if self.directory.lane_pause(lane).is_some() {
            return Allowance::Closed;
        }
        // Jobs of an unknown team are answered, not held.
        if self.directory.team(&lane.team).is_none() {
            return Allowance::Free;
        }
        let money = wide(lane).map(|scope| self.ledger.allowance_of_lane(&scope.account()));
        let money = money.into_iter().fold(Allowance::Free, Allowance::and);
        money.and(self.limiter.allowance(&Limited::Scope(team(lane)), busy))
    }

    fn gate(&self, gate: &Gate) -> Allowance {
        match gate {
            Gate::Due => Allowance::Free,
            Gate::Answer(digest) if self.is_aloft(digest) => Allowance::Closed,
            Gate::Answer(_) => Allowance::Free,
            Gate::Account(id) => self.ledger.allowance(id).and(self.limiter.allowance_of_account(id)),
            Gate::Model(digest) => match self.directory.gate_pause(gate) {
                Some(_) => Allowance::Closed,
                None => self.of_model(digest),
            },
        }
    }

    fn weights(&self, lane: &LaneKey) -> Weights {
        let of_team = self.directory.team(&lane.team).map_or(1, |record| record.weight.clamp(1, 1000));
        let classes = self.directory.organisation().class_weights;
        let (class, of_class) = match lane.known_class() {
            Some(Class::Interactive) => (0, classes.interactive),
            Some(Class::Standard) => (1, classes.standard),
            Some(Class::Batch) | None => (2, classes.batch),
        };
        Weights { class, of_class, of_team }
    }
}

/// The wider of two ways, together.
fn either(a: Allowance, b: Allowance) -> Allowance {
    match (a, b) {
        (Allowance::Free, _) | (_, Allowance::Free) => Allowance::Free,
        (Allowance::UpTo(a), Allowance::UpTo(b)) => Allowance::UpTo(a.saturating_add(b)),
        (Allowance::UpTo(jobs), Allowance::Closed) | (Allowance::Closed, Allowance::UpTo(jobs)) => {
            Allowance::UpTo(jobs)
        }
        (Allowance::Closed, Allowance::Closed) => Allowance::Closed,
    }
}
