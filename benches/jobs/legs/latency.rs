//! From just before the submission to the arrival of the request at the provider, in a closed loop.

use std::time::Duration;

use super::{median, pairs, quantile};
use crate::Size;
use crate::run::{Contender, Measured, Plan};
use crate::world::Team;
use benches::report::{Spread, table};

const COLUMNS: [&str; 7] = [
    "outstanding, upstream",
    "bare p50 ms",
    "tollgate p50 ms",
    "difference",
    "bare p99 ms",
    "tollgate p99 ms",
    "difference",
];

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    // Alone: with 20 ms a lone job finds a worker that has gone idle, and enough of them come.
    let cells: &[(usize, u64, u64)] = &[(1, 20, 200), (64, 100, 3_200)];
    for &(outstanding, upstream_ms, jobs) in cells {
        let jobs = if size == Size::Quick { jobs / 2 } else { jobs };
        let plan = Plan {
            contender: Contender::Bare,
            in_flight: 256,
            jobs,
            warm: jobs / 10,
            measured_max: jobs,
            bytes: 1024,
            upstream: Duration::from_millis(upstream_ms),
            outstanding: Some(outstanding),
            lanes: 1,
            team: Team::Plain,
        };
        let pairs = pairs(&format!("latency, {outstanding} outstanding"), &plan, size.rounds()).await?;
        let mut row = vec![format!("{outstanding}, {upstream_ms} ms")];
        for part in [0.5, 0.99] {
            let at = |m: &Measured| quantile(&m.dispatch, part);
            let apart = Spread::of(pairs.tollgate.iter().zip(&pairs.bare).map(|(ours, bare)| at(ours) - at(bare)));
            row.extend([median(&pairs.bare, at), median(&pairs.tollgate, at)].map(|ms| format!("{ms:.2}")));
            row.push(apart.ratio());
        }
        rows.push(row);
    }
    table("Dispatch: from submission to the request at the provider, 1 KiB jobs", &COLUMNS, rows);
    Ok(())
}
