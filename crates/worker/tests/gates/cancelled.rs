//! Cancelling jobs, wherever they are, over the service of a team's own account.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use sim_provider::Outcome;
use testkit::eventually;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::directory::Paused;
use tollgate_types::event::EventKind;
use tollgate_types::{ErrorCode, JobId, NanoUsd, Status, UsageEvent};

use crate::bench::{A_SECOND, Bench, after, line, quick};

async fn cancel(bench: &Bench, id: &JobId) -> Value {
    bench.world.ask(&bench.search, "cancel", json!({ "job": id })).await.expect("it is known")
}

/// It is cancelled at once, wherever it is, and stays so.
async fn check_cancelled(bench: &Bench, id: &JobId) {
    let answer = cancel(bench, id).await;
    assert_eq!((answer["cancelled"].as_bool(), answer["status"].as_str()), (Some(true), Some("cancelled")), "{answer}");
    let result = bench.found(id).await.expect("its result is there before the answer");
    assert_eq!(result.tollgate.status, Status::Cancelled);
    assert_eq!(result.error.map(|error| error.code), Some(ErrorCode::Cancelled));
    assert_eq!(bench.status(id).await["status"], "cancelled");
    assert_eq!(cancel(bench, id).await["cancelled"], false, "there is nothing left to cancel");
}

/// Everything in the log about a job.
async fn events(bench: &Bench, id: &JobId) -> Vec<UsageEvent> {
    let log = CommitLog::open(&bench.world.jetstream().await).await.expect("the stream exists");
    let mut tail = log.tail(1);
    let batch = tail.next_batch(10_000, Duration::from_millis(200)).await.expect("the log can be read");
    batch.into_iter().filter_map(|entry| entry.event.ok()).filter(|event| event.job == *id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_a_parked_and_a_later_job_are_cancelled_at_once_and_never_called() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let lane = Paused::Lane { class: Some(tollgate_types::Class::Standard), team: "search".parse().expect("a team") };
    let model = Paused::model("sim-free");
    bench.pause(&model).await;
    tokio::time::sleep(A_SECOND).await;
    let parked = bench.submit(line("parked", "sim-free", "tokens=10", json!({}))).await;
    let (_, at) = after(Duration::from_secs(5));
    let later = bench.submit(line("later", "sim-small", "tokens=10", json!({ "not_before": at }))).await;
    eventually("both are parked", Duration::from_secs(10), || async {
        (bench.waiting().await.len() == 2).then_some(())
    })
    .await;
    bench.pause(&lane).await;
    tokio::time::sleep(A_SECOND).await;
    let waiting = bench.submit(quick("waiting")).await;

    for id in [&waiting, &parked, &later] {
        check_cancelled(&bench, id).await;
    }
    bench.resume(&lane).await;
    bench.resume(&model).await;
    bench.until_empty().await;
    assert_eq!(bench.called(), Vec::<String>::new());
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_cut_off_at_the_provider_and_what_it_cost_is_booked() {
    let bench = Bench::start().await;
    // Two workers, so that the question also reaches the one that does not run the job.
    let workers = [bench.world.worker("w1", |_| {}).await, bench.world.worker("w2", |_| {}).await];
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(bench.submit(line(&format!("slow {n}"), "sim-small", "delay=60s;tokens=10", json!({}))).await);
    }
    eventually("all are called", Duration::from_secs(20), || async { (bench.called().len() == 4).then_some(()) }).await;
    for id in &ids {
        assert_eq!(bench.status(id).await["state"], "running");
        check_cancelled(&bench, id).await;
    }
    eventually("the provider saw them leave", Duration::from_secs(10), || async {
        let calls = bench.world.sim.calls();
        let left = calls.iter().filter(|c| c.ended.as_ref().is_some_and(|end| end.outcome == Outcome::ClientLeft));
        (left.count() == 4).then_some(())
    })
    .await;
    bench.until_empty().await;
    for id in &ids {
        let events = eventually("the spend is booked", Duration::from_secs(10), || async {
            let events = events(&bench, id).await;
            (events.len() == 2).then_some(events)
        })
        .await;
        assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Result, EventKind::Extra]);
        let cost: NanoUsd = events.iter().map(UsageEvent::cost).sum();
        assert!(cost > NanoUsd::ZERO, "the prompt was sent: {events:?}");
        assert_eq!(events.iter().map(|event| event.unknown_attempts).sum::<i64>(), 0, "what is booked is not unknown");
        assert_eq!(events.iter().map(|event| event.unknown_nanousd).sum::<NanoUsd>(), NanoUsd::ZERO);
    }
    for worker in workers {
        worker.drained().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_unknown_and_other_teams_jobs_cannot_be_cancelled() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let ended = bench.submit(quick("ended")).await;
    let result = bench.result(&ended, Duration::from_secs(20)).await;
    let answer = cancel(&bench, &ended).await;
    assert_eq!((answer["cancelled"].as_bool(), answer["status"].as_str()), (Some(false), Some("succeeded")));
    assert_eq!(answer["cost_nanousd"], result.tollgate.cost_nanousd.0);

    let nobody = json!({ "job": "search:nobody" });
    let (code, message) = bench.world.ask(&bench.search, "cancel", nobody).await.expect_err("it is unknown");
    assert_eq!(code, 404);
    assert!(message.contains("unknown_job"), "{message}");
    for bad in [json!({}), json!({ "job": "a b" }), json!({ "job": "a", "jobs": 1 }), json!([1])] {
        let (code, message) = bench.world.ask(&bench.search, "cancel", bad).await.expect_err("it makes no sense");
        assert_eq!(code, 400, "{message}");
    }

    // Another team's job: its own subject does not know it, and the border stops the other subject.
    let running = bench.submit(line("slow", "sim-small", "delay=3s;tokens=10", json!({}))).await;
    let marketing = bench.world.producer("marketing").await;
    let question = json!({ "job": running });
    let (code, _) = bench.world.ask(&marketing, "cancel", question.clone()).await.expect_err("it is not theirs");
    assert_eq!(code, 404);
    let foreign = marketing.client().request("tollgate.api.search.cancel", question.to_string().into());
    let answered = tokio::time::timeout(Duration::from_secs(2), foreign).await;
    assert!(!matches!(answered, Ok(Ok(_))), "{answered:?}");
    assert_eq!(bench.result(&running, Duration::from_secs(20)).await.tollgate.status, Status::Succeeded);
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_is_found_by_stock_tools() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let client = bench.world.broker("operator").await.client;
    for what in ["PING", "INFO", "STATS"] {
        let inbox = client.new_inbox();
        let found = eventually(what, Duration::from_secs(10), || async {
            let mut answers = client.subscribe(inbox.clone()).await.expect("subscribed");
            client.publish_with_reply(format!("$SRV.{what}"), inbox.clone(), "".into()).await.expect("published");
            let answer = tokio::time::timeout(Duration::from_secs(1), answers.next()).await.ok()??;
            serde_json::from_slice::<Value>(&answer.payload).ok()
        })
        .await;
        assert_eq!(found["name"], "tollgate", "{found}");
        if what == "INFO" {
            let subjects: Vec<&str> =
                found["endpoints"].as_array().expect("a list").iter().filter_map(|e| e["subject"].as_str()).collect();
            for question in ["status", "cancel", "usage", "budget"] {
                assert!(subjects.contains(&format!("tollgate.api.*.{question}").as_str()), "{subjects:?}");
            }
        }
    }
    worker.drained().await;
}
