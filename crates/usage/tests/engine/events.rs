//! Records to test with.

use tollgate_types::event::{AttemptOutcome, AttemptRecord, CacheUse, EventKind};
use tollgate_types::{NanoUsd, Status, Tokens, UnixMillis, UsageEvent, UsageSource};

/// A time in the middle of an hour, in November 2025.
pub(crate) const AT: UnixMillis = UnixMillis(1_763_000_000_123);

pub(crate) fn attempt(model: &str, outcome: AttemptOutcome, tokens: Tokens, cost: i64) -> AttemptRecord {
    AttemptRecord {
        provider: "sim".into(),
        model: model.into(),
        region: "eu".into(),
        outcome,
        error: String::new(),
        http_status: 200,
        started_at: AT,
        latency_ms: 340,
        first_byte_ms: 20,
        tokens,
        usage_source: UsageSource::Provider,
        cost_nanousd: NanoUsd(cost),
        price_version: "v1".into(),
        request_id: "req".into(),
        raw_usage: r#"{"prompt_tokens":3}"#.into(),
    }
}

pub(crate) fn event(kind: EventKind, job: &str, attempts: Vec<AttemptRecord>) -> UsageEvent {
    UsageEvent {
        version: 1,
        kind,
        job: job.parse().expect("a job id"),
        team: "search".into(),
        class: "standard".into(),
        run: format!("run-of-{job}"),
        worker: "w1".into(),
        delivery: 1,
        status: Status::Succeeded,
        error_code: None,
        project: "ranking".into(),
        user: "u".into(),
        key: String::new(),
        labels: Default::default(),
        model_requested: "fast".into(),
        attempts,
        unknown_attempts: 0,
        unknown_nanousd: NanoUsd::ZERO,
        saved_nanousd: NanoUsd::ZERO,
        cache: CacheUse::Miss,
        kept: None,
        stream: false,
        guardrails: Vec::new(),
        risk: 0,
        hold: None,
        downgraded_to: String::new(),
        endpoint: String::new(),
        traceparent: String::new(),
        accepted_at: AT,
        queued_ms: 12,
        run_ms: 400,
    }
}

/// The `index`th of a mixed lot: several teams, models and ends, retries, lost races, redeliveries.
pub(crate) fn varied(index: u64) -> UsageEvent {
    let model = ["gpt", "mini", "claude"][(index % 3) as usize];
    let tokens =
        Tokens { input: index, cache_read: index % 7, cache_write: 1, output: index * 3, reasoning: index % 2 };
    let call = |outcome, cost| attempt(model, outcome, tokens, cost);
    let calls = match index % 4 {
        0 => vec![],
        1 => vec![call(AttemptOutcome::Ok, 1_000_000_007 + index as i64)],
        _ => vec![call(AttemptOutcome::RateLimited, 0), call(AttemptOutcome::Ok, 41_250)],
    };
    let kind = match index % 10 {
        8 => EventKind::Extra,
        9 => EventKind::Started,
        _ => EventKind::Result,
    };
    let calls = if kind == EventKind::Started { vec![] } else { calls };
    let mut event = event(kind, &format!("job-{index}"), calls);
    event.team = ["search", "ads"][(index % 2) as usize].to_owned();
    event.status = Status::ALL[(index % 6) as usize];
    event.unknown_attempts = (index % 5) as i64 - 2;
    event.unknown_nanousd = NanoUsd(event.unknown_attempts * 77);
    event
}
