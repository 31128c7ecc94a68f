//! `submit`: one prompt, or a file of job lines.

mod along;
mod input;
pub(super) mod line;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::watch;
use tollgate_client::{Producer, Receipt, SubmitError};
use tollgate_queue::connect::Health;
use tollgate_types::{CacheWish, Class, JobId, JobResult, Status, Team};

use super::Cx;
use super::job::{answer, unanswered};
use crate::config::values::Period;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Format};

use line::{Deadline, Label, Wish};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --wait the exit code says how it ended: 0 succeeded, 1 failed or expired, 5 rejected or blocked, 6 no result in time"
)]
pub struct Args {
    /// The prompt; `-` reads it from standard input
    #[arg(value_name = "PROMPT", required_unless_present = "file")]
    prompt: Option<String>,
    /// A file of job lines (an OpenAI batch file); `-` reads standard input. Lines are sent as they are
    #[arg(short, long, value_name = "FILE.jsonl", conflicts_with_all = ["prompt", "id", "model", "max_tokens", "reply_to", "deadline", "not_before", "max_cost_usd", "project", "user", "labels", "tags", "cache"])]
    file: Option<PathBuf>,
    /// The team; the connection's user if left out
    #[arg(long, value_name = "TEAM")]
    team: Option<Team>,
    /// interactive, standard or batch
    #[arg(long, default_value = "standard", value_name = "CLASS")]
    class: Class,
    /// The model
    #[arg(long, default_value = "fast", value_name = "MODEL")]
    model: String,
    /// The most tokens of the answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_tokens: Option<u64>,
    /// The job's id: submitted again with it, a job still runs once
    #[arg(long, value_name = "ID")]
    id: Option<JobId>,
    /// Where to copy the result, under `reply.<team>.` or `_INBOX_<team>.`
    #[arg(long, value_name = "SUBJECT")]
    reply_to: Option<String>,
    /// When it is too late: a duration from now such as 30s, or an RFC 3339 time
    #[arg(long, value_name = "30s|TIME")]
    deadline: Option<Deadline>,
    /// When the job may run at the earliest: a duration from now, or an RFC 3339 time
    #[arg(long, value_name = "IN|AT")]
    not_before: Option<Deadline>,
    /// The most that the job may cost, in dollars; one that could cost more is rejected
    #[arg(long, value_name = "DOLLARS")]
    max_cost_usd: Option<tollgate_types::Usd>,
    /// A project, for budgets and reports
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The end user, for reports
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A label for reports; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Only deployments with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Whether a kept answer may be used: use, bypass or refresh; what the team's configuration says if left out
    #[arg(long, value_name = "WISH", value_parser = wish)]
    cache: Option<CacheWish>,
    /// Wait for the result and print the answer, or with --output json the whole result line
    #[arg(short, long)]
    wait: bool,
    /// Print the answer while it is written, and wait for its end; with --output jsonl each piece is a line
    #[arg(long, conflicts_with = "file")]
    stream: bool,
    /// How long to wait for each result
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    timeout: Period,
}

/// Lines of a file that are on their way at once: enough to hide the way to the server and back.
const IN_FLIGHT: usize = 64;
/// As above, while each waits for its result, which takes seconds.
const WAITING: usize = 256;

