//! How fast records go in by the product's own way, with every rollup on.

use std::time::{Duration, Instant};

use benches::record::record;
use benches::report::{progress, say, table, whole};
use tollgate_types::UnixMillis;
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
        let (mut inserted, mut waiting) = ((0usize, 0usize), Duration::ZERO);
        let mut slowest = Duration::ZERO;
        // As the sink does it: the next batch is made while one is inserted.
        let make = |first: u64| tokio::task::spawn_blocking(move || batch(records, first));
        let mut next = make(1);
        let since = Instant::now();
        while since.elapsed() < lasts {
            let begun = Instant::now();
            let batch = next.await?;
            waiting += begun.elapsed();
            seq += records as u64;
            next = make(seq + 1);
            let begun = Instant::now();
            store.insert(&batch, &format!("18a:{seq}")).await?;
            slowest = slowest.max(begun.elapsed());
            inserted = (inserted.0 + records, inserted.1 + batch.len());
        }
        let seconds = since.elapsed().as_secs_f64();
        let differences = store.rollup_differences(HourRange::ALL).await?;
        anyhow::ensure!(differences.is_empty(), "{differences:?}");
        let share = 100.0 * waiting.as_secs_f64() / seconds;
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
        &["records of a batch", "records/s", "rows/s", "slowest, ms", "waiting for rows, %"],
        lines,
    );
    if let Some(memory) = tables.memory()? {
        say(format_args!("\nengine: {} MiB resident, {} at the most", memory.resident >> 20, memory.peak >> 20));
    }
    Ok(())
}

fn batch(records: usize, first: u64) -> Vec<Row> {
    let mut batch = Vec::with_capacity(records * 2);
    for seq in (first..).take(records) {
        // 50 records a millisecond: the hour changes now and then, as it does.
        let at = UnixMillis(AT + i64::try_from(seq / 50).unwrap_or(0));
        batch.extend(rows(Stamp { stream: "18a", seq, at }, &record(seq, at)));
    }
    batch
}
