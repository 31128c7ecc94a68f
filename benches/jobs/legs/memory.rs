//! Resident memory of the worker while 1,000 jobs are in flight.

use std::time::Duration;

use super::{median, pairs};
use crate::Size;
use crate::run::{Contender, Measured, Plan};
use crate::world::Team;
use benches::report::table;

const COLUMNS: [&str; 4] = ["contender", "in flight then", "resident MiB", "peak MiB"];

pub(super) async fn run(_size: Size) -> anyhow::Result<()> {
    let plan = Plan {
        contender: Contender::Bare,
        in_flight: 1000,
        jobs: 6_000,
        // The mark is set in the middle of the sixth thousand, when all slots have turned over a few times.
        warm: 400,
        measured_max: 4_600,
        bytes: 1024,
        upstream: Duration::from_secs(1),
        outstanding: None,
        lanes: 1,
        team: Team::Plain,
    };
    let pairs = pairs("memory, 1,000 in flight", &plan, 1).await?;
    let row = |name: &str, runs: &[Measured]| {
        let mib = |bytes: fn(&Measured) -> u64| format!("{:.0}", median(runs, |m| bytes(m) as f64) / 1_048_576.0);
        let open = format!("{:.0}", median(runs, |m| m.open as f64));
        vec![name.to_owned(), open, mib(|m| m.memory.resident), mib(|m| m.memory.peak)]
    };
    let rows = vec![row("bare", &pairs.bare), row("tollgate", &pairs.tollgate)];
    table("Memory: 1 KiB jobs, 1,000 in flight, provider takes 1 s", &COLUMNS, rows);
    Ok(())
}
