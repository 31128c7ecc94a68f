//! The books: accounts, ClickHouse and the log say the same before and after texts went, and in between.

use std::time::Duration;

use embedded_clickhouse::{Config as EngineConfig, Server};
use futures_util::{StreamExt as _, stream};
use sandbox::{Locations, Progress};
use serde_json::json;
use testkit::World;
use tokio::task::JoinHandle;
use tollgate_queue::commit_log::{CommitLog, Whole};
use tollgate_retention::{Entomb, Entombed, Passed, Whom};
use tollgate_settler::rebuild::{Rebuilt, Which, rebuild};
use tollgate_sink::{Sink, SinkConfig, SinkProgress};
use tollgate_types::{ErrorCode, JobId, UnixMillis, headers};
use tollgate_usage::reconcile::{self, Ledger};
use tollgate_usage::{ClickHouseConfig, HourRange, Schema, Source, Store};

use crate::bench::{Bench, CANARY, LIMIT, of_user, quick};

async fn of_the_log(log: &CommitLog) -> Ledger {
    read(log.whole().await.expect("the log")).await
}

async fn read(mut whole: Whole) -> Ledger {
    let mut ledger = Ledger::new();
    while let Some(batch) = whole.next().await.expect("the log") {
        let events = batch.iter().filter_map(|counted| counted.entry.event.as_ref().ok());
        events.for_each(|event| reconcile::book(&mut ledger, event));
    }
    assert_eq!(whole.complete_since(), None, "nothing is missing");
    ledger
}

async fn rebuilt(bench: &Bench) -> Vec<Rebuilt> {
    let (log, records) = (bench.log().await, bench.world.records().await);
    let parts = (&log, &records, &bench.directory);
    let now = UnixMillis(tollgate_queue::ServerClock::new().now().0);
    rebuild(parts, &Which::All, false, now).await.expect("the accounts are made anew")
}

async fn settled(bench: &Bench) {
    let log = bench.log().await;
    testkit::eventually("the settler has everything", LIMIT, || async {
        let last = log.bounds().await.expect("bounds").last;
        let progress = tollgate_settler::Progress::read(&bench.state).await.expect("an answer");
        (progress.through >= last).then_some(())
    })
    .await;
}

/// A rebuild changes nothing, and the log says what it said.
async fn check_same(bench: &Bench, before: &Ledger) {
    settled(bench).await;
    assert_eq!(&of_the_log(&bench.log().await).await, before);
    for rebuilt in rebuilt(bench).await {
        assert!(rebuilt.same(), "{} differs: {rebuilt:#?}", rebuilt.scope());
    }
}

async fn run(bench: &Bench, line: bytes::Bytes) -> JobId {
    let id = bench.submit(line, None).await;
    bench.result(&id).await;
    id
}

/// Jobs of several ends and costs.
async fn mixed(bench: &Bench) -> Vec<JobId> {
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(run(bench, of_user(&format!("{CANARY} {n} {}", "word ".repeat(n)), "ann")).await);
    }
    ids.push(run(bench, World::line(CANARY, Some("status=400"), json!({}))).await);
    ids.push(run(bench, World::line(CANARY, None, json!({ "deadline": "2020-01-01T00:00:00Z" }))).await);
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_fold_to_the_same_before_and_after_and_between_tombstone_and_deletion() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let ids = mixed(&bench).await;
    bench.until_empty().await;
    let before = of_the_log(&bench.log().await).await;
    check_same(&bench, &before).await;
    // As after a kill: both are there.
    let tombs = bench.tombs().await;
    for id in &ids[..4] {
        let lying = tombs.find("search", id).await.expect("an answer").expect("a result");
        assert!(tombs.raise(&lying, ErrorCode::Forgotten, false).await.expect("an answer"));
    }
    check_same(&bench, &before).await;
    let done = bench.forgotten(Whom::Job(ids[5].clone())).await;
    assert_eq!(done.pending, 0);
    check_same(&bench, &before).await;
    bench.keep("search", Some(1)).await;
    let _sweeper = bench.sweeper("sweeper").await;
    for id in ids.iter().filter(|id| **id != ids[5] && !ids[..4].contains(id)) {
        bench.gone(&bench.search, id, ErrorCode::NotKept).await;
    }
    check_same(&bench, &before).await;
    // Also while more is paid.
    let more = run(&bench, quick("more")).await;
    bench.gone(&bench.search, &more, ErrorCode::NotKept).await;
    settled(&bench).await;
    for rebuilt in rebuilt(&bench).await {
        assert!(rebuilt.same(), "{} differs: {rebuilt:#?}", rebuilt.scope());
    }
    worker.drained().await;
}

