//! One nats-server, one database, a proxy between, and the sinks of a case.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use sandbox::{BROKER_USER, Locations, NatsOptions, NatsServer, Progress};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::connect::{Connection, NatsConfig};
use tollgate_queue::state::State;
use tollgate_queue::streams::{self, Limits};
use tollgate_sink::{Sink, SinkConfig, SinkProgress};
use tollgate_types::event::{AttemptOutcome, AttemptRecord, CacheUse, EventKind};
use tollgate_types::{NanoUsd, Status, Tokens, Tombstone, UnixMillis, UsageEvent, UsageSource, headers, subjects};
use tollgate_usage::reconcile::{self, Ledger};
use tollgate_usage::{ClickHouseConfig, HourRange, Schema, Source, Store};

use crate::proxy::Proxy;

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Where the sink's record is kept.
pub(crate) const KEY: &str = "sink.manifest";

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) context: Context,
    pub(crate) state: State,
    /// Straight to the engine.
    pub(crate) store: Store,
    pub(crate) proxy: Proxy,
    database: String,
    published: AtomicU64,
    _dir: TempDir,
}

/// A sink that runs.
pub(crate) struct Running {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    /// Ends it between two instructions: it stores and releases nothing more.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Asks it to stop, and waits until it did.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(DEADLINE, &mut self.task).await;
        ended.expect("it stops in time").expect("it does not panic");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn limits() -> Limits {
    const MIB: i64 = 1 << 20;
    Limits {
        jobs_bytes_max: 64 * MIB,
        wait_bytes_max: 64 * MIB,
        results_bytes_max: 64 * MIB,
        dead_bytes_max: 8 * MIB,
        blobs_bytes_max: 8 * MIB,
        files_bytes_max: 8 * MIB,
        ..Limits::default()
    }
}

pub(crate) async fn wait_until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let until = Instant::now() + DEADLINE;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !condition().await {
        assert!(Instant::now() < until, "in vain: {what}");
        look.tick().await;
    }
}

impl World {
    pub(crate) async fn new(engine: SocketAddr, database: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let locations = Locations::from_env().expect("a cache directory");
        let binary = sandbox::nats_server(&locations, &Progress::silent()).await.expect("a nats-server");
        let config = sandbox::NatsConfig::new(vec![], "broker-secret", "sys-secret");
        let options = NatsOptions { binary, work_dir: dir.path().join("nats"), store_dir: None, config, port: None };
        let nats = NatsServer::start(options).await.expect("nats-server starts");
        let config = NatsConfig {
            url: nats.url(),
            user: Some(BROKER_USER.to_owned()),
            password: Some("broker-secret".to_owned().into()),
            ..NatsConfig::default()
        };
        let context = jetstream::new(Connection::open(&config, "test").await.expect("a connection").client);
        streams::ensure(&context, &limits()).await.expect("the streams are made");
        let state = State::open(&context).await.expect("the bucket opens");
        let store = store(&format!("http://{engine}"), database);
        Schema::apply(&store).await.expect("the schema applies");
        let proxy = Proxy::start(engine).await;
        let database = database.to_owned();
        World { nats, context, state, store, proxy, database, published: AtomicU64::new(0), _dir: dir }
    }

    pub(crate) fn sink(&self, name: &str) -> Running {
        self.sink_with(name, |_| {})
    }

