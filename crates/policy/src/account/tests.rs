use tollgate_types::budget::{Budget, Raise, Usd};
use tollgate_types::event::{CacheUse, EventKind};
use tollgate_types::{
    AttemptOutcome, AttemptRecord, Hold, NanoUsd, Scope, Status, Tokens, UnixMillis, UsageEvent, UsageSource,
};

use super::*;
use Pot::{Downgraded, Main};

mod reports;
mod time;

pub(super) const HOUR: i64 = 3_600_000;
/// 2026-03-04T00:00Z, a Wednesday.
pub(super) const MIDNIGHT: i64 = 1_772_582_400_000;

pub(super) fn rule(json: &str) -> Rule {
    Rule::new(&serde_json::from_str::<Budget>(json).unwrap(), UnixMillis::default()).unwrap()
}

/// An event of team `a`, user `ann`.
pub(super) fn event(cost: i64, hold: Option<Hold>) -> UsageEvent {
    let attempt = AttemptRecord {
        provider: "sim".into(),
        model: "m".into(),
        region: String::new(),
        outcome: AttemptOutcome::Ok,
        error: String::new(),
        http_status: 200,
        started_at: UnixMillis(0),
        latency_ms: 1,
        first_byte_ms: 1,
        tokens: Tokens::default(),
        usage_source: UsageSource::Provider,
        cost_nanousd: NanoUsd(cost),
        price_version: "1".into(),
        request_id: String::new(),
        raw_usage: String::new(),
    };
    UsageEvent {
        version: 1,
        kind: EventKind::Result,
        job: "j".parse().unwrap(),
        team: "a".into(),
        class: "standard".into(),
        run: "r".into(),
        worker: "w".into(),
        delivery: 1,
        status: Status::Succeeded,
        error_code: None,
        project: String::new(),
        user: "ann".into(),
        key: String::new(),
        labels: BTreeMap::new(),
        model_requested: "m".into(),
        attempts: vec![attempt],
        unknown_attempts: 0,
        unknown_nanousd: NanoUsd::ZERO,
        saved_nanousd: NanoUsd::ZERO,
        cache: CacheUse::Miss,
        kept: None,
        stream: false,
        guardrails: vec![],
        risk: 0,
        hold,
        downgraded_to: String::new(),
        endpoint: String::new(),
        traceparent: String::new(),
        accepted_at: UnixMillis(0),
        queued_ms: 0,
        run_ms: 0,
    }
}

pub(super) fn team() -> Scope {
    "team:a".parse().unwrap()
}

pub(super) fn hold(lease: &str, pot: Pot, amount: i64) -> Option<Hold> {
    let (named, none) = (vec![team().account()], vec![]);
    let (accounts, downgraded) = match pot {
        Pot::Main => (named, none),
        Pot::Downgraded => (none, named),
    };
    Some(Hold { lease: lease.into(), nanousd: NanoUsd(amount), accounts, downgraded })
}

/// An account of team `a`, its rules, and the time: amounts are nano-dollars.
struct Books {
    account: Account,
    rules: Vec<Rule>,
    now: UnixMillis,
    seq: u64,
}

impl Books {
    fn new(budgets: &[&str]) -> Books {
        let rules: Vec<Rule> = budgets.iter().map(|json| rule(json)).collect();
        let now = UnixMillis(MIDNIGHT + 12 * HOUR);
        Books { account: Account::open(team(), "log", 0, now, &rules), rules, now, seq: 0 }
    }