/// `--cache`.
pub(super) fn wish(text: &str) -> Result<CacheWish, String> {
    let found = CacheWish::ALL.into_iter().find(|wish| wish.as_str() == text);
    found.ok_or_else(|| format!("'{text}' is not use, bypass or refresh"))
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the input, or why it was not accepted.
pub async fn run(args: Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    match &args.file {
        Some(path) => {
            let lines = input::lines(path)?;
            let access = Access::open(args.team.as_ref(), cx, "tollgate submit").await?;
            access.unless_refused(many(lines, &access.producer, &args, cx)).await
        }
        None => {
            let line = one_line(&args)?;
            let access = Access::open(args.team.as_ref(), cx, "tollgate submit").await?;
            access.unless_refused(one(line, &access.producer, &args, cx)).await
        }
    }
}

fn one_line(args: &Args) -> Result<Bytes, Failure> {
    let prompt = args.prompt.clone().expect("clap asks for it");
    let prompt = if prompt == "-" { input::prompt()? } else { prompt };
    let wish = Wish {
        prompt,
        model: args.model.clone(),
        max_tokens: args.max_tokens,
        reply_to: args.reply_to.clone(),
        deadline: args.deadline.map(|deadline| deadline.at(super::span::now())),
        not_before: args.not_before.map(|at| at.at(super::span::now())),
        max_cost_usd: args.max_cost_usd,
        project: args.project.clone(),
        user: args.user.clone(),
        labels: args.labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect(),
        tags: args.tags.iter().cloned().collect(),
        cache: args.cache,
        stream: args.stream,
    };
    let line = wish.line();
    // What the broker would refuse is refused here, where somebody looks.
    match tollgate_types::JobSpec::decode(&line, usize::MAX) {
        Ok(_) => Ok(line),
        Err(rejection) => Err(Failure::new(Code::Usage, format!("this is no job: {rejection} ({})", rejection.code))),
    }
}

/// A team's producer, and what becomes of its connection.
pub(super) struct Access {
    pub(super) producer: Producer,
    health: watch::Receiver<Health>,
    user: String,
}

impl Access {
    /// Connects as a team: its inboxes are under the prefix that its permissions ask for.
    pub(super) async fn open(team: Option<&Team>, cx: &Cx, name: &str) -> Result<Self, Failure> {
        let mut config = cx.load()?.config;
        let team = match team {
            Some(team) => team.clone(),
            None => team_of_user(config.nats.user.as_deref())?,
        };
        config.nats.inbox_prefix.get_or_insert_with(|| format!("_INBOX_{team}"));
        let connection = connect::nats(&config, name).await?;
        let user = config.nats.user.unwrap_or_else(|| "this connection".to_owned());
        Ok(Access { health: connection.health(), producer: Producer::new(connection.client, team), user })
    }

    /// Does `what`, unless the server says meanwhile that we may not: its refusals answer no request, so that one
    /// would be waited for in vain.
    pub(super) async fn unless_refused<T>(&self, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let mut health = self.health.clone();
        let refused = async {
            // Without the connection there is nobody to refuse anything.
            if health.wait_for(|health| health.errors > 0).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            done = what => done,
            () = refused => {
                let team = self.producer.team();
                let failure = Failure::new(Code::Nats, format!("{} may not act as team {team}", self.user));
                Err(failure.try_this(format!("connect as the user {team}, or as the broker; TOLLGATE_LOG=info shows what the server refused")))
            }
        }
    }
}

fn team_of_user(user: Option<&str>) -> Result<Team, Failure> {
    let missing = || {
        let failure = Failure::new(Code::Usage, "which team? the connection's user is not a team");
        failure.try_this("name it with --team, or connect as the team's user (NATS_USER and NATS_PASSWORD)")
    };
    user.filter(|user| *user != sandbox::BROKER_USER).ok_or_else(missing)?.parse().map_err(|_| missing())
}

/// A job that was accepted.
#[derive(Debug, Serialize)]
struct Accepted {
    id: JobId,
    duplicate: bool,
}

fn refused(error: &SubmitError) -> Failure {
    let code = match error {
        SubmitError::NoResponders(_) | SubmitError::Unknown(_) => Code::Nats,
        SubmitError::TooLarge { .. } => Code::Usage,
        SubmitError::Refused { .. } => Code::Rejected,
    };
    Failure::new(code, "the job was not accepted").because(error)
}

async fn one(line: Bytes, producer: &Producer, args: &Args, cx: &Cx) -> Outcome {
    let id = args.id.clone().unwrap_or_else(|| producer.fresh_id());
    if !args.wait && !args.stream {
        let receipt = producer.submit(args.class, line, Some(id)).await.map_err(|error| refused(&error))?;
        if receipt.duplicate {
            output::say("this id was submitted before; the first one counts");
        }
        let accepted = Accepted { id: receipt.id, duplicate: receipt.duplicate };
        cx.output.record(&accepted, |accepted| accepted.id.to_string())?;
        return Ok(Code::Ok);
    }
    let mut along = along::Along::new(args.stream, cx);
    let awaited = along.read(&id, producer, awaited(line, id.clone(), producer, args.class, args.timeout.0));
    let result = awaited.await.map_err(|failure| match failure.code {
        Code::Timeout => failure.try_this(format!("tollgate job get {id} --team {}", producer.team())),
        _ => failure,
    })?;
    let read: JobResult = read(&result)?;
    if let Some(error) = &read.error {
        output::say(format_args!("{}: {}: {}", read.tollgate.status, error.code, error.message));
    }
    match cx.output.format() {
        Format::Table | Format::Csv => {
            if let Some(answer) = answer(&read) {
                along.rest(&answer)?;
            }
        }
        Format::Json | Format::Jsonl => cx.output.text(&String::from_utf8_lossy(&result))?,
    }
    // A job that succeeded and whose texts are gone has no answer for whoever waits for one.
    let gone = read.tollgate.status == Status::Succeeded && read.error.is_some();
    Ok(if gone { Code::Failed } else { code_of(read.tollgate.status) })
}

fn read(line: &[u8]) -> Result<JobResult, Failure> {
    serde_json::from_slice(line)
        .map_err(|error| Failure::new(Code::Failed, "the result cannot be read").because(&error))
}

fn code_of(status: Status) -> Code {
    match status {
        Status::Succeeded => Code::Ok,
        Status::Rejected | Status::Blocked => Code::Rejected,
        Status::Failed | Status::Expired | Status::Cancelled => Code::Failed,
    }
}

/// Submits and waits; the waiting begins first, so that nothing is missed.
async fn awaited(
    line: Bytes,
    id: JobId,
    producer: &Producer,
    class: Class,
    within: Duration,
) -> Result<Bytes, Failure> {
    let mut waiting = producer.waiting(id.clone()).await.map_err(|error| unanswered(&error))?;
    let receipt = producer.submit(class, line, Some(id.clone())).await.map_err(|error| refused(&error))?;
    if receipt.duplicate {
        // Its result may have come before we listened.
        if let Some(result) = producer.result(&id).await.map_err(|error| unanswered(&error))? {
            return Ok(result);
        }
    }
    waiting.result(within).await.map_err(|error| unanswered(&error))
}

async fn many(lines: Vec<Bytes>, producer: &Producer, args: &Args, cx: &Cx) -> Outcome {
    let (total, class) = (lines.len(), args.class);
    if args.wait {
        let run = |line| awaited(line, producer.fresh_id(), producer, class, args.timeout.0);
        let mut results = futures_util::stream::iter(lines).map(run).buffered(WAITING);
        let (mut done, mut not_succeeded) = (0, 0);
        while let Some(result) = results.next().await {
            let result = result?;
            not_succeeded += usize::from(read(&result)?.tollgate.status != Status::Succeeded);
            done += 1;
            // The output format of a batch is lines, whatever the form.
            cx.output.text(&String::from_utf8_lossy(&result))?;
        }
        output::say(format_args!("{done} of {total} have a result, {not_succeeded} did not succeed"));
        return Ok(if not_succeeded == 0 { Code::Ok } else { Code::Failed });
    }
    let submit = |line| producer.submit(class, line, None);
    let mut receipts = futures_util::stream::iter(lines).map(submit).buffered(IN_FLIGHT);
    let mut accepted = 0;
    while let Some(receipt) = receipts.next().await {
        let Receipt { id, duplicate } = receipt.map_err(|error| {
            output::say(format_args!("{accepted} of {total} lines were accepted, up to the one that was not"));
            refused(&error)
        })?;
        accepted += 1;
        match cx.output.format() {
            Format::Table | Format::Csv => cx.output.text(id.as_str())?,
            Format::Json | Format::Jsonl => {
                let line = serde_json::to_string(&Accepted { id, duplicate }).expect("texts serialise");
                cx.output.text(&line)?;
            }
        }
    }
    output::say(format_args!("{accepted} of {total} lines were accepted"));
    Ok(Code::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_team_is_the_user_unless_that_is_the_broker() {
        assert_eq!(team_of_user(Some("search")).expect("a team").as_str(), "search");
        assert!(
            team_of_user(Some("broker")).is_err() && team_of_user(None).is_err() && team_of_user(Some("a b")).is_err()
        );
    }
}
