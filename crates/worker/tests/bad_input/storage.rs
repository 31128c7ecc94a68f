//! 65, 66: streams and consumers that are gone or full.

use std::time::Duration;

use serde_json::json;
use testkit::{Setup, WorkerHandle, World, eventually, small_limits};
use tollgate_client::{Producer, SubmitError};
use tollgate_queue::streams::{self, Limits};
use tollgate_types::{Class, JobId, JobResult, Status};

use crate::bench::kept;

const SOON: Duration = Duration::from_secs(20);
const RESULTS: &str = "TOLLGATE_RESULTS";
const JOBS: &str = "TOLLGATE_JOBS";

async fn submit(producer: &Producer, prompt: &str, directive: Option<&str>) -> JobId {
    let line = World::line(prompt, directive, json!({}));
    producer.submit(Class::Standard, line, None).await.expect("accepted").id
}

async fn succeeded(world: &World, producer: &Producer, id: &JobId) -> JobResult {
    let result = world.result(producer, id).await;
    assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
    result
}

async fn holds(worker: &WorkerHandle, reason: Option<&'static str>) {
    let mut status = worker.status.clone();
    let said = tokio::time::timeout(SOON, status.wait_for(|status| status.holding == reason)).await;
    said.unwrap_or_else(|_| panic!("holding {:?}", worker.status.borrow().holding)).expect("the worker runs");
}

async fn called(world: &World, times: usize) {
    eventually("the call began", SOON, || async { (world.sim.calls().len() >= times).then_some(()) }).await;
}

/// A stream as it is made, with other limits.
async fn make(world: &World, stream: &str, limits: Limits) {
    let config = streams::wanted(&limits).into_iter().find(|config| config.name == stream).expect("one of ours");
    world.jetstream().await.create_stream(config).await.expect("it is made");
}

#[tokio::test]
async fn without_the_results_stream_no_work_is_taken_until_the_operator_makes_it_again() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let mut worker = world.worker("w1", |config| config.concurrency = 2).await;
    let context = world.jetstream().await;
    let in_flight = submit(&search, "in flight", Some("delay=1500ms")).await;
    called(&world, 1).await;

    context.delete_stream(RESULTS).await.expect("deleted");
    let mut waiting = Vec::new();
    for n in 0..6 {
        waiting.push(submit(&search, &format!("waiting {n}"), None).await);
    }
    holds(&worker, Some("results cannot be read or written")).await;
    // Longer than the ack wait, so that jobs that were dropped would have come again and again.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.sim.calls().len(), 1, "nothing is paid that could not be kept");
    assert!(context.get_stream(RESULTS).await.is_err(), "it is never made by a worker");
    assert_eq!(kept(&world, JOBS).await, 7, "no job is lost");

    streams::ensure(&context, &small_limits()).await.expect("made again");
    succeeded(&world, &search, &in_flight).await;
    for id in &waiting {
        assert_eq!(succeeded(&world, &search, id).await.tollgate.attempts.len(), 1);
    }
    assert_eq!(world.sim.calls().len(), 7, "each was called once");
    holds(&worker, None).await;
    assert!(worker.is_alive());
}

#[tokio::test]
async fn without_the_jobs_stream_the_worker_says_so_and_goes_on_when_it_is_back() {
    let world = World::start(Setup::default()).await;
    let worker = world.worker("w1", |_| {}).await;
    let context = world.jetstream().await;
    let mut raw = world.raw("search").await;
    // Without ids of their own: the new stream's first sequence must not be taken for the old one's.
    let first = World::line("one", None, json!({}));
    raw.request(b"tollgate.jobs.standard.search", b"", &first).await.expect("accepted");
    eventually("its result", SOON, || async { (kept(&world, RESULTS).await == 1).then_some(()) }).await;

    context.delete_stream(JOBS).await.expect("deleted");
    holds(&worker, Some("jobs cannot be counted")).await;
    assert!(context.get_stream(JOBS).await.is_err(), "it is never made by a worker");
    streams::ensure(&context, &small_limits()).await.expect("made again");
    holds(&worker, None).await;

    let second = World::line("two", None, json!({}));
    let answer = raw.request(b"tollgate.jobs.standard.search", b"", &second).await.expect("accepted");
    assert!(String::from_utf8_lossy(&answer).contains("\"seq\":1"), "the same sequence again");
    eventually("its own result", SOON, || async { (kept(&world, RESULTS).await == 2).then_some(()) }).await;
    assert_eq!(world.sim.calls().len(), 2, "it was run, not answered as a conflict");
    eventually("all are done", SOON, || async { (kept(&world, JOBS).await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_deleted_consumer_is_made_again_and_finished_jobs_do_not_run_again() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let _worker = world.worker("w1", |_| {}).await;
    for n in 0..10 {
        world.run(&search, Class::Standard, World::line(&format!("{n}"), None, json!({}))).await;
    }

    let context = world.jetstream().await;
    let stream = context.get_stream(JOBS).await.expect("it exists");
    stream.delete_consumer("lane-standard-search").await.expect("deleted");
    let id = submit(&search, "after", None).await;

    succeeded(&world, &search, &id).await;
    assert_eq!(world.sim.calls().len(), 11);
    assert_eq!(kept(&world, RESULTS).await, 11);
}

#[tokio::test]
async fn results_that_do_not_fit_wait_in_flight_until_there_is_room() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let context = world.jetstream().await;
    context.delete_stream(RESULTS).await.expect("deleted");
    make(&world, RESULTS, Limits { results_bytes_max: 8 << 10, ..small_limits() }).await;
    let mut worker = world.worker("w1", |config| config.concurrency = 2).await;

    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(submit(&search, &format!("{n}"), None).await);
    }
    holds(&worker, Some("results cannot be read or written")).await;
    let (paid, done) = (world.sim.calls().len() as u64, kept(&world, RESULTS).await);
    assert!(done < 20 && paid <= done + 2, "two in flight at most: {paid} paid, {done} kept");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.sim.calls().len() as u64, paid, "nothing more is pulled or paid");
    assert_eq!(kept(&world, JOBS).await, 20 - done, "and nothing is acked");

    streams::ensure(&context, &small_limits()).await.expect("raised");
    for id in &ids {
        assert_eq!(succeeded(&world, &search, id).await.tollgate.unknown_attempts, 0);
    }
    assert_eq!(world.sim.calls().len(), 20, "each was paid once");
    holds(&worker, None).await;
    assert!(worker.is_alive());
}

#[tokio::test]
async fn a_full_queue_refuses_producers_in_words_and_drops_nothing() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let context = world.jetstream().await;
    context.delete_stream(JOBS).await.expect("deleted");
    make(&world, JOBS, Limits { jobs_max: 3, ..small_limits() }).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(submit(&search, &format!("{n}"), None).await);
    }

    let refused = search.submit(Class::Standard, World::line("one too many", None, json!({})), None).await;

    match refused {
        Err(SubmitError::Refused { description, .. }) => assert!(description.contains("maximum"), "{description}"),
        other => panic!("{other:?}"),
    }
    let _worker = world.worker("w1", |_| {}).await;
    for id in &ids {
        succeeded(&world, &search, id).await;
    }
    let id = submit(&search, "now there is room", None).await;
    succeeded(&world, &search, &id).await;
}
