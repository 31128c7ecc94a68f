//! Lines of a batch that is stopped: whoever takes them ends them, whether or not anybody goes through the backlog. There
//! is no counter in this world, so nobody does.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tollgate_queue::Batches;
use tollgate_queue::commit_log::CommitLog;
use tollgate_types::batch::{Stop, StopReason, VERSION};
use tollgate_types::{BatchId, Class, ErrorCode, Status, UsageEvent};

use crate::bench::{Bench, now, quick};

const LONG: Duration = Duration::from_secs(90);

async fn submitted(bench: &Bench, batch: &BatchId, lines: u64) {
    let one = |line: u64| async move {
        bench.search.submit(Class::Standard, quick("a line").into(), Some(batch.job(line))).await.map(|_| ())
    };
    let all = stream::iter(1..=lines).map(one).buffer_unordered(64);
    all.try_collect::<Vec<()>>().await.expect("all are accepted");
}

async fn stop(bench: &Bench, batch: &BatchId) {
    let batches = Batches::new(bench.world.broker("operator").await.client);
    let stop = Stop { version: VERSION, reason: StopReason::MaxCost, at: now() };
    batches.say_stop(("search", batch), &stop).await.expect("it is said");
}

/// The ends of so many jobs, in the order of the log.
async fn ends(bench: &Bench, jobs: usize) -> Vec<UsageEvent> {
    let log = CommitLog::open(&bench.world.jetstream().await).await.expect("the stream exists");
    let mut tail = log.tail(1);
    let mut ends = Vec::new();
    let gathered = async {
        while ends.len() < jobs {
            let batch = tail.next_batch(1000, Duration::from_millis(50)).await.expect("the log can be read");
            ends.extend(batch.into_iter().filter_map(|entry| entry.event.ok()));
        }
    };
    tokio::time::timeout(LONG, gathered).await.expect("every line has its end");
    ends
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_a_stop_is_known_only_the_calls_under_way_end_otherwise() {
    const LINES: u64 = 4000;
    const AT_ONCE: usize = 16;
    let bench = Bench::start().await;
    let batch = BatchId::of(&[b"answered at once"]);
    submitted(&bench, &batch, LINES).await;
    let worker = bench.world.worker("w1", |config| config.concurrency = AT_ONCE).await;
    let some = || async { (bench.called().len() > AT_ONCE).then_some(()) };
    testkit::eventually("some are answered", LONG, some).await;
    stop(&bench, &batch).await;

    let ends = ends(&bench, LINES as usize).await;

    let known = ends.iter().position(|end| end.status == Status::Cancelled).expect("the rest is cancelled");
    let after = ends[known..].iter().filter(|end| end.status == Status::Succeeded).count();
    assert!(after <= AT_ONCE, "{after} were called after it was known");
    assert!(ends[known..].iter().all(|end| end.status == Status::Succeeded || end.attempts.is_empty()));
    assert_eq!(ends.len() as u64, LINES, "each line has one end");
    assert!(bench.called().len() <= known + AT_ONCE, "a line without a call cost nothing");
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_just_started_knows_of_a_stop_whatever_else_was_written() {
    const LINES: u64 = 100;
    let bench = Bench::start().await;
    let (stopped, other) = (BatchId::of(&[b"stopped"]), BatchId::of(&[b"other"]));
    submitted(&bench, &stopped, LINES).await;
    submitted(&bench, &other, LINES).await;
    stop(&bench, &stopped).await;
    // A team may write what it likes about batches that do not exist, and about its own what nobody can read.
    let forged = |n: u64| {
        let subject = format!("tollgate.bulk.search.{}.stop", BatchId::of(&[&n.to_be_bytes()]));
        let client = bench.search.client().clone();
        async move { client.request(subject, "{\"reason\": 7}".into()).await.map(|_| ()) }
    };
    stream::iter(0..3000).map(forged).buffer_unordered(64).try_collect::<Vec<()>>().await.expect("they are kept");
    let subject = format!("tollgate.bulk.search.{other}.stop");
    bench.search.client().request(subject, "no JSON".into()).await.expect("it is kept");

    let worker = bench.world.worker("w1", |_| {}).await;
    let ends = ends(&bench, 2 * LINES as usize).await;

    let of =
        |batch: &BatchId| ends.iter().filter(|end| end.job.as_str().starts_with(batch.as_str())).collect::<Vec<_>>();
    assert!(of(&stopped).iter().all(|end| end.error_code == Some(ErrorCode::Cancelled) && end.attempts.is_empty()));
    assert!(of(&other).iter().all(|end| end.status == Status::Succeeded));
    assert_eq!(bench.called().len() as u64, LINES);
    worker.drained().await;
}
