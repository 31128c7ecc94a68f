//! One call for all who ask the same at the same time, whoever dies meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{WorkerHandle, eventually};
use tollgate_types::event::CacheUse;
use tollgate_types::{NanoUsd, Status};

use crate::bench::{Bench, answers_after, asking, cut_short, line, say};

const MANY: usize = 1000;

async fn four(bench: &Bench) -> Vec<WorkerHandle> {
    let mut workers = Vec::new();
    for name in ["w0", "w1", "w2", "w3"] {
        workers.push(bench.worker(name).await);
    }
    workers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_identical_jobs_on_four_workers_make_one_call() {
    let bench = Bench::start(answers_after(1500.0)).await;
    let _workers = four(&bench).await;
    let ids = bench.submit_all((0..MANY).map(|_| asking("use", "a"))).await;
    let accepted = Instant::now();
    let results = bench.results(&ids, Duration::from_secs(60)).await;
    say(format_args!(
        "{MANY} jobs, {} calls, the last result {:?} after the last submit",
        bench.calls(),
        accepted.elapsed()
    ));
    assert!(results.iter().all(|result| result.tollgate.status == Status::Succeeded));
    let paid = results.iter().filter(|result| result.tollgate.cost_nanousd > NanoUsd::ZERO).count();
    assert_eq!(paid, bench.calls());
    assert!(bench.calls() <= 2, "{}", bench.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_leader_costs_one_call_more_and_delays_no_longer_than_its_lease() {
    let bench = Bench::start(answers_after(500.0)).await;
    let leader = bench.worker("w0").await;
    // The first call never ends.
    let hanging = || line(json!({ "metadata": { "sim": "hang*1" } }), "a", json!({ "cache": "use" }));
    let first = bench.submit(hanging()).await;
    bench.until_called(1).await;
    let _workers = four(&bench).await;
    let ids = bench.submit_all((0..MANY).map(|_| hanging())).await;
    eventually("all wait", Duration::from_secs(60), || async { (bench.parked().await >= MANY).then_some(()) }).await;
    leader.crash();
    let died = Instant::now();
    let results = bench.results(&ids, Duration::from_secs(60)).await;
    say(format_args!("{} calls, the last result {:?} after the leader's death", bench.calls(), died.elapsed()));
    assert!(results.iter().all(|result| result.tollgate.status == Status::Succeeded));
    bench.result(&first, Duration::from_secs(60)).await;
    assert!(bench.calls() <= 3, "{}", bench.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_different_answers_leave_no_consumers_behind() {
    const ANSWERS: usize = 400;
    let bench = Bench::start(answers_after(2000.0)).await;
    let _worker = bench.world.worker_on(bench.routes(), "w0", |config| config.concurrency = 2 * ANSWERS).await;
    let lines = (0..2 * ANSWERS).map(|number| asking("use", &format!("{}", number % ANSWERS)));
    let ids = bench.submit_all(lines).await;
    let most = async {
        let mut most = 0;
        loop {
            most = most.max(bench.consumers().await);
            if bench.calls() >= ANSWERS && bench.parked().await == 0 {
                return most;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let most = tokio::time::timeout(Duration::from_secs(60), most).await.expect("none is parked for ever");
    let results = bench.results(&ids, Duration::from_secs(60)).await;
    assert!(results.iter().all(|result| result.tollgate.status == Status::Succeeded));
    // Beyond so many, jobs call for themselves.
    let shared = results.iter().filter(|result| result.tollgate.cache == CacheUse::Hit).count();
    say(format_args!("{ANSWERS} answers, {} calls, {shared} shared, {most} consumers at most", bench.calls()));
    assert!((1..=260).contains(&most), "{most}");
    eventually("the consumers are dropped", Duration::from_secs(90), || async {
        (bench.consumers().await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_in_vain_go_on_side_by_side() {
    let bench = Bench::start(answers_after(1000.0)).await;
    let _workers = [bench.worker("w0").await, bench.worker("w1").await];
    let cut = || line(cut_short(), "a", json!({ "cache": "use" }));
    let mut ids = vec![bench.submit(cut()).await];
    bench.until_called(1).await;
    ids.extend(bench.submit_all((0..20).map(|_| cut())).await);
    let results = bench.results(&ids, Duration::from_secs(30)).await;
    assert!(results.iter().all(|result| result.tollgate.cache == CacheUse::Miss));
    let calls = bench.world.sim.calls();
    assert_eq!(calls.len(), 21);
    let arrived: Vec<u64> = calls.iter().skip(1).map(|call| call.received.arrived_unix_ms).collect();
    let spread = arrived.iter().max().zip(arrived.iter().min()).map(|(last, first)| last - first);
    // One after the other they would take twenty seconds.
    assert!(spread.is_some_and(|ms| ms < 5000), "{spread:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_can_be_cancelled_and_expires() {
    let bench = Bench::start(answers_after(8000.0)).await;
    let _worker = bench.worker("w0").await;
    let first = bench.submit(asking("use", "a")).await;
    bench.until_called(1).await;
    let in_a_second = tollgate_types::UnixMillis::from(time::OffsetDateTime::now_utc() + time::Duration::seconds(2));
    let late = line(json!({}), "a", json!({ "cache": "use", "deadline": in_a_second.to_rfc3339() }));
    let (cancelled, late) = (bench.submit(asking("use", "a")).await, bench.submit(late).await);
    eventually("both wait", Duration::from_secs(10), || async { (bench.parked().await >= 2).then_some(()) }).await;
    let why = bench.world.ask(&bench.search, "status", json!({ "job": cancelled, "explain": true })).await;
    let why = why.expect("an answer");
    assert!(why["gate"] == "answer" || why["reason"].to_string().contains("identical"), "{why}");
    bench.world.ask(&bench.search, "cancel", json!({ "job": cancelled })).await.expect("cancelled");
    let ended = bench.result(&cancelled, Duration::from_secs(5)).await;
    assert_eq!(ended.tollgate.status, Status::Cancelled);
    assert_eq!(bench.result(&late, Duration::from_secs(5)).await.tollgate.status, Status::Expired);
    assert_eq!(bench.result(&first, Duration::from_secs(30)).await.tollgate.status, Status::Succeeded);
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_claims_that_are_gone() {
    let bench = Bench::start(answers_after(50.0)).await;
    let _worker = bench.worker("w0").await;
    let hanging = || line(json!({ "metadata": { "sim": "hang*1" } }), "a", json!({ "cache": "use" }));
    bench.submit(hanging()).await;
    bench.until_called(1).await;
    let ids = bench.submit_all((0..5).map(|_| hanging())).await;
    eventually("all wait", Duration::from_secs(10), || async { (bench.parked().await >= 5).then_some(()) }).await;
    let stream = tollgate_types::subjects::FLIGHTS_STREAM;
    bench.world.jetstream().await.delete_stream(stream).await.expect("deleted");
    // The leader itself never ends.
    let results = bench.results(&ids, Duration::from_secs(30)).await;
    assert!(results.iter().all(|result| result.tollgate.status == Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_leader_hands_over_to_one_who_waits() {
    let bench = Bench::start(answers_after(50.0)).await;
    let _worker = bench.worker("w0").await;
    let hanging = || line(json!({ "metadata": { "sim": "hang*1" } }), "a", json!({ "cache": "use" }));
    let first = bench.submit(hanging()).await;
    bench.until_called(1).await;
    let ids = bench.submit_all((0..5).map(|_| hanging())).await;
    eventually("all wait", Duration::from_secs(10), || async { (bench.parked().await >= 5).then_some(()) }).await;
    bench.world.ask(&bench.search, "cancel", json!({ "job": first })).await.expect("cancelled");
    let results = bench.results(&ids, Duration::from_secs(30)).await;
    let hits = results.iter().filter(|result| result.tollgate.cache == CacheUse::Hit).count();
    assert_eq!((hits, bench.calls()), (4, 2));
}
