//! `models`: what is served, by whom, and for how much.

mod list;
mod price;

use super::Cx;
use crate::exit::Outcome;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the models that jobs can ask for, with the deployments that serve them; or all whose price is known
    List(list::Args),
    /// Show what a model costs, and what a call of a given size costs at most
    Price(price::Args),
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the configuration, or that there is no such model.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    match &args.command {
        Command::List(args) => list::run(args, cx),
        Command::Price(args) => price::run(args, cx),
    }
}
