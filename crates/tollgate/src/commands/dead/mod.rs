//! `dead`: jobs that could not be run, with their original bytes and headers.

mod replay;

use async_nats::jetstream::stream::{Info, Stream};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use tollgate_operate::dead::{Letter, all, opened, unread};
use tollgate_types::{JobId, headers};

use super::Cx;
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
    /// List dead letters, the oldest first
    List {
        /// This team's alone
        #[arg(long, value_name = "TEAM")]
        team: Option<String>,
        /// With this reason alone, such as `poison`
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
    },
    /// Show one: where it came from and its headers
    Show {
        /// Its sequence in the list, or the job's id
        #[arg(value_name = "SEQ|ID")]
        which: String,
        /// Show the payload too, which may hold a prompt
        #[arg(long)]
        body: bool,
    },
    /// Publish dead letters again, where they came from
    Replay(replay::Args),
}

/// Runs the command.
///
/// # Errors
/// When the stream cannot be read, or holds no such dead letter.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    if let Command::Replay(args) = &args.command {
        return replay::run(args, cx).await;
    }
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate dead").await?;
    let stream = opened(&connect::jetstream(&connection)).await?;
    match &args.command {
        Command::List { team, reason } => {
            let wanted = |filter: &Option<String>, value: &str| filter.as_ref().is_none_or(|wanted| wanted == value);
            let mut letters = all(&stream).await?;
            letters.retain(|letter| wanted(team, &letter.team) && wanted(reason, &letter.reason));
            let header = ["seq", "at", "class", "team", "job", "reason", "bytes"];
            cx.output.records(&letters, &header, row)?;
            Ok(Code::Ok)
        }
        Command::Show { which, body } => show(&stream, which, *body, cx).await,
        Command::Replay(_) => unreachable!("it was run above"),
    }
}

fn row(letter: &Letter) -> Vec<String> {
    let Letter { seq, at, class, team, job, reason, bytes } = letter;
    vec![seq.to_string(), at.clone(), class.clone(), team.clone(), job.clone(), reason.clone(), bytes.to_string()]
}

/// A dead letter with all that came with it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    letter: Letter,
    /// Where it was published.
    subject: String,
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// In place of `body` where that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

async fn show(stream: &Stream<Info>, which: &str, with_body: bool, cx: &Cx) -> Outcome {
    let absent = || {
        Failure::new(Code::Failed, format!("there is no dead letter '{which}'"))
            .try_this("look at `tollgate dead list`")
    };
    let seq = match which.parse::<u64>() {
        Ok(seq) => seq,
        Err(_) => {
            let id: JobId = which.parse().map_err(|_| absent())?;
            let letters = all(stream).await?;
            // A job that was replayed and died again: the last one counts.
            letters.iter().rev().find(|letter| letter.job == id.as_str()).ok_or_else(absent)?.seq
        }
    };
    let message = stream.get_raw_message(seq).await.map_err(|error| {
        use async_nats::jetstream::stream::RawMessageErrorKind as Kind;
        if error.kind() == Kind::NoMessageFound { absent() } else { unread(&error) }
    })?;
    let headers = message
        .headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())));
    let text = String::from_utf8(message.payload.to_vec()).ok();
    let bytes = message.payload.len();
    let shown = Shown {
        letter: Letter::new(seq, message.time.into(), &message.subject, &message.headers, bytes),
        subject: message.headers.get(headers::DEAD_SUBJECT).map(|s| s.as_str().to_owned()).unwrap_or_default(),
        headers: headers.collect(),
        body_base64: (with_body && text.is_none()).then(|| BASE64_STANDARD.encode(&message.payload)),
        body: text.filter(|_| with_body),
    };
    cx.output.record(&shown, in_words)?;
    if !with_body {
        output::say("the payload is not shown, because it may hold a prompt; --body shows it");
    }
    Ok(Code::Ok)
}

fn in_words(shown: &Shown) -> String {
    let Letter { seq, at, class, team, job, reason, bytes } = &shown.letter;
    let mut lines = vec![
        format!("dead letter  {seq}, {at}"),
        format!("job          {job}"),
        format!("from         {} (class {class}, team {team})", shown.subject),
        format!("reason       {reason}"),
        format!("payload      {bytes} bytes"),
        "headers".to_owned(),
    ];
    lines.extend(shown.headers.iter().map(|(name, value)| format!("  {name}: {value}")));
    if let Some(body) = shown.body.as_ref().or(shown.body_base64.as_ref()) {
        lines.extend([String::new(), body.clone()]);
    }
    lines.join("\n")
}
