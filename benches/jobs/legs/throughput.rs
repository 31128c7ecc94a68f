//! Jobs per second and CPU per job: a preloaded queue is drained against a provider that answers at once.

use std::time::Duration;

use super::{Pairs, median, shares};
use crate::Size;
use crate::run::{Contender, Measured, Plan, run as run_once};
use crate::world::{Tables, Team};
use benches::report::{Spread, progress, table, whole};

const COLUMNS: [&str; 10] = [
    "in flight",
    "bare jobs/s",
    "tollgate jobs/s",
    "ratio",
    "with sink jobs/s",
    "ratio",
    "bare µs/job (loop + nats)",
    "tollgate µs/job (worker + nats)",
    "ratio",
    "with sink µs/job (worker + nats + sink + clickhouse)",
];

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    let levels: &[usize] = if size == Size::Quick { &[256] } else { &[64, 256, 1024] };
    let mut tables = match Tables::start().await {
        Ok(tables) => Some(tables),
        Err(error) => {
            progress(format_args!("without the sink, because there is no ClickHouse: {error:#}"));
            None
        }
    };
    let mut rows = Vec::new();
    for &in_flight in levels {
        let jobs = if size == Size::Quick { 10_000 } else { 16_000 };
        let plan = Plan {
            contender: Contender::Bare,
            in_flight,
            jobs,
            warm: 2_000,
            measured_max: jobs,
            bytes: 1024,
            upstream: Duration::ZERO,
            outstanding: None,
            lanes: 1,
            team: Team::Plain,
        };
        rows.push(row(&plan, size.rounds(), &mut tables).await?);
    }
    table("Throughput: 1 KiB jobs, provider answers at once, backlog drained", &COLUMNS, rows);
    Ok(())
}

async fn row(plan: &Plan, rounds: usize, tables: &mut Option<Tables>) -> anyhow::Result<Vec<String>> {
    let mut pairs = Pairs { bare: Vec::new(), tollgate: Vec::new() };
    let mut with_sink = Vec::new();
    for round in 0..rounds {
        let one = super::pairs(&format!("throughput, {} in flight", plan.in_flight), plan, 1).await?;
        pairs.bare.extend(one.bare);
        pairs.tollgate.extend(one.tollgate);
        if let Some(tables) = tables {
            let plan = Plan { contender: Contender::Tollgate, ..plan.clone() };
            let measured = run_once(&plan, Some(tables)).await?;
            progress(format_args!("with the sink on, round {} of {rounds}: {:.0} jobs/s", round + 1, measured.rate));
            with_sink.push(measured);
        }
    }
    let sink_ratio = || {
        let ratio = with_sink.iter().zip(&pairs.bare).map(|(ours, bare)| ours.rate / bare.rate);
        Spread::of(ratio).ratio()
    };
    let sunk = |text: &dyn Fn() -> String| if with_sink.is_empty() { "not measured".to_owned() } else { text() };
    Ok(vec![
        plan.in_flight.to_string(),
        whole(median(&pairs.bare, |m| m.rate)),
        whole(median(&pairs.tollgate, |m| m.rate)),
        pairs.ratio(|m| m.rate).ratio(),
        sunk(&|| whole(median(&with_sink, |m| m.rate))),
        sunk(&sink_ratio),
        shares(&pairs.bare, &["worker", "nats"]),
        shares(&pairs.tollgate, &["worker", "nats"]),
        pairs.ratio(Measured::core_micros).ratio(),
        sunk(&|| shares(&with_sink, &["worker", "nats", "sink", "clickhouse"])),
    ])
}
