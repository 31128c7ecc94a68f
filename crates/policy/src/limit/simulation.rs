//! Workers that share one record, on a simulated clock, and what a provider's log says about it.
//!
//! What is simulated: swaps that take time, conflict and lose their answers; clocks that are wrong by up to 250 ms each;
//! requests that need up to 1.5 s to the provider; workers that let jobs go late within a block's time, and die at any
//! step. What is not: a worker that stops between spending a permit and sending; its request counts when it arrives.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::*;

pub(super) const MINUTE: i64 = 60_000;
/// As far as the module's promise goes: 1.5 s and twice 250 ms are two seconds.
const CLOCK_ERROR_MILLIS: u64 = 250;
const DELAY_MILLIS: u64 = 1_500;
const LEASE: Duration = Duration::from_secs(15);

/// Chance by a seed (splitmix64): the same run each time.
#[derive(Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % (most + 1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.up_to(n - 1) == 0
    }

    fn millis(&mut self, most: u64) -> i64 {
        i64::try_from(self.up_to(most)).unwrap()
    }
}

/// One run.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) seed: u64,
    pub(super) limits: Limits,
    pub(super) workers: usize,
    pub(super) minutes: i64,
    /// Jobs a minute, over all workers; `None` keeps every worker's queue full.
    pub(super) jobs_per_minute: Option<u64>,
    /// The most tokens that a job is estimated at, and how the truth differs, in percent.
    pub(super) tokens_max: u64,
    pub(super) truth_percent: (u64, u64),
    /// All jobs of the first worker have so many tokens.
    pub(super) big_tokens: Option<u64>,
    pub(super) service_millis: u64,
    /// The longest way to the provider.
    pub(super) delay_millis: u64,
    /// Whether workers hold permits back for as long as they may.
    pub(super) dawdles: bool,
    /// One in so many swaps is never answered, and one in so many wakings kills its worker; never with 0.
    pub(super) lost_answers: u64,
    pub(super) deaths: u64,
    /// All clocks are set by so much at so many ms.
    pub(super) clock_steps: Vec<(i64, i64)>,
    /// The last worker's clock is off by so much on top.
    pub(super) one_clock_off: i64,
}

impl Scene {
    pub(super) fn new(seed: u64, limits: Limits, workers: usize) -> Scene {
        Scene {
            seed,
            limits,
            workers,
            minutes: 6,
            jobs_per_minute: None,
            tokens_max: 100,
            truth_percent: (100, 100),
            big_tokens: None,
            service_millis: 2_000,
            delay_millis: DELAY_MILLIS,
            dawdles: false,
            lost_answers: 0,
            deaths: 0,
            clock_steps: Vec::new(),
            one_clock_off: 0,
        }
    }

    pub(super) fn run(self) -> Log {
        let mut world = World::new(self);
        while let Some(Reverse((at, _, index))) = world.queue.pop() {
            if at > world.scene.minutes * MINUTE {
                break;
            }
            world.now = at;
            let event = world.events.remove(&index).unwrap();
            world.happen(event);
        }
        world.log
    }
}

/// One call as the provider saw it.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) at: i64,
    pub(super) until: i64,
    pub(super) tokens: u64,
    pub(super) worker: usize,
    pub(super) sent: i64,
}

/// What the provider saw, and what was swapped.
#[derive(Default)]
pub(super) struct Log {
    pub(super) calls: Vec<Call>,
    pub(super) swaps: u64,
    pub(super) conflicts: u64,
    pub(super) deaths: u64,
    pub(super) record_bytes_max: usize,
    /// How long each job waited.
    pub(super) waits: Vec<i64>,
}

