//! What the rollups gain and what they cost: every question of a screen from the rollups and from the raw table, and how many
//! rows a second go in with all of them on.
//!
//! The binary runs itself again as the engine (`--role clickhouse`), so that its memory can be told apart. Start with
//! `asked.rs`, the list of questions; `events.rs` makes what they are asked about, `inserts.rs` measures the way in.

#![allow(clippy::disallowed_methods, reason = "each part is a process that does one thing and ends whole")]

mod asked;
#[path = "../jobs/roles/clickhouse.rs"]
mod clickhouse;
mod events;
mod inserts;
mod world;

use std::ffi::OsString;

use benches::report::say;
use clap::Parser;

use crate::world::Tables;

/// Measures the questions and the way in.
#[derive(Debug, clap::Parser)]
#[command(name = "analytics")]
struct Options {
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// Rows of the raw table, over 30 days
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Half a million rows and two rounds
    #[arg(long)]
    quick: bool,
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Questions,
    Inserts,
}

fn main() -> anyhow::Result<()> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "--role") {
        // The name of the role: there is one.
        args.drain(1..=2);
        return Engine::parse_from(args).run();
    }
    let options = Options::parse_from(args);
    if !options.bench {
        say("nothing measured; run it with `cargo bench -p benches --bench analytics`");
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(run(&options))
}

/// The role of the engine.
#[derive(Debug, clap::Parser)]
struct Engine {
    #[command(flatten)]
    args: clickhouse::Args,
}

impl Engine {
    fn run(self) -> anyhow::Result<()> {
        clickhouse::run(self.args)
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let (events, rounds) = if options.quick { (500_000, 2) } else { (options.events, 5) };
    let tables = Tables::start().await?;
    if options.only != Some(Part::Questions) {
        inserts::measure(&tables, options.quick).await?;
    }
    if options.only != Some(Part::Inserts) {
        asked::measure(&tables, events, rounds).await?;
    }
    tables.stop().await
}
