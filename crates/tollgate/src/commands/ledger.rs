//! `ledger`: makes accounts anew from the kept results.

use serde::Serialize;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::{Records, ServerClock};
use tollgate_settler::rebuild::{RebuildError, Rebuilt, Which, rebuild};
use tollgate_types::{NanoUsd, Scope, Usd};

use super::Cx;
use crate::books;
use crate::connect;
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
    /// Fold the kept results again, from the first, into one account or all; what workers hold stays. Safe while the
    /// broker runs, and safe to repeat: exit code 1 says that something was different
    Rebuild {
        /// Whose account; all if left out
        #[arg(value_name = "SCOPE")]
        scope: Option<Scope>,
        /// Also where a window began before the oldest kept result: what was spent before is forgotten
        #[arg(long)]
        force: bool,
    },
}

/// What became of one account.
#[derive(Debug, Serialize)]
struct Line {
    scope: Scope,
    /// `same`, `changed` or `created`.
    change: &'static str,
    folded_through: u64,
    settled_nanousd: NanoUsd,
}

/// Runs the command.
///
/// # Errors
/// When the log or the accounts cannot be read or written.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate ledger").await?;
    let context = connect::jetstream(&connection);
    let Command::Rebuild { scope, force } = &args.command;
    let clock: ServerClock = connect::server_clock(&connection).await?;
    let log = CommitLog::open(&context).await.map_err(books::unread)?;
    let unread = |error| Failure::new(Code::Nats, "the accounts cannot be read").because(&error);
    let records = Records::open(&context).await.map_err(unread)?;
    let directory = connect::directory(&context)
        .await
        .map_err(|error| Failure::new(Code::Nats, "the live configuration cannot be read").because(&error))?;
    let which = scope.clone().map_or(Which::All, Which::One);
    let rebuilt =
        rebuild((&log, &records, &directory), &which, *force, clock.now()).await.map_err(|error| failed(&error))?;
    let lines: Vec<Line> = rebuilt.iter().map(line).collect();
    cx.output.records(&lines, &["scope", "change", "folded through", "settled"], |line| {
        let settled = format!("${}", Usd(line.settled_nanousd));
        vec![line.scope.to_string(), line.change.to_owned(), line.folded_through.to_string(), settled]
    })?;
    let different = rebuilt.iter().filter(|rebuilt| !rebuilt.same()).count();
    output::say(format_args!("{} accounts folded anew, {different} of them different than before", rebuilt.len()));
    Ok(if different == 0 { Code::Ok } else { Code::Failed })
}

fn line(rebuilt: &Rebuilt) -> Line {
    let change = match (&rebuilt.before, rebuilt.same()) {
        (None, _) => "created",
        (Some(_), true) => "same",
        (Some(_), false) => "changed",
    };
    Line {
        scope: rebuilt.scope().clone(),
        change,
        folded_through: rebuilt.after.folded(),
        settled_nanousd: rebuilt.after.tally().values().map(|tallied| tallied.nanousd).sum(),
    }
}

fn failed(error: &RebuildError) -> Failure {
    let failure = Failure::new(Code::Nats, "the accounts were not made anew").because(error);
    match error {
        RebuildError::Truncated(_) => failure.try_this("--force forgets that spend; else wait for the window to end"),
        RebuildError::Log(_) | RebuildError::Record { .. } | RebuildError::List(_) => {
            failure.try_this("run it again; accounts that were done stay done")
        }
    }
}
