//! Random lives of one account: workers take, spend, commit and die, a settler folds, budgets and the clock change.
//!
//! What is simulated: a log in the order of its commits, folded late and in pieces; leases that end; dead workers,
//! whose committed results are folded all the same; folds that come again; processes that lag. What is not: lost swaps,
//! for a change that was not swapped has not happened.
//!
//! In an **honest** life no run costs more than its hold, no worker commits after its lease, and budgets stay: then
//! there is no overrun. In a **rough** one all of that happens, and the promise holds all the same.

use proptest::prelude::*;
use proptest::sample::Index;
use tollgate_types::budget::{Raise, Usd};

use super::tests::{HOUR, MIDNIGHT, event, hold, rule, team};
use super::*;

const LEASE_MS: i64 = 2 * HOUR;

#[derive(Clone, Debug)]
enum Op {
    Take {
        lease: u8,
        pot: Pot,
        amount: i64,
    },
    GiveBack {
        lease: u8,
        pot: Pot,
        amount: i64,
    },
    Start {
        lease: u8,
        pot: Pot,
        amount: i64,
    },
    /// A run ends; it costs so many percent of its hold, in a rough life more than all of it.
    Commit {
        lease: u8,
        run: Index,
        percent: i64,
    },
    Fold {
        records: usize,
    },
    FoldAgain {
        record: Index,
    },
    Renew {
        lease: u8,
    },
    Close {
        lease: u8,
    },
    Die {
        lease: u8,
    },
    Expire,
    Tick {
        ms: i64,
    },
    Rough(Rough),
}

/// What happens in a rough life alone.
#[derive(Clone, Debug)]
enum Rough {
    SpendUnheld {
        pot: Pot,
        cost: i64,
    },
    SetCap {
        rule: Index,
        cap: i64,
    },
    Raise {
        rule: Index,
        amount: i64,
        hours: i64,
    },
    SwitchDowngrade {
        rule: Index,
    },
    /// A process takes that has not read yet of what was changed since the beginning.
    TakeStale {
        pot: Pot,
        amount: i64,
    },
}

