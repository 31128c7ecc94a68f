use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(15);

fn at(millis: i64) -> UnixMillis {
    UnixMillis(1_764_547_200_000 + millis)
}

fn limits(requests: u32, tokens: u64, slots: u32) -> Limits {
    Limits {
        requests_per_minute: Some(requests).filter(|&most| most > 0),
        tokens_per_minute: Some(tokens).filter(|&most| most > 0),
        concurrency: Some(slots).filter(|&most| most > 0),
    }
}

/// A worker at a record that nobody else changes meanwhile.
struct Worker {
    lease: &'static str,
    permits: Permits,
}

impl Worker {
    fn new(lease: &'static str, limits: Limits) -> Worker {
        Worker { lease, permits: Permits::new(limits) }
    }

    /// Asks and adds; returns what was granted.
    fn ask(&mut self, record: &mut Limit, jobs: &[u64], now: UnixMillis) -> Granted {
        let ask = self.permits.ask(jobs, &[], now);
        let before = record.clone();
        let granted = record.take(self.lease, &ask, now, now.plus(LEASE));
        if !granted.worth_writing {
            *record = before;
        }
        self.permits.add(granted.clone(), now);
        granted
    }
}

fn missing<T: std::fmt::Debug>(spent: Result<T, Short>) -> (Missing, UnixMillis) {
    match spent.unwrap_err() {
        Short::Until { missing, again_at } => (missing, again_at),
        never => panic!("{never}"),
    }
}

#[test]
fn a_lone_job_goes_at_once_and_the_next_when_the_limit_allows() {
    let check = |per_minute, waits_seconds: i64| {
        let limits = limits(per_minute, 0, 0);
        let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
        assert_eq!(record.next_at(5, at(300)), Some(at(300)));
        worker.ask(&mut record, &[5], at(300));
        let _ = worker.permits.spend(5, at(310)).unwrap();
        let again = worker.ask(&mut record, &[5], at(320)).again_at;
        assert_eq!(again.map(|again| again.0 - at(0).0), Some(waits_seconds * 1_000), "of {per_minute} a minute");
        assert_eq!(missing(worker.permits.spend(5, at(330))), (Missing::Requests, again.unwrap()));
        assert_eq!(record.next_at(5, at(330)), again);
    };
    check(1, 64);
    check(2, 32);
    check(3, 1);
    check(50, 1);
}

#[test]
fn only_what_is_configured_counts() {
    let none = Limits::default();
    let (mut record, mut worker) = (Limit::open("team:a", none), Worker::new("w", none));
    let permit = worker.permits.spend(1 << 60, at(0)).unwrap();
    worker.permits.finish(permit, Some(1), at(0));
    assert_eq!(worker.permits.due_at(), None);
    assert!(!worker.ask(&mut record, &[1, 2, 3], at(0)).worth_writing);
    assert_eq!(record, Limit::open("team:a", none));
}

#[test]
fn permits_lose_their_worth_after_two_seconds_and_are_handed_in() {
    let limits = limits(1, 100, 0);
    let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
    worker.ask(&mut record, &[40], at(500));
    assert_eq!(worker.permits.due_at(), Some(at(2_000)));
    assert!(worker.permits.clone().spend(40, at(1_999)).is_ok());
    assert_eq!(missing(worker.permits.spend(40, at(2_000))).0, Missing::Requests);
    let back = at(60_000);
    let taken = Taken { requests: 1, tokens: 40, requests_back_at: back, tokens_back_at: back, slots: 0, waiting: 0 };
    assert_eq!(record.taken(at(2_000)), taken);
    assert_eq!((record.taken(at(59_999)).requests, record.taken(back).requests), (1, 0), "all of it is back then");
    worker.ask(&mut record, &[], at(2_000));
    assert_eq!((record.taken(at(2_000)), worker.permits.due_at()), (Taken::default(), None));
    worker.ask(&mut record, &[40], at(2_000));
    assert!(worker.permits.spend(40, at(2_000)).is_ok(), "free again at once");
}

