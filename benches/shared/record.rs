//! Records as a busy installation makes them, for what measures their way into ClickHouse.

use tollgate_types::event::{AttemptOutcome, AttemptRecord, CacheUse, EventKind};
use tollgate_types::guardrails::{Followed, Hit, Side};
use tollgate_types::{NanoUsd, Status, Tokens, UnixMillis, UsageEvent, UsageSource};

/// The record of number `seq`; every sixteenth has a call that failed first.
///
/// # Panics
/// Never: the id that it makes is valid.
pub fn record(seq: u64, at: UnixMillis) -> UsageEvent {
    // Spreads neighbours: the multiplier is that of SplitMix64's finaliser.
    let chance = seq.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20;
    let model = format!("model-{}", chance % 8);
    let call = |outcome, cost| AttemptRecord {
        provider: ["openai", "anthropic", "azure", "mistral"][(chance % 4) as usize].into(),
        model: model.clone(),
        region: "eu-west-1".into(),
        outcome,
        error: if outcome == AttemptOutcome::Ok { String::new() } else { "unavailable".into() },
        http_status: if outcome == AttemptOutcome::Ok { 200 } else { 503 },
        started_at: at,
        latency_ms: 50 + chance % 5_000,
        first_byte_ms: 20 + chance % 500,
        tokens: Tokens {
            input: 200 + chance % 2_000,
            cache_read: chance % 300,
            output: chance % 900,
            ..Tokens::default()
        },
        usage_source: UsageSource::Provider,
        cost_nanousd: NanoUsd(cost),
        price_version: "2025-11".into(),
        request_id: format!("req_{chance:016x}"),
        raw_usage: r#"{"prompt_tokens":1200,"completion_tokens":300,"prompt_tokens_details":{"cached_tokens":128}}"#
            .into(),
    };
    let ok = call(AttemptOutcome::Ok, 40_000 + i64::try_from(chance % 1_000_000).unwrap_or(0));
    let attempts = if seq.is_multiple_of(16) { vec![call(AttemptOutcome::Error, 0), ok] } else { vec![ok] };
    let hit = || Hit { rule: "payment_card".into(), on: Side::Request, action: Followed::Redact, count: 1 };
    UsageEvent {
        version: 1,
        kind: EventKind::Result,
        job: format!("bench:{seq}").parse().expect("a job id of letters and digits"),
        team: format!("team-{}", chance % 20),
        class: ["interactive", "standard", "batch"][(chance % 3) as usize].into(),
        run: format!("{chance:016x}{seq:016x}"),
        worker: format!("worker-{}", chance % 4),
        delivery: 1,
        status: Status::Succeeded,
        error_code: None,
        project: format!("project-{}", chance % 5),
        user: format!("user-{}", chance % 5_000),
        key: String::new(),
        labels: [("feature".to_owned(), format!("f{}", chance % 12)), ("tier".to_owned(), "pro".to_owned())].into(),
        model_requested: "fast".into(),
        attempts,
        unknown_attempts: 0,
        unknown_nanousd: NanoUsd::ZERO,
        saved_nanousd: NanoUsd::ZERO,
        cache: CacheUse::Miss,
        kept: None,
        stream: seq.is_multiple_of(2),
        guardrails: if seq.is_multiple_of(50) { vec![hit()] } else { Vec::new() },
        risk: if seq.is_multiple_of(50) { 40 } else { 0 },
        hold: None,
        downgraded_to: String::new(),
        endpoint: String::new(),
        traceparent: String::new(),
        accepted_at: at,
        queued_ms: chance % 700,
        run_ms: 60 + chance % 5_100,
    }
}