fn pot() -> impl Strategy<Value = Pot> {
    prop::sample::select(Pot::ALL.to_vec())
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let lease = || 0..4u8;
    let tick = prop_oneof![4 => 0..60_000i64, 3 => 0..2 * HOUR, 1 => 0..40 * 24 * HOUR];
    let rough = prop_oneof![
        (pot(), 0..200i64).prop_map(|(pot, cost)| Rough::SpendUnheld { pot, cost }),
        (any::<Index>(), 0..2000i64).prop_map(|(rule, cap)| Rough::SetCap { rule, cap }),
        (any::<Index>(), 1..500i64, 1..50i64).prop_map(|(rule, amount, hours)| Rough::Raise { rule, amount, hours }),
        any::<Index>().prop_map(|rule| Rough::SwitchDowngrade { rule }),
        (pot(), 0..300i64).prop_map(|(pot, amount)| Rough::TakeStale { pot, amount }),
    ];
    let op = prop_oneof![
        6 => (lease(), pot(), 0..300i64).prop_map(|(lease, pot, amount)| Op::Take { lease, pot, amount }),
        2 => (lease(), pot(), 0..300i64).prop_map(|(lease, pot, amount)| Op::GiveBack { lease, pot, amount }),
        6 => (lease(), pot(), 0..100i64).prop_map(|(lease, pot, amount)| Op::Start { lease, pot, amount }),
        6 => (lease(), any::<Index>(), 0..=200i64)
            .prop_map(|(lease, run, percent)| Op::Commit { lease, run, percent }),
        4 => (1..6usize).prop_map(|records| Op::Fold { records }),
        1 => any::<Index>().prop_map(|record| Op::FoldAgain { record }),
        2 => lease().prop_map(|lease| Op::Renew { lease }),
        1 => lease().prop_map(|lease| Op::Close { lease }),
        1 => lease().prop_map(|lease| Op::Die { lease }),
        2 => Just(Op::Expire),
        5 => tick.prop_map(|ms| Op::Tick { ms }),
        3 => rough.prop_map(Op::Rough),
    ];
    prop::collection::vec(op, 1..120)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let window = prop::sample::subsequence(
        vec!["hour", "day", "week", "month", "rolling 90m", "rolling 24h", "rolling 30d"],
        1..5,
    );
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata"]);
    let policy = prop::sample::select(vec![
        r#""when_spent":"wait""#,
        r#""when_spent":"reject""#,
        r#""when_spent":"downgrade","downgrade_to":"mini""#,
        r#""when_spent":"downgrade","downgrade_to":"mini","downgrade_cap_usd":"0.0000003""#,
    ]);
    (window, prop::collection::vec((zone, policy, 0..2000i64), 5)).prop_map(|(windows, of)| {
        let json = |(window, (zone, policy, cap)): (&str, &(&str, &str, i64))| {
            format!(r#"{{"window":"{window}","time_zone":"{zone}","cap_usd":"0.{cap:09}",{policy}}}"#)
        };
        windows.into_iter().zip(&of).map(|each| rule(&json(each))).collect()
    })
}

/// What a worker knows of its own lease.
#[derive(Default)]
struct Worker {
    id: String,
    idle: Pots,
    runs: Vec<(Pot, i64)>,
}

struct World {
    account: Account,
    rules: Vec<Rule>,
    /// Those of the beginning.
    stale: Vec<Rule>,
    now: i64,
    is_honest: bool,
    log: Vec<(u64, UnixMillis, tollgate_types::UsageEvent)>,
    workers: BTreeMap<u8, Worker>,
    leases: u64,
}

impl World {
    fn new(rules: Vec<Rule>, is_honest: bool) -> World {
        let now = MIDNIGHT + 12 * HOUR;
        let account = Account::open(team(), "log", 0, UnixMillis(now), &rules);
        World { account, stale: rules.clone(), rules, now, is_honest, log: vec![], workers: BTreeMap::new(), leases: 0 }
    }

    fn step(&mut self, op: &Op) {
        let now = UnixMillis(self.now);
        match *op {
            Op::Take { lease, pot, amount } => self.take(lease, pot, amount),
            Op::GiveBack { lease, pot, amount } => {
                let Some(worker) = self.workers.get_mut(&lease) else { return };
                let amount = worker.idle.remove(pot, NanoUsd(amount));
                let gave = self.account.give_back(&worker.id, pot, amount);
                assert!(!self.is_honest || gave == Ok(amount), "{gave:?}, {amount}");
            }
            Op::Start { lease, pot, amount } => {
                let Some(worker) = self.workers.get_mut(&lease) else { return };
                let held = worker.idle.remove(pot, NanoUsd(amount));
                worker.runs.push((pot, held.0));
            }
            Op::Commit { lease, run, percent } => self.commit(lease, &run, percent),
            Op::Fold { records } => (0..records).for_each(|_| self.fold_next()),
            Op::FoldAgain { record } => {
                let folded = usize::try_from(self.account.folded()).unwrap();
                if folded > 0 {
                    let (seq, at, event) = &self.log[record.index(folded)];
                    let before = self.account.clone();
                    assert_eq!(self.account.fold(*seq, *at, event, &self.rules), []);
                    assert_eq!(self.account, before);
                }
            }
            Op::Renew { lease } => {
                let Some(worker) = self.workers.get(&lease) else { return };
                let renewed = self.account.renew(&worker.id, UnixMillis(self.now + LEASE_MS));
                assert!(!self.is_honest || renewed.is_ok());
            }
            Op::Close { lease } => self.close(lease),
            Op::Die { lease } => drop(self.workers.remove(&lease)),
            Op::Expire => {
                let unfolded = self.log.get(usize::try_from(self.account.folded()).unwrap());
                let dropped = self.account.expire(now, unfolded.map_or(now, |(_, at, _)| *at));
                if self.is_honest {
                    self.workers.retain(|_, worker| !dropped.contains(&worker.id));
                }
            }
            Op::Tick { ms } => self.now += ms,
            Op::Rough(ref rough) => {
                if !self.is_honest {
                    self.rough(rough);
                }
            }
        }
    }

    fn take(&mut self, lease: u8, pot: Pot, amount: i64) {
        let (leases, until) = (&mut self.leases, UnixMillis(self.now + LEASE_MS));
        let worker = self.workers.entry(lease).or_insert_with(|| {
            *leases += 1;
            Worker { id: format!("lease-{leases}"), ..Worker::default() }
        });
        let lagging = UnixMillis(self.now - i64::from(lease) * 90_000);
        let headroom = self.account.headroom(pot, lagging, &self.rules);
        let ask = Ask { lease: &worker.id, pot, amount: NanoUsd(amount), until };
        let took = self.account.take(&ask, lagging, &self.rules);
        assert_eq!(took.is_ok(), amount == 0 || NanoUsd(amount) <= headroom, "{took:?}, headroom {headroom}");
        match took {
            Ok(()) => worker.idle.add(pot, NanoUsd(amount)),
            Err(denied) => {
                let (fits, asked) = (denied.cap - denied.settled, denied.asked);
                let kind = match denied.kind {
                    DeniedKind::Pending => asked <= fits,
                    DeniedKind::Spent => asked > fits,
                    DeniedKind::Never => asked > denied.cap,
                };
                assert!(kind && denied.settled + denied.held + asked > denied.cap, "{denied:?}");
                assert!(denied.opens.is_none_or(|at| at > lagging), "{denied:?}");
                // A worker that got nothing has no block yet.
                if self.account.block(&worker.id).is_none() {
                    self.workers.remove(&lease);
                }
            }
        }
    }

    fn commit(&mut self, lease: u8, run: &Index, percent: i64) {
        let Some(worker) = self.workers.get_mut(&lease).filter(|worker| !worker.runs.is_empty()) else { return };
        let is_over = self.account.block(&worker.id).is_none_or(|block| block.until < UnixMillis(self.now));
        if self.is_honest && is_over {
            return;
        }
        let (pot, amount) = worker.runs.remove(run.index(worker.runs.len()));
        let percent = if self.is_honest { percent.min(100) } else { percent };
        let hold = hold(&worker.id, pot, amount);
        self.append(event(amount * percent / 100, hold));
    }

    fn append(&mut self, event: tollgate_types::UsageEvent) {
        let seq = u64::try_from(self.log.len()).unwrap() + 1;
        self.log.push((seq, UnixMillis(self.now), event));
    }

    fn fold_next(&mut self) {
        let next = usize::try_from(self.account.folded()).unwrap();
        if let Some((seq, at, event)) = self.log.get(next) {
            self.account.fold(*seq, *at, event, &self.rules);
        }
    }

    fn close(&mut self, lease: u8) {
        let Some(mut worker) = self.workers.remove(&lease) else { return };
        for pot in Pot::ALL {
            // Runs that are given up give back what they held.
            let runs = worker.runs.iter().filter(|run| run.0 == pot).map(|run| NanoUsd(run.1)).sum::<NanoUsd>();
            worker.idle.add(pot, runs);
            let gave = self.account.give_back(&worker.id, pot, worker.idle.of(pot));
            assert!(!self.is_honest || gave == Ok(worker.idle.of(pot)));
        }
        self.account.close(&worker.id);
    }

    fn rough(&mut self, rough: &Rough) {
        let change = |rules: &mut Vec<Rule>, at: &Index, change: &dyn Fn(&mut tollgate_types::Budget)| {
            let rule = at.get(rules).clone();
            let mut budget = rule.budget.clone();
            change(&mut budget);
            if let Ok(changed) = Rule::new(&budget, UnixMillis(rule.as_of.0 + 1)) {
                let at = rules.iter().position(|other| other.id == rule.id).unwrap();
                rules[at] = changed;
            }
        };
        let now = self.now;
        match rough {
            Rough::TakeStale { pot, amount } => {
                let now = UnixMillis(now);
                self.account.refresh(now, &self.rules);
                let ask = Ask { lease: "stale", pot: *pot, amount: NanoUsd(*amount), until: now };
                let caps = |account: &Account| account.windows().values().map(|spent| spent.caps).collect::<Vec<_>>();
                let before = caps(&self.account);
                self.account.take(&ask, now, &self.stale).ok();
                assert_eq!(caps(&self.account), before, "caps never go back to those of an older budget");
                assert_eq!(self.account.refresh(now, &self.rules), [], "and nothing was taken beyond them");
            }
            Rough::SpendUnheld { pot, cost } => self.append(event(*cost, hold("nobody", *pot, 0))),
            Rough::SetCap { rule, cap } => {
                change(&mut self.rules, rule, &|budget| budget.cap_usd = Usd(NanoUsd(*cap)));
            }
            Rough::Raise { rule, amount, hours } => change(&mut self.rules, rule, &|budget| {
                budget.raises.push(Raise {
                    amount_usd: Usd(NanoUsd(*amount)),
                    from: UnixMillis(now),
                    until: UnixMillis(now + hours * HOUR),
                    author: "ann".into(),
                    reason: String::new(),
                });
            }),
            Rough::SwitchDowngrade { rule } => change(&mut self.rules, rule, &|budget| {
                use tollgate_types::WhenSpent::{Downgrade, Wait};
                (budget.when_spent, budget.downgrade_to) = match budget.when_spent {
                    Downgrade => (Wait, None),
                    _ => (Downgrade, Some("mini".into())),
                };
                budget.downgrade_cap_usd = None;
            }),
        }
    }

    /// What must hold after every step.
    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.account.check(), Ok(()));
        let json = serde_json::to_string(&self.account).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Account>(&json).unwrap(), &self.account);
        for rule in &self.rules {
            let spent = &self.account.windows()[&rule.id];
            prop_assert_eq!(&spent.settled, &self.folded_in(rule), "{}", &rule.id);
            prop_assert!(!self.is_honest || spent.overrun == Pots::default(), "{:?}", spent);
        }
        Ok(())
    }

    /// What the folded records come to, counted one by one.
    fn folded_in(&self, rule: &Rule) -> Pots {
        let span = rule.window.span(self.account.as_of());
        let mut sum = Pots::default();
        for (seq, at, event) in &self.log {
            if *seq <= self.account.folded() && span.contains(*at) {
                let is_downgraded = event.hold.as_ref().is_some_and(|hold| !hold.downgraded.is_empty());
                sum.add(if is_downgraded { Pot::Downgraded } else { Pot::Main }, event.cost());
            }
        }
        sum
    }

    /// The same log folded in one go by somebody else, and what the account becomes with its sums.
    fn rebuilt(&self) -> Account {
        let now = self.account.as_of();
        let mut fresh = Account::open(team(), "log", 0, now, &self.rules);
        for (seq, at, event) in self.log.iter().filter(|(seq, ..)| *seq <= self.account.folded()) {
            fresh.fold(*seq, *at, event, &self.rules);
        }
        let mut rebuilt = self.account.clone();
        rebuilt.adopt(&fresh, now, &self.rules).unwrap();
        rebuilt
    }
}

