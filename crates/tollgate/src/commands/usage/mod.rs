//! `usage`: who used what, and what that cost, from ClickHouse.

mod export;
mod line;
mod rebuild;
mod reprice;
mod say;
mod table;

use tollgate_usage::questions::{Dimension, Filter};

use super::Cx;
use super::span::{self, Span};
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

pub(crate) use line::{HEADER, Line, ends};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    asked: AskedFor,
    /// In sentences
    #[arg(long)]
    say: bool,
    /// The statement that ClickHouse is asked, in place of its answer
    #[arg(long, conflicts_with = "say")]
    sql: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write a file for chargeback: exact sums by day, team, project, model and provider
    Export(Box<export::Args>),
    /// Make the rollups anew from the raw table
    Rebuild(rebuild::Args),
    /// Say what calls would have cost at the prices of now
    Reprice(reprice::Args),
}

/// What is asked about.
#[derive(Debug, clap::Args)]
pub(super) struct AskedFor {
    #[command(flatten)]
    pub(super) span: Span,
    /// By what, comma separated: team, project, user, model, provider, class, day, hour, label:NAME
    #[arg(long, value_name = "KEYS", value_delimiter = ',', value_parser = dimension)]
    pub(super) by: Vec<Dimension>,
    /// This team alone
    #[arg(long, value_name = "TEAM")]
    pub(super) team: Option<String>,
    /// This model alone, by the provider's own name
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// This provider alone
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// This project alone
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// This end user alone
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// This class alone
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Jobs with this label alone
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Option<(String, String)>,
}

/// A day is what people ask for first.
const DEFAULT_SPAN: Period = Period(std::time::Duration::from_secs(24 * 3600));

/// Runs the command.
///
/// # Errors
/// When ClickHouse cannot be asked.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    match &args.action {
        None => show(args, cx).await,
        Some(Action::Export(args)) => export::run(args, cx).await,
        Some(Action::Rebuild(args)) => rebuild::run(args, cx).await,
        Some(Action::Reprice(args)) => reprice::run(args, cx).await,
    }
}

async fn show(args: &Args, cx: &Cx) -> Outcome {
    let filter = args.asked.filter(DEFAULT_SPAN)?;
    let by = args.asked.by_or(&[Dimension::Team, Dimension::Model]);
    let loaded = cx.load()?;
    let store = connect::clickhouse(&loaded.config)?;
    let failed = |error| connect::clickhouse_failure(&loaded.config, &error);
    if args.say {
        return say::run(&filter, &by, &store, cx).await.unwrap_or_else(|error| Err(failed(error)));
    }
    let found = store.ask().usage(&filter, &by).await.map_err(failed)?;
    if args.sql {
        cx.output.text(&found.sql)?;
        return Ok(Code::Ok);
    }
    let nothing = if found.rows.is_empty() { ": nothing was used" } else { "" };
    output::say(format_args!("{}{nothing}", span::in_words(filter.range)));
    table::print(&found.rows, &by, &cx.output)?;
    Ok(Code::Ok)
}

impl AskedFor {
    /// What is asked about; without a word the last `default`.
    pub(super) fn filter(&self, default: Period) -> Result<Filter, Failure> {
        Ok(Filter {
            range: self.span.hours(default, span::now())?,
            team: self.team.clone(),
            model: self.model.clone(),
            provider: self.provider.clone(),
            project: self.project.clone(),
            class: self.class.clone(),
            label: self.label.clone(),
            user: self.user.clone(),
        })
    }

    /// By what; without a word by those.
    pub(super) fn by_or(&self, default: &[Dimension]) -> Vec<Dimension> {
        if self.by.is_empty() { default.to_vec() } else { self.by.clone() }
    }
}

/// Reads one of `--by`.
fn dimension(text: &str) -> Result<Dimension, String> {
    Ok(match text {
        "team" => Dimension::Team,
        "project" => Dimension::Project,
        "user" => Dimension::User,
        "model" => Dimension::Model,
        "provider" => Dimension::Provider,
        "class" => Dimension::Class,
        "day" => Dimension::Day,
        "hour" => Dimension::Hour,
        _ => match text.strip_prefix("label:").filter(|name| !name.is_empty()) {
            Some(name) => Dimension::Label(name.to_owned()),
            None => {
                let all = "team, project, user, model, provider, class, day, hour or label:NAME";
                return Err(format!("'{text}' is not {all}"));
            }
        },
    })
}

/// How a key is called in headers.
pub(super) fn name(dimension: &Dimension) -> String {
    let word = match dimension {
        Dimension::Team => "team",
        Dimension::Project => "project",
        Dimension::User => "user",
        Dimension::Model => "model",
        Dimension::Provider => "provider",
        Dimension::Class => "class",
        Dimension::Day => "day",
        Dimension::Hour => "hour",
        Dimension::Label(name) => return format!("label:{name}"),
    };
    word.to_owned()
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("'{text}' is not a label such as template=newsletter"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_called_as_they_were_written() {
        for text in ["team", "project", "user", "model", "provider", "class", "day", "hour", "label:a b"] {
            assert_eq!(name(&dimension(text).expect(text)), text);
        }
        for bad in ["teams", "label:", "label", ""] {
            assert!(dimension(bad).is_err(), "{bad}");
        }
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(label("=x").is_err() && label("x").is_err());
    }
}
