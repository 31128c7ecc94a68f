//! The life of a job against a real server and a real (simulated) provider.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use testkit::{Setup, World, eventually};
use tollgate_types::{Class, ErrorCode, JobResult, Status};

#[tokio::test]
async fn a_job_gets_one_result_that_says_what_it_cost() {
    let world = World::start(Setup::default()).await;
    let _worker = world.worker("w1", |_| {}).await;
    let producer = world.producer("search").await;

    let result = world.run(&producer, Class::Interactive, World::line("hello", None, json!({"version": 1}))).await;

    assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
    assert_eq!(result.custom_id.as_deref(), Some("hello"));
    let calls = world.sim.calls();
    assert_eq!(calls.len(), 1);
    let tokens = result.tollgate.tokens;
    // 0.15 USD per million tokens are 150 nano-dollars a token.
    let expected = tokens.input * 150 + tokens.cache_read * 75 + tokens.completion() * 600;
    assert_eq!(result.tollgate.cost_nanousd.0, i64::try_from(expected).expect("small"));
    assert!(expected > 0);
}

#[tokio::test]
async fn the_producers_trace_goes_on_through_the_provider_call() {
    let world = World::start(Setup::default()).await;
    let _worker = world.worker("w1", |_| {}).await;
    let producer = world.producer("search").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("traceparent", trace);

    let line = World::line("traced", None, json!({}));
    let receipt = producer.submit_with(Class::Standard, line, None, headers).await.expect("accepted");
    world.result(&producer, &receipt.id).await;

    assert_eq!(world.sim.calls()[0].received.traceparent.as_deref(), Some(trace));
}

#[tokio::test]
async fn the_reply_is_a_copy_of_the_result() {
    let world = World::start(Setup::default()).await;
    let _worker = world.worker("w1", |_| {}).await;
    let producer = world.producer("search").await;
    let mut replies = producer.client().subscribe("reply.search.42").await.expect("allowed");
    // A round trip, so that the server knows of the subscription.
    let _ = producer.result(&producer.fresh_id()).await;

    let line = World::line("hello", None, json!({"reply_to": "reply.search.42"}));
    let receipt = producer.submit(Class::Standard, line, None).await.expect("accepted");
    let reply = tokio::time::timeout(Duration::from_secs(20), replies.next()).await.expect("in time").expect("a reply");

    let kept = producer.result(&receipt.id).await.expect("readable").expect("kept");
    assert_eq!(reply.payload, kept);
}

#[tokio::test]
async fn a_resubmitted_id_gets_its_result_again_and_another_body_is_a_conflict() {
    let world = World::start(Setup::default()).await;
    let _worker = world.worker("w1", |_| {}).await;
    let producer = world.producer("search").await;
    let mut replies = producer.client().subscribe("reply.search.>").await.expect("allowed");
    let id = producer.fresh_id();
    let line = |prompt| World::line(prompt, None, json!({"reply_to": "reply.search.x"}));
    producer.submit(Class::Standard, line("one"), Some(id.clone())).await.expect("accepted");
    let first = replies.next().await.expect("a reply");

    let again = producer.submit(Class::Standard, line("one"), Some(id.clone())).await.expect("acknowledged");
    assert!(again.duplicate, "within the window the server itself knows the id");
    let resubmit = |prompt| {
        let (producer, id, line) = (producer.clone(), id.clone(), line(prompt));
        move || {
            let (producer, id, line) = (producer.clone(), id.clone(), line.clone());
            async move {
                let receipt = producer.submit(Class::Standard, line, Some(id)).await.expect("acknowledged");
                (!receipt.duplicate).then_some(())
            }
        }
    };
    eventually("the window has passed", Duration::from_secs(20), resubmit("one")).await;
    let second = replies.next().await.expect("a reply");
    assert_eq!(second.payload, first.payload, "the same result again");
    assert_eq!(world.sim.calls().len(), 1, "and it cost nothing");

    eventually("the window has passed again", Duration::from_secs(20), resubmit("two")).await;
    let conflict = replies.next().await.expect("a reply");
    let conflict: JobResult = serde_json::from_slice(&conflict.payload).expect("readable");
    assert_eq!(conflict.error.map(|e| e.code), Some(ErrorCode::Conflict));
    assert_ne!(conflict.id, id, "it is kept under an id of its own");
    assert!(producer.result(&conflict.id).await.expect("readable").is_some());
    assert_eq!(producer.result(&id).await.expect("readable").expect("kept"), first.payload, "the first result stays");
    assert_eq!(world.sim.calls().len(), 1);
}

#[tokio::test]
async fn a_crashed_workers_job_runs_again_and_the_first_run_is_counted_as_unknown() {
    let world = World::start(Setup::default()).await;
    let producer = world.producer("search").await;
    let worker = world.worker("w1", |_| {}).await;
    let receipt =
        producer.submit(Class::Standard, World::line("slow", Some("hang*1"), json!({})), None).await.expect("accepted");
    eventually("the call began", Duration::from_secs(20), || async { (!world.sim.calls().is_empty()).then_some(()) })
        .await;
    worker.crash();
    let _second = world.worker("w2", |_| {}).await;

    let result = world.result(&producer, &receipt.id).await;

    assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
    assert_eq!(result.tollgate.unknown_attempts, 1);
    assert!(result.tollgate.unknown_nanousd.0 > 0);
    assert_eq!(world.sim.calls().len(), 2);
}

#[tokio::test]
async fn what_a_provider_does_becomes_the_right_end() {
    let world = World::start(Setup::default()).await;
    let _worker = world.worker("w1", |_| {}).await;
    let producer = world.producer("search").await;
    let cases = [
        ("status=503*2", Status::Succeeded, None, 3),
        ("429*1:retry-after=1", Status::Succeeded, None, 2),
        ("context-length", Status::Failed, Some(ErrorCode::ContextLengthExceeded), 1),
        ("garbage", Status::Failed, Some(ErrorCode::BadResponse), 2),
        // Whoever finds out that the key is bad, or has no credit, hears it; the jobs after it wait.
        ("invalid-key", Status::Failed, Some(ErrorCode::ProviderAuth), 1),
        ("quota", Status::Failed, Some(ErrorCode::QuotaExhausted), 1),
    ];
    for (directive, status, code, calls) in cases {
        let mut line: serde_json::Value =
            serde_json::from_slice(&World::line(directive, Some(directive), json!({}))).expect("JSON");
        if directive == "quota" {
            // By another deployment than the one whose key is bad.
            line["body"]["model"] = json!("sim-free");
        }
        let result = world.run(&producer, Class::Standard, line.to_string()).await;
        assert_eq!(result.tollgate.status, status, "{directive}: {result:?}");
        assert_eq!(result.error.as_ref().map(|e| e.code), code, "{directive}");
        assert_eq!(result.tollgate.attempts.len(), calls, "{directive}: {:?}", result.tollgate.attempts);
    }
}

#[tokio::test]
async fn jobs_in_flight_end_while_draining() {
    let world = World::start(Setup::default()).await;
    let producer = world.producer("search").await;
    let worker = world.worker("w1", |_| {}).await;
    let line = World::line("slow", Some("delay=1500ms"), json!({}));
    let receipt = producer.submit(Class::Standard, line, None).await.expect("accepted");
    eventually("the call began", Duration::from_secs(20), || async { (!world.sim.calls().is_empty()).then_some(()) })
        .await;
    worker.drained().await;

    let result = producer.result(&receipt.id).await.expect("readable");

    assert!(result.is_some(), "the job in flight was finished");
    assert_eq!(world.sim.calls().len(), 1);
}
