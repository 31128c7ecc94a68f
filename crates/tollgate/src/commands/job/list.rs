//! `job list`: what waits or runs in a team's lanes, and what is parked. Nothing is leased, and no prompt is shown.
//!
//! Messages are read one by one through the server's JSON interface: producers' headers may hold bytes that cut a
//! client's connection, and there they are harmless.

use std::time::Duration;

use async_nats::Client;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::{Class, JobId, JobSpec, LaneKey, Team, UnixMillis, headers, subjects};

use crate::commands::Cx;
use crate::connect;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The team
    #[arg(long, value_name = "TEAM")]
    team: Team,
    /// This class alone
    #[arg(long, value_name = "CLASS")]
    class: Option<Class>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// One job.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    job: String,
    class: String,
    team: String,
    /// `lane` for one that waits there or runs, else the gate that it is parked behind, or `later`.
    place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    accepted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    /// Why it is no job, which it will be answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
}

impl Line {
    const HEADER: [&'static str; 8] =
        ["job", "class", "place", "accepted", "model", "custom_id", "deadline", "waits for"];

    fn row(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let model = self.model.clone().or_else(|| self.error_code.as_ref().map(|code| format!("({code})")));
        let (job, class, place, accepted) = (&self.job, &self.class, &self.place, &self.accepted_at);
        let first = [job, class, place, accepted].map(String::clone);
        let rest = [text(&model), text(&self.custom_id), text(&self.deadline), text(&self.waits_for)];
        first.into_iter().chain(rest).collect()
    }
}

pub(super) async fn run(args: &Args, cx: &Cx) -> Outcome {
    let loaded = cx.load()?;
    let connection = connect::nats(&loaded.config, "tollgate job").await?;
    let context = connect::jetstream(&connection);
    let jobs = context.get_stream(subjects::JOBS_STREAM).await.map_err(|error| unread(&error))?;
    let made_ns = jobs.cached_info().created.unix_timestamp_nanos();
    let class = args.class.map_or("*", Class::as_str);
    let most = args.limit as usize;
    let in_lanes = format!("tollgate.jobs.{class}.{}", args.team);
    let parked = format!("tollgate.wait.*.{class}.{}.*", args.team);
    let mut lines = Vec::new();
    let mut more = false;
    for (stream, subject) in [(subjects::JOBS_STREAM, in_lanes), (subjects::WAIT_STREAM, parked)] {
        let mut from = 1;
        while let Some(message) = next(&connection.client, stream, &subject, from).await? {
            if lines.len() == most {
                more = true;
                break;
            }
            from = message.seq + 1;
            lines.extend(line(&message, made_ns));
        }
    }
    cx.output.records(&lines, &Line::HEADER, Line::row)?;
    if more {
        output::say(format_args!("there are more; --limit shows up to 10000, `tollgate queue list` counts all"));
    }
    Ok(Code::Ok)
}

fn unread(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Nats, "the backlog cannot be read")
        .because(error)
        .try_this("connect as the broker; `tollgate init` makes the streams")
}

/// A message as the server's JSON interface gives it.
#[derive(Debug, Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

#[derive(Deserialize)]
struct Reply {
    message: Option<Stored>,
    error: Option<Refused>,
}

#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{description} (error {err_code})")]
struct Refused {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// JetStream's code for "no message found".
const NO_MESSAGE: u64 = 10037;
/// How long the server may take for one message.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The first message from `from` on, under a subject.
async fn next(client: &Client, stream: &str, subject: &str, from: u64) -> Result<Option<Stored>, Failure> {
    let question = serde_json::json!({ "seq": from, "next_by_subj": subject }).to_string();
    let asked = client.request(format!("$JS.API.STREAM.MSG.GET.{stream}"), question.into());
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|elapsed| unread(&elapsed))?;
    let answer = answer.map_err(|error| unread(&error))?;
    let reply: Reply = serde_json::from_slice(&answer.payload).map_err(|error| unread(&error))?;
    match reply.error {
        Some(Refused { err_code: NO_MESSAGE, .. }) => Ok(None),
        Some(error) => Err(unread(&error)),
        None => Ok(reply.message),
    }
}

