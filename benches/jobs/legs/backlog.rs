//! Whether a long queue is slower than a short one.

use std::time::Duration;

use super::{median, pairs, shares};
use crate::Size;
use crate::run::{Contender, Plan};
use crate::world::Team;
use benches::report::{table, whole};

const COLUMNS: [&str; 6] = ["backlog", "bare jobs/s", "tollgate jobs/s", "ratio", "bare µs/job", "tollgate µs/job"];
/// In flight at the worker, and outstanding where there is no backlog.
const IN_FLIGHT: usize = 256;

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    let backlogs: &[u64] = match size {
        Size::Quick => &[0, 10_000],
        Size::Default => &[0, 10_000, 100_000],
        Size::Full => &[0, 10_000, 100_000, 1_000_000],
    };
    let mut rows = Vec::new();
    for &backlog in backlogs {
        let plan = Plan {
            contender: Contender::Bare,
            in_flight: IN_FLIGHT,
            jobs: backlog.max(10_000),
            warm: 1_000,
            measured_max: 8_000,
            bytes: 1024,
            upstream: Duration::ZERO,
            outstanding: (backlog == 0).then_some(IN_FLIGHT),
            lanes: 1,
            team: Team::Plain,
        };
        let rounds = if backlog == 1_000_000 { 1 } else { size.rounds().min(2) };
        let pairs = pairs(&format!("backlog of {backlog}"), &plan, rounds).await?;
        let (bare, ours) = (median(&pairs.bare, |m| m.rate), median(&pairs.tollgate, |m| m.rate));
        rows.push(vec![
            whole(backlog as f64),
            whole(bare),
            whole(ours),
            pairs.ratio(|m| m.rate).ratio(),
            shares(&pairs.bare, &["worker", "nats"]),
            shares(&pairs.tollgate, &["worker", "nats"]),
        ]);
    }
    table("Backlog: 1 KiB jobs, 256 in flight; 0 is a closed loop of 256 with the loader beside it", &COLUMNS, rows);
    Ok(())
}
