//! `guardrails`: which rules there are, and what they make of a text.

mod list;
mod test;

use std::collections::BTreeSet;

use tollgate_guard::{Action, Guard, Policy};
use tollgate_types::Team;

use super::Cx;
use crate::config::sections::Config;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the rules, with what follows when they fire
    List(list::Args),
    /// Try the rules on a text or a request; nothing is sent anywhere
    Test(test::Args),
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the configuration or the text.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    match &args.command {
        Command::List(args) => list::run(args, cx),
        Command::Test(args) => test::run(args, cx),
    }
}

/// The rules of a team as the file says them, or of every team that says nothing.
fn policy(config: &Config, team: Option<&Team>) -> Result<Policy, Failure> {
    let everybodys = config.guardrails.clone().unwrap_or_default();
    let Some(team) = team else { return Ok(everybodys) };
    let Some(settings) = config.teams.get(team.as_str()) else {
        let known: Vec<&str> = config.teams.keys().map(String::as_str).collect();
        let message = format!("the file names no team '{team}'; there are: {}", known.join(", "));
        return Err(Failure::new(Code::Usage, message));
    };
    Ok(settings.guardrails.clone().unwrap_or_default().over(&everybodys))
}

/// The rules that are tried: those of the policy, or where it has none, every rule of Tollgate's own.
fn to_try(policy: Policy) -> Policy {
    if !policy.input.is_empty() || !policy.output.is_empty() {
        return policy;
    }
    output::say("no guardrails are configured here; every rule of Tollgate's own is tried");
    let all = [("pii", Action::Redact), ("secrets", Action::Redact), ("prompt_safety", Action::Flag)];
    let all = || all.into_iter().map(|(group, action)| (group.to_owned(), action)).collect();
    Policy { input: all(), output: all(), ..policy }
}

fn guard(policy: &Policy, config: &Config) -> Result<Guard, Failure> {
    let checkers: BTreeSet<String> = config.checkers.keys().cloned().collect();
    Guard::new(policy, &checkers).map_err(|error| Failure::new(Code::Usage, format!("guardrails.{error}")))
}
