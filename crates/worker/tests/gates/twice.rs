//! Ids that come again while their job is parked, and copies that a crash left between park and ack.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer;
use futures_util::StreamExt;
use serde_json::json;
use testkit::eventually;
use tollgate_queue::directory::Paused;
use tollgate_types::{Class, ErrorCode, Gate, JobResult};

use crate::bench::{A_SECOND, Bench, check_ran_once, line, quick};

/// Submits under an id until the server takes it as new.
async fn submit_anew(bench: &Bench, id: &tollgate_types::JobId, line: &str) {
    eventually("the duplicate window has passed", Duration::from_secs(20), || async {
        let receipt = bench.search.submit(Class::Standard, line.to_owned().into(), Some(id.clone())).await;
        (!receipt.expect("accepted").duplicate).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_comes_again_while_its_job_is_parked_gets_one_result_and_another_body_a_conflict() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let paused = Paused::model("sim-small");
    bench.pause(&paused).await;
    tokio::time::sleep(A_SECOND).await;
    let mut replies = bench.search.client().subscribe("reply.search.again").await.expect("allowed");
    let same = line("same", "sim-small", "tokens=10", json!({ "reply_to": "reply.search.again" }));
    let other = line("other", "sim-small", "tokens=10", json!({ "reply_to": "reply.search.again" }));
    let id = bench.submit(same.clone()).await;
    let parked = || async { (bench.jobs().await.is_empty() && bench.waiting().await.len() == 1).then_some(()) };
    eventually("it is parked", Duration::from_secs(10), parked).await;

    submit_anew(&bench, &id, &same).await;
    eventually("it is parked once", Duration::from_secs(10), parked).await;
    submit_anew(&bench, &id, &other).await;
    let conflict = tokio::time::timeout(Duration::from_secs(20), replies.next()).await.expect("in time").expect("one");
    let conflict: JobResult = serde_json::from_slice(&conflict.payload).expect("a result");
    assert_eq!(conflict.error.map(|error| error.code), Some(ErrorCode::Conflict));
    assert_ne!(conflict.id, id, "it is kept under an id of its own");
    eventually("still parked once", Duration::from_secs(10), parked).await;

    bench.resume(&paused).await;
    check_ran_once(&bench.result(&id, Duration::from_secs(20)).await);
    bench.until_empty().await;
    assert_eq!(bench.calls_of(&id), 1);
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_parked_again_and_again_keeps_one_copy_and_all_its_facts() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let paused = Paused::model("sim-small");
    bench.pause(&paused).await;
    tokio::time::sleep(A_SECOND).await;
    let mut headers = HeaderMap::new();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert("traceparent", trace);
    let receipt = bench.search.submit_with(Class::Standard, quick("again").into(), None, headers).await;
    let id = receipt.expect("accepted").id;
    let parked = || async { (bench.jobs().await.is_empty() && bench.waiting().await.len() == 1).then_some(()) };
    eventually("it is parked", Duration::from_secs(10), parked).await;
    let accepted_at = bench.status(&id).await["accepted_at"].clone();
    // Closed for it by the time it comes: the pause of its lane is over, that of its model begins anew.
    for _ in 0..3 {
        let lane = Paused::Lane { class: None, team: "search".parse().expect("a team") };
        bench.pause(&lane).await;
        tokio::time::sleep(A_SECOND).await;
        bench.resume(&paused).await;
        bench.pause(&paused).await;
        bench.resume(&lane).await;
        eventually("it is parked", Duration::from_secs(10), parked).await;
    }
    assert_eq!(bench.status(&id).await["accepted_at"], accepted_at);
    bench.resume(&paused).await;
    check_ran_once(&bench.result(&id, Duration::from_secs(20)).await);
    bench.until_empty().await;
    let calls = bench.world.sim.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].received.traceparent.as_deref(), Some(trace));
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_a_crash_left_between_park_and_ack_is_the_only_one_that_runs() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let first = bench.submit(quick("makes the lane")).await;
    bench.result(&first, Duration::from_secs(20)).await;
    worker.drained().await;

    // What a worker leaves that dies at C8: the message is delivered and not acked, its copy is stored.
    let id = bench.submit(quick("left")).await;
    let jetstream = bench.world.jetstream().await;
    let stream = jetstream.get_stream("TOLLGATE_JOBS").await.expect("it exists");
    let lane: consumer::PullConsumer = stream.get_consumer("lane-standard-search").await.expect("it exists");
    let mut taken = lane.fetch().max_messages(1).messages().await.expect("pulled");
    let taken = taken.next().await.expect("one").expect("readable");
    let gate = Gate::of_model("sim-small");
    let mut headers = HeaderMap::new();
    headers.insert("Tollgate-Parked-Digest", digest_of(&taken.payload).as_str());
    headers.insert("Tollgate-Accepted-At", "1700000000000");
    headers.insert("Tollgate-Deliveries", "0");
    let subject = format!("tollgate.wait.{gate}.standard.search.{id}");
    jetstream.publish_with_headers(subject, headers, taken.payload.clone()).await.expect("sent").await.expect("kept");
    drop(taken);

    let paused = Paused::model("sim-small");
    bench.pause(&paused).await;
    let worker = bench.world.worker("w2", |_| {}).await;
    // Its lease ends, it is delivered again, and the copy is found.
    eventually("only the copy is left", Duration::from_secs(20), || async {
        (bench.jobs().await.is_empty() && bench.waiting().await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(bench.calls_of(&id), 0);
    bench.resume(&paused).await;
    check_ran_once(&bench.result(&id, Duration::from_secs(20)).await);
    bench.until_empty().await;
    assert_eq!(bench.calls_of(&id), 1);
    worker.drained().await;
}

fn digest_of(line: &[u8]) -> String {
    tollgate_types::JobSpec::decode(&bytes::Bytes::copy_from_slice(line), 1 << 20).expect("a job").digest.to_string()
}
