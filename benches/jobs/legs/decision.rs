//! What is computed for a job without any server: decoding it, and the order of the lanes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_policy::order::{LaneId, Order, Standing};
use tollgate_types::JobSpec;

use crate::Size;
use crate::roles::loader;
use benches::report::{Spread, table};

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
        let (mut order, ids) = order(lanes);
        let next = micros(time, || (0..BATCH).filter_map(|_| order.next(|_| 20_000)).count());
        // Every lane once more, so that a job's whole course touches lanes all over the order.
        let mut course = ids.iter().cycle();
        let job = micros(time, || (0..BATCH).filter_map(|_| course.next()).for_each(|&lane| job(&mut order, lane)));
        // Only ten lanes have work; the others are there.
        ids[10..].iter().for_each(|&lane| order.stand(lane, Standing::Idle));
        let quiet = micros(time, || (0..BATCH).filter_map(|_| order.next(|_| 20_000)).count());
        let per_decision = |micros: f64| format!("{:.3}", micros / BATCH as f64);
        rows.push(vec![lanes.to_string(), per_decision(next), per_decision(job), per_decision(quiet)]);
    }
    let columns = ["lanes", "pick µs", "job µs", "pick, 10 with work µs"];
    table("Order: who gets the next slot", &columns, rows);
    Ok(())
}

/// How many decisions are timed at once: one alone is not much longer than a look at the clock.
const BATCH: usize = 1_000;

/// An order of so many lanes in three classes, all with work.
fn order(lanes: u32) -> (Order, Vec<LaneId>) {
    let mut order = Order::default();
    (0u8..).zip([16, 4, 1]).for_each(|(class, weight)| order.weigh_class(class, weight));
    let ids: Vec<LaneId> = (0..lanes).map(|lane| order.enter((lane % 3) as u8, 1 + lane % 16)).collect();
    ids.iter().for_each(|&lane| order.stand(lane, Standing::Ready));
    (order, ids)
}

/// All that one job asks of the order: a lane is picked, held for its pull, asked for its cap and let go; and a job of
/// another lane is settled.
fn job(order: &mut Order, lane: LaneId) {
    let picked = order.next(|_| 20_000).unwrap_or(lane);
    order.stand(picked, Standing::Held);
    if black_box(order.in_flight_cap(picked, 256)) > 0 {
        order.stand(picked, Standing::Ready);
    }
    order.correct(lane, 1_000);
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
