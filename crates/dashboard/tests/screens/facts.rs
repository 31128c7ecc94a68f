//! What is in the tables and streams of these tests.

use std::collections::BTreeMap;

use tollgate_types::event::{AttemptOutcome, AttemptRecord, CacheUse, EventKind};
use tollgate_types::guardrails::{Followed, Hit, Side};
use tollgate_types::{NanoUsd, Status, Tokens, UnixMillis, UsageEvent, UsageSource};
use tollgate_usage::{Stamp, Store, rows};

/// What would be markup if it were not escaped.
pub(crate) const HOSTILE: &str = r#"<script>alert(1)</script>"onmouseover="x' --</code></textarea><!--"#;
/// What must be nowhere in any page.
pub(crate) const TRACES: [&str; 5] =
    ["<script>alert", "\"onmouseover=", "</code></textarea>", "<!--", "alert(1)</script>"];

fn call(model: &str, outcome: AttemptOutcome, error: &str, at: UnixMillis, cost: i64) -> AttemptRecord {
    let tokens = Tokens { input: 1000, cache_read: 200, cache_write: 10, output: 500, reasoning: 50 };
    AttemptRecord {
        provider: format!("p{HOSTILE}"),
        model: model.into(),
        region: HOSTILE.into(),
        outcome,
        error: error.into(),
        http_status: if outcome == AttemptOutcome::Ok { 200 } else { 500 },
        started_at: at,
        latency_ms: 340,
        first_byte_ms: 20,
        tokens: if outcome == AttemptOutcome::Ok { tokens } else { Tokens::default() },
        usage_source: UsageSource::Provider,
        cost_nanousd: NanoUsd(cost),
        price_version: HOSTILE.into(),
        request_id: HOSTILE.into(),
        raw_usage: "{}".into(),
    }
}

/// A job of a team, whose every text means harm.
fn job(team: &str, number: u64, at: UnixMillis) -> UsageEvent {
    let model = format!("m{HOSTILE}");
    let ok = call(&model, AttemptOutcome::Ok, "", at, 42_000_000_000);
    let failed = call(&model, AttemptOutcome::Error, HOSTILE, at, 0);
    let hit = Hit { rule: format!("r{HOSTILE}"), on: Side::Request, action: Followed::Flag, count: 3 };
    UsageEvent {
        version: 1,
        kind: EventKind::Result,
        job: format!("{team}:{number}").parse().expect("an id"),
        team: team.into(),
        class: "standard".into(),
        run: format!("run-{team}-{number}"),
        worker: HOSTILE.into(),
        delivery: 1,
        status: Status::Succeeded,
        error_code: None,
        project: HOSTILE.into(),
        user: HOSTILE.into(),
        key: HOSTILE.into(),
        labels: BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]),
        model_requested: HOSTILE.into(),
        attempts: vec![failed, ok],
        unknown_attempts: 0,
        unknown_nanousd: NanoUsd::ZERO,
        saved_nanousd: NanoUsd::ZERO,
        cache: CacheUse::Miss,
        kept: None,
        stream: false,
        guardrails: vec![hit],
        risk: 75,
        hold: None,
        downgraded_to: String::new(),
        endpoint: String::new(),
        traceparent: String::new(),
        accepted_at: UnixMillis(at.0 - 1000),
        queued_ms: 900,
        run_ms: 400,
    }
}

/// Two jobs of `search` at 42 dollars each, and one of a team whose name means harm.
pub(crate) async fn insert(store: &Store, at: UnixMillis) {
    let events = [job("search", 1, at), job("search", 2, at), {
        let mut event = job("search", 3, at);
        event.team = HOSTILE.to_owned();
        event.saved_nanousd = NanoUsd(7_000_000_000);
        event.cache = CacheUse::Hit;
        event.attempts.clear();
        event
    }];
    let mut batch = Vec::new();
    for (seq, event) in (1..).zip(&events) {
        batch.extend(rows(Stamp { stream: "s", seq, at }, event));
    }
    store.insert(&batch, "facts").await.expect("the rows are taken");
}
