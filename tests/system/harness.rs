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

/// The file of crash points, in the directory of a system.
const CRASH_PLAN: &str = "crash-plan";
/// The file that says by how many milliseconds the clock of processes is wrong that start from then on.
pub(crate) const CLOCK: &str = "clock-wrong-by";

/// The directory of a system; it stays when a test fails.
struct Kept(Option<TempDir>);

impl System {
    /// Starts two workers and a sink of their own, with short leases, over `overrides` (TOML).
    pub(crate) async fn start(sim_faults: &str, overrides: &str) -> System {
        System::start_with(overrides, |options| options.sim.faults = sim_faults.to_owned()).await
    }

    /// Starts two workers and a sink of their own over `overrides` (TOML), after `change` to what is started.
    pub(crate) async fn start_with(overrides: &str, change: impl FnOnce(&mut StackOptions)) -> System {
        testkit::show_logs();
        let dir = tempfile::Builder::new().prefix("tollgate-system-").tempdir().expect("a temporary directory");
        let mut options = StackOptions::new(env!("CARGO_BIN_EXE_tollgate"), dir.path());
        options.workers = 2;
        options.separate_sink = true;
        options.overrides = overrides.parse().expect("the overrides are TOML");
        for (variable, file) in [("TOLLGATE_CRASH_FILE", CRASH_PLAN), ("TOLLGATE_CLOCK_FILE", CLOCK)] {
            options.broker_envs.push((variable.into(), dir.path().join(file).display().to_string()));
        }
        change(&mut options);
        let stack = Stack::start(options, &Progress::silent()).await.unwrap_or_else(|error| panic!("{error:?}"));
        System { stack, dir: Kept(Some(dir)) }
    }

    /// The file whose content arms crash points in processes that start from then on.
    pub(crate) fn crash_plan(&self) -> PathBuf {
        self.stack.dir().join(CRASH_PLAN)
    }

    /// Starts every worker again that died.
    pub(crate) fn nurse(&mut self) {
        for worker in &mut self.stack.workers {
            if worker.ended().is_some() {
                worker.restart().expect("the worker starts again");
            }
        }
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

    /// Submits a line until the server answered, however often that takes, and notes it.
    pub(crate) async fn submit(&self, producer: &Producer, class: Class, line: Bytes) -> JobId {
        let id = producer.fresh_id();
        loop {
            match producer.submit(class, line.clone(), Some(id.clone())).await {
                Ok(receipt) => {
                    self.note(&receipt.id, producer.team().as_str());
                    return receipt.id;
                }
                // The server is down: the same id again.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Submits many lines at once.
    pub(crate) async fn submit_all(&self, producer: &Producer, class: Class, lines: impl Iterator<Item = Bytes>) {
        let submit = |line| self.submit(producer, class, line);
        futures_util::stream::iter(lines).map(submit).buffer_unordered(128).collect::<Vec<_>>().await;
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
        submitting.spawn(async move { drop(journal.submit(&producer, class, line(n)).await) });
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
        // Some are read as they are written, and then break off now and then.
        "stream": n.is_multiple_of(3),
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
    drained_with(core, journal, within, || ()).await;
}

/// The same; `meanwhile` is called again and again.
pub(crate) async fn drained_with(core: &Connection, journal: &Journal, within: Duration, mut meanwhile: impl FnMut()) {
    let started = Instant::now();
    let context = jetstream::new(core.client.clone());
    let mut tail = CommitLog::open(&context).await.expect("the results stream").tail(1);
    let mut missing: BTreeSet<(String, JobId)> = journal.accepted().into_iter().collect();
    while !missing.is_empty() {
        meanwhile();
        let entries = tail.next_batch(1000, Duration::from_millis(250)).await.expect("the same stream");
        for (team, job, _) in results(&entries) {
            missing.remove(&(team, job));
        }
        assert!(
            missing.is_empty() || started.elapsed() < within,
            "{} jobs have no result after {within:?}, such as {:?}",
            missing.len(),
            missing.first()
        );
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
    crate::ledger::agrees(core, entries).await;
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
