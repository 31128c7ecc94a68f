//! How fast records go in by the product's own way, with every rollup on.

use std::time::{Duration, Instant};

use benches::report::{progress, say, table, whole};
use tollgate_types::event::{AttemptOutcome, AttemptRecord, CacheUse, EventKind};
use tollgate_types::guardrails::{Followed, Hit, Side};
use tollgate_types::{NanoUsd, Status, Tokens, UnixMillis, UsageEvent, UsageSource};
use tollgate_usage::{HourRange, Row, Stamp, rows};

use crate::world::Tables;

/// Records of one batch: what the sink takes by itself, and more.
const BATCHES: [usize; 3] = [5_000, 25_000, 50_000];

/// Some time in November 2025: a batch of the sink holds seconds of one hour.
const AT: i64 = 1_763_000_000_123;

/// Inserts for a while with each size of batch.
pub(crate) async fn measure(tables: &Tables, quick: bool) -> anyhow::Result<()> {
    let lasts = Duration::from_secs(if quick { 3 } else { 20 });
    let mut lines = Vec::new();
    for (records, number) in BATCHES.into_iter().zip(0..) {
        progress(format_args!("batches of {records} records"));
        let store = tables.store(&format!("inserts_{number}")).await?;
        let mut seq = 0u64;
        let (mut inserted, mut making) = ((0usize, 0usize), Duration::ZERO);
        let mut slowest = Duration::ZERO;
        let since = Instant::now();
        while since.elapsed() < lasts {
            let begun = Instant::now();
            let batch = batch(records, &mut seq);
            making += begun.elapsed();
            let begun = Instant::now();
            store.insert(&batch, &format!("18a:{seq}")).await?;
            slowest = slowest.max(begun.elapsed());
            inserted = (inserted.0 + records, inserted.1 + batch.len());
        }
        let seconds = since.elapsed().as_secs_f64();
        let differences = store.rollup_differences(HourRange::ALL).await?;
        anyhow::ensure!(differences.is_empty(), "{differences:?}");
        let share = 100.0 * making.as_secs_f64() / seconds;
        lines.push(vec![
            whole(records as f64),
            whole(inserted.0 as f64 / seconds),
            whole(inserted.1 as f64 / seconds),
            format!("{:.0}", slowest.as_secs_f64() * 1e3),
            format!("{share:.0}"),
        ]);
    }
    table(
        "Records through `rows` and `Store::insert`, one batch at a time, validation and all rollups on",
        &["records of a batch", "records/s", "rows/s", "slowest, ms", "making rows, %"],
        lines,
    );
    if let Some(memory) = tables.memory()? {
        say(format_args!("\nengine: {} MiB resident, {} at the most", memory.resident >> 20, memory.peak >> 20));
    }
    Ok(())
}

fn batch(records: usize, seq: &mut u64) -> Vec<Row> {
    let mut batch = Vec::with_capacity(records * 2);
    for _ in 0..records {
        *seq += 1;
        // 200 records a millisecond at most: the hour changes now and then, as it does.
        let at = UnixMillis(AT + i64::try_from(*seq / 50).unwrap_or(0));
        batch.extend(rows(Stamp { stream: "18a", seq: *seq, at }, &record(*seq, at)));
    }
    batch
}

/// A record as a busy installation makes them; every sixteenth has a call that failed first.
fn record(seq: u64, at: UnixMillis) -> UsageEvent {
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
