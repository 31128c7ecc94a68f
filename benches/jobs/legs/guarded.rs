//! What budgets and limits cost, and many lanes: Tollgate against itself.

use std::time::Duration;

use super::{median, shares};
use crate::Size;
use crate::run::{Contender, Measured, Plan, run as run_once};
use crate::world::Team;
use benches::report::{Spread, progress, table, whole};

const COLUMNS: [&str; 5] =
    ["lanes", "budgets and limits", "jobs/s", "ratio to one lane without", "µs/job (worker + nats)"];

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    let cells: &[(usize, bool)] = match size {
        Size::Quick => &[(1, false), (1, true), (300, false)],
        Size::Default | Size::Full => &[(1, false), (1, true), (30, false), (30, true), (300, false), (300, true)],
    };
    let mut measured: Vec<Vec<Measured>> = cells.iter().map(|_| Vec::new()).collect();
    for round in 0..size.rounds() {
        // Forwards and backwards in turn, so that no cell always finds the warmer machine.
        let order: Vec<usize> =
            if round.is_multiple_of(2) { (0..cells.len()).collect() } else { (0..cells.len()).rev().collect() };
        for at in order {
            let (lanes, guarded) = cells[at];
            let plan = Plan {
                contender: Contender::Tollgate,
                in_flight: 256,
                jobs: 16_000,
                warm: 3_000,
                measured_max: 16_000,
                bytes: 1024,
                upstream: Duration::ZERO,
                outstanding: None,
                lanes,
                team: if guarded { Team::Guarded } else { Team::Plain },
            };
            let one = run_once(&plan, None).await?;
            progress(format_args!("{lanes} lanes, guarded {guarded}, round {}: {:.0} jobs/s", round + 1, one.rate));
            measured[at].push(one);
        }
    }
    let rows = cells.iter().zip(&measured).map(|(&(lanes, guarded), runs)| {
        let ratio = Spread::of(runs.iter().zip(&measured[0]).map(|(run, plain)| run.rate / plain.rate));
        vec![
            lanes.to_string(),
            if guarded { "on" } else { "off" }.to_owned(),
            whole(median(runs, |m| m.rate)),
            ratio.ratio(),
            shares(runs, &["worker", "nats"]),
        ]
    });
    table("Guarded: 1 KiB jobs, 256 in flight, backlog drained", &COLUMNS, rows.collect());
    Ok(())
}