#[test]
fn a_swap_whose_answer_was_lost_is_done_once() {
    let limits = limits(600, 10_000, 3);
    let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
    let ask = worker.permits.ask(&[100, 100], &[], at(0));
    let granted = record.take("w", &ask, at(0), at(15_000));
    assert!(record.answer("w", ask.turn()).is_some() && record.answer("other", ask.turn()).is_none());
    let written = record.clone();
    let again = record.take("w", &ask, at(1_500), at(16_500));
    assert_eq!((record, again.worth_writing), (written, false));
    let grants = |granted: &Granted| (granted.second, granted.requests, granted.tokens, granted.slots, granted.until);
    assert_eq!(grants(&again), grants(&granted));
    worker.permits.add(again, at(1_500));
    assert!(worker.permits.spend(100, at(1_500)).is_ok() && worker.permits.spend(100, at(1_500)).is_ok());
}

#[test]
fn jobs_are_granted_whole_in_their_order_and_dispatched_in_any() {
    let limits = limits(0, 1_000, 0);
    let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
    // Fifty are a second's share: the third begins beyond it.
    let granted = worker.ask(&mut record, &[30, 40, 5], at(0));
    assert_eq!((granted.tokens, granted.again_at), (70, Some(at(2_000))));
    let small = worker.permits.spend(10, at(0)).unwrap();
    assert!(worker.permits.spend(60, at(0)).is_ok());
    assert_eq!(missing(worker.permits.spend(1, at(0))), (Missing::Tokens, at(2_000)));
    worker.permits.undo(small, at(0));
    assert!(worker.permits.spend(10, at(0)).is_ok());
}

#[test]
fn an_answer_beyond_its_estimate_is_a_debt_and_one_below_it_is_free_at_once() {
    let limits = limits(0, 1_000, 0);
    let check = |really, next_seconds: i64| {
        let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
        worker.ask(&mut record, &[500], at(0));
        let permit = worker.permits.spend(500, at(0)).unwrap();
        worker.permits.finish(permit, really, at(10_000));
        if really.is_some() {
            assert_eq!(worker.permits.due_at(), Some(at(11_000)));
        }
        worker.ask(&mut record, &[], at(11_000));
        assert_eq!(record.taken(at(11_000)).tokens, really.unwrap_or(500));
        assert_eq!(record.next_at(400, at(11_000)), Some(at(next_seconds * 1_000)), "{really:?}");
    };
    // The pace of a thousand a minute pays 500 in 29 s, after a burst of 50; the window is full for as long as it lasts.
    check(None, 29);
    check(Some(20), 11);
    check(Some(900), 64);
    check(Some(1_700), 75);
}

#[test]
fn what_is_beyond_the_whole_limit_is_refused_for_good_and_keeps_nobody_waiting() {
    let limits = limits(0, 1_000, 0);
    let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
    assert_eq!(worker.permits.spend(1_001, at(0)), Err(Short::Never { tokens: 1_001, per_minute: 1_000 }));
    assert_eq!(record.next_at(1_001, at(0)), None);
    let mut other = Worker::new("other", limits);
    other.ask(&mut record, &[20], at(0));
    let _ = other.permits.spend(20, at(0)).unwrap();
    // It should not have asked.
    worker.ask(&mut record, &[1_001], at(100));
    other.ask(&mut record, &[20], at(200));
    assert!(other.permits.spend(20, at(200)).is_ok());
}

#[test]
fn a_big_job_is_left_room_by_those_who_had_more() {
    let limits = limits(0, 1_000, 0);
    let mut record = Limit::open("team:a", limits);
    let (mut small, mut big) = (Worker::new("small", limits), Worker::new("big", limits));
    for second in 0..60 {
        small.ask(&mut record, &[10, 10], at(second * 1_000));
        let _ = small.permits.spend(10, at(second * 1_000));
    }
    big.ask(&mut record, &[700], at(60_100));
    let mut waited = 0;
    for second in 61..200 {
        small.ask(&mut record, &[10, 10], at(second * 1_000));
        big.ask(&mut record, &[700], at(second * 1_000 + 100));
        if big.permits.spend(700, at(second * 1_000 + 100)).is_ok() {
            break;
        }
        waited += 1;
    }
    assert!((20..64).contains(&waited), "{waited} s");
}

