//! Jobs that are not to run before their time.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_types::{JobId, UnixMillis};

use crate::bench::{Bench, after, check_ran_once, line, now};

async fn submitted(bench: &Bench, wait: Duration) -> (JobId, UnixMillis) {
    let (at, text) = after(wait);
    let id = bench.submit(line("later", "sim-small", "tokens=10", json!({ "not_before": text }))).await;
    eventually("it waits for its time", Duration::from_secs(10), || async {
        let scheduled = format!("tollgate.wait.later.standard.search.{id}");
        (bench.waiting().await == [scheduled]).then_some(())
    })
    .await;
    (id, at)
}

async fn check_ran_in_time(bench: &Bench, id: &JobId, at: UnixMillis) {
    let result = bench.result(id, Duration::from_secs(30)).await;
    check_ran_once(&result);
    let calls = bench.world.sim.calls();
    assert_eq!(calls.len(), 1);
    let arrived = UnixMillis(i64::try_from(calls[0].received.arrived_unix_ms).expect("it fits"));
    assert!(arrived >= at, "{arrived:?} is before {at:?}");
    bench.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_for_its_time_without_a_slot_and_runs_then() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let (id, at) = submitted(&bench, Duration::from_secs(4)).await;
    assert_eq!(bench.jobs().await, Vec::<String>::new(), "it has left its lane");
    let mut status = worker.status.clone();
    status.wait_for(|status| status.running == 0).await.expect("the worker runs");
    let explained = bench.explain(&id).await;
    assert_eq!((explained["state"].as_str(), explained["gate"].as_str()), (Some("parked"), Some("time")));

    check_ran_in_time(&bench, &id, at).await;
    assert!(now().since(at) < Duration::from_secs(6), "it ran soon after its time");
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_for_its_time_outlives_its_worker_and_the_server() {
    let mut bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let (id, at) = submitted(&bench, Duration::from_secs(4)).await;
    worker.crash();
    bench.world.nats.kill9().expect("killed");
    bench.world.nats.restart().await.expect("restarted");
    let worker = bench.world.worker("w2", |_| {}).await;
    assert!(now() < at, "the test was too slow to see it wait");

    check_ran_in_time(&bench, &id, at).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_came_while_the_server_was_away_is_made_up_for() {
    let mut bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let (id, at) = submitted(&bench, Duration::from_secs(2)).await;
    bench.world.nats.kill9().expect("killed");
    let over = at.since(now()) + Duration::from_millis(500);
    tokio::time::sleep(over).await;
    bench.world.nats.restart().await.expect("restarted");

    check_ran_in_time(&bench, &id, at).await;
    worker.drained().await;
}
