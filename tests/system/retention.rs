//! Results that are swept under load by processes that die at every step of it: the books agree to the nano-dollar, no
//! text is left, and every job stays answered.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use tollgate_queue::Connection;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::directory::{Directory, Expected, Organisation};
use tollgate_queue::state::State;
use tollgate_sink::SinkProgress;
use tollgate_types::{ErrorCode, JobResult};
use tollgate_usage::reconcile::{self, Ledger};
use tollgate_usage::{HourRange, Source};

use crate::chaos::hits;
use crate::harness::{Journal, System, TEAMS, load, store};

const PROFILE: &str = r#"
[worker]
ack_wait = "3s"
[settler]
lease = "1s"
[sink]
lease = "2s"
batch_rows_max = 200
batch_wait = "200ms"
"#;
const POINTS: [&str; 3] = ["F0", "F1", "F2"];
/// How often each crash point must be hit, or the test proves nothing.
const HITS_MIN: usize = 3;
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_swept_by_processes_that_die_at_every_step_and_the_books_agree() {
    let mut system = System::start("", PROFILE).await;
    let core = system.core().await;
    let context = jetstream::new(core.client.clone());
    let directory = Directory::open(&context, testkit::checks()).await.expect("the bucket exists");
    let record = Organisation { results_keep_secs: Some(1), ..Organisation::default() };
    directory.put_organisation(&record, Expected::Any).await.expect("it is written");
    let journal = Journal::default();
    let mut producers = Vec::new();
    for (team, class) in TEAMS {
        producers.push((system.producer(team).await, class));
    }
    std::fs::write(system.crash_plan(), "F0:0.02,F1:0.02,F2:0.02").expect("the plan is written");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    let since = Instant::now();
    loop {
        let loading = tokio::spawn(load(producers.clone(), 150, Duration::from_millis(20), journal.clone()));
        while !loading.is_finished() {
            system.nurse();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        loading.await.expect("the load ends well");
        let hits = hits(&system, &POINTS);
        if POINTS.iter().all(|point| hits.get(point).copied().unwrap_or(0) >= HITS_MIN) {
            eprintln!("crash points hit: {hits:?}");
            break;
        }
        assert!(since.elapsed() < LIMIT, "crash points not hit often enough: {hits:?}");
    }
    std::fs::remove_file(system.crash_plan()).expect("the plan is removed");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    every_text_is_gone(&mut system, &journal, &producers).await;
    books_agree(&system, &core).await;
    system.stop().await;
}

/// Waits until every job that was accepted is answered, and not with its texts.
async fn every_text_is_gone(
    system: &mut System,
    journal: &Journal,
    producers: &[(tollgate_client::Producer, tollgate_types::Class)],
) {
    let since = Instant::now();
    for (team, id) in journal.accepted() {
        let (producer, _) = producers.iter().find(|(p, _)| p.team().as_str() == team).expect("a team of ours");
        let is_gone = |result: JobResult| {
            result.response.is_none() && result.error.is_some_and(|error| error.code == ErrorCode::NotKept)
        };
        loop {
            let line = producer.result(&id).await.ok().flatten();
            if line.is_some_and(|line| is_gone(serde_json::from_slice(&line).expect("a result"))) {
                break;
            }
            system.nurse();
            assert!(since.elapsed() < LIMIT, "{id} has no result, or still its texts");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Results, or what stands for them, are what ClickHouse and the accounts have.
async fn books_agree(system: &System, core: &Connection) {
    let context = jetstream::new(core.client.clone());
    let log = CommitLog::open(&context).await.expect("the results stream");
    let state = State::open(&context).await.expect("the state bucket");
    let last = log.bounds().await.expect("its bounds").last;
    SinkProgress::catch_up(&state, log.identity(), last, LIMIT).await.expect("the sink catches up");
    let mut ledger = Ledger::default();
    let mut whole = log.whole().await.expect("the log");
    let mut entries = Vec::new();
    while let Some(batch) = whole.next().await.expect("the log") {
        entries.extend(batch.into_iter().map(|counted| counted.entry));
    }
    entries.iter().filter_map(|entry| entry.event.as_ref().ok()).for_each(|event| reconcile::book(&mut ledger, event));
    let store = store(system);
    let raw = store.totals(HourRange::ALL, Source::Raw).await.expect("the raw table");
    let rollup = store.totals(HourRange::ALL, Source::Rollup).await.expect("the rollup");
    let differences = reconcile::reconcile(&ledger, &raw, &rollup);
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(reconcile::sum(&ledger).jobs >= 150);
    entries.sort_by_key(|entry| entry.seq);
    crate::ledger::agrees(core, &entries).await;
}
