//! Workers with an order each over the same lanes, in virtual time; everything follows from the seed.
//!
//! A worker here does what a real one has to do with its order: it says how lanes stand, picks while slots are free,
//! asks for the caps again when nobody is Ready, and settles what a job really cost when it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tollgate_policy::order::{Cost, LaneId, Order, Standing};

/// SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }
}

/// When a lane has work.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Always.
    Always,
    /// One job after each of such waits, in ms, give or take a half.
    Every(u64),
    /// More than it can do for some time, in ms, then a closed gate for another; each give or take a half.
    OnOff(u64, u64),
}

/// One lane.
#[derive(Clone, Copy)]
pub(crate) struct Lane {
    pub(crate) class: u8,
    pub(crate) weight: u32,
    /// The least and the most that a job costs.
    pub(crate) costs: (Cost, Cost),
    /// What is expected of a job, in percent of its cost.
    pub(crate) estimate: u64,
    pub(crate) work: Work,
}

impl Lane {
    /// A lane that always has work of 500 to 32,000 tokens a job, exactly estimated.
    pub(crate) fn saturated(class: u8, weight: u32) -> Self {
        Lane { class, weight, costs: (5_000, 320_000), estimate: 100, work: Work::Always }
    }
}

/// What a worker did, for whoever checks it.
#[derive(Clone, Copy)]
pub(crate) enum Seen {
    /// A lane took no part and is Ready now. `caught_up` says that it owed nothing.
    Arrived { lane: usize, caught_up: bool },
    /// A lane was picked. `waited` is for how long its oldest job did, in ms, where jobs arrive one by one.
    Started { lane: usize, cost: Cost, expected: Cost, waited: u64 },
    /// A job ended and was settled.
    Ended { lane: usize, cost: Cost, expected: Cost },
}

enum Event {
    Ended { worker: usize, lane: usize, cost: Cost, expected: Cost },
    Job { lane: usize },
    Gate { lane: usize, open: bool },
}

struct Worker {
    order: Order,
    ids: Vec<LaneId>,
    standings: Vec<Standing>,
    running: Vec<usize>,
    free: usize,
}

/// What waits in a lane, for all workers.
struct Backlog {
    jobs: u64,
    /// When each job arrived, where jobs arrive one by one.
    arrived: std::collections::VecDeque<u64>,
    open: bool,
}

impl Backlog {
    /// Whether it has work that may run.
    fn wants(&self) -> bool {
        self.open && self.jobs > 0
    }
}

/// Workers and what they share.
pub(crate) struct Sim {
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    lanes: Vec<Lane>,
    backlogs: Vec<Backlog>,
    workers: Vec<Worker>,
    slots: usize,
    capped: bool,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    pending: Vec<Option<Event>>,
}

impl Sim {
    /// `workers` with `slots` each, lanes held to their in-flight caps or not.
    pub(crate) fn new(
        rng: Rng,
        lanes: Vec<Lane>,
        classes: &[u32],
        (workers, slots): (usize, usize),
        capped: bool,
    ) -> Self {
        let worker = |_| {
            let mut order = Order::default();
            (0u8..).zip(classes).for_each(|(class, &weight)| order.weigh_class(class, weight));
            let ids = lanes.iter().map(|lane| order.enter(lane.class, lane.weight)).collect();
            let standings = vec![Standing::Idle; lanes.len()];
            Worker { order, ids, standings, running: vec![0; lanes.len()], free: slots }
        };
        let backlog = |lane: &Lane| {
            let jobs = if matches!(lane.work, Work::Every(_)) { 0 } else { u64::MAX };
            Backlog { jobs, arrived: Default::default(), open: !matches!(lane.work, Work::OnOff(..)) }
        };
        let mut sim = Sim {
            rng,
            now: 0,
            backlogs: lanes.iter().map(backlog).collect(),
            workers: (0..workers).map(worker).collect(),
            lanes,
            slots,
            capped,
            events: BinaryHeap::new(),
            pending: Vec::new(),
        };
        for lane in 0..sim.lanes.len() {
            match sim.lanes[lane].work {
                Work::Always => {}
                Work::Every(wait) => sim.after(wait, Event::Job { lane }),
                Work::OnOff(_, off) => sim.after(off, Event::Gate { lane, open: true }),
            }
        }
        sim
    }

    /// Something happens in such a time, give or take a half.
    fn after(&mut self, wait: u64, event: Event) {
        let wait = self.rng.between(wait / 2 + 1, wait + wait / 2 + 1);
        self.events.push(Reverse((self.now + wait, self.pending.len() as u64, self.pending.len())));
        self.pending.push(Some(event));
    }

