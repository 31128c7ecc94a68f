//! `serve`: run the broker. The wiring is in [`crate::serve`].

use std::net::SocketAddr;

use tollgate_types::{Class, Team};

use super::Cx;
use crate::exit::Outcome;
use crate::serve::{Role, serve};
use crate::telemetry;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What this process does, comma separated
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Role::ALL)]
    roles: Vec<Role>,
    /// Where probes and metrics listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The worker's name in results and logs; unique
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Serve these classes alone, comma separated
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    classes: Option<Vec<Class>>,
    /// Serve these teams alone, comma separated
    #[arg(long, value_name = "TEAM", value_delimiter = ',')]
    teams: Option<Vec<Team>>,
    /// The most jobs in flight
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
}

/// Runs the broker until a signal, or until something that must run ends.
///
/// # Errors
/// What is wrong with the configuration, or what ended by itself.
pub async fn run(args: Args, mut cx: Cx) -> Outcome {
    cx.overrides.listen = args.listen;
    cx.overrides.name = args.name;
    cx.overrides.classes = args.classes;
    cx.overrides.teams = args.teams;
    cx.overrides.concurrency = args.concurrency;
    let loaded = cx.load()?;
    telemetry::init(&loaded.config.telemetry);
    serve(&loaded, &args.roles).await
}
