//! What can be seen of NATS: the server, our account, what we may do, the streams.

use std::time::Duration;

use async_nats::HeaderMap;
use serde::Deserialize;
use tollgate_queue::streams;
use tollgate_queue::{Connection, Lanes, ServerClock};
use tollgate_types::subjects;

use super::judge::{self, Area, Finding, Verdict};
use crate::config::{Loaded, build};
use crate::connect;

/// A healthy server answers within milliseconds; what takes longer is not allowed or not there.
const ANSWER: Duration = Duration::from_secs(2);

/// Every finding about NATS; a single one if it cannot be reached.
pub(super) async fn examine(loaded: &Loaded, monitoring: Option<&str>) -> Vec<Finding> {
    let config = &loaded.config;
    let connection = match connect::nats(config, "tollgate doctor").await {
        Ok(connection) => connection,
        Err(failure) => return vec![Finding::from((Area::Nats, "nats.connection", &failure))],
    };
    let info = connection.client.server_info();
    let seen = format!("nats-server {} ({}), max_payload {} bytes", info.version, info.server_name, info.max_payload);
    let mut findings = vec![Finding::ok(Area::Nats, "nats.connection", seen)];
    findings.push(judge::isolation(account(&connection).await.as_deref()));
    let seen = match refused_api(&connection).await {
        Some(refused) => vec![refused],
        None => as_configured(&connection, loaded).await,
    };
    let complete = seen.iter().all(|finding| finding.verdict != Verdict::Fail);
    findings.extend(seen);
    // What is not there refuses everybody, which says nothing about us.
    if complete {
        findings.extend(permissions(&connection).await);
    }
    let sync_always = match monitoring {
        Some(url) => match sync_always(url).await {
            Ok(always) => Some(always),
            Err(why) => {
                let remedy = "check --monitoring-url";
                findings.push(Finding::warn(
                    Area::Nats,
                    "nats.monitoring",
                    format!("{url} does not tell: {why}"),
                    remedy,
                ));
                None
            }
        },
        None => None,
    };
    findings.push(judge::stored_safely(judge::durability(config.streams.replicas, sync_always)));
    if complete {
        findings.extend(clock(&connection, loaded).await);
        findings.extend(teams(&connection).await);
    }
    findings
}

/// Whether our user may use JetStream's API at all: a team's user may not, and every question would time out.
async fn refused_api(connection: &Connection) -> Option<Finding> {
    let why = request(connection, "$JS.API.INFO".to_owned(), HeaderMap::new()).await.err()?;
    let detail = format!("our user does not get through to JetStream: {why}");
    let remedy = "connect as the broker's user, in an account with JetStream; `tollgate config show` says who we are";
    Some(Finding::fail(Area::Nats, "nats.permissions", detail, remedy))
}

#[derive(Deserialize)]
struct UserInfo {
    data: User,
}

#[derive(Deserialize)]
struct User {
    account: String,
}

async fn account(connection: &Connection) -> Option<String> {
    let asked = connection.client.request("$SYS.REQ.USER.INFO", "".into());
    let answer = tokio::time::timeout(ANSWER, asked).await.ok()?.ok()?;
    serde_json::from_slice::<UserInfo>(&answer.payload).ok().map(|info| info.data.account)
}

async fn permissions(connection: &Connection) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (what, subject) in [
        ("commit results", "tollgate.results.doctor.probe"),
        ("record extra spend", "tollgate.extra.doctor.probe.probe"),
        ("bury dead letters", "tollgate.dead.standard.doctor"),
        ("park jobs", "tollgate.wait.due.standard.doctor.probe"),
        ("keep answers", "tollgate.cache.doctor.probe.probe"),
        ("share calls", "tollgate.flight.doctor"),
        ("write the audit", "tollgate.audit.doctor.probe"),
        ("capture prompts and answers", "tollgate.capture.doctor.probe"),
    ] {
        findings.push(judge::permission(what, refused_publish(connection, subject).await));
    }
    for (what, subject) in [
        ("count waiting jobs", format!("$JS.API.STREAM.INFO.{}", subjects::JOBS_STREAM)),
        ("see the lanes' consumers", format!("$JS.API.CONSUMER.NAMES.{}", subjects::JOBS_STREAM)),
        ("see the gates' consumers", format!("$JS.API.CONSUMER.LIST.{}", subjects::WAIT_STREAM)),
        ("read the accounts", format!("$JS.API.STREAM.INFO.KV_{}", subjects::LEDGER_BUCKET)),
        ("read the configuration", format!("$JS.API.STREAM.INFO.KV_{}", subjects::CONFIG_BUCKET)),
        ("read our state", format!("$JS.API.STREAM.INFO.KV_{}", subjects::STATE_BUCKET)),
        ("read the API keys", format!("$JS.API.STREAM.INFO.KV_{}", subjects::KEYS_BUCKET)),
        ("read the front door's calls", format!("$JS.API.STREAM.INFO.KV_{}", subjects::CALLS_BUCKET)),
    ] {
        let asked = request(connection, subject, HeaderMap::new()).await;
        findings.push(judge::permission(
            what,
            asked.and_then(|answer| answer.error.map_or(Ok(()), |error| Err(error.description))),
        ));
    }
    findings
}