fn live(rules: Vec<Rule>, ops: &[Op], is_honest: bool) -> Result<World, TestCaseError> {
    let mut world = World::new(rules, is_honest);
    for op in ops {
        world.step(op);
        // A reader between two changes sees budgets that have changed only once somebody has brought the record up to
        // date.
        world.account.refresh(UnixMillis(world.now), &world.rules);
        world.check()?;
    }
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_overspent_while_no_run_costs_more_than_its_hold(rules in rules(), ops in ops()) {
        let mut world = live(rules, &ops, true)?;
        // Once everything is folded and every lease is over, all that was held is settled or back.
        (0..world.log.len()).for_each(|_| world.fold_next());
        world.now += LEASE_MS + 1;
        world.account.expire(UnixMillis(world.now), UnixMillis(world.now));
        world.account.refresh(UnixMillis(world.now), &world.rules);
        world.check()?;
        prop_assert_eq!(world.account.held(), Pots::default());
        prop_assert_eq!(world.rebuilt(), world.account);
    }

    #[test]
    fn the_promise_holds_whatever_runs_cost_and_however_budgets_change(rules in rules(), ops in ops()) {
        let world = live(rules, &ops, false)?;
        prop_assert_eq!(world.rebuilt(), world.account);
    }

    #[test]
    fn the_promise_holds_between_any_two_changes_without_a_refresh(rules in rules(), ops in ops()) {
        let mut world = World::new(rules, false);
        for op in &ops {
            world.step(op);
            prop_assert_eq!(world.account.check(), Ok(()));
        }
    }

    #[test]
    fn sums_at_the_ends_of_the_range_do_not_overflow(
        rules in rules(),
        ops in prop::collection::vec((0..6u8, pot(), extreme(), extreme(), extreme()), 1..40),
    ) {
        let mut rules = rules;
        let mut account = Account::open(team(), "log", 0, UnixMillis(0), &rules);
        for (seq, (op, pot, a, b, c)) in ops.into_iter().enumerate() {
            let (amount, now) = (NanoUsd(a), UnixMillis(b));
            match op {
                0 => drop(account.take(&Ask { lease: "w", pot, amount, until: UnixMillis(c) }, now, &rules)),
                1 => drop(account.fold(seq as u64 + 1, now, &event(a, hold("w", pot, c)), &rules)),
                2 => drop(account.give_back("w", pot, amount)),
                3 => drop(account.expire(now, UnixMillis(c))),
                4 => {
                    let mut budget = rules[0].budget.clone();
                    budget.cap_usd = Usd(NanoUsd(a.clamp(0, crate::budget::CAP_MAX.0)));
                    rules[0] = Rule::new(&budget, UnixMillis::default()).unwrap();
                }
                // Nothing caps what is taken and spent for a while.
                _ => {
                    account.take(&Ask { lease: "x", pot, amount, until: now }, now, &[]).unwrap();
                    account.fold(seq as u64 + 1, now, &event(c, None), &[]);
                }
            }
            prop_assert_eq!(account.check(), Ok(()));
            prop_assert!(account.headroom(pot, now, &rules) >= NanoUsd::ZERO);
            account.standing(now, &rules);
            account.alerts(&rules);
        }
    }

    #[test]
    fn a_block_is_at_least_the_need_and_beyond_it_at_most_a_quarter(
        headroom in extreme(), need in extreme(), contenders in any::<u32>(),
    ) {
        let block = block_size(NanoUsd(headroom), NanoUsd(need), contenders).0;
        prop_assert!(block == need || (block > need && block <= headroom / 4));
    }
}

fn extreme() -> impl Strategy<Value = i64> {
    let edge = prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX / 8, i64::MAX - 1, i64::MAX]);
    prop_oneof![edge, any::<i64>(), 0..2000i64, MIDNIGHT..MIDNIGHT + 100 * HOUR]
}
