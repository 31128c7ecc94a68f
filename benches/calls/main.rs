//! What a call to a provider costs in CPU, and a streamed token, against plain reqwest that reads the same bytes.
//!
//! The binary runs itself again as the provider (`--role provider`), so that only the caller's CPU is counted. Start with
//! `cell.rs`, one measured thing; `callers.rs` are the contenders, `answers.rs` what the provider sends.

mod answers;
mod callers;
mod cell;
mod provider;

use std::ffi::OsString;

use benches::child::Child;
use benches::report::{progress, say, table};
use clap::Parser;

use crate::callers::Callers;
use crate::cell::{Cell, Cost};

/// Measures calls against plain reqwest.
#[derive(Debug, clap::Parser)]
#[command(name = "calls")]
struct Options {
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// One round, less than half a minute
    #[arg(long)]
    quick: bool,
    /// Only the cells whose name holds this, such as `openai` or `stream`
    #[arg(long, default_value = "")]
    only: String,
}

/// Turns that each contender takes: the median of five is steady on a busy machine.
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    // One thread: on several, what they cost each other would be measured too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "--role") {
        return runtime.block_on(provider::run());
    }
    let options = Options::parse_from(args);
    if !options.bench {
        say("nothing measured; run it with `cargo bench -p benches --bench calls`");
        return Ok(());
    }
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (provider, address) = Child::start("provider", &[], folder.path().join("provider.log")).await?;
    let callers = Callers::new(&address)?;
    let rounds = if options.quick { 1 } else { ROUNDS };

    let mut rows = Vec::new();
    for cell in Cell::calls().filter(|cell| cell.name().contains(&options.only)) {
        let cost = measured(&cell, &callers, rounds).await?;
        let micros = |nanos: f64| format!("{:.0}", nanos / 1e3);
        rows.push(vec![cell.name(), micros(cost.reqwest), micros(cost.tollgate), cost.ratio.ratio()]);
    }
    table("Calls: CPU of one, by prompt and answer", &["call", "reqwest µs", "tollgate µs", "ratio"], rows);

    let mut rows = Vec::new();
    for cell in Cell::streams().filter(|cell| cell.name().contains(&options.only)) {
        let cost = measured(&cell, &callers, rounds).await?;
        let tokens = cell.answer.tokens as f64;
        let of_one = |nanos: f64| format!("{:.0}", nanos / tokens);
        let added = of_one(cost.tollgate - cost.reqwest);
        rows.push(vec![cell.name(), of_one(cost.reqwest), of_one(cost.tollgate), added, cost.ratio.ratio()]);
    }
    let columns = ["stream of 1,000 tokens", "reqwest ns", "tollgate ns", "added ns", "ratio"];
    table("Streams: CPU of one token", &columns, rows);
    provider.end().await
}

/// Lets both contenders take turns at one cell.
async fn measured(cell: &Cell, callers: &Callers, rounds: usize) -> anyhow::Result<Cost> {
    let cost = cell.measure(callers, rounds).await?;
    progress(format_args!("{}: {:.2}", cell.name(), cost.ratio.median));
    Ok(cost)
}
