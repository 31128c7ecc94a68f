//! A provider that asks to be left alone is left alone, by all workers, by its own log.

use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_policy::routing::Strategy;
use tollgate_queue::control::{self, DeploymentReport, Heard, WorkerReport};
use tollgate_types::JobId;

use crate::bench::{Bench, answers_after, line, line_of, succeeded};
use serde_json::json;

/// When calls arrived at the first provider, in milliseconds after the first of them.
fn arrivals(bench: &Bench) -> Vec<u64> {
    let calls = bench.world.sim.calls();
    let first = calls[0].received.arrived_ns;
    calls.iter().map(|call| (call.received.arrived_ns - first) / 1_000_000).collect()
}

/// Waits until both workers have said so of all their deployments.
async fn both_say(reports: &mut Heard<WorkerReport>, what: impl Fn(&DeploymentReport) -> bool) {
    let mut said = BTreeSet::new();
    let both = async {
        while said.len() < 2 {
            let report = reports.next().await.expect("the connection stays");
            if report.deployments.iter().all(&what) {
                said.insert(report.worker);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("both workers say so");
}

/// One call is refused with a wish; the others of two workers come after it, and not much later.
async fn check(wish: &str, wait: u64) {
    let bench = Bench::start(answers_after(5.0)).await;
    let listener = bench.world.broker("listener").await;
    let mut reports = control::reports(&listener).await.expect("subscribed");
    listener.client.flush().await.expect("the server has the subscription");
    let workers = [
        bench.world.worker_on(bench.only_a(), "w0", |_| {}).await,
        bench.world.worker_on(bench.only_a(), "w1", |_| {}).await,
    ];
    both_say(&mut reports, |_| true).await;
    let first = bench.submit(line_of("fast", "first", Some(&format!("429*1:{wish};then=ok")), json!({}))).await;
    // Once both workers know, everything waits.
    both_say(&mut reports, |deployment| deployment.standing == "shut").await;
    let mut ids: Vec<JobId> = vec![first];
    for n in 0..20 {
        ids.push(bench.submit(line(&format!("later {n}"))).await);
    }
    let results = bench.results(&ids, Duration::from_secs(60)).await;
    assert_eq!(succeeded(&results), ids.len());
    let arrived = arrivals(&bench);
    assert_eq!(arrived.len(), ids.len() + 1, "one refused call, and one for each job: {arrived:?}");
    // The wish counts from the answer, which is a moment after the call.
    assert!(arrived[1] >= wait, "{wish}: the next call came after {} ms", arrived[1]);
    let latest = wait + wait / 10 + 6_000;
    assert!(arrived[1] <= latest, "{wish}: the next call came after {} ms", arrived[1]);
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn seconds_are_waited_for() {
    check("retry-after=2", 2_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_is_waited_for_and_a_long_wait_parks() {
    // A date has whole seconds.
    check("retry-after=http-date+8", 7_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_no_wish() {
    for wish in ["retry-after=-1", "retry-after=soon", "retry-after=http-date-30"] {
        let bench = Bench::start(answers_after(5.0)).await;
        let _worker = bench.world.worker_on(bench.only_a(), "w0", |_| {}).await;
        let result = bench.run(line_of("fast", "x", Some(&format!("429*1:{wish};then=ok")), json!({}))).await;
        assert_eq!(succeeded(&[result]), 1, "{wish}");
        assert!(arrivals(&bench)[1] < 5_000, "{wish}: {:?}", arrivals(&bench));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_without_measure_is_capped() {
    let bench = Bench::start(answers_after(5.0)).await;
    let cap = |config: &mut tollgate_worker::Config| config.limits.retry_after_max = Duration::from_secs(3);
    let _worker = bench.world.worker_on(bench.only_a(), "w0", cap).await;
    let result = bench.run(line_of("fast", "x", Some("429*1:retry-after=1000000000;then=ok"), json!({}))).await;
    assert_eq!(succeeded(&[result]), 1);
    let arrived = arrivals(&bench);
    assert!((3_000..12_000).contains(&arrived[1]), "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_called_while_one_wants_to_be_left_alone() {
    let bench = Bench::start(answers_after(5.0)).await;
    let _worker = bench.world.worker_on(bench.both(Strategy::Ordered), "w0", |_| {}).await;
    bench.faults_at_a("429:retry-after=60@1");
    assert_eq!(succeeded(&[bench.run(line("the first")).await]), 1);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut ids = Vec::new();
    for n in 0..20 {
        tick.tick().await;
        ids.push(bench.submit(line(&format!("{n}"))).await);
    }
    let results = bench.results(&ids, Duration::from_secs(20)).await;
    assert_eq!(succeeded(&results), ids.len());
    assert_eq!((bench.calls_at_a(), bench.calls_at_b()), (1, 1 + ids.len()));
}