/// Publishes what the server must refuse to store, because it names a stream that does not exist: the refusal proves
/// that we may publish there, and leaves nothing behind.
async fn refused_publish(connection: &Connection, subject: &str) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Stream", "TOLLGATE_DOCTOR_PROBE");
    match request(connection, subject.to_owned(), headers).await?.error {
        Some(ApiError { err_code: STREAM_DOES_NOT_MATCH, .. }) => Ok(()),
        Some(error) => Err(error.description),
        None => Err("the server stored what it had to refuse".to_owned()),
    }
}

/// JetStream's code for "expected stream does not match".
const STREAM_DOES_NOT_MATCH: u64 = 10060;

#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

async fn request(connection: &Connection, subject: String, headers: HeaderMap) -> Result<Answer, String> {
    let errors = connection.health().borrow().errors;
    let asked = connection.client.request_with_headers(subject, headers, "".into());
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(answer)) => serde_json::from_slice(&answer.payload).map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) if connection.health().borrow().errors > errors => Err("permissions violation".to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn as_configured(connection: &Connection, loaded: &Loaded) -> Vec<Finding> {
    let context = connect::jetstream(connection);
    let planned = match streams::plan(&context, &build::limits(&loaded.config)).await {
        Ok(planned) => planned,
        Err(error) => {
            return vec![Finding::from((Area::Nats, "nats.streams", &super::super::init::refused(&error)))];
        }
    };
    let mut findings: Vec<Finding> = planned.iter().map(judge::stream).collect();
    let (mut kept, mut kept_max, mut consumers) = (0, 0_u64, 0);
    for name in [subjects::RESULTS_STREAM, subjects::WAIT_STREAM, subjects::JOBS_STREAM] {
        let Ok(stream) = context.get_stream(name).await else { return findings };
        let info = stream.cached_info();
        consumers += info.state.consumer_count as u64;
        // A lane's jobs share one subject and cost next to nothing.
        if name != subjects::JOBS_STREAM {
            let room = streams::Room::read(&info.config.metadata).messages;
            let most = if name == subjects::WAIT_STREAM { room } else { info.config.max_messages };
            kept += info.state.messages;
            kept_max = kept_max.saturating_add(u64::try_from(most).unwrap_or(u64::MAX / 1024));
        }
    }
    findings.push(judge::memory(kept, kept_max, consumers));
    findings
}

#[derive(Deserialize)]
struct Varz {
    jetstream: VarzJetStream,
}

#[derive(Deserialize)]
struct VarzJetStream {
    #[serde(default)]
    config: VarzConfig,
}

#[derive(Default, Deserialize)]
struct VarzConfig {
    #[serde(default)]
    sync_always: bool,
}

async fn sync_always(url: &str) -> Result<bool, String> {
    let url = format!("{}/varz", url.trim_end_matches('/'));
    let answer = super::upstream::client(None)?.get(url).send().await.map_err(super::upstream::in_words)?;
    let varz: Varz = answer.json().await.map_err(super::upstream::in_words)?;
    Ok(varz.jetstream.config.sync_always)
}

async fn clock(connection: &Connection, loaded: &Loaded) -> Option<Finding> {
    let clock = ServerClock::new();
    let lanes = Lanes::open(&connection.client, build::lanes(&loaded.config), clock.clone()).await.ok()?;
    // The first answer on a connection is the slowest, and the best of several counts.
    for _ in 0..3 {
        lanes.backlog().await.ok()?;
    }
    clock.local_ahead_ms().map(judge::clock)
}

async fn teams(connection: &Connection) -> Option<Finding> {
    let directory = connect::directory(&connect::jetstream(connection)).await.ok()?;
    let names: Vec<String> = directory.teams().into_iter().map(|(name, _)| name).collect();
    Some(if names.is_empty() {
        Finding::warn(
            Area::Nats,
            "teams",
            "none is registered: every job is rejected as unknown_team",
            "add [teams.<name>] and run `tollgate init`",
        )
    } else {
        Finding::ok(Area::Nats, "teams", names.join(", "))
    })
}