/// Publishes so many results, as a worker commits them.
async fn publish(bench: &Bench, count: usize) {
    let publish = |n: usize| async move {
        let event = json!({"version": 1, "kind": "result", "job": format!("j-{n}"), "team": "search", "class": "batch",
            "run": "r", "worker": "w", "delivery": 1, "status": "succeeded", "attempts": [], "cache": "miss",
            "accepted_at": 0, "queued_ms": 5, "run_ms": 0});
        let mut map = async_nats::HeaderMap::new();
        map.insert(headers::USAGE, event.to_string());
        map.insert(headers::DIGEST, headers::ANY_DIGEST);
        let subject = format!("tollgate.results.search.j-{n}");
        bench.context.publish_with_headers(subject, map, "{}".into()).await.expect("sent").await.expect("stored");
    };
    stream::iter(0..count).map(publish).buffer_unordered(64).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_removed_before_the_reader_comes_to_them_are_counted_by_their_tombstones() {
    // Without those that go, exactly one batch of the reader, which ends where it set out for.
    const REMOVED: usize = 3;
    const RECORDS: usize = 2_000 + REMOVED;
    let bench = Bench::start().await;
    publish(&bench, RECORDS).await;
    let log = bench.log().await;
    let (before, whole) = (of_the_log(&log).await, log.whole().await.expect("the log"));
    assert_eq!(reconcile::sum(&before).jobs, RECORDS as u64);
    let (tombs, all) = (bench.tombs().await, Passed { settled: u64::MAX, sunk: None });
    for n in 0..REMOVED {
        let job = format!("j-{}", n * 7).parse().expect("an id");
        let entombed = Entomb::new(&tombs, &bench.state, &log, all).job("search", &job, ErrorCode::NotKept).await;
        assert_eq!(entombed.expect("an answer"), Entombed::Now);
    }
    assert_eq!(read(whole).await, before);
    assert_eq!(of_the_log(&log).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_read_while_it_is_swept_says_the_same_each_time() {
    const JOBS: usize = 400;
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let lines = (0..JOBS).map(|n| bench.submit(quick(&format!("question {n}")), None));
    let ids: Vec<JobId> = futures_util::future::join_all(lines).await;
    for id in &ids {
        bench.result(id).await;
    }
    settled(&bench).await;
    let log = bench.log().await;
    let before = of_the_log(&log).await;
    assert_eq!(reconcile::sum(&before).jobs, JOBS as u64);
    bench.keep("search", Some(1)).await;
    let _sweeper = bench.sweeper("sweeper").await;
    let (mut reads, mut during) = (0, 0);
    let since = std::time::Instant::now();
    loop {
        let at = log.bounds().await.expect("bounds").last;
        assert_eq!(of_the_log(&log).await, before, "after {reads} reads");
        reads += 1;
        during += u64::from(log.bounds().await.expect("bounds").last > at);
        let last = bench.tombs().await.find("search", ids.last().expect("many")).await.expect("an answer");
        if last.is_some_and(|lying| lying.tombstone.is_some()) {
            break;
        }
        assert!(since.elapsed() < LIMIT, "not swept in time");
    }
    assert!(during > 0, "none of {reads} reads had a sweep beside it");
    check_same(&bench, &before).await;
    worker.drained().await;
}

/// ClickHouse, and the sinks of one case.
struct Tables<'a> {
    bench: &'a Bench,
    store: Store,
}

impl Tables<'_> {
    fn sink(&self, name: &str) -> JoinHandle<()> {
        let config = SinkConfig { batch_wait: Duration::from_millis(50), ..SinkConfig::new(name) };
        let config = SinkConfig { lease: Duration::from_millis(600), ..config };
        let (context, state, store) = (self.bench.context.clone(), self.bench.state.clone(), self.store.clone());
        tokio::spawn(async move {
            let log = CommitLog::open(&context).await.expect("the log opens");
            Sink::new(config, log, state, store).run(Default::default()).await;
        })
    }

    async fn agree(&self, what: &str) {
        let log = self.bench.log().await;
        let last = log.bounds().await.expect("bounds").last;
        SinkProgress::catch_up(&self.bench.state, log.identity(), last, LIMIT).await.expect("the sink catches up");
        let raw = self.store.totals(HourRange::ALL, Source::Raw).await.expect("raw totals");
        let rollup = self.store.totals(HourRange::ALL, Source::Rollup).await.expect("rollup totals");
        let differences = reconcile::reconcile(&of_the_log(&log).await, &raw, &rollup);
        assert!(differences.is_empty(), "{what}: {differences:#?}");
        let books = self.store.books().await.expect("the books");
        assert!(books.raw.jobs > 0 && books.repeated_rows == 0, "{what}: {books:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clickhouse_agrees_before_and_after_and_with_a_sink_that_comes_late() {
    let locations = Locations::from_env().expect("a cache directory");
    let library = sandbox::clickhouse_engine(&locations, &Progress::silent()).await.expect("the engine");
    let data = tempfile::tempdir().expect("a directory");
    let engine = Server::start(EngineConfig::new(library, data.path().join("data"))).await.expect("the engine starts");
    let store = |database: &str| {
        let url = format!("http://{}", engine.addr());
        let config = ClickHouseConfig { database: database.to_owned(), ..ClickHouseConfig::new(&url) };
        Store::new(config).expect("the configuration is sound")
    };
    let bench = Bench::start().await;
    let worker = bench.worker().await;

    // Swept before there was any sink: the first one counts the tombstones as what they stand for.
    let early = mixed(&bench).await;
    bench.keep("search", Some(1)).await;
    let sweeper = bench.sweeper("early").await;
    for id in &early {
        bench.gone(&bench.search, id, ErrorCode::NotKept).await;
    }
    drop(sweeper);
    bench.keep("search", None).await;
    let tables = Tables { bench: &bench, store: store("late") };
    Schema::apply(&tables.store).await.expect("the schema applies");
    let sink = tables.sink("a");
    tables.agree("swept before there was a sink").await;

    // Swept and forgotten behind it: nothing changes in the tables.
    let ids = mixed(&bench).await;
    tables.agree("before").await;
    let before = of_the_log(&bench.log().await).await;
    bench.forgotten(Whom::Job(ids[0].clone())).await;
    tables.agree("forgotten").await;
    bench.keep("search", Some(1)).await;
    let _sweeper = bench.sweeper("late").await;
    for id in &ids[1..] {
        bench.gone(&bench.search, id, ErrorCode::NotKept).await;
    }
    tables.agree("swept").await;
    assert_eq!(of_the_log(&bench.log().await).await, before);
    // Another sink takes over and reads the tombstones once more.
    sink.abort();
    let sink = tables.sink("b");
    run(&bench, quick("more")).await;
    tables.agree("another sink").await;
    sink.abort();
    worker.drained().await;
    engine.shutdown().await;
}
