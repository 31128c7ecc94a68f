//! `team`: who is registered with what, and what the NATS server needs for a new one.

mod add;
mod remove;
mod set;
mod show;

use tollgate_types::Team;

use super::Cx;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{self, By};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Register a team or change its weight; for a new one, print its account for the NATS server
    Add(add::Args),
    /// List the registered teams
    List,
    /// Show one team: weight, limits, budgets, what waits, what is paused
    Show {
        /// The team
        #[arg(value_name = "NAME")]
        name: Team,
    },
    /// Change a team's weight and limits
    Set(set::Args),
    /// Take a team off the register; says what becomes of its jobs
    Remove(remove::Args),
}

/// Runs the command.
///
/// # Errors
/// When NATS or the bucket cannot be reached, or what is asked for is not valid.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let by = match &args.command {
        Command::Add(args) => args.by.clone(),
        Command::Set(args) => args.by.clone(),
        Command::Remove(args) => args.by.clone(),
        Command::List | Command::Show { .. } => By::default(),
    };
    let (operator, _) = live::open(cx, &by, "tollgate team").await?;
    match &args.command {
        Command::Add(args) => add::run(args, &operator, cx).await,
        Command::List => show::list(&operator.directory, cx),
        Command::Show { name } => show::run(name, &operator, cx).await,
        Command::Set(args) => set::run(args, &operator, cx).await,
        Command::Remove(args) => remove::run(args, &operator, cx).await,
    }
}

fn unknown(team: &Team) -> Failure {
    Failure::new(Code::Usage, format!("the team {team} is not registered")).try_this("look at `tollgate team list`")
}
