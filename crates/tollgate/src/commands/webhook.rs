//! `webhook`: results, and ends of batches, that are posted once more to the team's webhook.

use std::time::Duration;

use serde::Serialize;
use tollgate_client::{Producer, WaitError};
use tollgate_queue::Batches;
use tollgate_queue::commit_log::CommitLog;
use tollgate_types::event::EventKind;
use tollgate_types::{BatchId, JobId, Team, UnixMillis};
use tollgate_webhooks::{Poster, Taken, event};

use super::{Cx, span};
use crate::config::values::Period;
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
    /// Post kept results, or the ends of batches, again under their ids, one after the other; what a receiver has seen it knows by `webhook-id`
    Replay(Replay),
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false, id = "which")]
struct Which {
    /// This job's; may be repeated
    #[arg(long = "job", value_name = "ID")]
    jobs: Vec<JobId>,
    /// The end of this batch; may be repeated
    #[arg(long = "batch", value_name = "ID")]
    batches: Vec<BatchId>,
    /// Results of so long ago until now, such as 2h
    #[arg(long)]
    since: Option<Period>,
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The team
    #[arg(long)]
    team: Team,
    #[command(flatten)]
    which: Which,
}

/// What became of one result.
#[derive(Debug, Serialize)]
struct Posted {
    id: String,
    taken: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The team has no webhook, or NATS cannot be reached.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    let Command::Replay(replay) = &args.command;
    crate::telemetry::init_quiet(&cx.env);
    let config = cx.load()?.config;
    let team = &replay.team;
    let webhook = config.webhooks.get(team.as_str()).ok_or_else(|| {
        let failure = Failure::new(Code::Usage, format!("team {team} has no webhook"));
        failure.try_this(format!("give it one: [webhooks.{team}] with `url` and `secret`"))
    })?;
    tollgate_providers::install_crypto();
    let poster = Poster::new(webhook.endpoint(), config.worker.proxy.as_deref());
    let poster = poster.map_err(|error| Failure::new(Code::Usage, "the webhook cannot be used").because(&error))?;
    let connection = connect::nats(&config, "tollgate webhook").await?;
    let context = connect::jetstream(&connection);
    let log = CommitLog::open(&context).await.map_err(|error| unread(&error))?;
    let jobs = match replay.which.since {
        None => replay.which.jobs.clone(),
        Some(since) => ended_since(&log, team, UnixMillis(span::now().0 - millis(since.0))).await?,
    };
    let producer = Producer::new(connection.client.clone(), team.clone());
    let mut posted = Vec::new();
    for job in jobs {
        posted.push(post(&producer, &poster, job).await?);
    }
    let batches = Batches::new(connection.client.clone());
    for batch in &replay.which.batches {
        let found = event::of(&batches, team, batch).await.map_err(|error| unread(&error))?;
        let reason = match found {
            Some(event) => reason(poster.post(&event.id, event.body).await),
            None => Some("it has not ended, or is not known any more".to_owned()),
        };
        posted.push(Posted { id: batch.to_string(), taken: reason.is_none(), reason });
    }
    let missed = posted.iter().filter(|one| !one.taken).count();
    cx.output.records(&posted, &["id", "taken", "reason"], |one| {
        vec![one.id.clone(), one.taken.to_string(), one.reason.clone().unwrap_or_default()]
    })?;
    output::say(format_args!("{} of {} were taken", posted.len() - missed, posted.len()));
    Ok(if missed == 0 { Code::Ok } else { Code::Failed })
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn unread(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Nats, "the results cannot be read").because(error).try_this("run `tollgate init`")
}

/// How many records are read at once.
const CHUNK: u64 = 20_000;
/// How long that may take.
const CHUNK_WITHIN: Duration = Duration::from_secs(60);

/// The team's jobs whose kept results were stored since then, in order.
async fn ended_since(log: &CommitLog, team: &Team, since: UnixMillis) -> Result<Vec<JobId>, Failure> {
    let bounds = log.bounds().await.map_err(|error| unread(&error))?;
    let mut jobs = Vec::new();
    let mut first = bounds.first;
    while first <= bounds.last {
        let last = bounds.last.min(first.saturating_add(CHUNK - 1));
        let entries = log.read_range(first, last, CHUNK_WITHIN).await.map_err(|error| unread(&error))?;
        let recent = entries.into_iter().filter(|entry| entry.at >= since);
        let theirs = recent.filter_map(|entry| entry.event.ok()).filter(|event| event.team == team.as_str());
        jobs.extend(theirs.filter(|event| event.kind == EventKind::Result).map(|event| event.job));
        first = last + 1;
    }
    Ok(jobs)
}

async fn post(producer: &Producer, poster: &Poster, job: JobId) -> Result<Posted, Failure> {
    let reason = match producer.result(&job).await {
        Ok(Some(line)) => reason(poster.post(job.as_str(), line).await),
        Ok(None) => Some("no result is kept".to_owned()),
        Err(WaitError::Answer(reason)) => Some(reason.to_owned()),
        Err(error) => return Err(unread(&error)),
    };
    Ok(Posted { id: job.to_string(), taken: reason.is_none(), reason })
}

/// Why it was not taken.
fn reason(taken: Taken) -> Option<String> {
    match taken {
        Taken::Yes => None,
        Taken::Later { reason, .. } | Taken::Gone { reason } => Some(reason),
    }
}
