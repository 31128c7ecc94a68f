use std::collections::HashSet;

use proptest::prelude::*;
use tollgate_types::event::{AttemptOutcome, CacheUse, KeptFrom};
use tollgate_types::guardrails::{Followed, Hit, Side};
use tollgate_types::{NanoUsd, Status, Tokens, UsageSource};

use super::*;
use crate::reconcile::{self, Key, Ledger, Totals};
use crate::row::{CacheColumn, StatusColumn};

const STAMP: Stamp<'static> = Stamp { stream: "18a", seq: 7, at: UnixMillis(1_763_000_000_123) };

fn hit(rule: &str, on: Side) -> Hit {
    Hit { rule: rule.into(), on, action: Followed::Flag, count: 1 }
}

fn attempt(model: &str, outcome: AttemptOutcome, tokens: Tokens, cost: i64) -> AttemptRecord {
    AttemptRecord {
        provider: "p".into(),
        model: model.into(),
        region: String::new(),
        outcome,
        error: String::new(),
        http_status: 200,
        started_at: UnixMillis(5),
        latency_ms: 340,
        first_byte_ms: 0,
        tokens,
        usage_source: UsageSource::Provider,
        cost_nanousd: NanoUsd(cost),
        price_version: "v".into(),
        request_id: String::new(),
        raw_usage: String::new(),
    }
}

fn event(kind: EventKind, attempts: Vec<AttemptRecord>, unknown: (i64, i64)) -> UsageEvent {
    UsageEvent {
        version: 1,
        kind,
        job: "search:1".parse().expect("a job id"),
        team: "search".into(),
        class: "batch".into(),
        run: "run-1".into(),
        worker: "w".into(),
        delivery: 2,
        status: Status::Succeeded,
        error_code: None,
        project: String::new(),
        user: String::new(),
        key: String::new(),
        labels: [("feature".to_owned(), "summary".to_owned())].into(),
        model_requested: "fast".into(),
        attempts,
        unknown_attempts: unknown.0,
        unknown_nanousd: NanoUsd(unknown.1),
        saved_nanousd: NanoUsd(0),
        cache: CacheUse::Miss,
        kept: None,
        stream: false,
        guardrails: vec![hit("pii", Side::Request), hit("pii", Side::Answer)],
        risk: 30,
        hold: None,
        downgraded_to: String::new(),
        endpoint: String::new(),
        traceparent: String::new(),
        accepted_at: UnixMillis(1000),
        queued_ms: 12,
        run_ms: 840,
    }
}

fn kinds(event: &UsageEvent) -> Vec<(Kind, u16, i64, i64, i64)> {
    let money = |r: &Row| (r.kind, r.attempt, r.cost_nanousd, r.job_cost_nanousd, r.unknown_nanousd);
    rows(STAMP, event).iter().map(money).collect()
}

#[test]
fn a_result_is_its_attempts_and_one_job() {
    let failed = attempt("gpt", AttemptOutcome::RateLimited, Tokens::default(), 0);
    let good = attempt("mini", AttemptOutcome::Ok, Tokens { input: 3, output: 4, ..Tokens::default() }, 41);
    let event = event(EventKind::Result, vec![failed, good], (1, 9));
    let expected = [(Kind::Attempt, 1, 0, 0, 0), (Kind::Attempt, 2, 41, 0, 0), (Kind::Job, 2, 0, 41, 9)];
    assert_eq!(kinds(&event), expected);
    let made = rows(STAMP, &event);
    assert_eq!(
        (made[2].model.as_str(), made[2].tokens_in, made[2].queued_ms, made[2].latency_ms),
        ("mini", 0, 12, 840)
    );
    assert_eq!(
        (made[1].outcome, made[1].status, made[1].latency_ms),
        (OutcomeColumn::Ok, StatusColumn::Succeeded, 340)
    );
    assert!(made.iter().all(|r| r.ts == STAMP.at.0 && r.stream_seq == 7 && r.labels.len() == 1));
}

#[test]
fn a_job_that_called_nobody_is_one_row_under_the_model_that_it_asked_for() {
    let made = rows(STAMP, &event(EventKind::Result, vec![], (0, 0)));
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].kind, made[0].model.as_str(), made[0].attempt), (Kind::Job, "fast", 0));
}

#[test]
fn a_kept_answer_counts_under_who_gave_it_and_with_what_it_saved() {
    let kept = KeptFrom {
        job: "search:0".parse().expect("an id"),
        provider: "openai".to_owned(),
        model: "mini".to_owned(),
        tokens: Tokens::default(),
        at: UnixMillis(5),
    };
    let hit = UsageEvent {
        cache: CacheUse::Hit,
        saved_nanousd: NanoUsd(41),
        kept: Some(kept),
        ..event(EventKind::Result, vec![], (0, 0))
    };
    let made = rows(STAMP, &hit);
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].model.as_str(), made[0].provider.as_str()), ("mini", "openai"));
    assert_eq!((made[0].saved_nanousd, made[0].job_cost_nanousd, made[0].cache), (41, 0, CacheColumn::Hit));
}

