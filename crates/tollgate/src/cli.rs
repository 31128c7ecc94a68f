//! The command line: global flags, and one file of `commands` for each command.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    Cx, batch, budget, cache, completions, config, dead, demo, dev, doctor, embedded_clickhouse, forget, guardrails,
    init, job, key, ledger, man, models, queue, reconcile, serve, sim_provider, submit, team, top, usage, webhook,
};
use crate::config::Overrides;
use crate::env::Env;
use crate::exit::{Code, Outcome};
use crate::output::{self, Format, Output};

/// A durable job broker for LLM calls over NATS.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 ok, 1 job(s) failed or books disagree, 2 usage or configuration, 3 cannot reach NATS, \
4 cannot reach ClickHouse or a provider, 5 rejected, 6 timeout, 130 interrupted"
)]
pub struct Cli {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub overrides: Overrides,
    /// Form of the data on standard output
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the broker
    Serve(serve::Args),
    /// Create or upgrade streams, buckets, tables and teams
    Init(init::Args),
    /// Check, show, print or apply a configuration
    Config(config::Args),
    /// Check servers, streams, permissions, keys and clocks
    Doctor(doctor::Args),
    /// Start a whole system on this machine, to try things out
    Dev(dev::Args),
    /// Run a workload through a whole system on this machine, and prove that the books agree
    Demo(demo::Args),
    /// Submit a prompt or a file of jobs
    Submit(submit::Args),
    /// Submit a file of requests as a batch, watch it, get its results, resume, retry or cancel it
    Batch(batch::Args),
    /// Look at a job, explain or cancel it, list what waits
    Job(job::Args),
    /// What happens now: lanes, rates, spend a minute, providers, alerts
    Top(top::Args),
    /// Show who used what and what that cost, by team, project, user, model, label, day …
    Usage(Box<usage::Args>),
    /// Compare results with ClickHouse, to the token and the nano-dollar
    Reconcile(reconcile::Args),
    /// Make accounts anew from the kept results
    Ledger(ledger::Args),
    /// Look at jobs that could not be run, and replay them
    Dead(dead::Args),
    /// Remove every text of a job or of an end user; what was spent stays in the books
    Forget(forget::Args),
    /// Register, show, change and remove teams
    Team(team::Args),
    /// Make, list, revoke and rotate the API keys of the front door
    Key(key::Args),
    /// List the models that are served, with their deployments, contexts and prices
    Models(models::Args),
    /// List the guardrail rules, and try them on a text
    Guardrails(guardrails::Args),
    /// Show, pause and resume lanes and models
    Queue(queue::Args),
    /// Show, set and raise budgets
    Budget(budget::Args),
    /// Show kept answers and what they saved, and forget them
    Cache(cache::Args),
    /// Print what a shell needs to complete commands and flags
    Completions(completions::Args),
    /// Print the manual page, or write those of all commands
    Man(man::Args),
    /// Post kept results again to a team's webhook
    Webhook(webhook::Args),
    /// Run a simulated LLM provider
    SimProvider(sim_provider::Args),
    /// Run the embedded ClickHouse; started by `dev`
    #[command(hide = true)]
    EmbeddedClickhouse(embedded_clickhouse::Args),
}

/// Reads the command line and does what it says; returns the exit code.
pub async fn run() -> Code {
    let env = Env::of_process();
    let matches = Cli::command().color(colours(&env)).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors that belong on standard output; it tells them apart itself.
            let _ = error.print();
            return if error.use_stderr() { Code::Usage } else { Code::Ok };
        }
    };
    let output = Output::new(cli.output, &env);
    match dispatch(cli.command, Cx { overrides: cli.overrides, env, output }).await {
        Ok(code) => code,
        Err(failure) => {
            output::say(&failure);
            failure.code
        }
    }
}

fn colours(env: &Env) -> clap::ColorChoice {
    if env.get("NO_COLOR").is_some() { clap::ColorChoice::Never } else { clap::ColorChoice::Auto }
}

async fn dispatch(command: Command, cx: Cx) -> Outcome {
    match command {
        Command::Serve(args) => serve::run(args, cx).await,
        Command::Init(args) => init::run(&args, &cx).await,
        Command::Config(args) => config::run(&args, &cx).await,
        Command::Doctor(args) => doctor::run(&args, &cx).await,
        Command::Dev(args) => dev::run(args, &cx).await,
        Command::Demo(args) => demo::run(args, &cx).await,
        Command::Completions(args) => completions::run(&args, &cx),
        Command::Man(args) => man::run(&args, &cx),
        Command::Webhook(args) => webhook::run(&args, &cx).await,
        Command::Submit(args) => submit::run(args, &cx).await,
        Command::Batch(args) => batch::run(args, &cx).await,
        Command::Job(args) => job::run(&args, &cx).await,
        Command::Top(args) => top::run(&args, &cx).await,
        Command::Usage(args) => usage::run(&args, &cx).await,
        Command::Reconcile(args) => reconcile::run(&args, &cx).await,
        Command::Ledger(args) => ledger::run(&args, &cx).await,
        Command::Dead(args) => dead::run(&args, &cx).await,
        Command::Forget(args) => forget::run(&args, &cx).await,
        Command::Team(args) => team::run(&args, &cx).await,
        Command::Key(args) => key::run(&args, &cx).await,
        Command::Models(args) => models::run(&args, &cx).await,
        Command::Guardrails(args) => guardrails::run(&args, &cx).await,
        Command::Queue(args) => queue::run(&args, &cx).await,
        Command::Budget(args) => budget::run(&args, &cx).await,
        Command::Cache(args) => cache::run(&args, &cx).await,
        Command::SimProvider(args) => sim_provider::run(args, &cx).await,
        Command::EmbeddedClickhouse(args) => embedded_clickhouse::run(args, &cx).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