#[test]
fn who_waited_for_a_big_job_does_not_wait_for_it_again() {
    let limits = limits(0, 6_400, 0);
    let mut record = Limit::open("team:a", limits);
    let (mut small, mut big) = (Worker::new("small", limits), Worker::new("big", limits));
    let mut granted = [0; 160];
    for second in 0..160 {
        let now = at(i64::try_from(second).unwrap() * 1_000);
        if (60..160).contains(&second) && granted[..second].iter().all(|tokens| *tokens < 3_000) {
            big.ask(&mut record, &[3_000], now);
            granted[second] = big.permits.spend(3_000, now).map_or(0, |_| 3_000);
        }
        small.ask(&mut record, &[100; 4], now);
        while small.permits.spend(100, now).is_ok() {
            granted[second] += 100;
        }
    }
    let served = granted.iter().position(|tokens| *tokens >= 3_000).unwrap();
    assert!((85..95).contains(&served), "the window empties by a hundred a second: {served} s");
    let next: u64 = granted[served + 1..served + 21].iter().sum();
    assert!(next >= 2_000, "{next} tokens in the twenty seconds after it");
}

#[test]
fn a_clock_minutes_behind_gets_nothing_even_when_there_is_room() {
    let limits = limits(600, 0, 0);
    let mut record = Limit::open("team:a", limits);
    let (mut right, mut behind) = (Worker::new("right", limits), Worker::new("behind", limits));
    for second in 0..20 {
        assert_eq!(right.ask(&mut record, &[1], at(second * 1_000)).requests, 1);
        let _ = right.permits.spend(1, at(second * 1_000)).unwrap();
        let granted = behind.ask(&mut record, &[1], at(second * 1_000 - 300_000));
        assert_eq!((granted.requests, granted.again_at), (0, Some(at((second + 1) * 1_000 - 300_000))));
    }
    assert_eq!(record.taken(at(20_000)).requests, 20);
}

#[test]
fn slots_come_back_when_their_lease_ends_and_a_zombie_gets_no_more() {
    let limits = limits(0, 0, 2);
    let mut record = Limit::open("deployment:x", limits);
    let (mut zombie, mut other) = (Worker::new("zombie", limits), Worker::new("other", limits));
    zombie.ask(&mut record, &[1, 1], at(0));
    let first = zombie.permits.spend(1, at(0)).unwrap();
    let second = zombie.permits.spend(1, at(0)).unwrap();
    assert_eq!(other.ask(&mut record, &[1], at(14_000)).slots, 0);
    assert_eq!(missing(other.permits.spend(1, at(14_000))), (Missing::Slots, at(14_200)));
    assert_eq!(other.ask(&mut record, &[1], at(15_000)).slots, 1, "nobody renewed it");
    assert!(other.permits.spend(1, at(15_000)).is_ok());
    // It comes back: two calls run, one slot is left for them, and when one ends there is none to go on with.
    zombie.permits.finish(first, None, at(16_000));
    assert_eq!(missing(zombie.permits.spend(1, at(16_000))).0, Missing::Slots);
    assert_eq!(zombie.ask(&mut record, &[1], at(16_000)).slots, 1);
    assert_eq!(missing(zombie.permits.spend(1, at(16_000))).0, Missing::Slots);
    zombie.permits.finish(second, None, at(17_000));
    assert!(zombie.permits.spend(1, at(17_000)).is_ok());
    assert_eq!(record.taken(at(17_000)).slots, 2);
}

#[test]
fn slots_are_renewed_at_half_of_their_lease_and_handed_back_when_idle() {
    let limits = limits(0, 0, 4);
    let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
    worker.ask(&mut record, &[1, 1], at(0));
    let permits = [worker.permits.spend(1, at(0)).unwrap(), worker.permits.spend(1, at(0)).unwrap()];
    assert_eq!(worker.permits.due_at(), Some(at(7_500)));
    assert!(!worker.ask(&mut record, &[], at(3_000)).worth_writing, "too early");
    assert_eq!(worker.permits.due_at(), Some(at(7_500)));
    assert!(worker.ask(&mut record, &[], at(7_500)).worth_writing);
    assert_eq!(worker.permits.due_at(), Some(at(15_000)));
    let [first, second] = permits;
    worker.permits.finish(first, None, at(8_000));
    worker.permits.finish(second, None, at(8_500));
    assert_eq!(worker.permits.due_at(), Some(at(9_000)), "a second of rest");
    worker.ask(&mut record, &[], at(9_000));
    assert_eq!((record.taken(at(9_000)).slots, worker.permits.due_at()), (0, None));
}

