//! `guardrails list`: the rules.

use serde::Serialize;

use super::{guard, policy};
use crate::commands::Cx;
use crate::exit::{Code, Outcome};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The team whose rules are shown; those of everybody if left out
    #[arg(long, value_name = "TEAM")]
    team: Option<tollgate_types::Team>,
}

#[derive(Debug, Serialize)]
struct Row {}

pub(super) fn run(args: &Args, cx: &Cx) -> Outcome {
    let config = cx.load()?.config;
    let _ = guard(&policy(&config, args.team.as_ref())?, &config)?;
    let _ = Row {};
    Ok(Code::Ok)
}
