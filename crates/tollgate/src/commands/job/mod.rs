//! `job`: the one result of a job, why there is none yet, what waits, and how to end it.

mod ask;
mod captured;
mod list;

use tollgate_client::WaitError;
use tollgate_types::guardrails::Hit;
use tollgate_types::{JobId, JobResult};

use super::Cx;
use super::submit::Access;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Format, Output};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the result of a job: exit code 0 if there is one, however it ended, and 6 if there is none yet
    Get(Which),
    /// List the jobs of a team that wait or run, the oldest first; their prompts are not shown
    List(list::Args),
    /// Cancel a job, wherever it waits or runs; exit code 1 if it had ended already
    Cancel(Which),
    /// Show what was captured of a job: its prompt as it was sent, and its result
    Captured(captured::Args),
    /// Say where a job is, what it waits for, and when its turn may come
    Explain(Which),
}

/// One job.
#[derive(Debug, clap::Args)]
struct Which {
    /// The job's id, as `submit` printed it
    #[arg(value_name = "ID")]
    id: JobId,
    /// The job's team; the connection's user if left out
    #[arg(long, value_name = "TEAM")]
    team: Option<tollgate_types::Team>,
}

/// Runs the command.
///
/// # Errors
/// When NATS cannot be asked, or nobody answers.
pub async fn run(args: &Args, cx: &Cx) -> Outcome {
    crate::telemetry::init_quiet(&cx.env);
    let which = match &args.command {
        Command::List(args) => return list::run(args, cx).await,
        Command::Captured(args) => return captured::run(args, cx).await,
        Command::Get(which) | Command::Cancel(which) | Command::Explain(which) => which,
    };
    let access = Access::open(which.team.as_ref(), cx, "tollgate job").await?;
    match &args.command {
        Command::Cancel(_) => ask::cancel(&which.id, &access, cx).await,
        Command::Explain(_) => ask::explain(&which.id, &access, cx).await,
        Command::Get(_) | Command::List(_) | Command::Captured(_) => get(&which.id, &access, cx).await,
    }
}

async fn get(id: &JobId, access: &Access, cx: &Cx) -> Outcome {
    let found = async { access.producer.result(id).await.map_err(|error| unanswered(&error)) };
    match access.unless_refused(found).await? {
        Some(line) => {
            print(&line, &cx.output)?;
            Ok(Code::Ok)
        }
        None => {
            output::say(format_args!(
                "no result yet for {id} of team {0}; it may wait, run, be unknown, or be older than results are kept; \
                 `tollgate job explain {id} --team {0}` tells",
                access.producer.team()
            ));
            Ok(Code::Timeout)
        }
    }
}

/// A failure to ask for a result.
pub(super) fn unanswered(error: &WaitError) -> Failure {
    match error {
        WaitError::TimedOut(_) => Failure::new(Code::Timeout, error.to_string()),
        WaitError::Answer(_) => Failure::new(Code::Failed, error.to_string()),
        WaitError::Subscribe(_) | WaitError::Closed | WaitError::Lookup(_) => {
            let failure = Failure::new(Code::Nats, "the result cannot be had").because(error);
            failure.try_this("connect as the team's user with its inbox prefix _INBOX_<team>, or as the broker")
        }
    }
}

/// Prints a result: as it is kept, or its facts for people.
pub(super) fn print(line: &[u8], output: &Output) -> Result<(), Failure> {
    match output.format() {
        Format::Json | Format::Jsonl => output.text(&String::from_utf8_lossy(line)),
        Format::Table | Format::Csv => {
            let result: JobResult = serde_json::from_slice(line)
                .map_err(|error| Failure::new(Code::Failed, "the result cannot be read").because(&error))?;
            output.text(&facts(&result, output))
        }
    }
}