    /// One event, and what the workers make of it. `seen` hears of it, with how lanes stand at that worker.
    pub(crate) fn step(&mut self, mut seen: impl FnMut(Seen, &[Standing])) {
        if let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            match self.pending[event].take().expect("each event happens once") {
                Event::Ended { worker, lane, cost, expected } => {
                    let worker = &mut self.workers[worker];
                    worker.order.correct(worker.ids[lane], cost as i64 - expected as i64);
                    worker.running[lane] -= 1;
                    worker.free += 1;
                    seen(Seen::Ended { lane, cost, expected }, &worker.standings);
                }
                Event::Job { lane } => {
                    self.backlogs[lane].jobs += 1;
                    self.backlogs[lane].arrived.push_back(at);
                    let Work::Every(wait) = self.lanes[lane].work else { unreachable!("only those have single jobs") };
                    self.after(wait, Event::Job { lane });
                }
                Event::Gate { lane, open } => {
                    self.backlogs[lane].open = open;
                    let Work::OnOff(on, off) = self.lanes[lane].work else { unreachable!("only those have a gate") };
                    self.after(if open { on } else { off }, Event::Gate { lane, open: !open });
                }
            }
        }
        let first = self.rng.between(0, self.workers.len() as u64 - 1) as usize;
        for worker in 0..self.workers.len() {
            self.fill((first + worker) % self.workers.len(), &mut seen);
        }
    }

    /// Gives away the free slots of a worker.
    fn fill(&mut self, worker: usize, seen: &mut impl FnMut(Seen, &[Standing])) {
        self.look(worker, seen);
        while self.workers[worker].free > 0 {
            let Worker { order, ids, .. } = &mut self.workers[worker];
            let mut job = (0, 0, 0);
            let picked = order.next(|id| {
                let lane = ids.iter().position(|&other| other == id).expect("only lanes that entered are picked");
                let Lane { costs, estimate, .. } = self.lanes[lane];
                let cost = self.rng.between(costs.0, costs.1);
                job = (lane, cost, cost * estimate / 100);
                job.2
            });
            if picked.is_some() {
                self.start(worker, job, seen);
            } else if !self.look(worker, seen) {
                break;
            }
        }
        let idles = self.workers[worker].free > 0 && self.backlogs.iter().any(Backlog::wants);
        assert!(!idles, "a slot idles while a lane has work");
    }

    fn start(
        &mut self,
        at: usize,
        (lane, cost, expected): (usize, Cost, Cost),
        seen: &mut impl FnMut(Seen, &[Standing]),
    ) {
        let worker = &mut self.workers[at];
        worker.running[lane] += 1;
        worker.free -= 1;
        let backlog = &mut self.backlogs[lane];
        if backlog.jobs != u64::MAX {
            backlog.jobs -= 1;
        }
        let waited = backlog.arrived.pop_front().map_or(0, |arrived| self.now - arrived);
        seen(Seen::Started { lane, cost, expected, waited }, &worker.standings);
        self.place(at, lane);
        // A slot works off 40 units in a ms, give or take a half: a job of 32,000 tokens takes 8 s.
        self.after(cost / 40, Event::Ended { worker: at, lane, cost, expected });
    }

    /// Tells a worker's order how all lanes stand; answers whether one is Ready.
    fn look(&mut self, worker: usize, seen: &mut impl FnMut(Seen, &[Standing])) -> bool {
        // First who takes part, then who is at its cap, which depends on the others who do.
        for lane in 0..self.lanes.len() {
            let Worker { order, ids, standings, .. } = &mut self.workers[worker];
            if !self.backlogs[lane].wants() {
                self.place(worker, lane);
            } else if matches!(standings[lane], Standing::Idle | Standing::Closed) {
                let caught_up = order.may_leave(ids[lane]);
                order.stand(ids[lane], Standing::Ready);
                standings[lane] = Standing::Ready;
                seen(Seen::Arrived { lane, caught_up }, standings);
            }
        }
        (0..self.lanes.len()).for_each(|lane| self.place(worker, lane));
        self.workers[worker].standings.contains(&Standing::Ready)
    }

    /// Tells a worker's order how one lane stands.
    fn place(&mut self, worker: usize, lane: usize) {
        let Worker { order, ids, standings, running, .. } = &mut self.workers[worker];
        standings[lane] = match (self.backlogs[lane].wants(), running[lane]) {
            (false, 0) => Standing::Idle,
            (false, _) => Standing::Closed,
            (true, running) if self.capped && running >= order.in_flight_cap(ids[lane], self.slots) => Standing::Held,
            (true, _) => Standing::Ready,
        };
        order.stand(ids[lane], standings[lane]);
    }
}
