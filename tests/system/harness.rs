//! A stack under load, and the ground truths outside of it: what producers were promised, what the results stream
//! holds, what the provider was really asked, what ClickHouse says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::StreamExt;
use sandbox::Progress;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::stack::{Stack, StackOptions};
use tollgate_client::Producer;
use tollgate_queue::commit_log::{CommitLog, LogEntry};
use tollgate_queue::state::State;
use tollgate_queue::{Connection, NatsConfig};
use tollgate_sink::SinkProgress;
use tollgate_types::event::EventKind;
use tollgate_types::{Class, JobId, Status};
use tollgate_usage::reconcile::{self, Ledger};
use tollgate_usage::{ClickHouseConfig, HourRange, Source, Store};

/// The three teams, each with the class it uses here.
pub(crate) const TEAMS: [(&str, Class); 3] =
    [("search", Class::Interactive), ("marketing", Class::Standard), ("batchers", Class::Batch)];

/// A stack with its temporary directory, which stays when a test fails.
pub(crate) struct System {
    pub(crate) stack: Stack,
    dir: Kept,
}

/// The directory of a system; it stays when a test fails.
struct Kept(Option<TempDir>);

impl System {
    /// Starts two workers and a sink of their own, with short leases, over `overrides` (TOML).
    pub(crate) async fn start(sim_faults: &str, overrides: &str) -> System {
        testkit::show_logs();
        let dir = tempfile::Builder::new().prefix("tollgate-system-").tempdir().expect("a temporary directory");
        let mut options = StackOptions::new(env!("CARGO_BIN_EXE_tollgate"), dir.path());
        options.workers = 2;
        options.separate_sink = true;
        options.sim.faults = sim_faults.to_owned();
        options.overrides = overrides.parse().expect("the overrides are TOML");
        options.broker_envs.push(("TOLLGATE_CRASH_FILE".into(), dir.path().join("crash-plan").display().to_string()));
        let stack = Stack::start(options, &Progress::silent()).await.unwrap_or_else(|error| panic!("{error:?}"));
        System { stack, dir: Kept(Some(dir)) }
    }

    /// The file whose content arms crash points in processes that start from then on.
    pub(crate) fn crash_plan(&self) -> PathBuf {
        self.stack.dir().join("crash-plan")
    }

    /// A producer of a team.
    pub(crate) async fn producer(&self, team: &str) -> Producer {
        let endpoints = self.stack.endpoints();
        let access = &endpoints.nats.teams[team];
        let config = NatsConfig {
            url: endpoints.nats.url.clone(),
            user: Some(access.user.clone()),
            password: Some(access.password.clone().into()),
            inbox_prefix: Some(access.inbox_prefix.clone()),
            ..NatsConfig::default()
        };
        let connection = Connection::open(&config, "producer").await.expect("the team connects");
        Producer::new(connection.client, team.parse().expect("a team"))
    }

    /// A connection in the broker's account.
    pub(crate) async fn core(&self) -> Connection {
        let endpoints = self.stack.endpoints();
        let config = NatsConfig {
            url: endpoints.nats.url,
            user: Some(endpoints.nats.user),
            password: Some(endpoints.nats.password.into()),
            ..NatsConfig::default()
        };
        Connection::open(&config, "check").await.expect("the broker's account connects")
    }

    /// Stops everything and removes the directory: call it when all is well.
    pub(crate) async fn stop(self) {
        let System { stack, dir } = self;
        stack.stop().await.unwrap_or_else(|error| panic!("{error:?}"));
        drop(dir);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take()
            && std::thread::panicking()
        {
            eprintln!("logs and data are kept in {}", dir.keep().display());
        }
    }
}

/// What producers were promised: the ids that the server acknowledged.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<(String, JobId)>>>);

impl Journal {
    /// The accepted jobs by team.
    pub(crate) fn accepted(&self) -> Vec<(String, JobId)> {
        self.0.lock().expect("no holder panics").clone()
    }

    /// Notes a job that was submitted by hand.
    pub(crate) fn note(&self, id: &JobId, team: &str) {
        self.0.lock().expect("no holder panics").push((team.to_owned(), id.clone()));
    }

    /// How many jobs were accepted.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("no holder panics").len()
    }
}