impl Log {
    /// The most that arrived in any stretch of so many ms, by what counts of each call.
    pub(super) fn most_in(&self, length: i64, of: impl Fn(&Call) -> u64) -> u64 {
        let mut calls = self.calls.clone();
        calls.sort_by_key(|call| call.at);
        let (mut first, mut sum, mut most) = (0, 0, 0);
        for call in &calls {
            sum += of(call);
            while calls[first].at <= call.at - length {
                sum -= of(&calls[first]);
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    /// What arrived a minute, the first two left out.
    pub(super) fn per_minute(&self, minutes: i64, of: impl Fn(&Call) -> u64) -> f64 {
        let counted = self.calls.iter().filter(|call| call.at >= 2 * MINUTE && call.at < minutes * MINUTE);
        counted.map(of).sum::<u64>() as f64 / (minutes - 2) as f64
    }

    /// The longest time between two arrivals.
    pub(super) fn longest_gap(&self) -> i64 {
        let mut at: Vec<i64> = self.calls.iter().map(|call| call.at).collect();
        at.sort_unstable();
        at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// The fewest that arrived in any stretch of so many ms that begins with an arrival, once it runs and before it ends.
    pub(super) fn least_in(&self, length: i64) -> usize {
        let mut at: Vec<i64> = self.calls.iter().map(|call| call.at).collect();
        at.sort_unstable();
        let last = at.last().copied().unwrap_or(0);
        let begins = at.iter().filter(|begin| **begin >= MINUTE && **begin + length <= last);
        begins
            .map(|begin| at.partition_point(|at| *at < begin + length) - at.partition_point(|at| at < begin))
            .min()
            .unwrap_or(0)
    }

    pub(super) fn by_worker(&self) -> Vec<usize> {
        let workers = self.calls.iter().map(|call| call.worker + 1).max().unwrap_or(0);
        (0..workers).map(|worker| self.calls.iter().filter(|call| call.worker == worker).count()).collect()
    }

    pub(super) fn most_at_once(&self) -> i64 {
        let mut edges: Vec<(i64, i64)> =
            self.calls.iter().filter(|call| call.at < call.until).flat_map(|c| [(c.at, 1), (c.until, -1)]).collect();
        edges.sort_unstable();
        edges.iter().scan(0, |running, (_, change)| (*running += change, Some(*running)).1).max().unwrap_or(0)
    }
}

enum Event {
    Arrive,
    Wake(usize, u64),
    /// A swap reaches the store, based on a revision.
    Write(usize, u64, Box<(Limit, u64, Granted)>),
    Answer(usize, u64, Outcome),
    Done(usize, u64, Permit, u64),
}

enum Outcome {
    Written(Granted),
    Conflict,
    Lost,
}

struct Worker {
    /// How many died in its place before it.
    life: u64,
    lease: String,
    clock_off: i64,
    permits: Permits,
    /// When each came, and its tokens.
    jobs: VecDeque<(i64, u64)>,
    asking: Option<Ask>,
    wakes_at: i64,
    calls: Vec<usize>,
}

struct World {
    scene: Scene,
    chance: Chance,
    now: i64,
    stored: Limit,
    revision: u64,
    workers: Vec<Worker>,
    queue: BinaryHeap<Reverse<(i64, u64, u64)>>,
    events: BTreeMap<u64, Event>,
    count: u64,
    log: Log,
}

impl World {
    fn new(scene: Scene) -> World {
        let mut chance = Chance(scene.seed);
        let limits = scene.limits;
        let worker = |index: usize, chance: &mut Chance| Worker {
            life: 0,
            lease: format!("w{index}-0"),
            clock_off: chance.millis(2 * CLOCK_ERROR_MILLIS) - i64::try_from(CLOCK_ERROR_MILLIS).unwrap(),
            permits: Permits::new(limits),
            jobs: VecDeque::new(),
            asking: None,
            wakes_at: i64::MAX,
            calls: Vec::new(),
        };
        let mut workers: Vec<Worker> = (0..scene.workers).map(|index| worker(index, &mut chance)).collect();
        workers.last_mut().unwrap().clock_off += scene.one_clock_off;
        let stored = Limit::open("team:test", scene.limits);
        let (queue, events) = (BinaryHeap::new(), BTreeMap::new());
        let log = Log::default();
        let mut world = World { scene, chance, now: 0, stored, revision: 1, workers, queue, events, count: 0, log };
        if world.scene.jobs_per_minute.is_some() {
            world.at(0, Event::Arrive);
        }
        for index in 0..world.workers.len() {
            world.refill(index);
            world.wake_at(index, 0);
        }
        world
    }

    fn at(&mut self, at: i64, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((at, self.chance.up_to(1 << 40), self.count)));
        self.events.insert(self.count, event);
    }

    /// The worker's clock; it began long after the epoch.
    fn clock(&self, worker: usize) -> UnixMillis {
        let steps = self.scene.clock_steps.iter().filter(|(at, _)| *at <= self.now).map(|(_, by)| by).sum::<i64>();
        UnixMillis(1_764_547_200_000 + self.now + self.workers[worker].clock_off + steps)
    }

    fn wake_at(&mut self, worker: usize, at: i64) {
        let at = at.max(self.now);
        if at < self.workers[worker].wakes_at {
            self.workers[worker].wakes_at = at;
            let life = self.workers[worker].life;
            self.at(at, Event::Wake(worker, life));
        }
    }

    fn refill(&mut self, worker: usize) {
        while self.scene.jobs_per_minute.is_none() && self.workers[worker].jobs.len() < 150 {
            let big = self.scene.big_tokens.filter(|_| worker == 0);
            let tokens = big.unwrap_or_else(|| 1 + self.chance.up_to(self.scene.tokens_max - 1));
            self.workers[worker].jobs.push_back((self.now, tokens));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                let worker = usize::try_from(self.chance.up_to(self.workers.len() as u64 - 1)).unwrap();
                let tokens = 1 + self.chance.up_to(self.scene.tokens_max - 1);
                self.workers[worker].jobs.push_back((self.now, tokens));
                self.wake_at(worker, self.now);
                let mean = 60_000 / self.scene.jobs_per_minute.unwrap();
                let next = self.now + self.chance.millis(2 * mean);
                self.at(next, Event::Arrive);
            }
            Event::Wake(worker, life) if self.workers[worker].life == life => {
                if self.workers[worker].wakes_at == self.now {
                    self.workers[worker].wakes_at = i64::MAX;
                }
                if self.chance.one_in(self.scene.deaths) { self.die(worker) } else { self.work(worker) }
            }
            // What a dead worker had sent arrives all the same.
            Event::Write(worker, life, write) => self.write(worker, life, *write),
            Event::Answer(worker, life, outcome) if self.workers[worker].life == life => self.hear(worker, outcome),
            Event::Done(worker, life, permit, tokens) if self.workers[worker].life == life => {
                let now = self.clock(worker);
                self.workers[worker].permits.finish(permit, Some(tokens), now);
                self.wake_at(worker, self.now);
            }
            Event::Wake(..) | Event::Answer(..) | Event::Done(..) => {}
        }
    }

    /// The process is gone, with its calls; another takes its place.
    fn die(&mut self, index: usize) {
        let (now, limits) = (self.now, self.scene.limits);
        let worker = &mut self.workers[index];
        for call in worker.calls.drain(..) {
            let call = &mut self.log.calls[call];
            call.until = call.until.min(now);
        }
        self.log.deaths += 1;
        worker.life += 1;
        worker.lease = format!("w{index}-{}", worker.life);
        (worker.permits, worker.asking, worker.wakes_at) = (Permits::new(limits), None, i64::MAX);
        self.wake_at(index, now + 100);
    }

    fn work(&mut self, index: usize) {
        let now = self.clock(index);
        loop {
            self.refill(index);
            let worker = &mut self.workers[index];
            let Some(&(came, tokens)) = worker.jobs.front() else {
                match worker.permits.due_at() {
                    Some(at) if at > now => return self.wake_at(index, self.now + (at.0 - now.0)),
                    Some(_) => return self.ask(index),
                    None => return,
                }
            };
            match worker.permits.spend(tokens, now) {
                Ok(permit) => {
                    worker.jobs.pop_front();
                    self.log.waits.push(self.now - came);
                    self.send(index, permit, tokens);
                }
                Err(Short::Until { again_at, .. }) if again_at > now => {
                    let due_at = worker.permits.due_at().filter(|at| *at < again_at);
                    if due_at.is_some_and(|at| at <= now) {
                        return self.ask(index);
                    }
                    return self.wake_at(index, self.now + (due_at.unwrap_or(again_at).0 - now.0));
                }
                Err(Short::Until { .. }) => return self.ask(index),
                Err(Short::Never { .. }) => {
                    worker.jobs.pop_front();
                }
            }
        }
    }

    fn send(&mut self, index: usize, permit: Permit, estimate: u64) {
        // Late for a while, then not: that is what pushes a minute together.
        let late = self.now / 20_000 % 2 == 0;
        let delay = if late { self.scene.delay_millis } else { self.scene.delay_millis.min(20) };
        let at = self.now + self.chance.millis(delay);
        let until = at + self.chance.millis(self.scene.service_millis);
        let (least, most) = self.scene.truth_percent;
        let tokens = estimate * (least + self.chance.up_to(most - least)) / 100;
        self.workers[index].calls.push(self.log.calls.len());
        self.log.calls.push(Call { at, until, tokens, worker: index, sent: self.now });
        let life = self.workers[index].life;
        self.at(until, Event::Done(index, life, permit, tokens));
    }

    fn ask(&mut self, index: usize) {
        let now = self.clock(index);
        let worker = &mut self.workers[index];
        if worker.asking.is_some() {
            return;
        }
        let jobs: Vec<u64> = worker.jobs.iter().map(|(_, tokens)| *tokens).collect();
        worker.asking = Some(worker.permits.ask(&jobs, &[], now));
        self.attempt(index);
    }

    fn attempt(&mut self, index: usize) {
        let now = self.clock(index);
        let mut record = self.stored.clone();
        let worker = &mut self.workers[index];
        let granted = record.take(&worker.lease, worker.asking.as_ref().unwrap(), now, now.plus(LEASE));
        if !granted.worth_writing {
            return self.hear(index, Outcome::Written(granted));
        }
        let at = self.now + 1 + self.chance.millis(10);
        self.at(at, Event::Write(index, self.workers[index].life, Box::new((record, self.revision, granted))));
    }

    fn write(&mut self, index: usize, life: u64, (record, revision, granted): (Limit, u64, Granted)) {
        self.log.swaps += 1;
        let mut outcome = Outcome::Conflict;
        if revision == self.revision {
            self.revision += 1;
            self.stored = record;
            // Over the wire now and then: it is slow, and the round trip has its own test.
            if self.revision.is_multiple_of(64) {
                let json = serde_json::to_string(&self.stored).unwrap();
                self.log.record_bytes_max = self.log.record_bytes_max.max(json.len());
                self.stored = serde_json::from_str(&json).unwrap();
            }
            outcome = Outcome::Written(granted);
        } else {
            self.log.conflicts += 1;
        }
        if self.chance.one_in(self.scene.lost_answers) {
            outcome = Outcome::Lost;
        }
        let at = self.now + 1 + self.chance.millis(10);
        self.at(at, Event::Answer(index, life, outcome));
    }

    fn hear(&mut self, index: usize, outcome: Outcome) {
        let now = self.clock(index);
        match outcome {
            Outcome::Written(granted) => {
                self.workers[index].asking = None;
                self.workers[index].permits.add(granted, now);
                let dawdle = if self.scene.dawdles { self.chance.millis(2_000) } else { 0 };
                // Nothing but this waking lets its jobs go.
                self.workers[index].wakes_at = i64::MAX;
                self.wake_at(index, self.now + dawdle + 1);
            }
            // An ask that was not written may be taken back as well as tried again.
            Outcome::Conflict if self.chance.one_in(8) => {
                let ask = self.workers[index].asking.take().unwrap();
                self.workers[index].permits.keep(ask, now);
                self.wake_at(index, self.now + 5);
            }
            Outcome::Lost if self.chance.one_in(4) => {
                let ask = self.workers[index].asking.take().unwrap();
                self.workers[index].permits.lose(ask, now);
                self.wake_at(index, self.now + 5);
            }
            Outcome::Conflict | Outcome::Lost => self.attempt(index),
        }
    }
}