    /// A day's cap of 100 nano-dollars.
    fn of_a_day() -> Books {
        Books::new(&[r#"{"window":"day","cap_usd":"0.0000001"}"#])
    }

    fn take(&mut self, lease: &str, pot: Pot, amount: i64) -> Result<(), Box<Denied>> {
        let ask = Ask { lease, pot, amount: NanoUsd(amount), until: UnixMillis(self.now.0 + 60_000) };
        let took = self.account.take(&ask, self.now, &self.rules);
        self.check();
        took
    }

    fn fold(&mut self, event: &UsageEvent) -> i64 {
        self.fold_at(self.now.0, event)
    }

    /// The overrun that it recorded.
    fn fold_at(&mut self, at: i64, event: &UsageEvent) -> i64 {
        self.seq += 1;
        let overruns = self.account.fold(self.seq, UnixMillis(at), event, &self.rules);
        self.check();
        overruns.iter().map(|overrun| overrun.by.0).sum()
    }

    fn refresh(&mut self) -> i64 {
        let overruns = self.account.refresh(self.now, &self.rules);
        self.check();
        overruns.iter().map(|overrun| overrun.by.0).sum()
    }

    #[track_caller]
    fn check(&self) {
        self.account.check().unwrap();
        let json = serde_json::to_string(&self.account).unwrap();
        assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), self.account);
    }

    fn set_cap(&mut self, nanos: i64) {
        let mut budget = self.rules[0].budget.clone();
        budget.cap_usd = Usd(NanoUsd(nanos));
        let as_of = UnixMillis(self.rules[0].as_of.0 + 1);
        self.rules[0] = Rule::new(&budget, as_of).unwrap();
    }

    /// Settled, held, overrun of the first rule's window, both pots together.
    fn sums(&self) -> (i64, i64, i64) {
        let spent = &self.account.windows()[&self.rules[0].id];
        (spent.settled.sum().0, self.account.held().sum().0, spent.overrun.sum().0)
    }
}

#[test]
fn what_fits_is_held_and_what_a_run_cost_takes_the_place_of_its_hold() {
    let mut books = Books::of_a_day();
    books.take("w1", Main, 60).unwrap();
    books.take("w2", Main, 40).unwrap();
    assert_eq!(books.take("w2", Main, 1).unwrap_err().kind, DeniedKind::Pending);
    assert_eq!(books.fold(&event(25, hold("w1", Main, 60))), 0);
    assert_eq!(books.sums(), (25, 40, 0));
    assert_eq!(books.account.headroom(Main, books.now, &books.rules), NanoUsd(35));
    books.take("w1", Main, 35).unwrap();
    assert_eq!(books.sums(), (25, 75, 0));
}

#[test]
fn a_denial_tells_the_arithmetic_and_what_stands_in_the_way() {
    let check = |settled: i64, held: i64, asked: i64, kind, message: &str| {
        let mut books = Books::of_a_day();
        books.fold(&event(settled, None));
        books.take("other", Main, held).unwrap();
        let denied = books.take("w", Main, asked).unwrap_err();
        assert_eq!((denied.kind, denied.to_string().as_str()), (kind, message));
        assert!(books.account.block("w").is_none(), "nothing is taken");
    };
    let cap = r#"the cap of $0.0000001 for "day" of team:a"#;
    let (spent, pending) = (DeniedKind::Spent, DeniedKind::Pending);
    check(90, 5, 20, spent, &format!("$0.00000002 does not fit {cap}: $0.00000009 settled, $0.000000005 held"));
    check(
        50,
        45,
        20,
        pending,
        &format!("$0.00000002 does not fit {cap} until holds come back: $0.00000005 settled, $0.000000045 held"),
    );
    check(0, 0, 101, DeniedKind::Never, &format!("$0.000000101 can never fit {cap}"));
}