fn facts(result: &JobResult, output: &Output) -> String {
    let facts = &result.tollgate;
    let mut table = output.table(&["fact", "value"]);
    let served =
        facts.provider.iter().zip(&facts.model).map(|(provider, model)| format!("{model} at {provider}")).next();
    let tokens = format!("{} in, {} out", facts.tokens.prompt(), facts.tokens.completion());
    let rows = [
        ("job", Some(result.id.to_string())),
        ("custom_id", result.custom_id.clone()),
        ("status", Some(facts.status.to_string())),
        ("error", result.error.as_ref().map(|error| format!("{}: {}", error.code, error.message))),
        ("lane", Some(format!("{} {}", facts.team, facts.class))),
        ("asked for", facts.model_requested.clone()),
        ("answered by", served),
        ("tokens", Some(tokens)),
        ("cost", Some(facts.cost_nanousd.to_string())),
        (
            "may have cost",
            (facts.unknown_attempts > 0)
                .then(|| format!("up to {} more in {} lost run(s)", facts.unknown_nanousd, facts.unknown_attempts)),
        ),
        ("accepted", Some(facts.accepted_at.clone())),
        ("queued", Some(format!("{} ms", facts.queued_ms))),
        ("took", Some(format!("{} ms", facts.latency_ms))),
        ("guardrails", (!facts.guardrails.is_empty()).then(|| fired(&facts.guardrails))),
        ("risk", facts.risk.map(|risk| format!("{risk} of 100"))),
        ("warnings", (!facts.warnings.is_empty()).then(|| facts.warnings.join("; "))),
        ("answer", answer(result)),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            table.add_row([name.to_owned(), value]);
        }
    }
    format!("{}{}", table.trim_fmt(), attempts(result, output))
}

/// The rules that fired, each with what followed.
fn fired(hits: &[Hit]) -> String {
    let one = |hit: &Hit| format!("{} ({}: {}, {}x)", hit.rule, hit.on.as_str(), hit.action.as_str(), hit.count);
    hits.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn attempts(result: &JobResult, output: &Output) -> String {
    if result.tollgate.attempts.is_empty() {
        return String::new();
    }
    let mut table = output.table(&["call", "provider", "model", "outcome", "http", "ms", "cost"]);
    for (at, call) in result.tollgate.attempts.iter().enumerate() {
        let outcome = if call.error.is_empty() {
            call.outcome.as_str().to_owned()
        } else {
            format!("{}: {}", call.outcome.as_str(), call.error)
        };
        let http = if call.http_status == 0 { "–".to_owned() } else { call.http_status.to_string() };
        let (ms, cost) = (call.latency_ms.to_string(), call.cost_nanousd.to_string());
        table.add_row([(at + 1).to_string(), call.provider.clone(), call.model.clone(), outcome, http, ms, cost]);
    }
    format!("\n\n{}", table.trim_fmt())
}

/// The text that the model answered; several choices on lines of their own, and what is no text as JSON.
pub(super) fn answer(result: &JobResult) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(result.response.as_ref()?.body.get()).ok()?;
    let of = |choice: &serde_json::Value| match &choice["message"]["content"] {
        serde_json::Value::String(text) => text.clone(),
        _ => choice["message"].to_string(),
    };
    let choices: Vec<String> = body["choices"].as_array()?.iter().map(of).collect();
    Some(choices.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(body: &str) -> JobResult {
        let line = format!(
            r#"{{"id":"a:1","custom_id":"q","response":{{"status_code":200,"request_id":"r","body":{body}}},"error":null,
            "tollgate":{{"version":1,"team":"a","class":"batch","status":"succeeded","model_requested":"fast",
            "model":"m","provider":"p","cost_nanousd":41250,"tokens":{{"input":3,"output":4}},"queued_ms":1,
            "latency_ms":2,"attempts":[{{"provider":"p","model":"m","outcome":"rate_limited","error":"rate_limited",
            "http_status":429,"latency_ms":5,"cost_nanousd":0,"usage_source":"none"}}],"unknown_attempts":0,
            "unknown_nanousd":0,"cache":"miss","guardrails":[],"warnings":[],"accepted_at":"t","run":"r"}}}}"#
        );
        serde_json::from_str(&line).expect("a result")
    }

    #[test]
    fn answers_are_texts_or_else_what_the_model_did() {
        let check =
            |body: &str, expected: Option<&str>| assert_eq!(answer(&result(body)).as_deref(), expected, "{body}");
        check(r#"{"choices":[{"message":{"content":"yes"}}]}"#, Some("yes"));
        check(r#"{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}"#, Some("a\nb"));
        check(
            r#"{"choices":[{"message":{"content":null,"tool_calls":[]}}]}"#,
            Some(r#"{"content":null,"tool_calls":[]}"#),
        );
        check("{}", None);
    }

    #[test]
    fn the_facts_name_cost_and_every_call() {
        let output = Output::new(Format::Table, &crate::env::Env::default());
        let shown = facts(&result(r#"{"choices":[{"message":{"content":"yes"}}]}"#), &output);
        for part in ["$0.000041250", "m at p", "rate_limited", "429", "yes"] {
            assert!(shown.contains(part), "{part} is missing in:\n{shown}");
        }
    }
}