#[test]
fn an_ask_is_taken_back_whole_or_given_up_on_the_safe_side() {
    let limits = limits(0, 1_000, 4);
    let (mut record, mut worker) = (Limit::open("team:a", limits), Worker::new("w", limits));
    worker.ask(&mut record, &[10, 10, 10], at(0));
    let (low, high) = (worker.permits.spend(10, at(0)).unwrap(), worker.permits.spend(10, at(0)).unwrap());
    worker.permits.finish(low, Some(4), at(100));
    worker.permits.finish(high, Some(17), at(100));
    let ask = worker.permits.ask(&[], &[], at(200));
    assert_eq!((ask.unused.len(), ask.less.values().sum::<u64>(), ask.more, ask.holds), (1, 6, 7, 0));
    assert!(worker.permits.spend(1, at(200)).is_err(), "it is on its way back");
    worker.permits.keep(ask, at(300));
    assert!(worker.permits.clone().spend(10, at(300)).is_ok());
    let ask = worker.permits.ask(&[], &[], at(400));
    assert_eq!((ask.unused.len(), ask.less.values().sum::<u64>(), ask.more, ask.holds), (1, 6, 7, 0));
    worker.permits.lose(ask, at(400));
    let ask = worker.permits.ask(&[], &[], at(1_400));
    assert_eq!((ask.unused.len(), ask.less.len(), ask.more, ask.holds), (0, 0, 7, 0));
    worker.permits.keep(ask, at(1_400));
    assert_eq!(worker.permits.due_at(), Some(at(1_400)), "nobody knows what slots the record has; it is to hear it");
}

#[test]
fn lower_limits_hold_from_then_on() {
    let (mut record, mut worker) = (Limit::open("team:a", limits(600, 0, 8)), Worker::new("w", limits(600, 0, 8)));
    for second in 0..10 {
        worker.ask(&mut record, &[1; 8], at(second * 1_000));
        let permits: Vec<Permit> = std::iter::from_fn(|| worker.permits.spend(1, at(second * 1_000)).ok()).collect();
        permits.into_iter().for_each(|permit| worker.permits.finish(permit, None, at(second * 1_000 + 500)));
    }
    let lower = limits(60, 0, 2);
    record.with_limits(lower);
    worker.permits.with_limits(lower);
    let granted = worker.ask(&mut record, &[1; 8], at(10_000));
    assert_eq!((granted.requests, granted.slots), (0, 2));
    assert!(granted.again_at.unwrap() >= at(64_000), "eighty were granted, the first of them leave then");
}

