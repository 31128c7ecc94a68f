//! `budget`: where every budget stands, what is told to whom, and how that is changed.

mod history;
mod raise;
mod set;
mod show;

use serde::Serialize;
use tollgate_types::{Budget, Scope, Team};

use super::Cx;
use crate::accounts::{self, Line, owned};
use crate::exit::{Code, Failure, Outcome};
use crate::live::{self, By, Operator};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A SCOPE is organisation, team:T, project:T/NAME, user:T/NAME or key:T/NAME; the NAME * means each"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List every account that has a budget, and where it stands
    List {
        /// This team's alone
        #[arg(long, value_name = "TEAM")]
        team: Option<Team>,
    },
    /// Show one account: its budgets, who holds what, what it was spent on, how long it will do
    Show {
        /// Whose money it is
        #[arg(value_name = "SCOPE")]
        scope: Scope,
    },
    /// Set, change or remove a budget
    Set(Box<set::Args>),
    /// Raise a cap for a while
    Raise(raise::Args),
    /// Show who changed what, the oldest first
    History {
        /// Whose budgets; all if left out
        #[arg(value_name = "SCOPE")]
        scope: Option<Scope>,
        /// The last so many alone
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
}

/// Runs the command.
///
/// # Errors
/// When the accounts or the live configuration cannot be read or changed, or what was asked for is not valid.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let by = match &args.command {
        Command::Set(args) => args.by.clone(),
        Command::Raise(args) => args.by.clone(),
        Command::List { .. } | Command::Show { .. } | Command::History { .. } => By::default(),
    };
    let (operator, loaded) = live::open(cx, &by, "tollgate budget").await?;
    match &args.command {
        Command::List { team } => list(team.as_ref(), &operator, cx).await,
        Command::Show { scope } => show::run(scope, &operator, cx).await,
        Command::Set(args) => set::run(args, &operator, &loaded.config, cx).await,
        Command::Raise(args) => raise::run(args, &operator, cx).await,
        Command::History { scope, limit } => history::run(scope.as_ref(), *limit, &operator, cx).await,
    }
}

fn unread(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Nats, "the accounts cannot be read").because(error).try_this("run `tollgate init`")
}

async fn list(team: Option<&Team>, operator: &Operator, cx: &Cx) -> Outcome {
    let accounts = accounts::read(&operator.context).await.map_err(|error| unread(&error))?;
    let now = operator.now();
    let wanted = |owner: &accounts::Owned| team.is_none_or(|team| owner.team.as_ref() == Some(team));
    let owners = owned(&operator.directory).into_iter().filter(wanted);
    let lines: Vec<Line> = owners.flat_map(|owner| accounts::lines(&owner, &accounts, now)).collect();
    cx.output.records(&lines, &Line::HEADER, Line::row)?;
    Ok(Code::Ok)
}

/// What a change did, for the output.
#[derive(Debug, Serialize)]
struct Done {
    scope: Scope,
    window: String,
    change: &'static str,
    changes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<Budget>,
}

impl Done {
    fn text(&self) -> String {
        let first = format!("{} for {}: {}", self.scope, self.window, self.change);
        std::iter::once(first)
            .chain(self.changes.iter().map(|change| format!("  {change}")))
            .collect::<Vec<_>>()
            .join("\n")
    }
}
