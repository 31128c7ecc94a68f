use std::collections::HashMap;

use super::*;

/// Doors as a test sets them.
#[derive(Default)]
struct Open {
    lanes: HashMap<String, Allowance>,
    gates: HashMap<Gate, Allowance>,
}

impl Doors for Open {
    fn lane(&self, lane: &LaneKey, _: bool) -> Allowance {
        self.lanes.get(&lane.team).copied().unwrap_or(Allowance::Free)
    }

    fn gate(&self, gate: &Gate) -> Allowance {
        self.gates.get(gate).copied().unwrap_or(Allowance::Free)
    }

    fn weights(&self, _: &LaneKey) -> Weights {
        Weights { class: 2, of_class: 1, of_team: 1 }
    }
}

fn key(team: &str) -> LaneKey {
    LaneKey { class: "batch".into(), team: team.into() }
}

struct World {
    board: Board,
    doors: Open,
    now: Instant,
}

impl World {
    fn new(lanes: &[(&str, u64)]) -> World {
        let mut world = World { board: Board::default(), doors: Open::default(), now: Instant::now() };
        world.count(lanes);
        world.open();
        world
    }

    fn count(&mut self, lanes: &[(&str, u64)]) {
        let counts = lanes.iter().map(|&(team, jobs)| (key(team), jobs)).collect();
        self.board.count(&counts, &self.doors, self.now);
    }

    fn open(&mut self) {
        for at in self.board.take_unopened(usize::MAX) {
            self.board.opened(at, true, &self.doors, self.now);
        }
    }

    fn park(&mut self, gate: &Gate, team: &str, jobs: u64) {
        let counts = HashMap::from([((gate.clone(), key(team)), jobs)]);
        self.board.count_parked(&counts, &self.doors, self.now);
        self.open();
    }

    /// Who was granted how many of `free` slots at once, out of `concurrency`.
    fn granted(&mut self, free: usize, concurrency: usize) -> Vec<(String, Option<Gate>, usize)> {
        let wishes = self.board.plan(free, concurrency, &self.doors, self.now);
        let now = wishes.into_iter().filter(|wish| wish.wait.is_none());
        let named = now.map(|wish| {
            let queue = self.board.queue(wish.at).expect("a wish is of a known queue");
            (queue.key.lane.team.clone(), queue.key.gate.clone(), wish.slots)
        });
        let mut named: Vec<_> = named.collect();
        named.sort();
        named
    }

    /// Every slot that was asked for brings a job, which ends.
    fn run_all(&mut self, team: &str, gate: Option<Gate>, slots: usize) {
        let key = match gate {
            None => QueueKey::of_lane(key(team)),
            Some(gate) => QueueKey::behind(gate, key(team)),
        };
        let at = self.board.find(&key).expect("the queue is known");
        for _ in 0..slots {
            drop(self.board.started(at, 1, self.now));
        }
        for _ in 0..slots {
            self.board.ended(at, true, Some(1));
        }
        self.board.look(at.lane, &self.doors, self.now);
    }
}

#[test]
fn a_backlog_gets_all_slots_at_once_while_it_is_alone() {
    let mut world = World::new(&[("a", 1000)]);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 8)]);
}

#[test]
fn two_lanes_share_and_neither_takes_more_than_its_cap() {
    let mut world = World::new(&[("a", 1000), ("b", 1000)]);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 4), ("b".to_owned(), None, 4)]);
}

#[test]
fn what_a_pull_did_not_find_is_not_asked_for_again_until_doubted() {
    let mut world = World::new(&[("a", 5)]);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 5)]);
    let at = world.board.find(&QueueKey::of_lane(key("a"))).unwrap();
    world.board.returned(at, 5, 1, true);
    world.board.look(at.lane, &world.doors, world.now);
    let lent = world.board.plan(8, 8, &world.doors, world.now);
    assert!(lent.iter().all(|wish| wish.wait.is_some()), "only a long pull: {lent:?}");
    lent.into_iter().for_each(|wish| world.board.not_sent(wish));
    world.board.doubt();
    world.board.look(at.lane, &world.doors, world.now);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 5)]);
}

#[test]
fn an_idle_worker_waits_on_empty_lanes_and_keeps_slots_back() {
    let mut world = World::new(&[("a", 1), ("b", 1)]);
    world.count(&[]);
    let wishes = world.board.plan(8, 8, &world.doors, world.now);
    assert_eq!(wishes.len(), 2);
    assert!(wishes.iter().all(|wish| wish.wait.is_some() && wish.charged == 0));
    assert!(wishes.iter().map(|wish| wish.slots).sum::<usize>() <= 6);
}

#[test]
fn a_single_slot_is_never_lent_away() {
    let mut world = World::new(&[("a", 1), ("b", 1)]);
    world.count(&[]);
    assert_eq!(world.board.plan(1, 1, &world.doors, world.now), []);
}

#[test]
fn a_closed_lane_is_left_alone_and_costs_the_others_nothing() {
    let mut world = World::new(&[("a", 100), ("b", 100)]);
    world.doors.lanes.insert("a".into(), Allowance::Closed);
    world.board.refresh(&world.doors, world.now);
    assert_eq!(world.granted(8, 8), [("b".to_owned(), None, 8)], "all slots, not half of them");
    world.run_all("b", None, 8);
    world.doors.lanes.clear();
    world.board.refresh(&world.doors, world.now);
    let granted = world.granted(8, 8);
    assert_eq!(granted.iter().map(|(_, _, slots)| slots).sum::<usize>(), 8);
    assert!(granted.iter().any(|(team, _, _)| team == "a"), "{granted:?}");
}

