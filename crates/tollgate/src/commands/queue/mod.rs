//! `queue`: which lanes have work, what stands still and why, and how to stop and start them.

mod list;

use std::str::FromStr;

use serde::Serialize;
use tollgate_operate::lanes::in_words;
use tollgate_queue::directory::{Pause, Paused};
use tollgate_types::{Class, Team};

use super::Cx;
use crate::config::Config;
use crate::config::check::Served;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{self, By, Operator};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the lanes that have jobs or are paused, and the models that are
    List {
        /// This team's alone
        #[arg(long, value_name = "TEAM")]
        team: Option<Team>,
    },
    /// Let the jobs of a team, a lane or a model wait; what runs goes on
    Pause {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        by: By,
    },
    /// Go on
    Resume {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        by: By,
    },
}

/// What is paused or resumed.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// A team, or one lane of it, such as search/batch
    #[arg(value_name = "TEAM[/CLASS]")]
    lane: Option<Lane>,
    /// A model, for all teams
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lane {
    team: Team,
    class: Option<Class>,
}

impl FromStr for Lane {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (team, class) = match text.split_once('/') {
            Some((team, class)) => (team, Some(class.parse()?)),
            None => (text, None),
        };
        let team = team.parse().map_err(|error| format!("'{team}' is not a team: {error}"))?;
        Ok(Lane { team, class })
    }
}

impl Which {
    fn paused(&self) -> Paused {
        match (&self.lane, &self.model) {
            (Some(Lane { team, class }), _) => Paused::Lane { class: *class, team: team.clone() },
            (None, model) => Paused::model(model.as_deref().expect("clap asks for one of the two")),
        }
    }

    /// In the words of [`Pause::what`].
    fn words(&self) -> String {
        match (&self.lane, &self.model) {
            (Some(Lane { team, class: Some(class) }), _) => format!("{team}/{class}"),
            (Some(Lane { team, class: None }), _) => team.to_string(),
            (None, model) => format!("model {}", model.as_deref().unwrap_or_default()),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When NATS cannot be asked, or there is no such team.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let by = match &args.command {
        Command::List { .. } => By::default(),
        Command::Pause { by, .. } | Command::Resume { by, .. } => by.clone(),
    };
    let (operator, loaded) = live::open(cx, &by, "tollgate queue").await?;
    match &args.command {
        Command::List { team } => list::run(team.as_ref(), &operator, &loaded.config, cx).await,
        Command::Pause { which, .. } => pause(which, &operator, &loaded.config, cx).await,
        Command::Resume { which, .. } => resume(which, &operator, cx).await,
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    what: String,
    change: &'static str,
    /// The pause that was replaced or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Pause>,
}

impl Done {
    fn text(&self) -> String {
        let before = self.before.as_ref().map(|pause| format!("; it was {}", in_words(pause))).unwrap_or_default();
        format!("{}: {}{before}", self.what, self.change)
    }
}

async fn pause(which: &Which, operator: &Operator, config: &Config, cx: &Cx) -> Outcome {
    if let Some(Lane { team, .. }) = &which.lane
        && operator.directory.team(team.as_str()).is_none()
    {
        let failure = Failure::new(Code::Usage, format!("the team {team} is not registered"));
        return Err(failure.try_this("look at `tollgate team list`"));
    }
    if let Some(refused) = which.model.as_deref().and_then(|model| Served::by(config).refuses(model)) {
        // Another process may serve it; a pause of nothing harms nobody.
        output::say(format_args!("warning: by this configuration {refused}"));
    }
    let before = operator.pause(&which.paused(), &which.words()).await?;
    let done = Done { what: which.words(), change: "paused; what runs goes on, the rest waits", before };
    cx.output.record(&done, Done::text)?;
    Ok(Code::Ok)
}

async fn resume(which: &Which, operator: &Operator, cx: &Cx) -> Outcome {
    let before = operator.resume(&which.paused()).await?;
    let change = if before.is_some() { "resumed" } else { "was not paused" };
    cx.output.record(&Done { what: which.words(), change, before }, Done::text)?;
    if let Some(Lane { team, class: Some(_) }) = &which.lane {
        let whole = Paused::Lane { class: None, team: team.clone() };
        if operator.directory.pauses().iter().any(|(paused, _)| *paused == whole) {
            output::say(format_args!("it still stands, because all lanes of {team} are paused"));
        }
    }
    Ok(Code::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_and_lanes_are_read_and_the_rest_is_refused() {
        let check = |text: &str, class| {
            let lane: Lane = text.parse().expect(text);
            assert_eq!((lane.team.as_str(), lane.class), ("search", class));
        };
        check("search", None);
        check("search/batch", Some(Class::Batch));
        for bad in ["", "search/", "search/urgent", "/batch", "a.b", "search/batch/x"] {
            assert!(bad.parse::<Lane>().is_err(), "{bad}");
        }
    }
}
