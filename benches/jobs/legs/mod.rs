//! The questions, one file each.

mod backlog;
mod decision;
mod drain;
mod guarded;
mod latency;
mod memory;
mod outage;
mod payload;
mod screened;
mod throughput;

use clap::ValueEnum;

use crate::Size;
use crate::run::{Contender, Measured, Plan, run as run_once};
use benches::report::{Spread, progress};

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Leg {
    /// Jobs per second and CPU per job by jobs in flight, with the sink paused and with the sink on
    Throughput,
    /// From submission to the request at the provider
    Latency,
    /// Memory at 1,000 jobs in flight
    Memory,
    /// Throughput by backlog
    Backlog,
    /// Throughput by the size of a job
    Payload,
    /// Throughput with budgets and limits on, and by lanes
    Guarded,
    /// CPU per job with all guardrails on
    Screened,
    /// ClickHouse away for ten minutes at 200 jobs/s; with `--quick` for 20 s
    Outage,
    /// The sink alone, over a log that is full
    Drain,
    /// Decoding a job, and choosing who goes next
    Decision,
}

impl Leg {
    /// All but the outage, which takes a quarter of an hour, and what is its sequel.
    pub(crate) fn all() -> Vec<Leg> {
        Leg::value_variants().iter().copied().filter(|leg| ![Leg::Outage, Leg::Drain].contains(leg)).collect()
    }
}

/// Runs the legs one after the other; each prints its table when it is done.
pub(crate) async fn run(legs: &[Leg], size: Size) -> anyhow::Result<()> {
    for leg in legs {
        match leg {
            Leg::Throughput => throughput::run(size).await?,
            Leg::Latency => latency::run(size).await?,
            Leg::Memory => memory::run(size).await?,
            Leg::Backlog => backlog::run(size).await?,
            Leg::Payload => payload::run(size).await?,
            Leg::Guarded => guarded::run(size).await?,
            Leg::Screened => screened::run(size).await?,
            Leg::Outage => outage::run(size).await?,
            Leg::Drain => drain::run(size).await?,
            Leg::Decision => decision::run(size)?,
        }
    }
    Ok(())
}

/// Runs of both contenders, round by round.
struct Pairs {
    bare: Vec<Measured>,
    tollgate: Vec<Measured>,
}

/// Lets both contenders take turns at one plan.
async fn pairs(what: &str, plan: &Plan, rounds: usize) -> anyhow::Result<Pairs> {
    let mut pairs = Pairs { bare: Vec::new(), tollgate: Vec::new() };
    for round in 0..rounds {
        for contender in Contender::pair(round) {
            let measured = run_once(&Plan { contender, ..plan.clone() }, None).await?;
            progress(format_args!(
                "{what}, round {} of {rounds}: {contender:?} {:.0} jobs/s",
                round + 1,
                measured.rate
            ));
            match contender {
                Contender::Bare => pairs.bare.push(measured),
                Contender::Tollgate => pairs.tollgate.push(measured),
            }
        }
    }
    Ok(pairs)
}

impl Pairs {
    /// A number of Tollgate as a part of the bare loop's, round by round.
    fn ratio(&self, number: impl Fn(&Measured) -> f64) -> Spread {
        Spread::of(self.tollgate.iter().zip(&self.bare).map(|(ours, bare)| number(ours) / number(bare)))
    }
}

/// The middle of a number over the rounds.
fn median(runs: &[Measured], number: impl Fn(&Measured) -> f64) -> f64 {
    Spread::of(runs.iter().map(number)).median
}

/// The value below which this part of the sorted numbers lies.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() as f64 * part) as usize).min(sorted.len() - 1)]
}

/// CPU per job of some processes: the sum, and what it is made of.
fn shares(runs: &[Measured], processes: &[&str]) -> String {
    let of = |name: &&str| median(runs, |m| m.micros.get(*name).copied().unwrap_or(0.0));
    let parts: Vec<f64> = processes.iter().map(of).collect();
    let texts: Vec<String> = parts.iter().map(|micros| format!("{micros:.0}")).collect();
    format!("{:.0} ({})", parts.iter().sum::<f64>(), texts.join(" + "))
}