/// Submits `jobs` jobs, one every `every`, round robin over the teams. Every submission is tried until the server
/// answered it.
pub(crate) async fn load(system_producers: Vec<(Producer, Class)>, jobs: usize, every: Duration, journal: Journal) {
    let mut submitting = tokio::task::JoinSet::new();
    let mut tick = tokio::time::interval(every);
    for n in 0..jobs {
        tick.tick().await;
        let (producer, class) = system_producers[n % system_producers.len()].clone();
        let journal = journal.clone();
        submitting.spawn(async move {
            let id = producer.fresh_id();
            let line = line(n);
            loop {
                match producer.submit(class, line.clone(), Some(id.clone())).await {
                    Ok(receipt) => {
                        break journal
                            .0
                            .lock()
                            .expect("no holder panics")
                            .push((producer.team().to_string(), receipt.id));
                    }
                    // The server is down: the same id again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        // Bounded: a server that is away must not pile up submissions without end.
        while submitting.len() > 512 {
            submitting.join_next().await;
        }
    }
    while submitting.join_next().await.is_some() {}
}

fn line(n: usize) -> Bytes {
    let model = if n.is_multiple_of(4) { "gpt-4o" } else { "gpt-4o-mini" };
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": format!("question {n}: {}", "word ".repeat(n % 50))}],
        "max_tokens": 40,
    });
    json!({"custom_id": format!("q-{n}"), "body": body}).to_string().into()
}

/// Every payload seen on a result's subject, as it was published.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<HashMap<String, Vec<Bytes>>>>);

impl Seen {
    /// Watches the subjects of results live, until the returned set is dropped.
    pub(crate) async fn watch(core: Connection) -> (Seen, tokio::task::JoinSet<()>) {
        let seen = Seen::default();
        let mut watching = tokio::task::JoinSet::new();
        let mut results = core.client.subscribe(tollgate_types::subjects::RESULTS).await.expect("allowed");
        let into = seen.clone();
        watching.spawn(async move {
            while let Some(message) = results.next().await {
                let mut map = into.0.lock().expect("no holder panics");
                map.entry(message.subject.to_string()).or_default().push(message.payload);
            }
        });
        (seen, watching)
    }
}

/// Everything that the commit log holds.
pub(crate) async fn whole_log(core: &Connection) -> (CommitLog, Vec<LogEntry>) {
    let context = jetstream::new(core.client.clone());
    let log = CommitLog::open(&context).await.expect("the results stream");
    let bounds = log.bounds().await.expect("its bounds");
    let mut tail = log.tail(bounds.first);
    let mut entries = Vec::new();
    while entries.last().is_none_or(|entry: &LogEntry| entry.seq < bounds.last) {
        entries.extend(tail.next_batch(1000, Duration::from_secs(1)).await.expect("the same stream"));
    }
    (log, entries)
}

/// Waits until every accepted job has its result, and the sink has everything.
pub(crate) async fn drained(core: &Connection, journal: &Journal, within: Duration) {
    let started = Instant::now();
    let wanted: BTreeSet<(String, JobId)> = journal.accepted().into_iter().collect();
    loop {
        let (_, entries) = whole_log(core).await;
        let done: BTreeSet<(String, JobId)> = results(&entries).map(|(team, job, _)| (team, job)).collect();
        let missing: Vec<_> = wanted.difference(&done).collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            started.elapsed() < within,
            "{} jobs have no result after {within:?}, such as {:?}",
            missing.len(),
            missing[0]
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn results(entries: &[LogEntry]) -> impl Iterator<Item = (String, JobId, Status)> {
    let event = |entry: &LogEntry| entry.event.clone().ok().filter(|event| event.kind == EventKind::Result);
    entries.iter().filter_map(event).map(|event| (event.team, event.job, event.status))
}

/// What a check found.
pub(crate) struct Report {
    pub(crate) accepted: usize,
    pub(crate) by_status: BTreeMap<&'static str, usize>,
    pub(crate) by_code: BTreeMap<&'static str, usize>,
    pub(crate) calls: usize,
    pub(crate) booked: usize,
    pub(crate) unknown: i64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { accepted, by_status, by_code, calls, booked, unknown } = self;
        write!(
            f,
            "{accepted} jobs accepted, {by_status:?} {by_code:?}; {calls} calls, {booked} booked; {unknown} runs unknown"
        )
    }
}

/// Compares all ground truths, to the nano-dollar.
///
/// # Panics
/// On the first promise that does not hold.
pub(crate) async fn check(system: &System, core: &Connection, journal: &Journal) -> Report {
    let (log, entries) = whole_log(core).await;
    let accepted = journal.accepted();
    let (mut by_status, mut by_code) = (BTreeMap::new(), BTreeMap::new());
    for event in entries.iter().filter_map(|entry| entry.event.as_ref().ok()) {
        if let (EventKind::Result, Some(code)) = (event.kind, event.error_code) {
            *by_code.entry(code.as_str()).or_insert(0) += 1;
        }
    }
    let mut by_job: HashMap<(String, JobId), usize> = HashMap::new();
    for (team, job, status) in results(&entries) {
        *by_status.entry(status.as_str()).or_insert(0) += 1;
        *by_job.entry((team, job)).or_insert(0) += 1;
    }
    for job in &accepted {
        assert_eq!(by_job.get(job), Some(&1), "{job:?} has exactly one result");
    }
    assert_eq!(by_job.len(), accepted.len(), "nobody else has a result");
    books_agree(system, core, &log, &entries).await;
    let (calls, booked, unknown) = calls_are_accounted_for(system, &entries);
    Report { accepted: accepted.len(), by_status, by_code, calls, booked, unknown }
}

async fn books_agree(system: &System, core: &Connection, log: &CommitLog, entries: &[LogEntry]) {
    let context = jetstream::new(core.client.clone());
    let state = State::open(&context).await.expect("the state bucket");
    let last = entries.last().map_or(0, |entry| entry.seq);
    SinkProgress::catch_up(&state, log.identity(), last, Duration::from_secs(120)).await.expect("the sink catches up");
    let mut ledger = Ledger::default();
    entries.iter().filter_map(|entry| entry.event.as_ref().ok()).for_each(|event| reconcile::book(&mut ledger, event));
    let store = store(system);
    let raw = store.totals(HourRange::ALL, Source::Raw).await.expect("the raw table");
    let rollup = store.totals(HourRange::ALL, Source::Rollup).await.expect("the rollup");
    let differences = reconcile::reconcile(&ledger, &raw, &rollup);
    assert!(differences.is_empty(), "{differences:#?}");
}

/// The system's ClickHouse.
pub(crate) fn store(system: &System) -> Store {
    let clickhouse = system.stack.endpoints().clickhouse;
    let mut config = ClickHouseConfig::new(clickhouse.url);
    (config.database, config.user, config.password) =
        (clickhouse.database, clickhouse.user, clickhouse.password.into());
    Store::new(config).expect("a configuration")
}

/// Every call that the provider logged is booked as an attempt of its run, or its run counts as unknown.
fn calls_are_accounted_for(system: &System, entries: &[LogEntry]) -> (usize, usize, i64) {
    let mut booked: HashMap<String, usize> = HashMap::new();
    let mut unknown: HashMap<String, i64> = HashMap::new();
    for event in entries.iter().filter_map(|entry| entry.event.as_ref().ok()) {
        *booked.entry(event.run.clone()).or_insert(0) += event.attempts.len();
        *unknown.entry(event.job.to_string()).or_insert(0) += event.unknown_attempts;
    }
    let text = std::fs::read_to_string(system.stack.endpoints().sim.log).expect("the provider's log");
    let mut lost_runs: HashMap<String, BTreeSet<String>> = HashMap::new();
    let (mut calls, mut found) = (0, 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a record");
        let Some((job, run, attempt)) = received(&line) else { continue };
        calls += 1;
        if booked.get(run).is_some_and(|&attempts| attempt <= attempts) {
            found += 1;
        } else {
            lost_runs.entry(job.to_owned()).or_default().insert(run.to_owned());
        }
    }
    for (job, runs) in &lost_runs {
        let counted = unknown.get(job).copied().unwrap_or(0);
        assert!(
            counted >= runs.len() as i64,
            "{job}: {} runs with unbooked calls, {counted} counted as unknown",
            runs.len()
        );
    }
    assert!(unknown.values().all(|&count| count >= 0), "nothing is taken back that was not counted");
    (calls, found, unknown.values().sum())
}

fn received(line: &Value) -> Option<(&str, &str, usize)> {
    if line["record"] != "received" {
        return None;
    }
    Some((line["job"].as_str()?, line["run"].as_str()?, line["attempt"].as_str()?.parse().ok()?))
}

impl Seen {
    /// Compares the kept results with every payload that was ever published for them; returns how many were seen.
    ///
    /// A run that lost the race published too, and was refused: so the kept bytes must be among those seen, and a
    /// second look at the kept ones must find the same.
    pub(crate) async fn compare(&self, core: &Connection, entries: &[LogEntry]) -> usize {
        let context = jetstream::new(core.client.clone());
        let stream = context.get_stream(tollgate_types::subjects::RESULTS_STREAM).await.expect("the results stream");
        let seen = self.0.lock().expect("no holder panics").clone();
        let mut compared = 0;
        for entry in entries.iter().filter(|entry| seen.contains_key(&entry.subject)) {
            let kept = stream.get_raw_message(entry.seq).await.expect("it is kept");
            assert!(seen[&entry.subject].contains(&kept.payload), "{} is not what was committed", entry.subject);
            compared += 1;
        }
        compared
    }
}
