//! What guardrails cost a job: Tollgate against itself.

use std::time::Duration;

use super::median;
use crate::Size;
use crate::run::{Contender, Measured, Plan, run as run_once};
use crate::world::Team;
use benches::report::{Spread, progress, table};

const COLUMNS: [&str; 5] =
    ["jobs of 1 KiB", "worker, µs/job without", "with all rules", "added, of the worker's", "of worker + nats"];

/// So many that the ticks of 10 ms, in which the kernel tells CPU, are a thousandth of what they use.
const JOBS: u64 = 24_000;

pub(super) async fn run(size: Size) -> anyhow::Result<()> {
    let (mut plain, mut screened) = (Vec::new(), Vec::new());
    for round in 0..size.rounds() {
        // In turn, so that neither always finds the warmer machine.
        let both = [Team::Plain, Team::Screened];
        let order = if round.is_multiple_of(2) { both } else { [both[1], both[0]] };
        for team in order {
            let one = run_once(&plan(team), None).await?;
            progress(format_args!("{team:?}, round {}: {:.1} µs/job in the worker", round + 1, worker(&one)));
            if team == Team::Plain { plain.push(one) } else { screened.push(one) }
        }
    }
    let part = |of: fn(&Measured) -> f64| {
        let parts = screened.iter().zip(&plain).map(|(with, without)| (worker(with) - worker(without)) / of(with));
        Spread::of(parts).ratio()
    };
    let row = vec![
        "256 in flight, drained".to_owned(),
        format!("{:.1}", median(&plain, worker)),
        format!("{:.1}", median(&screened, worker)),
        part(worker),
        part(Measured::core_micros),
    ];
    table("Screened: all guardrails on both sides", &COLUMNS, vec![row]);
    Ok(())
}

fn plan(team: Team) -> Plan {
    Plan {
        contender: Contender::Tollgate,
        in_flight: 256,
        jobs: JOBS,
        warm: 3_000,
        measured_max: JOBS,
        bytes: 1024,
        upstream: Duration::ZERO,
        outstanding: None,
        lanes: 1,
        team,
    }
}

fn worker(measured: &Measured) -> f64 {
    measured.micros.get("worker").copied().unwrap_or_default()
}