#[test]
fn a_record_of_another_version_is_not_read() {
    let read = |json: &str| serde_json::from_str::<Limit>(json);
    assert!(read(r#"{"version":1,"subject":"team:a","limits":{}}"#).is_ok());
    let newer = read(r#"{"version":2,"subject":"team:a","limits":{}}"#).unwrap_err().to_string();
    assert!(newer.contains("version 2"), "{newer}");
    assert!(read(r#"{"version":1,"subject":"team:a","limits":{},"more":1}"#).is_err());
}

#[derive(Clone, Debug)]
enum Op {
    Wait(i64),
    /// All clocks go back.
    Back(i64),
    Ask(usize, Vec<u64>),
    Spend(usize, u64),
    /// The oldest job ends, with so many percent of its estimate; below ten it was not sent.
    Finish(usize, u64),
    /// Gives up an ask: 0 when it was written, 1 when not, 2 when it is taken back.
    Fail(usize, Vec<u64>, u8),
    Die(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let jobs = || prop::collection::vec(1u64..400, 0..8);
    prop_oneof![
        4 => (0i64..4_000).prop_map(Op::Wait),
        1 => (0i64..90_000).prop_map(Op::Wait),
        1 => (0i64..12_000).prop_map(Op::Back),
        8 => (0usize..3, jobs()).prop_map(|(worker, jobs)| Op::Ask(worker, jobs)),
        8 => (0usize..3, 1u64..400).prop_map(|(worker, tokens)| Op::Spend(worker, tokens)),
        6 => (0usize..3, 0u64..300).prop_map(|(worker, percent)| Op::Finish(worker, percent)),
        1 => (0usize..3, jobs(), 0u8..3).prop_map(|(worker, jobs, how)| Op::Fail(worker, jobs, how)),
        1 => (0usize..3).prop_map(Op::Die),
    ]
}

/// A worker of the model, and what it did that the record need not know.
struct Peer {
    lease: String,
    permits: Permits,
    jobs: std::collections::VecDeque<(Permit, u64)>,
}

/// What was granted, by real time: what a minute at the provider can be made of.
struct Grant {
    real: i64,
    lease: String,
    second: i64,
    requests: u64,
    tokens: u64,
}

struct Model {
    record: Limit,
    peers: Vec<Peer>,
    grants: Vec<Grant>,
    real: i64,
    behind: i64,
    lives: usize,
}

impl Model {
    fn new(limits: Limits) -> Model {
        let peer = |index| Peer { lease: format!("w{index}"), permits: Permits::new(limits), jobs: [].into() };
        let record = Limit::open("team:a", limits);
        Model { record, peers: (0..3).map(peer).collect(), grants: Vec::new(), real: 0, behind: 0, lives: 3 }
    }

    fn now(&self) -> UnixMillis {
        at(self.real - self.behind)
    }

    /// One swap, written or not.
    fn swap(&mut self, index: usize, jobs: &[u64], fails: Option<u8>) {
        let (now, real) = (self.now(), self.real);
        let Peer { lease, permits, .. } = &mut self.peers[index];
        let ask = permits.ask(jobs, &[], now);
        let mut written = self.record.clone();
        let granted = written.take(lease, &ask, now, now.plus(LEASE));
        match fails {
            Some(1) => return permits.lose(ask, now),
            Some(2) => return permits.keep(ask, now),
            _ => {}
        }
        if granted.worth_writing {
            self.record = written;
        }
        for (second, unused) in &ask.unused {
            self.take_back(index, *second, u64::from(unused.requests), unused.tokens);
        }
        for (second, tokens) in &ask.less {
            self.take_back(index, *second, 0, *tokens);
        }
        let Granted { second, requests, tokens, .. } = granted;
        let Peer { lease, permits, .. } = &mut self.peers[index];
        let (lease, requests) = (lease.clone(), u64::from(requests));
        self.grants.push(Grant { real, lease, second, requests, tokens });
        if fails.is_none() { permits.add(granted, now) } else { permits.lose(ask, now) }
    }

    /// What was not used after all does not count.
    fn take_back(&mut self, index: usize, second: i64, mut requests: u64, mut tokens: u64) {
        let lease = &self.peers[index].lease;
        for grant in self.grants.iter_mut().filter(|grant| grant.lease == *lease && grant.second == second) {
            let (some, more) = (requests.min(grant.requests), tokens.min(grant.tokens));
            (grant.requests, grant.tokens) = (grant.requests - some, grant.tokens - more);
            (requests, tokens) = (requests - some, tokens - more);
        }
        assert_eq!((requests, tokens), (0, 0), "handed in what was not granted");
    }

    fn apply(&mut self, op: Op) {
        let now = self.now();
        match op {
            Op::Wait(millis) => self.real += millis,
            Op::Back(millis) => self.behind += millis,
            Op::Ask(index, jobs) => self.swap(index, &jobs, None),
            Op::Fail(index, jobs, how) => self.swap(index, &jobs, Some(how)),
            Op::Spend(index, tokens) => {
                let peer = &mut self.peers[index];
                if let Ok(permit) = peer.permits.spend(tokens, now) {
                    peer.jobs.push_back((permit, tokens));
                }
            }
            Op::Finish(index, percent) => {
                let peer = &mut self.peers[index];
                match peer.jobs.pop_front() {
                    Some((permit, _)) if percent < 10 => peer.permits.undo(permit, now),
                    Some((permit, tokens)) => peer.permits.finish(permit, Some(tokens * percent / 100), now),
                    None => {}
                }
            }
            Op::Die(index) => {
                let limits = self.record.limits();
                let lease = format!("w{}", self.lives);
                self.lives += 1;
                self.peers[index] = Peer { lease, permits: Permits::new(limits), jobs: [].into() };
            }
        }
    }

    /// No 62 real seconds hold more than a minute's limit; no more slots are leased than there are.
    fn check(&self, limits: Limits) {
        for (first, grant) in self.grants.iter().enumerate() {
            let within = || self.grants[first..].iter().take_while(|later| later.real < grant.real + 62_000);
            let requests: u64 = within().map(|grant| grant.requests).sum();
            let tokens: u64 = within().map(|grant| grant.tokens).sum();
            assert!(limits.requests_per_minute.is_none_or(|most| requests <= u64::from(most)), "{requests} requests");
            assert!(limits.tokens_per_minute.is_none_or(|most| tokens <= most), "{tokens} tokens");
        }
        let slots = self.record.taken(self.now()).slots;
        assert!(limits.concurrency.is_none_or(|most| slots <= most), "{slots} slots");
    }
}

proptest! {
    // Each is a long one.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_history_grants_more_than_the_limits(
        of in (0u32..40, 0u64..4_000, 0u32..6),
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let limits = limits(of.0, of.1, of.2);
        let mut model = Model::new(limits);
        for op in ops {
            model.apply(op);
            let json = serde_json::to_string(&model.record).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Limit>(&json).unwrap(), &model.record, "{}", json);
        }
        model.check(limits);
    }

    #[test]
    fn absurd_clocks_and_numbers_break_nothing(
        of in (any::<Option<u32>>(), any::<Option<u64>>(), any::<Option<u32>>()),
        steps in prop::collection::vec((any::<i64>(), any::<i64>(), any::<Vec<u64>>(), any::<u64>()), 1..20),
    ) {
        let limits = Limits { requests_per_minute: of.0, tokens_per_minute: of.1, concurrency: of.2 };
        let (mut record, mut permits) = (Limit::open("team:a", limits), Permits::new(limits));
        for (now, until, jobs, tokens) in steps {
            let now = UnixMillis(now);
            let ask = permits.ask(&jobs, &jobs, now);
            let granted = record.take("w", &ask, now, UnixMillis(until));
            prop_assert!(limits.requests_per_minute.is_none_or(|most| granted.requests <= most));
            prop_assert!(limits.tokens_per_minute.is_none_or(|most| granted.tokens <= most));
            prop_assert!(limits.concurrency.is_none_or(|most| granted.slots <= most));
            permits.add(granted, now);
            if let Ok(permit) = permits.spend(tokens, now) {
                permits.finish(permit, Some(until.unsigned_abs()), UnixMillis(until));
            }
            permits.due_at();
            record.next_at(tokens, now);
            record.taken(UnixMillis(until));
            let json = serde_json::to_string(&record).unwrap();
            prop_assert!(serde_json::from_str::<Limit>(&json).is_ok(), "{}", json);
        }
    }
}

#[test]
fn what_is_in_hand_reaches_for_as_many_jobs_as_can_be_spent() {
    let now = UnixMillis(1_000_000);
    let limits = Limits { requests_per_minute: Some(600), tokens_per_minute: Some(60_000), ..Limits::default() };
    let (mut record, mut permits) = (Limit::open("team:a", limits), Permits::new(limits));
    assert_eq!(permits.reach(100, now), 0);
    let ask = permits.ask(&[100, 100, 100], &[], now);
    permits.add(record.take("w1", &ask, now, now.plus(std::time::Duration::from_secs(30))), now);
    let reach = permits.reach(100, now);
    let mut spent = 0;
    while let Ok(permit) = permits.spend(100, now) {
        permits.finish(permit, None, now);
        spent += 1;
    }
    assert_eq!((reach, spent), (3, 3));
    assert_eq!(Permits::new(Limits::default()).reach(100, now), u32::MAX);
}
