//! Stopped batches, true and forged, against a real server: a team that writes many harms nobody.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use testkit::{Setup, World, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_batches::{Counter, CounterConfig, KEY};
use tollgate_client::Producer;
use tollgate_queue::Batches;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_types::batch::{BatchEnd, LINES_MAX, Stop, StopReason, Submitted, VERSION};
use tollgate_types::{BatchId, BatchSpec, Class, UnixMillis, subjects};

const LONG: Duration = Duration::from_secs(90);
/// The counter is out of office after three of these without a sign of life.
const LEASE: Duration = Duration::from_millis(500);

fn spec(id: &BatchId, jobs: u64) -> Value {
    let spec = json!({ "version": VERSION, "id": id, "format": "openai", "file": "a.jsonl", "sha256": "", "bytes": 1, "jobs": jobs,
        "class": "standard", "created_at": 1 });
    serde_json::from_value::<BatchSpec>(spec.clone()).expect("a spec");
    spec
}

async fn said(by: &Producer, subject: String, record: Value) {
    by.client().request(subject, record.to_string().into()).await.expect("it is kept");
}

async fn stopped(by: &Producer, id: &BatchId, jobs: u64) {
    let team = by.team().as_str();
    said(by, subjects::batch_spec(team, id), spec(id, jobs)).await;
    let stop = Stop { version: VERSION, reason: StopReason::Cancelled, at: UnixMillis(1) };
    said(by, subjects::batch_stop(team, id), json!(stop)).await;
}

async fn counter(world: &World, name: &str, tasks: &mut JoinSet<()>) {
    let (connection, context) = (world.broker(name).await, world.jetstream().await);
    let log = CommitLog::open(&context).await.expect("the log");
    let state = State::open(&context).await.expect("the bucket");
    let config = CounterConfig { lease: LEASE, ..CounterConfig::new(name) };
    let counter = Counter::new(config, connection, log, state, world.directory().await);
    tasks.spawn(counter.run(CancellationToken::new()));
}

async fn office(world: &World) -> Option<Value> {
    let state = State::open(&world.jetstream().await).await.expect("the bucket");
    let (record, _) = state.get(KEY).await.expect("it can be read")?;
    Some(serde_json::from_slice(&record).expect("a record"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_forged_stops_of_large_batches_hold_up_neither_the_counter_nor_another_team() {
    const FORGED: u64 = 400;
    const LINES: u64 = 50;
    let world = World::start(Setup::default()).await;
    let (search, marketing, ghost) =
        (world.producer("search").await, world.producer("marketing").await, world.producer("ghost").await);
    let forged = |n: u64| {
        let marketing = &marketing;
        async move { stopped(marketing, &BatchId::of(&[&n.to_be_bytes()]), LINES_MAX).await }
    };
    stream::iter(0..FORGED).map(forged).buffer_unordered(16).collect::<Vec<()>>().await;
    // One whose account is there, but that the broker does not know.
    stopped(&ghost, &BatchId::of(&[b"ghost"]), 7).await;
    let batch = BatchId::of(&[b"true"]);
    let line = |n: u64| {
        let line = World::line("a line", Some("delay=100ms"), json!({}));
        let (search, id) = (search.clone(), batch.job(n));
        async move { search.submit(Class::Standard, line, Some(id)).await.map(|_| ()) }
    };
    stream::iter(1..=LINES).map(line).buffer_unordered(16).try_collect::<Vec<()>>().await.expect("accepted");
    let submitted = Submitted { version: VERSION, through: LINES, ended: true, at: UnixMillis(1) };
    said(&search, subjects::batch_submitted("search", &batch), json!(submitted)).await;
    stopped(&search, &batch, LINES).await;

    let mut tasks = JoinSet::new();
    counter(&world, "counter-1", &mut tasks).await;
    eventually("it is in office", LONG, || async { office(&world).await }).await;
    counter(&world, "counter-2", &mut tasks).await;
    let _worker = world.worker("w1", |_| {}).await;

    let batches = Batches::new(world.broker("operator").await.client);
    let done = || async { batches.done("search", &batch).await.expect("it can be read") };
    let done = eventually("the batch has ended", LONG, done).await;
    assert_eq!((done.end, done.tally.ends.total()), (BatchEnd::Cancelled, LINES), "{done:?}");
    let begun = eventually("a forged one has ended too", LONG, || async {
        batches.done("marketing", &BatchId::of(&[&0_u64.to_be_bytes()])).await.expect("it can be read")
    });
    assert_eq!(begun.await.not_submitted, LINES_MAX);
    let office = office(&world).await.expect("somebody is in office");
    assert_eq!((&office["term"], &office["owner"]), (&json!(1), &json!("counter-1")), "nobody lost it");
}