#[test]
fn extra_spend_is_no_job_and_takes_back_what_was_unknown() {
    let call = || attempt("gpt", AttemptOutcome::Ok, Tokens::default(), 5);
    assert_eq!(kinds(&event(EventKind::Extra, vec![call()], (0, 0))), [(Kind::Attempt, 1, 5, 0, 0)]);
    let compensated = [(Kind::Attempt, 1, 5, 0, 0), (Kind::Unknown, 0, 0, 0, -9)];
    assert_eq!(kinds(&event(EventKind::Extra, vec![call()], (-1, -9))), compensated);
    assert_eq!(kinds(&event(EventKind::Started, vec![], (1, 9))), [(Kind::Unknown, 0, 0, 0, 9)]);
    assert!(kinds(&event(EventKind::Started, vec![], (0, 0))).is_empty());
}

#[test]
fn a_clock_from_nowhere_stays_within_the_calendar() {
    let mut odd = event(EventKind::Result, vec![], (0, 0));
    odd.accepted_at = UnixMillis(i64::MIN);
    odd.queued_ms = u64::MAX;
    let made = rows(Stamp { at: UnixMillis(i64::MAX), ..STAMP }, &odd);
    assert!(made[0].ts > 0 && made[0].ts < i64::MAX && made[0].accepted_at == 0);
}

fn any_event() -> impl Strategy<Value = UsageEvent> {
    let outcome = prop_oneof![
        Just(AttemptOutcome::Ok),
        Just(AttemptOutcome::RateLimited),
        Just(AttemptOutcome::Timeout),
        Just(AttemptOutcome::Cancelled),
        Just(AttemptOutcome::Error),
    ];
    let call = ("[ab]", outcome, [0u64..1 << 40, 0..9, 0..9, 0..1 << 40, 0..9], -5i64..1 << 40).prop_map(
        |(model, outcome, [input, cache_read, cache_write, output, reasoning], cost)| {
            attempt(&model, outcome, Tokens { input, cache_read, cache_write, output, reasoning }, cost)
        },
    );
    let kind = prop_oneof![Just(EventKind::Result), Just(EventKind::Extra), Just(EventKind::Started)];
    let calls = prop::collection::vec(call, 0..=ATTEMPTS_MAX);
    (kind, calls, (-3i64..3, -9i64..9), 0u64..99, 0usize..6).prop_map(|(kind, calls, unknown, run, status)| {
        let calls = if kind == EventKind::Started { vec![] } else { calls };
        let mut event = event(kind, calls, unknown);
        event.run = format!("run-{run}");
        event.status = Status::ALL[status];
        event
    })
}

/// What the tables' sums would be: the same statement as the materialized view's, in Rust.
fn book_rows(ledger: &mut Ledger, made: &[Row]) {
    for row in made {
        let status = Status::ALL.into_iter().find(|s| StatusColumn::from(*s) == row.status).expect("one of the six");
        let key = Key { team: row.team.clone(), model: row.model.clone(), status };
        *ledger.entry(key).or_default() += Totals {
            jobs: u64::from(row.kind == Kind::Job),
            attempts: u64::from(row.kind == Kind::Attempt),
            tokens: Tokens {
                input: row.tokens_in,
                cache_read: row.tokens_cache_read,
                cache_write: row.tokens_cache_write,
                output: row.tokens_out,
                reasoning: row.tokens_reasoning,
            },
            cost: NanoUsd(row.cost_nanousd),
            unknown_attempts: row.unknown_attempts,
            unknown: NanoUsd(row.unknown_nanousd),
        };
    }
}

proptest! {
    #[test]
    fn the_sums_of_the_rows_are_the_sums_of_the_events(events in prop::collection::vec(any_event(), 0..20)) {
        let (mut log, mut tables) = (Ledger::new(), Ledger::new());
        let mut cost = NanoUsd::ZERO;
        for event in &events {
            let made = rows(STAMP, event);
            prop_assert!(made.len() <= ROWS_PER_EVENT_MAX);
            prop_assert_eq!(&made, &rows(STAMP, event));
            let ids: HashSet<_> = made.iter().map(|r| r.event_id).collect();
            prop_assert_eq!(ids.len(), made.len());
            let jobs: Vec<&Row> = made.iter().filter(|r| r.kind == Kind::Job).collect();
            prop_assert_eq!(jobs.len(), usize::from(event.kind == EventKind::Result));
            prop_assert!(jobs.iter().all(|r| r.job_cost_nanousd == event.cost().0 && r.cost_nanousd == 0));
            reconcile::book(&mut log, event);
            book_rows(&mut tables, &made);
            cost += event.cost();
        }
        prop_assert_eq!(reconcile::reconcile(&log, &tables, &tables), vec![]);
        prop_assert_eq!(reconcile::sum(&tables).cost, cost);
    }
}