#[test]
fn a_closed_lane_is_not_waited_on_either() {
    let mut world = World::new(&[("a", 1)]);
    world.count(&[]);
    world.doors.lanes.insert("a".into(), Allowance::Closed);
    assert_eq!(world.board.plan(8, 8, &world.doors, world.now), []);
}

#[test]
fn an_allowance_is_not_exceeded_by_what_is_on_its_way() {
    let mut world = World::new(&[("a", 100)]);
    world.doors.lanes.insert("a".into(), Allowance::UpTo(3));
    world.board.refresh(&world.doors, world.now);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 3)]);
    // They arrive; until their money is decided, they still count.
    let at = world.board.find(&QueueKey::of_lane(key("a"))).unwrap();
    let entrances: Vec<_> = (0..3).map(|_| world.board.started(at, 1, world.now).1).collect();
    world.board.refresh(&world.doors, world.now);
    assert_eq!(world.granted(5, 8), []);
    drop(entrances);
    world.board.refresh(&world.doors, world.now);
    assert_eq!(world.granted(5, 8), [("a".to_owned(), None, 3)]);
}

#[test]
fn a_door_that_closed_since_the_lane_was_weighed_lets_nobody_through() {
    let mut world = World::new(&[("a", 100), ("b", 2)]);
    world.doors.lanes.insert("a".into(), Allowance::UpTo(3));
    world.board.refresh(&world.doors, world.now);
    world.doors.lanes.insert("a".into(), Allowance::UpTo(1));
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 1), ("b".to_owned(), None, 2)]);
}

#[test]
fn parked_jobs_go_before_the_lanes_own_and_share_its_place() {
    let mut world = World::new(&[("a", 100), ("b", 100)]);
    world.park(&Gate::Due, "a", 2);
    let granted = world.granted(8, 8);
    assert!(granted.contains(&("a".to_owned(), Some(Gate::Due), 2)), "{granted:?}");
    let of = |team: &str| granted.iter().filter(|(of, _, _)| of == team).map(|(_, _, slots)| slots).sum::<usize>();
    assert_eq!((of("a"), of("b")), (4, 4), "a team gains nothing by having jobs parked");
}

#[test]
fn a_shut_gate_keeps_its_jobs_and_lets_the_lanes_others_pass() {
    let gate = Gate::of_model("gpt-4o");
    let mut world = World::new(&[("a", 100)]);
    world.doors.gates.insert(gate.clone(), Allowance::Closed);
    world.park(&gate, "a", 50);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 8)]);
    world.run_all("a", None, 8);
    world.doors.gates.insert(gate.clone(), Allowance::UpTo(3));
    world.board.refresh(&world.doors, world.now);
    let granted = world.granted(8, 8);
    assert!(granted.contains(&("a".to_owned(), Some(gate), 3)), "{granted:?}");
}

#[test]
fn a_gates_allowance_is_one_for_all_lanes() {
    let gate = Gate::of_model("gpt-4o");
    let mut world = World::new(&[]);
    world.doors.gates.insert(gate.clone(), Allowance::UpTo(3));
    let counts = HashMap::from([((gate.clone(), key("a")), 50), ((gate.clone(), key("b")), 50)]);
    world.board.count_parked(&counts, &world.doors, world.now);
    world.open();
    assert_eq!(world.granted(8, 8).iter().map(|(_, _, slots)| slots).sum::<usize>(), 3);
}

#[test]
fn a_lane_that_was_idle_for_long_is_forgotten_and_comes_back() {
    let mut world = World::new(&[("a", 1)]);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 1)]);
    world.run_all("a", None, 1);
    world.count(&[]);
    world.now += FORGET_AFTER;
    world.count(&[]);
    assert_eq!(world.board.len(), 0);
    world.count(&[("a", 4)]);
    world.open();
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 4)]);
}

#[test]
fn jobs_that_end_here_leave_the_count() {
    let mut world = World::new(&[("a", 3)]);
    assert_eq!(world.granted(8, 8), [("a".to_owned(), None, 3)]);
    world.run_all("a", None, 3);
    assert_eq!(world.granted(8, 8), []);
}

#[test]
fn the_queues_of_answers_that_nobody_waits_for_are_used_again() {
    let mut world = World::new(&[("a", 1)]);
    let of_model = Gate::of_model("m");
    world.park(&of_model, "a", 1);
    world.park(&of_model, "a", 0);
    for number in 0..1000 {
        let gate = Gate::Answer(format!("{number:016x}"));
        world.park(&gate, "a", 2);
        let wishes = world.board.plan(8, 8, &world.doors, world.now);
        let of_gate = |wish: &&Wish| world.board.queue(wish.at).is_some_and(|queue| queue.gate() == Some(&gate));
        let wish = *wishes.iter().find(of_gate).expect("they are asked for");
        assert_eq!(wish.slots, 2);
        for _ in 0..2 {
            let (_, entrance) = world.board.started(wish.at, wish.charged, world.now);
            world.board.ended(wish.at, true, None);
            drop(entrance);
        }
        for other in wishes.iter().filter(|other| other.at != wish.at) {
            world.board.returned(other.at, other.slots, other.charged, true);
        }
    }
    let lane = world.board.lanes().next().expect("the lane");
    assert!(lane.queues.len() <= 4, "{} queues", lane.queues.len());
    assert!(world.board.gates.len() <= 4, "{} gates", world.board.gates.len());
}
