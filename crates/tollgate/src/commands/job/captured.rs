//! `job captured`: the prompt as it was sent and the answer as it was delivered, of a team that has them captured.

use tollgate_queue::texts;
use tollgate_types::{Captured, JobId, Team};

use crate::commands::Cx;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::output::Format;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's id
    #[arg(value_name = "ID")]
    id: JobId,
    /// The team
    #[arg(long, value_name = "TEAM")]
    team: Team,
}

pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate job").await?;
    let found = texts::captured(&connection, args.team.as_str(), &args.id).await.map_err(|error| {
        Failure::new(Code::Nats, "the captures cannot be read").because(&error).try_this("run `tollgate init`")
    })?;
    let Some(payload) = found else {
        output::say(format_args!(
            "nothing is captured of {}; its team may not want it, or it was forgotten, or it is older than captures are \
             kept",
            args.id
        ));
        return Ok(Code::Timeout);
    };
    let captured: Captured = serde_json::from_slice(&payload)
        .map_err(|error| Failure::new(Code::Failed, "the capture cannot be read").because(&error))?;
    match cx.output.format() {
        Format::Json | Format::Jsonl => cx.output.record(&captured, |_| String::new())?,
        Format::Table | Format::Csv => cx.output.text(&format!("{}\n\n{}", captured.request, captured.result))?,
    }
    Ok(Code::Ok)
}
