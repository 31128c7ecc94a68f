//! `team remove`: off the register, with a decision about what waits.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use tollgate_queue::answers::Purge;
use tollgate_queue::directory::Paused;
use tollgate_types::Team;

use crate::commands::{Cx, cache};
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};
use crate::output;
use crate::waiting;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The team
    #[arg(value_name = "NAME")]
    name: Team,
    /// What becomes of the jobs that wait; asked for on a terminal
    #[arg(long, value_enum)]
    backlog: Option<Backlog>,
    /// With --backlog drain: how long to wait; without it, for ever
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Period>,
    #[command(flatten)]
    pub(super) by: By,
}

/// What becomes of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Backlog {
    /// It stays where it is, paused, until the team is added again and resumed
    Keep,
    /// Each job gets a result, `unknown_team`
    Reject,
    /// The team is removed when all of it has run
    Drain,
}

/// How often a draining backlog is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Done {
    team: Team,
    change: &'static str,
    /// How many jobs waited when it was removed.
    waiting: u64,
    then: &'static str,
}

pub(super) async fn run(args: &Args, operator: &Operator, cx: &Cx) -> Outcome {
    let team = &args.name;
    if operator.directory.team(team.as_str()).is_none() {
        return Err(super::unknown(team));
    }
    let waiting = count(operator, team).await?;
    let backlog = match (args.backlog, waiting) {
        (Some(backlog), _) => backlog,
        // What is published in this very moment is answered.
        (None, 0) => Backlog::Reject,
        (None, _) => ask(team, waiting)?,
    };
    let mut left = waiting;
    match backlog {
        Backlog::Keep => {
            // Before the removal: without the pause the jobs would be answered. Killed in between, the team stands still
            // and is still there; the same command goes on.
            let paused = Paused::Lane { class: None, team: team.clone() };
            operator.pause(&paused, team.as_str()).await?;
        }
        Backlog::Reject => {}
        Backlog::Drain => left = drained(operator, team, waiting, args.timeout).await?,
    }
    let removed = operator.remove_team(team, "team remove").await?;
    // Afterwards, so that nothing is kept any more: a team that is added under this name is another.
    let answers = Purge { team: Some(team.to_string()), ..Purge::default() };
    let remedy = format!("the team is removed; now run `tollgate cache purge --team {team}`");
    cache::forget(&answers, operator, &remedy).await?;
    let (then, hint) = match (backlog, left) {
        (Backlog::Keep, 1..) => ("kept", "its jobs wait, paused; after `tollgate team add`, `tollgate queue resume`"),
        (Backlog::Reject, 1..) => ("rejected", "workers answer its jobs with unknown_team now"),
        (Backlog::Drain, _) => ("drained", "all of its jobs have run"),
        (Backlog::Keep | Backlog::Reject, 0) => ("nothing", "nothing waited"),
    };
    let change = if removed { "removed" } else { "was removed by somebody else" };
    cx.output.record(&Done { team: team.clone(), change, waiting: left, then }, |done| {
        format!("{}: {}; {hint}", done.team, done.change)
    })?;
    output::say("what is left is its account in the nats-server; its results and its spend stay");
    Ok(Code::Ok)
}

/// Everything of the team that waits or runs, behind whatever gate, or for its time.
async fn count(operator: &Operator, team: &Team) -> Result<u64, Failure> {
    let (_, backlog) = connect::backlog(&operator.connection).await?;
    let of_team = backlog.lanes.iter().filter(|(lane, _)| lane.team == team.as_str());
    let in_lanes: u64 = of_team.map(|(_, jobs)| jobs).sum();
    Ok(in_lanes + waiting::parked_of(&operator.connection.client, team).await?)
}

fn choices(team: &Team, waiting: u64) -> String {
    format!(
        "{waiting} job(s) of {team} wait or run. What becomes of them?\n  \
         keep    they stay, paused, until the team is added again and resumed\n  \
         reject  each gets a result, unknown_team\n  \
         drain   the team is removed when all of them have run"
    )
}

fn ask(team: &Team, waiting: u64) -> Result<Backlog, Failure> {
    let choices = choices(team, waiting);
    if !std::io::stdin().is_terminal() {
        let failure = Failure::new(Code::Usage, format!("nothing was changed: {choices}"));
        return Err(failure.try_this("say so with --backlog keep, --backlog reject or --backlog drain"));
    }
    output::say(format_args!("{choices}\nkeep, reject, drain, or nothing to leave all as it is:"));
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match (read, line.trim()) {
        (Ok(_), "keep") => Ok(Backlog::Keep),
        (Ok(_), "reject") => Ok(Backlog::Reject),
        (Ok(_), "drain") => Ok(Backlog::Drain),
        _ => Err(Failure::new(Code::Usage, "nothing was changed")),
    }
}

/// Waits until nothing is left, and says how much that is.
async fn drained(operator: &Operator, team: &Team, mut left: u64, timeout: Option<Period>) -> Result<u64, Failure> {
    let until = timeout.map(|timeout| Instant::now() + timeout.0);
    let mut said = None;
    while left > 0 {
        if said != Some(left) {
            output::say(format_args!("{left} job(s) of {team} are left"));
            said = Some(left);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let failure =
                Failure::new(Code::Timeout, format!("{left} job(s) of {team} are left, and it was not removed"));
            return Err(failure.try_this("look at `tollgate queue list`: something may be paused, or out of money"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        left = count(operator, team).await?;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choices_name_the_count_and_every_policy() {
        let choices = choices(&"search".parse().expect("a team"), 7);
        for part in ["7 job(s) of search", "keep ", "reject ", "drain "] {
            assert!(choices.contains(part), "{choices}");
        }
    }
}
