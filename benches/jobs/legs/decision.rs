//! What is computed for a job without any server: decoding it, and the order of the lanes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_policy::order::{Candidate, Order};
use tollgate_types::JobSpec;

use crate::Size;
use crate::report::{Spread, table};
use crate::roles::loader;

pub(super) fn run(size: Size) -> anyhow::Result<()> {
    let time = if size == Size::Quick { Duration::from_millis(50) } else { Duration::from_millis(200) };
    let mut rows = Vec::new();
    for kib in [1, 10, 100, 900] {
        let line = Bytes::from(loader::line(kib << 10));
        anyhow::ensure!(JobSpec::decode(&line, usize::MAX).is_ok(), "the line of {kib} KiB is no job");
        let micros = micros(time, || JobSpec::decode(black_box(&line), usize::MAX).is_ok());
        let mib_per_second = (kib as f64 / 1024.0) / (micros / 1e6);
        rows.push(vec![kib.to_string(), format!("{micros:.1}"), format!("{mib_per_second:.0}")]);
    }
    table("Decode: one job line to what the worker knows of it", &["KiB", "µs", "MiB/s"], rows);

    let mut rows = Vec::new();
    for lanes in [10, 100, 1_000, 10_000] {
        let open: Vec<Candidate> =
            (0..lanes).map(|lane| Candidate { lane, weight: 1 + lane as u32 % 16, available: 1_000 }).collect();
        let mut row = vec![lanes.to_string()];
        for slots in [1, 64] {
            let mut order = Order::default();
            let micros = micros(time, || order.grant(black_box(&open), slots).len());
            row.extend([format!("{micros:.1}"), format!("{:.2}", micros / slots as f64)]);
        }
        rows.push(row);
    }
    let columns = ["lanes", "1 slot µs", "µs/slot", "64 slots µs", "µs/slot"];
    table("Order: sharing free slots among lanes that all have work", &columns, rows);
    Ok(())
}

/// The median time of one call over seven stretches.
fn micros<T>(stretch: Duration, mut call: impl FnMut() -> T) -> f64 {
    black_box(call());
    let one = || {
        let (start, mut calls) = (Instant::now(), 0u32);
        loop {
            black_box(call());
            calls += 1;
            let elapsed = start.elapsed();
            if elapsed >= stretch {
                return elapsed.as_secs_f64() * 1e6 / f64::from(calls);
            }
        }
    };
    let mut one = one;
    Spread::of((0..7).map(|_| one())).median
}
