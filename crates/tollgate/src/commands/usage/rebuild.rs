//! `usage rebuild`: the rollups anew from the raw table.

use serde::Serialize;
use tollgate_usage::Rebuilt;

use crate::commands::Cx;
use crate::commands::span::{self, Span};
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    span: Span,
}

/// As far back as the raw table keeps rows.
const DEFAULT_SPAN: Period = Period(std::time::Duration::from_secs(396 * 24 * 3600));

#[derive(Debug, Serialize)]
struct Done {
    /// The hours, in words; nothing if none is closed.
    hours: Option<String>,
    /// What does not agree all the same.
    differences: Vec<String>,
}

/// Runs the command: 0 if raw table and rollups agree afterwards.
pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let (range, loaded) = (args.span.hours(DEFAULT_SPAN, span::now())?, cx.load()?);
    let store = connect::clickhouse(&loaded.config)?;
    let failed = |error| connect::clickhouse_failure(&loaded.config, &error);
    output::say("questions see these hours empty or half filled until it is done; killed, run it again");
    let Rebuilt { hours, differences } = store.rebuild(range, span::now()).await.map_err(failed)?;
    let done =
        Done { hours: hours.map(span::in_words), differences: differences.iter().map(ToString::to_string).collect() };
    let code = if done.differences.is_empty() { Code::Ok } else { Code::Failed };
    cx.output.record(&done, in_words)?;
    Ok(code)
}

fn in_words(done: &Done) -> String {
    let Some(hours) = &done.hours else {
        return "nothing to rebuild: none of these hours is closed and still has its raw rows".to_owned();
    };
    if done.differences.is_empty() {
        return format!("rebuilt {hours}; raw table and rollups agree");
    }
    let differences = done.differences.join("\n  ");
    format!("rebuilt {hours}; rows kept arriving, and these differ (run it again):\n  {differences}")
}
