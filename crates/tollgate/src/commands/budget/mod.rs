//! `budget`: where every budget stands, what is told to whom, and how that is changed.

mod change;
mod history;
mod raise;
mod set;
mod show;

use serde::Serialize;
use tollgate_types::{Budget, Scope, Target, Team};

use super::Cx;
use crate::accounts::{self, Line, owned};
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};

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
    let (operator, loaded) = Operator::open(cx, &by, "tollgate budget").await?;
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

/// Finds a budget by its window: its name, or its whole name with the zone, such as `day@Europe/Berlin`.
///
/// # Errors
/// Several have that window.
fn find(budgets: &[Budget], on: &Target, window: &str, zone: Option<&str>) -> Result<Option<usize>, Failure> {
    let matches = |budget: &Budget| {
        let by_name = budget.window == window && zone.is_none_or(|zone| budget.time_zone == zone);
        budget.on == *on && (by_name || budget.window_id() == window)
    };
    let found: Vec<usize> = (0..budgets.len()).filter(|&at| matches(&budgets[at])).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let names: Vec<String> = found.iter().map(|&at| budgets[at].window_id()).collect();
            let failure = Failure::new(Code::Usage, format!("several budgets have the window {window}"));
            Err(failure.try_this(format!("name one of them with --window: {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_found_by_its_window_and_zone() {
        let json = r#"[{"window":"day","cap_usd":1,"time_zone":"Europe/Berlin"},{"window":"month","cap_usd":1},
            {"window":"month","cap_usd":1,"time_zone":"Europe/Berlin"},{"on":"user:*","window":"day","cap_usd":1}]"#;
        let budgets: Vec<Budget> = serde_json::from_str(json).expect("budgets");
        let found = |window: &str, zone| find(&budgets, &Target::Owner, window, zone);
        assert_eq!(found("day", None).expect("one"), Some(0));
        assert_eq!(found("day@Europe/Berlin", None).expect("one"), Some(0));
        assert_eq!(found("month", Some("UTC")).expect("one"), Some(1));
        assert_eq!(found("day", Some("UTC")).expect("none"), None);
        let both = found("month", None).expect_err("two");
        assert_eq!(both.remedy(), Some("name one of them with --window: month, month@Europe/Berlin"));
    }
}
