//! A job that kills whoever runs it ends as poison, kept as a dead letter, and the next job is served as ever.

use std::time::Duration;

use async_nats::jetstream;
use serde_json::json;
use tollgate_types::{Class, ErrorCode, JobResult, Status, headers, subjects};

use crate::harness::System;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_workers_is_poison_after_two_deaths_alone() {
    let mut system = System::start("", "[worker]\nack_wait = \"2s\"").await;
    let producer = system.producer("marketing").await;
    std::fs::write(system.crash_plan(), "C4:1").expect("the plan is written");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    let line = json!({"body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "boom"}]}}).to_string();
    let receipt = producer.submit(Class::Standard, line.clone().into(), None).await.expect("accepted");

    let mut deaths = 0;
    let since = std::time::Instant::now();
    let result = loop {
        for worker in &mut system.stack.workers {
            if worker.ended().is_some() {
                deaths += 1;
                worker.restart().expect("the worker starts again");
            }
        }
        if let Ok(Some(result)) = producer.result(&receipt.id).await {
            break result;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "no verdict after {deaths} deaths");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };

    let result: JobResult = serde_json::from_slice(&result).expect("readable");
    assert_eq!((result.tollgate.status, result.error.map(|e| e.code)), (Status::Failed, Some(ErrorCode::Poison)));
    assert_eq!(deaths, 4, "two among others, two alone");
    let core = system.core().await;
    let dead = jetstream::new(core.client.clone()).get_stream(subjects::DEAD_STREAM).await.expect("the stream");
    let letter = dead.get_last_raw_message_by_subject("tollgate.dead.standard.marketing").await.expect("a dead letter");
    assert_eq!(letter.payload, line.as_bytes());
    assert_eq!(letter.headers.get(headers::DEAD_JOB).map(|v| v.as_str()), Some(receipt.id.as_str()));

    std::fs::remove_file(system.crash_plan()).expect("the plan is removed");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    let next = producer.submit(Class::Standard, line.into(), None).await.expect("accepted");
    let mut waiting = producer.waiting(next.id).await.expect("subscribed");
    let served = waiting.result(Duration::from_secs(30)).await.expect("served");
    let served: JobResult = serde_json::from_slice(&served).expect("readable");
    assert_eq!(served.tollgate.status, Status::Succeeded);
    system.stop().await;
}
