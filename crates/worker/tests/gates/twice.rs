//! Ids that come again while their job is parked, and copies that a crash left between park and ack.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer;
use futures_util::StreamExt;
use serde_json::json;
use testkit::eventually;
use tollgate_queue::directory::Paused;
use tollgate_types::{Class, ErrorCode, Gate, JobResult, Status};

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
    let accepted_at = taken.info().expect("a delivery").published.unix_timestamp_nanos() / 1_000_000;
    headers.insert("Tollgate-Accepted-At", accepted_at.to_string());
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

/// Submits a job whose call takes a while, and the same again after the duplicate window, while it is under way.
async fn twice_under_way(bench: &Bench, id: &str) -> tollgate_types::JobId {
    let slow = line(id, "sim-small", "delay=6s;tokens=10", json!({ "reply_to": format!("reply.search.{id}") }));
    let first = bench.submit(slow.clone()).await;
    eventually("it is called", Duration::from_secs(20), || async { (bench.calls_of(&first) == 1).then_some(()) }).await;
    submit_anew(bench, &first, &slow).await;
    first
}

/// Waits for so many replies, and checks that all are the one result.
async fn check_replies(replies: &mut async_nats::Subscriber, id: &tollgate_types::JobId) {
    for _ in 0..2 {
        let reply = tokio::time::timeout(Duration::from_secs(40), replies.next()).await.expect("in time").expect("one");
        let result: JobResult = serde_json::from_slice(&reply.payload).expect("a result");
        assert_eq!(result.id, *id);
        check_ran_once(&result);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_message_of_an_id_waits_for_the_first_that_is_under_way_in_the_same_worker() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let mut replies = bench.search.client().subscribe("reply.search.same").await.expect("allowed");
    let id = twice_under_way(&bench, "same").await;
    check_replies(&mut replies, &id).await;
    bench.until_empty().await;
    assert_eq!((bench.calls_of(&id), bench.called().len()), (1, 1));
    assert!(bench.ever_parked().await >= 1, "the copy stepped aside");
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_message_of_an_id_waits_for_the_first_that_is_under_way_in_another_worker() {
    let bench = Bench::start().await;
    // The first worker has one slot, so the copy is the second one's.
    let first = bench.world.worker("w1", |config| config.concurrency = 1).await;
    let slow = line("other", "sim-small", "delay=6s;tokens=10", json!({ "reply_to": "reply.search.other" }));
    let mut replies = bench.search.client().subscribe("reply.search.other").await.expect("allowed");
    let id = bench.submit(slow.clone()).await;
    eventually("it is called", Duration::from_secs(20), || async { (bench.calls_of(&id) == 1).then_some(()) }).await;
    let second = bench.world.worker("w2", |_| {}).await;
    submit_anew(&bench, &id, &slow).await;
    check_replies(&mut replies, &id).await;
    bench.until_empty().await;
    assert_eq!((bench.calls_of(&id), bench.called().len()), (1, 1));
    assert!(bench.ever_parked().await >= 1, "the copy stepped aside");
    first.drained().await;
    second.drained().await;
}

/// The first one is delivered again, and counts what it may have cost; the copy goes on waiting for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_waits_for_the_first_message_also_when_its_worker_dies() {
    let bench = Bench::start().await;
    let first = bench.world.worker("w1", |config| config.concurrency = 1).await;
    let hangs = line("dies", "sim-small", "hang*1;tokens=10", json!({ "reply_to": "reply.search.dies" }));
    let mut replies = bench.search.client().subscribe("reply.search.dies").await.expect("allowed");
    let id = bench.submit(hangs.clone()).await;
    eventually("it is called", Duration::from_secs(20), || async { (bench.calls_of(&id) == 1).then_some(()) }).await;
    let second = bench.world.worker("w2", |_| {}).await;
    submit_anew(&bench, &id, &hangs).await;
    eventually("the copy steps aside", Duration::from_secs(20), || async {
        (bench.ever_parked().await >= 1).then_some(())
    })
    .await;
    first.crash();
    for _ in 0..2 {
        let reply = tokio::time::timeout(Duration::from_secs(90), replies.next()).await.expect("in time").expect("one");
        let result: JobResult = serde_json::from_slice(&reply.payload).expect("a result");
        assert_eq!((result.tollgate.status, result.tollgate.unknown_attempts), (Status::Succeeded, 1));
    }
    bench.until_empty().await;
    assert_eq!(bench.calls_of(&id), 2, "the one that hung, and the one of the next delivery");
    second.drained().await;
}

/// Both come out of a backlog at once: whoever sees the other steps aside, and what is parked is one message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_messages_of_an_id_that_waited_in_the_lane_run_once() {
    let bench = Bench::start().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let slow = line(&format!("pair-{n}"), "sim-small", "delay=1s;tokens=10", json!({}));
        let id = bench.submit(slow.clone()).await;
        ids.push((id, slow));
    }
    for (id, slow) in &ids {
        submit_anew(&bench, id, slow).await;
    }
    let workers = (bench.world.worker("w1", |_| {}).await, bench.world.worker("w2", |_| {}).await);
    for (id, _) in &ids {
        check_ran_once(&bench.result(id, Duration::from_secs(60)).await);
    }
    bench.until_empty().await;
    assert_eq!(bench.called().len(), 20);
    workers.0.drained().await;
    workers.1.drained().await;
}

fn digest_of(line: &[u8]) -> String {
    tollgate_types::JobSpec::decode(&bytes::Bytes::copy_from_slice(line), 1 << 20).expect("a job").digest.to_string()
}
