//! Whole jobs per second, and what each costs, against the *bare loop*: pull, POST, publish the result, ack.
//!
//! The binary runs itself again for every part (`--role worker`, `bare`, `mock`, `loader`, `sink`, `clickhouse`), so
//! that CPU and memory can be told apart by process. Start with `legs/`, one file per question; `run.rs` is one run of
//! one contender, `world.rs` the servers under it, `roles/` the processes.
//!
//! Deliberately absent: absolute promises. Everything is a ratio of two contenders that took turns on one machine.

#![allow(clippy::disallowed_methods, reason = "each part is a process that does one thing and ends whole")]

mod legs;
mod roles;
mod run;
mod world;

use std::ffi::OsString;

use benches::report::say;
use clap::Parser;

use crate::legs::Leg;
use crate::roles::Role;

/// Measures Tollgate against the bare loop.
#[derive(Debug, clap::Parser)]
#[command(name = "jobs")]
struct Options {
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// One round of the most telling cells, about a minute
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Also a backlog of a million and payloads of 900 KiB, some minutes more
    #[arg(long)]
    full: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Leg>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    Quick,
    Default,
    Full,
}

impl Size {
    /// Turns that each contender takes.
    pub(crate) fn rounds(self) -> usize {
        match self {
            Size::Quick => 1,
            Size::Default | Size::Full => 3,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "--role") {
        args.remove(1);
        return Role::parse_from(args).run();
    }
    let options = Options::parse_from(args);
    if !options.bench {
        say("nothing measured; run it with `cargo bench -p benches --bench jobs`");
        return Ok(());
    }
    let size = match (options.quick, options.full) {
        (true, _) => Size::Quick,
        (false, false) => Size::Default,
        (false, true) => Size::Full,
    };
    let legs = if options.only.is_empty() { Leg::all() } else { options.only };
    tokio::runtime::Runtime::new()?.block_on(legs::run(&legs, size))
}
