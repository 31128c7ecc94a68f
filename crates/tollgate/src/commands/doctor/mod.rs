//! `doctor`: what is well, what is not, and what to do about it.
//!
//! Here things are found out; [`judge`] says, purely, what they mean.

pub mod judge;
mod nats;
mod upstream;

use super::Cx;
use crate::exit::{Code, Outcome};
use crate::output::Format;
use judge::{Area, Verdict};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask every provider whether it takes its key (GET /v1/models, which costs nothing), and every checker about a word
    #[arg(long)]
    probe: bool,
    /// Monitoring URL of the NATS server, such as http://127.0.0.1:8222; tells how safely it stores
    #[arg(long, value_name = "URL")]
    monitoring_url: Option<String>,
}

/// Runs every check; the exit code is that of the first area in which something failed.
///
/// # Errors
/// What is wrong with the configuration.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let loaded = cx.load()?;
    let mut findings = vec![judge::configuration(loaded.path.as_deref(), loaded.warnings.len())];
    findings.extend(nats::examine(&loaded, args.monitoring_url.as_deref()).await);
    findings.extend(upstream::clickhouse(&loaded).await);
    findings.extend(upstream::providers(&loaded, args.probe).await);
    if args.probe {
        findings.extend(upstream::checkers(&loaded).await);
    }
    match cx.output.format() {
        // Sentences do not fit into columns.
        Format::Table | Format::Csv => findings.iter().try_for_each(|finding| cx.output.text(&finding.to_string()))?,
        Format::Json | Format::Jsonl => cx.output.records(&findings, &[], |_| Vec::new())?,
    }
    let failed = findings.iter().find(|finding| finding.verdict == Verdict::Fail);
    Ok(failed.map_or(Code::Ok, |finding| match finding.area {
        Area::Configuration => Code::Usage,
        Area::Nats => Code::Nats,
        Area::Upstream => Code::Upstream,
    }))
}