/// A job as it is listed; `None` for a message that is none of ours.
fn line(message: &Stored, made_ns: i128) -> Option<Line> {
    let header_block = BASE64_STANDARD.decode(&message.hdrs).unwrap_or_default();
    let header_block = String::from_utf8_lossy(&header_block);
    let header = |name: &str| {
        let of_line = |line: &str| {
            line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
        };
        header_block.lines().find_map(of_line).filter(|value| !value.is_empty())
    };
    let own_id = header(headers::JOB_ID).and_then(|id| id.parse::<JobId>().ok());
    let (lane, place, job) = match subjects::parse_jobs(&message.subject) {
        Some(lane) => {
            let job = own_id.unwrap_or_else(|| JobId::from_sequence(made_ns, message.seq));
            (lane, "lane".to_owned(), job)
        }
        None => parked(&message.subject)?,
    };
    let payload = Bytes::from(BASE64_STANDARD.decode(&message.data).unwrap_or_default());
    let accepted = header(headers::PARKED_ACCEPTED_AT).and_then(|ms| ms.parse().ok()).map(UnixMillis);
    let stored = || OffsetDateTime::parse(&message.time, &Rfc3339).ok().map(UnixMillis::from);
    let accepted_at = accepted.or_else(stored).map(UnixMillis::to_rfc3339).unwrap_or_default();
    let lane = lane.plain();
    let mut line = Line {
        job: job.to_string(),
        class: lane.class,
        team: lane.team,
        place,
        waits_for: header(headers::PARKED_FOR),
        accepted_at,
        custom_id: None,
        model: None,
        deadline: None,
        error_code: None,
    };
    match JobSpec::decode(&payload, usize::MAX) {
        Ok(spec) => {
            line.custom_id = spec.custom_id;
            line.model = Some(spec.request.model).filter(|model| !model.is_empty());
            line.deadline = spec.options.deadline.map(|deadline| deadline.at.to_rfc3339());
        }
        Err(rejection) => {
            line.custom_id = rejection.custom_id;
            line.error_code = Some(rejection.code.to_string());
        }
    }
    Some(line)
}

/// Lane, gate and job of a parked job's subject, whether it stands behind a gate or waits for its time.
fn parked(subject: &str) -> Option<(LaneKey, String, JobId)> {
    let tokens: Vec<&str> = subject.strip_prefix("tollgate.wait.")?.split('.').collect();
    let [gate, class, team, job] = tokens[..] else { return None };
    let lane = LaneKey { class: class.to_owned(), team: team.to_owned() };
    Some((lane, gate.to_owned(), job.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(subject: &str, headers: &str, payload: &str) -> Stored {
        Stored {
            subject: subject.into(),
            seq: 7,
            hdrs: BASE64_STANDARD.encode(format!("NATS/1.0\r\n{headers}\r\n")),
            data: BASE64_STANDARD.encode(payload),
            time: "1970-01-01T00:00:01Z".into(),
        }
    }

    const JOB: &str = r#"{"custom_id":"q","body":{"model":"fast","messages":[{"role":"user","content":"secret"}]},
        "tollgate":{"deadline":"2030-01-01T00:00:00Z"}}"#;

    #[test]
    fn a_job_in_its_lane_is_listed_without_its_prompt() {
        let line = line(&stored("tollgate.jobs.batch.search", "nats-msg-id: search:1\r\n", JOB), 0).expect("a job");
        assert_eq!(
            line.row(),
            ["search:1", "batch", "lane", "1970-01-01T00:00:01Z", "fast", "q", "2030-01-01T00:00:00Z", ""]
        );
        assert!(!serde_json::to_string(&line).expect("JSON").contains("secret"));
    }

    #[test]
    fn a_parked_job_is_listed_with_what_it_waits_for() {
        let headers = "Tollgate-Accepted-At: 5000\r\nTollgate-Waits-For: a live deployment\r\n";
        for gate in ["m-0123456789abcdef", "later"] {
            let line = line(&stored(&format!("tollgate.wait.{gate}.batch.search.search:1"), headers, JOB), 0);
            let line = line.expect("a job");
            assert_eq!((line.job.as_str(), line.place.as_str()), ("search:1", gate));
            assert_eq!(
                (line.accepted_at.as_str(), line.waits_for.as_deref()),
                ("1970-01-01T00:00:05Z", Some("a live deployment"))
            );
        }
        assert_eq!(line(&stored("tollgate.wait.x", "", JOB), 0), None);
    }

    #[test]
    fn what_is_no_job_is_listed_with_its_error_and_the_id_that_it_will_have() {
        let line = line(&stored("tollgate.jobs.batch.search", "\u{fffd}\u{1}", "{"), 255).expect("a message");
        assert_eq!((line.job.as_str(), line.error_code.as_deref()), ("s:ff:7", Some("invalid_json")));
    }
}