#[test]
fn what_follows_from_a_denial_is_what_the_budget_says() {
    let check = |budget: &str, pot, settled: i64, held: i64, asked: i64, expected: Next<'_>| {
        let mut books = Books::new(&[&format!(r#"{{"window":"day","cap_usd":"0.0000001",{budget}}}"#)]);
        books.fold(&event(settled, hold("none", pot, 0)));
        books.take("other", pot, held).unwrap();
        let denied = books.take("w", pot, asked).unwrap_err();
        assert_eq!(denied.next(), expected, "{budget} {pot:?} {settled} {held} {asked}");
    };
    let wait = r#""when_spent":"wait""#;
    let reject = r#""when_spent":"reject""#;
    let cheaper = r#""when_spent":"downgrade","downgrade_to":"mini","downgrade_cap_usd":"0.0000001""#;
    let then_reject =
        r#""when_spent":"downgrade","downgrade_to":"mini","downgrade_cap_usd":"0.0000001","then":"reject""#;
    check(wait, Main, 95, 0, 10, Next::WaitForWindow);
    check(reject, Main, 95, 0, 10, Next::Reject);
    check(cheaper, Main, 95, 0, 10, Next::Downgrade { to: "mini" });
    check(cheaper, Downgraded, 95, 0, 10, Next::WaitForWindow);
    check(then_reject, Downgraded, 95, 0, 10, Next::Reject);
    for budget in [wait, reject, cheaper, then_reject] {
        check(budget, Main, 45, 50, 10, Next::WaitForHolds);
        check(budget, Downgraded, 45, 50, 10, Next::WaitForHolds);
        check(budget, Downgraded, 0, 0, 101, Next::Reject);
    }
    for budget in [wait, reject] {
        check(budget, Main, 0, 0, 101, Next::Reject);
    }
    check(then_reject, Main, 0, 0, 101, Next::Downgrade { to: "mini" });
}

#[test]
fn of_several_windows_the_one_that_ends_the_job_decides() {
    let day = r#"{"window":"day","cap_usd":"0.0000001"}"#;
    let month = r#"{"window":"month","cap_usd":"0.0000001"}"#;
    let hour = r#"{"window":"hour","cap_usd":"0.0000001","when_spent":"reject"}"#;
    let week = r#"{"window":"week","cap_usd":"0.0000001","when_spent":"downgrade","downgrade_to":"mini"}"#;
    let small = r#"{"window":"rolling 24h","cap_usd":"0.000000005"}"#;
    let check = |budgets: &[&str], expected: &str| {
        let mut books = Books::new(budgets);
        books.fold(&event(95, None));
        assert_eq!(books.take("w", Main, 10).unwrap_err().window, expected, "{budgets:?}");
    };
    check(&[day, month], "month");
    check(&[month, day], "month");
    check(&[month, week], "week");
    check(&[week, hour, month], "hour");
    check(&[hour, small, week], "rolling 24h");
}

#[test]
fn a_spent_window_goes_before_holds_that_come_back() {
    let hour = r#"{"window":"hour","cap_usd":"0.0000001"}"#;
    let month = r#"{"window":"month","cap_usd":"0.00000006","when_spent":"downgrade","downgrade_to":"mini"}"#;
    for budgets in [[hour, month], [month, hour]] {
        let mut books = Books::new(&budgets);
        books.fold_at(MIDNIGHT, &event(50, None));
        books.take("other", Downgraded, 95).unwrap();
        let pending = books.take("w", Main, 6).unwrap_err();
        assert_eq!((pending.window.as_str(), pending.next()), ("hour", Next::WaitForHolds));
        let spent = books.take("w", Main, 15).unwrap_err();
        assert_eq!((spent.window.as_str(), spent.next()), ("month", Next::Downgrade { to: "mini" }));
    }
}

#[test]
fn a_job_that_a_coming_raise_has_room_for_waits_for_it() {
    let mut books = Books::new(&[r#"{"window":"day","cap_usd":"0.0000001","raises":[
        {"amount_usd":"0.0000001","from":1772640000000,"until":1772726400000,"author":"ann"}]}"#]);
    let denied = books.take("w", Main, 150).unwrap_err();
    assert_eq!((denied.kind, denied.next()), (DeniedKind::Spent, Next::WaitForWindow));
    assert_eq!(denied.opens, Some(UnixMillis(1_772_640_000_000)));
    assert_eq!(books.take("w", Main, 201).unwrap_err().kind, DeniedKind::Never);
    books.now = UnixMillis(1_772_640_000_000);
    books.take("w", Main, 150).unwrap();
}

#[test]
fn what_costs_nothing_fits_into_a_spent_window() {
    let mut books = Books::of_a_day();
    books.fold(&event(150, None));
    books.take("w", Main, 0).unwrap();
    books.take("w", Main, -5).unwrap();
    assert_eq!(books.account.headroom(Main, books.now, &books.rules), NanoUsd::ZERO);
    assert_eq!(books.sums(), (150, 0, 50));
}

#[test]
fn without_a_downgrade_both_pots_count_together_and_with_one_each_on_its_own() {
    let mut together = Books::of_a_day();
    together.take("w", Main, 60).unwrap();
    together.take("w", Downgraded, 40).unwrap();
    assert!(together.take("w", Downgraded, 1).is_err());

    let mut apart = Books::new(&[
        r#"{"window":"day","cap_usd":"0.0000001","when_spent":"downgrade","downgrade_to":"mini","downgrade_cap_usd":"0.00000005"}"#,
    ]);
    apart.take("w", Main, 100).unwrap();
    apart.take("w", Downgraded, 50).unwrap();
    assert!(apart.take("w", Main, 1).is_err());
    let denied = apart.take("w", Downgraded, 1).unwrap_err();
    assert_eq!((denied.pot, denied.cap, denied.held), (Downgraded, NanoUsd(50), NanoUsd(50)));
    assert_eq!(apart.fold(&event(30, hold("w", Downgraded, 50))), 0);
    let spent = &apart.account.windows()["day"];
    assert_eq!(
        (spent.settled, apart.account.held()),
        (Pots { main: NanoUsd(0), downgraded: NanoUsd(30) }, Pots { main: NanoUsd(100), downgraded: NanoUsd(0) },)
    );

    let mut free =
        Books::new(&[r#"{"window":"day","cap_usd":"0.0000001","when_spent":"downgrade","downgrade_to":"mini"}"#]);
    free.take("w", Downgraded, i64::MAX).unwrap();
    free.take("w", Downgraded, i64::MAX).unwrap();
    assert_eq!(free.account.headroom(Downgraded, free.now, &free.rules), NanoUsd(i64::MAX));
}

#[test]
fn a_run_that_cost_more_than_was_held_is_an_overrun_of_exactly_what_is_missing() {
    let mut books = Books::of_a_day();
    books.take("w", Main, 90).unwrap();
    assert_eq!(books.fold(&event(95, hold("w", Main, 90))), 0, "there was room beside the hold");
    books.take("w", Main, 5).unwrap();
    assert_eq!(books.fold(&event(12, hold("w", Main, 5))), 7);
    assert_eq!(books.fold(&event(3, None)), 3);
    assert_eq!(books.sums(), (110, 0, 10));
    let denied = books.take("w", Main, 1).unwrap_err();
    assert_eq!((denied.kind, denied.settled), (DeniedKind::Spent, NanoUsd(110)), "an overrun is no room");
}

#[test]
fn a_fold_that_comes_again_changes_nothing() {
    let mut books = Books::of_a_day();
    books.take("w", Main, 50).unwrap();
    let paid = event(20, hold("w", Main, 20));
    books.fold(&paid);
    let before = books.account.clone();
    for seq in [0, 1] {
        assert_eq!(books.account.fold(seq, books.now, &paid, &books.rules), []);
    }
    books.account.advance(0);
    assert_eq!(books.account, before);
    books.account.advance(9);
    assert_eq!(books.account.fold(9, books.now, &paid, &books.rules), []);
    assert_eq!((books.account.folded(), books.sums()), (9, (20, 30, 0)));
}

#[test]
fn events_of_others_and_runs_that_only_start_leave_the_money_alone() {
    let mut books = Books::of_a_day();
    books.take("w", Main, 50).unwrap();
    let mut other = event(20, hold("w", Main, 20));
    other.team = "b".into();
    books.fold(&other);
    let mut started = event(0, hold("w", Main, 20));
    (started.kind, started.attempts) = (EventKind::Started, vec![]);
    books.fold(&started);
    let mut elsewhere = event(20, hold("w", Main, 20));
    elsewhere.hold.as_mut().unwrap().accounts = vec![Scope::Organisation.account()];
    books.fold(&elsewhere);
    assert_eq!((books.account.folded(), books.sums()), (3, (20, 50, 0)));
    let mut extra = event(7, hold("w", Main, 20));
    extra.kind = EventKind::Extra;
    books.fold(&extra);
    assert_eq!(books.sums(), (27, 30, 0), "what a run cost that lost the race counts like any other");
}

#[test]
fn a_dead_worker_s_block_comes_back_only_when_all_that_it_committed_is_folded() {
    let mut books = Books::of_a_day();
    books.take("w", Main, 80).unwrap();
    let until = books.account.block("w").unwrap().until;
    let later = |ms: i64| UnixMillis(until.0 + ms);
    assert_eq!(books.account.expire(later(60_000), until), [""; 0], "its last result may not be folded yet");
    assert_eq!(books.account.expire(until, later(60_000)), [""; 0], "its lease is not over");
    books.fold_at(until.0, &event(50, hold("w", Main, 60)));
    assert_eq!(books.account.expire(later(60_000), later(1)), ["w"]);
    assert_eq!(books.sums(), (50, 0, 0));
}

#[test]
fn a_lease_without_a_block_is_told_so() {
    let mut books = Books::of_a_day();
    let missing = Err(NoBlock("w".into()));
    assert_eq!(books.account.renew("w", books.now), missing);
    assert_eq!(books.account.give_back("w", Main, NanoUsd(1)), Err(NoBlock("w".into())));
    assert_eq!(books.account.close("w"), Closed::Gone);
    assert!(books.account.blocks().is_empty());
}

#[test]
fn each_change_of_its_own_block_is_a_turn_and_folds_are_none() {
    let mut books = Books::of_a_day();
    let turn = |books: &Books| books.account.block("w").map(|block| block.turn);
    books.take("w", Main, 50).unwrap();
    assert_eq!(turn(&books), Some(1));
    books.take("other", Main, 10).unwrap();
    books.fold(&event(10, hold("w", Main, 20)));
    assert_eq!(turn(&books), Some(1));
    assert_eq!(books.account.give_back("w", Main, NanoUsd(10)), Ok(NanoUsd(10)));
    books.account.renew("w", UnixMillis(books.now.0 + 90_000)).unwrap();
    books.account.renew("w", books.now).unwrap();
    let block = books.account.block("w").unwrap();
    assert_eq!((block.turn, block.until.0), (4, books.now.0 + 90_000), "a lease is never made shorter");
    assert_eq!(books.account.give_back("w", Main, NanoUsd(99)), Ok(NanoUsd(20)), "no more than there is");
    assert_eq!(books.account.give_back("w", Main, NanoUsd(-99)), Ok(NanoUsd(0)));
    assert_eq!(turn(&books), Some(6), "an empty block stays until its worker is done");
    assert_eq!(books.account.close("w"), Closed::Gone);
    assert_eq!(turn(&books), None);
}

#[test]
fn a_closed_block_stays_until_the_last_result_that_it_paid_for_is_folded() {
    let mut books = Books::of_a_day();
    books.take("w", Main, 50).unwrap();
    books.take("w", Downgraded, 10).unwrap();
    let left = Pots { main: NanoUsd(50), downgraded: NanoUsd(10) };
    assert_eq!(books.account.close("w"), Closed::AfterFolds(left));
    books.fold(&event(50, hold("w", Main, 50)));
    assert!(books.account.block("w").is_some());
    books.fold(&event(10, hold("w", Downgraded, 10)));
    assert_eq!(books.account.block("w"), None);
    assert_eq!(books.sums(), (60, 0, 0));
}

#[test]
fn blocks_are_generous_far_from_the_cap_and_exact_near_it() {
    let check = |headroom: i64, need: i64, contenders, expected: i64| {
        assert_eq!(block_size(NanoUsd(headroom), NanoUsd(need), contenders), NanoUsd(expected), "{headroom} {need}");
    };
    check(1_000_000, 10, 1, 640);
    check(1_000, 10, 1, 250);
    check(1_000, 10, 5, 50);
    check(39, 10, 1, 10);
    check(0, 10, 1, 10);
    check(-5, 10, 0, 10);
    check(1_000, 0, 1, 0);
    check(i64::MAX, i64::MAX, 1, i64::MAX);
}
