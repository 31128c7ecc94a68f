//! `cache`: which answers are kept, what they saved, and how to forget them.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_queue::answers::{Contents, Purge};
use tollgate_queue::state::State;
use tollgate_queue::{Answers, ApiError, control, purged};
use tollgate_types::{Gate, NanoUsd, Team};
use tollgate_usage::questions::{Dimension, Filter};

use super::Cx;
use super::span::{self, Span};
use crate::config::Config;
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::live::diff::Change;
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
    /// Show how many answers are kept, of which teams and models, and what they saved in the last day
    Stats {
        /// This team's alone
        #[arg(long, value_name = "TEAM")]
        team: Option<Team>,
    },
    /// Forget kept answers, in NATS and in the memory of all workers
    Purge {
        #[command(flatten)]
        which: Which,
        /// Of this model alone, as jobs ask for it
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        #[command(flatten)]
        by: By,
    },
}

/// Whose answers are forgotten.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// This team's
    #[arg(long, value_name = "TEAM")]
    team: Option<Team>,
    /// Those of all teams
    #[arg(long)]
    all: bool,
}

/// What was saved is told for as long.
const SAVED_SPAN: Period = Period(std::time::Duration::from_secs(24 * 3600));

/// Runs the command.
///
/// # Errors
/// When NATS cannot be asked, or the audit cannot be written.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    match &args.command {
        Command::Stats { team } => stats(team.as_ref(), cx).await,
        Command::Purge { which, model, by } => purge(which, model.as_deref(), by, cx).await,
    }
}

/// What is kept, and what it saved.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Stats {
    /// Answers of all teams, or of the one that was asked for.
    answers: u64,
    /// The bytes of all teams' answers; nobody counts one team's.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    kept: Vec<Kept>,
    /// In the last day; nothing where ClickHouse cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<Vec<Saved>>,
}

/// How many answers a team has of a model.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Kept {
    team: String,
    /// As jobs ask for it; the digest of its name where this configuration does not know it.
    model: String,
    answers: u64,
}

/// What a team saved with a model.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Saved {
    team: String,
    /// The provider's own name.
    model: String,
    hit_jobs: u64,
    jobs: u64,
    saved_nanousd: NanoUsd,
}

async fn stats(team: Option<&Team>, cx: &Cx) -> Outcome {
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate cache").await?;
    let contents = Answers::new(&connection.client).contents().await.map_err(|error| unread(&error))?;
    let is_asked_for = |name: &str| team.is_none_or(|team| team.as_str() == name);
    let saved = match saved(&loaded.config).await {
        Ok(saved) => Some(saved.into_iter().filter(|saved| is_asked_for(&saved.team)).collect()),
        Err(failure) => {
            output::say(format_args!("what was saved is not known: {failure}"));
            None
        }
    };
    let mut kept = kept(&contents, &loaded.config);
    kept.retain(|kept| is_asked_for(&kept.team));
    let (answers, bytes) = match team {
        Some(_) => (kept.iter().map(|kept| kept.answers).sum(), None),
        None => (contents.answers, Some(contents.bytes)),
    };
    cx.output.record(&Stats { answers, bytes, kept, saved }, text)?;
    Ok(Code::Ok)
}

fn unread(error: &ApiError) -> Failure {
    Failure::new(Code::Nats, "the kept answers cannot be read").because(error).try_this("run `tollgate init`")
}

fn kept(contents: &Contents, config: &Config) -> Vec<Kept> {
    let names: BTreeMap<String, &String> =
        config.models.keys().map(|name| (Gate::digest_of_model(name), name)).collect();
    let kept = contents.by_model.iter().map(|((team, model), &answers)| Kept {
        team: team.clone(),
        model: names.get(model).map_or_else(|| model.clone(), |name| (*name).clone()),
        answers,
    });
    kept.collect()
}

async fn saved(config: &Config) -> Result<Vec<Saved>, Failure> {
    let range = Span::default().hours(SAVED_SPAN, span::now())?;
    let store = connect::clickhouse(config)?;
    let of_span = Filter { range, ..Filter::default() };
    let found = store.ask().usage(&of_span, &[Dimension::Team, Dimension::Model]).await;
    let found = found.map_err(|error| connect::clickhouse_failure(config, &error))?;
    let saved = found.rows.into_iter().filter(|usage| usage.cache_hit_jobs > 0).map(|usage| {
        let [team, model] = usage.keys.try_into().unwrap_or_default();
        Saved {
            team,
            model,
            jobs: usage.jobs,
            hit_jobs: usage.cache_hit_jobs,
            saved_nanousd: NanoUsd(usage.saved_nanousd),
        }
    });
    Ok(saved.collect())
}