    /// A sink with a connection of its own to ClickHouse, small batches and a short lease.
    pub(crate) fn sink_with(&self, name: &str, change: impl FnOnce(&mut SinkConfig)) -> Running {
        let mut config = SinkConfig {
            batch_rows_max: 90,
            batch_wait: Duration::from_millis(50),
            lease: Duration::from_millis(600),
            shutdown_grace: Duration::from_millis(500),
            ..SinkConfig::new(name)
        };
        change(&mut config);
        let (context, state, store) =
            (self.context.clone(), self.state.clone(), store(&self.proxy.url(), &self.database));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let log = CommitLog::open(&context).await.expect("the log opens");
            Sink::new(config, log, state, store).run(stopped).await;
        });
        Running { task, stop }
    }

    pub(crate) async fn progress(&self) -> Option<SinkProgress> {
        SinkProgress::read(&self.state).await.expect("an answer")
    }

    /// Publishes `count` more records of a mixed lot.
    pub(crate) async fn publish(&self, count: u64) {
        let first = self.published.fetch_add(count, Ordering::SeqCst);
        for index in first..first + count {
            let event = varied(index);
            let subject = match event.kind {
                EventKind::Result => subjects::result(&event.team, &event.job),
                EventKind::Extra | EventKind::Started => subjects::extra(&event.team, &event.job, &event.run),
            };
            let mut map = HeaderMap::new();
            map.insert(headers::USAGE, event.to_header().as_str());
            let publish = self.context.publish_with_headers(subject, map, "{}".into()).await;
            publish.expect("it is sent").await.expect("it is stored");
        }
    }

    /// Publishes the tombstone of a record, as one does who saw no sink; the record stays.
    pub(crate) async fn entomb(&self, sequence: u64) {
        let stream = self.context.get_stream(subjects::RESULTS_STREAM).await.expect("the stream");
        let record = stream.get_raw_message(sequence).await.expect("the record");
        let tombstone = Tombstone::new(sequence, UnixMillis::from(record.time), false);
        let mut map = HeaderMap::new();
        map.insert(headers::USAGE, record.headers.get(headers::USAGE).expect("a record").as_str());
        map.insert(headers::TOMBSTONE, tombstone.to_header());
        let publish = self.context.publish_with_headers(record.subject.to_string(), map, "{}".into()).await;
        publish.expect("it is sent").await.expect("it is stored");
    }

    /// Removes a record.
    pub(crate) async fn remove(&self, sequence: u64) {
        let stream = self.context.get_stream(subjects::RESULTS_STREAM).await.expect("the stream");
        stream.delete_message(sequence).await.expect("it is removed");
    }

    /// Waits until the sink says that it is at the end of the log.
    pub(crate) async fn check_caught_up(&self) {
        let log = CommitLog::open(&self.context).await.expect("the log opens");
        let last = log.bounds().await.expect("bounds").last;
        SinkProgress::catch_up(&self.state, log.identity(), last, DEADLINE).await.expect("the sink catches up");
    }

    /// Waits for the end of the log; then results, raw table and rollup must agree in every number.
    pub(crate) async fn check_exact(&self) {
        self.check_caught_up().await;
        let raw = self.store.totals(HourRange::ALL, Source::Raw).await.expect("raw totals");
        let rollup = self.store.totals(HourRange::ALL, Source::Rollup).await.expect("rollup totals");
        let differences = reconcile::reconcile(&self.read_log().await, &raw, &rollup);
        let printed: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert!(differences.is_empty(), "{}:\n{}", self.database, printed.join("\n"));
        assert_eq!(self.store.books().await.expect("the books").repeated_rows, 0, "{}", self.database);
    }

    pub(crate) async fn read_log(&self) -> Ledger {
        let log = CommitLog::open(&self.context).await.expect("the log opens");
        let mut whole = log.whole().await.expect("the log can be read");
        let mut ledger = Ledger::new();
        while let Some(batch) = whole.next().await.expect("the whole log") {
            let events = batch.iter().filter_map(|counted| counted.entry.event.as_ref().ok());
            events.for_each(|event| reconcile::book(&mut ledger, event));
        }
        ledger
    }
}

fn store(url: &str, database: &str) -> Store {
    let config = ClickHouseConfig { database: database.to_owned(), ..ClickHouseConfig::new(url) };
    Store::new(config).expect("the configuration is sound")
}

/// The `index`th of a mixed lot: teams, models, ends, retries, lost races, redeliveries.
fn varied(index: u64) -> UsageEvent {
    let kind = match index % 10 {
        8 => EventKind::Extra,
        9 => EventKind::Started,
        _ => EventKind::Result,
    };
    let calls = if kind == EventKind::Started { 0 } else { index % 3 };
    let unknown = if kind == EventKind::Result { 0 } else { (index % 5) as i64 - 2 };
    let call = |number: u64| AttemptRecord {
        provider: "sim".into(),
        model: ["gpt", "mini"][(index % 2) as usize].into(),
        region: String::new(),
        outcome: if number + 1 == calls { AttemptOutcome::Ok } else { AttemptOutcome::Error },
        error: String::new(),
        http_status: 200,
        started_at: UnixMillis(1_763_000_000_000),
        latency_ms: index,
        first_byte_ms: 0,
        tokens: Tokens { input: index, output: number + 1, ..Tokens::default() },
        usage_source: UsageSource::Provider,
        cost_nanousd: NanoUsd(1_000_003 * (index as i64 + 1)),
        price_version: "v1".into(),
        request_id: String::new(),
        raw_usage: String::new(),
    };
    UsageEvent {
        version: 1,
        kind,
        job: format!("job-{index}").parse().expect("a job id"),
        team: ["search", "ads"][(index % 2) as usize].into(),
        class: "batch".into(),
        run: format!("run-{index}"),
        worker: "w".into(),
        delivery: 1,
        status: Status::ALL[(index % 6) as usize],
        error_code: None,
        project: String::new(),
        user: String::new(),
        key: String::new(),
        labels: Default::default(),
        model_requested: "fast".into(),
        attempts: (0..calls).map(call).collect(),
        unknown_attempts: unknown,
        unknown_nanousd: NanoUsd(unknown * 77),
        saved_nanousd: NanoUsd::ZERO,
        cache: CacheUse::Miss,
        kept: None,
        stream: false,
        guardrails: Vec::new(),
        risk: 0,
        hold: None,
        downgraded_to: String::new(),
        endpoint: String::new(),
        traceparent: String::new(),
        accepted_at: UnixMillis(1_763_000_000_000),
        queued_ms: 1,
        run_ms: 2,
    }
}
