//! `forget`: every text of a job, or of all jobs of an end user, goes; how they ended and what they cost stays.
//!
//! The audit first, then the kept request, then the work: killed anywhere after the request, the sweeper of a process
//! with the role `settler` finishes it.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use tollgate_queue::CrashPlan;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_retention::{Forget, ForgetError, Forgotten, Request, Whom};
use tollgate_types::{Digest, JobId, Team};

use super::Cx;
use crate::books;
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::live::diff::Change;
use crate::live::{self, By};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whom").required(true)))]
pub struct Args {
    /// The team
    #[arg(long, value_name = "TEAM")]
    team: Team,
    /// This job: its prompt, its answer and every copy of both; if it waits or runs, it is cancelled first
    #[arg(long, value_name = "ID", group = "whom")]
    job: Option<JobId>,
    /// Every job that names this end user in `tollgate.user`
    #[arg(long, value_name = "NAME", group = "whom", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    end_user: Option<String>,
    /// Say which jobs are meant, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to work, and to wait until the settler and the sink have read what is to go; the broker does the rest
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    timeout: Period,
    #[command(flatten)]
    by: By,
}

const NAME: &str = "tollgate forget";
/// How often it is looked whether the settler and the sink have read what is to go.
const LOOK: Duration = Duration::from_millis(500);

/// One job that is meant.
#[derive(Debug, Serialize)]
struct Meant {
    team: Team,
    job: JobId,
}

/// Runs the command: 0 if everything is gone, 6 if some of it had to be left to the broker.
///
/// # Errors
/// What cannot be reached, or that a job cannot be ended first.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let (operator, _) = live::open(cx, &args.by, NAME).await?;
    let unread = |error| Failure::new(Code::Nats, "the broker's state cannot be read").because(&error);
    let state = State::open(&operator.context).await.map_err(unread)?;
    let log = CommitLog::open(&operator.context).await.map_err(books::unread)?;
    let (connection, clock) = (operator.connection.clone(), operator.clock().clone());
    let forget = Forget::new(connection, state.clone(), log, clock, CrashPlan::default());
    let whom = args.whom()?;
    let request = Request::new(args.team.clone(), whom, operator.now());
    let jobs = forget.find(&request).await.map_err(|error| failed(&error))?;
    if args.dry_run || jobs.is_empty() {
        let meant: Vec<Meant> = jobs.into_iter().map(|job| Meant { team: args.team.clone(), job }).collect();
        cx.output.records(&meant, &["team", "job"], |meant| vec![meant.team.to_string(), meant.job.to_string()])?;
        output::say(format_args!("{} job(s) are meant; nothing was done", meant.len()));
        return Ok(Code::Ok);
    }
    operator.note(("forget", args.team.as_str()), "forget", change(&request.whom, jobs.len())).await?;
    // From here on it is done, whoever is killed.
    let kept = request.keep(&state).await;
    kept.map_err(|error| Failure::new(Code::Nats, "nothing was done: the request cannot be kept").because(&error))?;
    let (done, cut) = until_done(&forget, &request, args.timeout.0).await.map_err(|error| failed(&error))?;
    cx.output.record(&done, in_words)?;
    if cut {
        output::say("the time was up first; the rest is done by the broker, within minutes");
        return Ok(Code::Timeout);
    }
    if done.pending > 0 {
        output::say(
            "the rest goes as soon as the settler and the sink have read it; `tollgate doctor` looks after both",
        );
        return Ok(Code::Timeout);
    }
    Ok(Code::Ok)
}

impl Args {
    fn whom(&self) -> Result<Whom, Failure> {
        match (&self.job, &self.end_user) {
            (Some(job), _) => Ok(Whom::Job(job.clone())),
            (None, Some(user)) => Ok(Whom::EndUser(user.clone())),
            (None, None) => Err(Failure::new(Code::Usage, "name a job with --job, or somebody with --end-user")),
        }
    }
}

/// What was done, and whether it was cut short: what is dropped on the way is finished by the sweeper.
async fn until_done(forget: &Forget, request: &Request, within: Duration) -> Result<(Forgotten, bool), ForgetError> {
    let until = Instant::now() + within;
    let mut sum = Forgotten::default();
    loop {
        let mut done = Forgotten::default();
        let looked = timeout_at(until, forget.look(request, &mut done)).await;
        sum.add(done);
        match looked {
            Err(_) => return Ok((sum, true)),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(())) if done.pending == 0 || Instant::now() >= until => return Ok((sum, false)),
            Ok(Ok(())) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// What the audit says. It is kept for longer than any text, so an end user is only told by a digest.
fn change(whom: &Whom, jobs: usize) -> Change {
    let what = match whom {
        Whom::Job(job) => format!("the texts of job {job}"),
        Whom::EndUser(user) => {
            format!("the texts of {jobs} job(s) of the end user {}", Digest::of(&[user.as_bytes()]).short())
        }
    };
    Change { scope: String::new(), budget: None, what }
}

fn failed(error: &ForgetError) -> Failure {
    let failure = Failure::new(Code::Nats, "not everything is forgotten").because(error);
    match error {
        ForgetError::NoWorker => failure.try_this("start a worker; what was asked for is kept, and done then"),
        ForgetError::Passed(_)
        | ForgetError::Log(_)
        | ForgetError::Backlog(_)
        | ForgetError::Cancel { .. }
        | ForgetError::Api(_)
        | ForgetError::Entomb(_) => failure.try_this("run it again; what was done stays done"),
    }
}

fn in_words(done: &Forgotten) -> String {
    let removed = &done.removed;
    let facts = [
        ("jobs", done.jobs),
        ("cancelled first", done.cancelled),
        ("ended by themselves meanwhile", done.ended),
        ("never seen, and never to run", done.unseen),
        ("results without texts", done.results + done.before),
        ("still to be read by the books", done.pending),
        ("copies in lanes", removed.queued),
        ("copies behind gates", removed.parked),
        ("dead letters", removed.dead),
        ("captures", removed.captured),
        ("kept answers", removed.cached),
    ];
    let told = facts.into_iter().enumerate().filter(|(at, (_, count))| *at == 0 || *count > 0);
    let lines: Vec<String> = told.map(|(_, (name, count))| format!("{count:>8}  {name}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_names_no_end_user() {
        let told = change(&Whom::EndUser("ann@example.com".into()), 3).what;
        assert!(told.starts_with("the texts of 3 job(s) of the end user ") && !told.contains("ann"), "{told}");
        assert_eq!(change(&Whom::Job("a:1".parse().expect("an id")), 1).what, "the texts of job a:1");
    }

    #[test]
    fn what_was_done_is_told_without_what_was_not() {
        let done = Forgotten { jobs: 2, results: 1, before: 1, ..Forgotten::default() };
        assert_eq!(in_words(&done), "       2  jobs\n       2  results without texts");
    }
}