fn text(stats: &Stats) -> String {
    let bytes = stats.bytes.map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
    let mut lines = vec![format!("{} answers are kept{bytes}", stats.answers)];
    lines.extend(stats.kept.iter().map(|kept| format!("  {}  {}  {}", kept.team, kept.model, kept.answers)));
    if let Some(saved) = &stats.saved {
        let total: NanoUsd = saved.iter().map(|saved| saved.saved_nanousd).sum();
        lines.push(format!("saved in the last day: {total}"));
        lines.extend(saved.iter().map(|saved| {
            let Saved { team, model, hit_jobs, jobs, saved_nanousd } = saved;
            format!("  {team}  {model}  {saved_nanousd}, {hit_jobs} of {jobs} jobs")
        }));
    }
    lines.join("\n")
}

/// What was forgotten.
#[derive(Debug, Serialize)]
struct Purged {
    what: String,
    answers: u64,
}

/// Notes it, forgets what NATS holds, and tells the workers. Killed in between, the workers' memory ends with each
/// answer's own time; the command can be repeated.
async fn purge(which: &Which, model: Option<&str>, by: &By, cx: &Cx) -> Outcome {
    let (operator, _) = live::open(cx, by, "tollgate cache").await?;
    let team = which.team.as_ref().map(Team::to_string);
    let whose = team.as_ref().map_or_else(|| "all teams".to_owned(), |team| format!("team {team}"));
    let what = model.map_or_else(|| whose.clone(), |model| format!("{whose}, model {model}"));
    let purge = Purge { team, model: model.map(Gate::digest_of_model), key: None };
    let change = Change { scope: String::new(), budget: None, what: format!("forgotten: kept answers of {what}") };
    operator.note(("cache", &what), "cache purge", change).await?;
    let answers = forget(&purge, &operator, "repeat the command").await?;
    cx.output.record(&Purged { what, answers }, |done| format!("{}: {} answers forgotten", done.what, done.answers))?;
    Ok(Code::Ok)
}

/// Notes the time, forgets what NATS holds, and tells the workers; says how many answers there were. An answer whose call
/// is under way is not kept.
///
/// # Errors
/// Why not, with the remedy.
pub(super) async fn forget(purge: &Purge, operator: &Operator, remedy: &str) -> Result<u64, Failure> {
    let connection = &operator.connection;
    let noted = async { purged::note(&State::open(&operator.context).await?, purge, operator.now()).await };
    noted.await.map_err(|error| {
        Failure::new(Code::Nats, "the kept answers were not forgotten").because(&error).try_this(remedy)
    })?;
    let purged = Answers::new(&connection.client).purge(purge).await;
    let answers = purged.map_err(|error| {
        Failure::new(Code::Nats, "the kept answers were not forgotten").because(&error).try_this(remedy)
    })?;
    let untold = |error: &(dyn std::error::Error + 'static)| {
        let what = "the kept answers are forgotten in NATS; the workers could not be told";
        Failure::new(Code::Nats, what).because(error).try_this(remedy)
    };
    control::announce_purged(connection, purge).await.map_err(|error| untold(&error))?;
    connection.client.flush().await.map_err(|error| untold(&error))?;
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_by_the_names_of_models() {
        let config: Config =
            toml::from_str("[[models.fast.deployments]]\nprovider = \"openai\"\nmodel = \"gpt\"").expect("a file");
        let of = |team: &str, model: String, answers| ((team.to_owned(), model), answers);
        let by_model = [of("a", Gate::digest_of_model("fast"), 2), of("b", "0123456789abcdef".to_owned(), 1)];
        let contents = Contents { answers: 3, bytes: 900, by_model: by_model.into() };
        let kept = kept(&contents, &config);
        let lines: Vec<_> = kept.iter().map(|kept| (kept.team.as_str(), kept.model.as_str(), kept.answers)).collect();
        assert_eq!(lines, [("a", "fast", 2), ("b", "0123456789abcdef", 1)]);
        let saved = Saved {
            team: "a".to_owned(),
            model: "gpt".to_owned(),
            hit_jobs: 1,
            jobs: 3,
            saved_nanousd: NanoUsd(41_000),
        };
        let text = text(&Stats { answers: 3, bytes: Some(900), kept, saved: Some(vec![saved]) });
        assert!(text.contains("a  fast  2") && text.contains("$0.000041000, 1 of 3 jobs"), "{text}");
    }
}
