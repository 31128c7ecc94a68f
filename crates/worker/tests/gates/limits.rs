//! How fast a deployment, a team and a key may go, over all workers.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::StreamExt;
use serde_json::json;
use testkit::{Setup, WorkerHandle, eventually};
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::subjects::WAIT_STREAM;
use tollgate_types::{Class, ErrorCode, Gate, JobId, Limits, Scope, Status, headers};

use crate::bench::{Bench, check_ran_once, line, now, quick};

fn per_minute(requests: u32) -> Limits {
    Limits { requests_per_minute: Some(requests), ..Limits::default() }
}

fn at_once(concurrency: u32) -> Limits {
    Limits { concurrency: Some(concurrency), ..Limits::default() }
}

async fn of_deployments(limits: Limits) -> Bench {
    Bench::with(Setup { limits, ..Setup::default() }).await
}

/// A lease is short enough to see it end; workers are named by number.
async fn workers(bench: &Bench, count: usize) -> Vec<WorkerHandle> {
    let mut workers = Vec::new();
    for n in 0..count {
        workers.push(bench.world.worker(&format!("w{n}"), |config| config.lease = Duration::from_secs(4)).await);
    }
    workers
}

/// Submits so many at once, of no particular order.
async fn submit_all(bench: &Bench, lines: impl Iterator<Item = String>, key: Option<&str>) -> Vec<JobId> {
    let submitted = lines.map(|line| {
        let mut own = HeaderMap::new();
        if let Some(key) = key {
            own.insert(headers::KEY, key);
        }
        async move {
            let receipt = bench.search.submit_with(Class::Standard, line.into(), None, own).await;
            receipt.expect("accepted").id
        }
    });
    futures_util::stream::iter(submitted).buffered(32).collect().await
}

/// The most calls under way at a time at the provider, of jobs that `counts` chooses.
fn most_at_once(bench: &Bench, counts: impl Fn(&str) -> bool) -> usize {
    let mut steps = Vec::new();
    for call in bench.world.sim.calls() {
        if counts(call.received.job.as_deref().unwrap_or_default()) {
            steps.push((call.received.arrived_ns, 1));
            steps.extend(call.ended.map(|ended| (ended.ended_ns, -1)));
        }
    }
    // Of an end and an arrival at the same moment the end comes first.
    steps.sort();
    let (mut at_once, mut most) = (0i32, 0);
    for (_, step) in steps {
        at_once += step;
        most = most.max(at_once);
    }
    usize::try_from(most).expect("ends follow arrivals")
}

/// The most calls in any sliding stretch of so many milliseconds.
fn most_within(millis: u64, arrived: &[u64]) -> usize {
    let before = |last: usize| arrived[..=last].iter().filter(|&&at| at + millis > arrived[last]).count();
    (0..arrived.len()).map(before).max().unwrap_or(0)
}

/// Four workers, saturated for so many seconds: never above the limit in a sliding minute, nor above what the pace gives
/// in ten seconds, and at least nine tenths of the limit; in order, and without a slot for waiting.
#[expect(clippy::print_stderr, reason = "it says what it measured")]
async fn check_requests_a_minute(limit: u32, stretch: u64) {
    let bench = of_deployments(per_minute(limit)).await;
    let limit = usize::try_from(limit).expect("it is small");
    let jobs = limit * usize::try_from(stretch).expect("it is small") / 60 + 60;
    let ids = submit_all(&bench, (0..jobs).map(|n| quick(&format!("q{n}"))), None).await;
    let workers = workers(&bench, 4).await;
    let begun = eventually("the first call", Duration::from_secs(20), || async {
        Some(bench.world.sim.calls().first()?.received.arrived_unix_ms)
    })
    .await;
    let (end, mut running_most) = (begun + (stretch + 1) * 1_000, 0);
    eventually("the time is over", Duration::from_secs(stretch + 20), || {
        let running: usize = workers.iter().map(|worker| worker.status.borrow().running).sum();
        running_most = running_most.max(running);
        async { (u64::try_from(now().0).expect("after 1970") >= end).then_some(()) }
    })
    .await;
    let arrived: Vec<u64> = bench.world.sim.calls().iter().map(|call| call.received.arrived_unix_ms).collect();
    let in_a_minute = most_within(60_000, &arrived);
    assert!(in_a_minute <= limit, "{in_a_minute} in a minute");
    // A 64th of the limit each second, after a burst of a fiftieth or of five, and what came late.
    let of_ten_seconds = (limit * 10).div_ceil(64) + (limit / 50).max(5) + limit / 30;
    assert!(most_within(10_000, &arrived) <= of_ten_seconds, "{} in ten seconds", most_within(10_000, &arrived));
    // Saturated from the first second on; the first five are left out.
    let saturated = arrived.iter().filter(|&&at| (begun + 5_000..begun + stretch * 1_000).contains(&at)).count();
    let nine_tenths = limit * usize::try_from(stretch - 5).expect("it is small") * 9 / 600;
    assert!(saturated >= nine_tenths, "{saturated} of at least {nine_tenths}");
    eprintln!("{saturated} calls in {} s of saturation, at most {in_a_minute} in a sliding minute", stretch - 5);
    // A fiftieth of the limit may wait at each worker, and as many run.
    assert!(running_most <= limit / 5, "{running_most} jobs waited in slots");
    // In their order, as far as four workers at once can tell: nobody is sent to the end of the line.
    let called = bench.called();
    for id in &ids[..called.len() / 3] {
        assert!(called.contains(&id.as_str().to_owned()), "{id} is among the first and was not called");
        check_ran_once(&bench.result(id, Duration::from_secs(5)).await);
    }
    // Waiting is no loop: a parked job is looked at a few times, not thousands of times.
    let gate = Gate::of_model("sim-small");
    let touched = bench.touched(WAIT_STREAM, &format!("wait-{gate}-standard-search")).await;
    assert!(touched.deliveries <= 4 * ids.len() as u64, "{touched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployments_requests_a_minute_are_never_exceeded_and_well_used_by_four_workers() {
    check_requests_a_minute(120, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes, because the window is one; the test before it sees the same pace"]
async fn a_deployments_requests_a_minute_are_never_exceeded_in_a_whole_minute() {
    check_requests_a_minute(600, 125).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_calls_are_under_way_than_a_deployment_allows_and_its_slots_are_used() {
    let bench = of_deployments(at_once(3)).await;
    let slow = |n| line(&format!("q{n}"), "sim-small", "delay=150ms;tokens=10", json!({}));
    let ids = submit_all(&bench, (0..45).map(slow), None).await;
    let workers = workers(&bench, 4).await;
    for id in &ids {
        check_ran_once(&bench.result(id, Duration::from_secs(60)).await);
    }
    let most = most_at_once(&bench, |_| true);
    assert_eq!(most, 3, "never more, and no fewer for long");
    for worker in workers {
        worker.drained().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_workers_slots_come_back_after_its_lease() {
    let bench = of_deployments(at_once(2)).await;
    let crashing = workers(&bench, 1).await.remove(0);
    let hanging = |n| line(&format!("hangs {n}"), "sim-small", "hang*1", json!({}));
    let held = submit_all(&bench, (0..2).map(hanging), None).await;
    eventually("both slots are taken", Duration::from_secs(20), || async { (bench.called().len() == 2).then_some(()) })
        .await;
    let others = submit_all(&bench, (0..6).map(|n| quick(&format!("q{n}"))), None).await;
    let second = bench.world.worker("second", |config| config.lease = Duration::from_secs(4)).await;
    // They wait: in slots, or parked.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.called().len(), 2);
    let crashed = now();
    crashing.crash();
    for id in held.iter().chain(&others) {
        let result = bench.result(id, Duration::from_secs(30)).await;
        assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
    }
    assert!(now().since(crashed) < Duration::from_secs(3 * 8), "a lease of 4 s, and some for waiting in line");
    second.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_teams_limit_closes_its_lane_and_leaves_its_jobs_in_it() {
    let bench = Bench::start().await;
    let record = TeamRecord { limits: per_minute(60), ..TeamRecord::default() };
    let team = "search".parse().expect("a team");
    bench.directory.put_team(&team, &record, Expected::Any).await.expect("changed");
    let ids = submit_all(&bench, (0..120).map(|n| quick(&format!("q{n}"))), None).await;
    let workers = workers(&bench, 2).await;
    let called = eventually("some are called", Duration::from_secs(30), || async {
        let called = bench.called().len();
        (called >= 10).then_some(called)
    })
    .await;
    assert!(called <= 60);
    let (parked, touched) = (bench.ever_parked().await, bench.touched_lane().await);
    assert!(parked <= 12, "{parked} were parked for {called} calls");
    assert!(touched.deliveries <= 60, "{touched:?} for {called} calls");
    let explained = bench.explain(&ids[119]).await;
    assert_eq!((explained["state"].as_str(), explained["gate"].as_str()), (Some("waiting"), Some("rate")));
    assert!(explained["reason"].as_str().unwrap_or_default().contains("60 requests a minute"), "{explained}");
    // Nobody else is slowed down.
    let marketing = bench.world.producer("marketing").await;
    check_ran_once(&bench.world.run(&marketing, Class::Standard, quick("other")).await);

    let record = TeamRecord::default();
    bench.directory.put_team(&team, &record, Expected::Any).await.expect("changed");
    for id in &ids {
        check_ran_once(&bench.result(id, Duration::from_secs(60)).await);
    }
    bench.until_empty().await;
    for worker in workers {
        worker.drained().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_asks_to_be_left_alone_for_long_is_waited_for_without_a_slot() {
    let bench = Bench::start().await;
    // One slot, so that the order can be seen.
    let worker = bench.world.worker("w1", |config| config.concurrency = 1).await;
    let refused = bench.submit(line("refused", "sim-small", "429*1:retry-after=6", json!({}))).await;
    let parked = || async { (bench.waiting().await.len() == 1).then_some(()) };
    eventually("it is parked", Duration::from_secs(10), parked).await;
    let began = now();
    assert_eq!(bench.called().len(), 1);
    // Others for the same deployment line up behind it, and those for other deployments pass.
    let next = bench.submit(quick("next")).await;
    let free = bench.submit(line("free", "sim-free", "tokens=10", json!({}))).await;
    check_ran_once(&bench.result(&free, Duration::from_secs(4)).await);
    let explained = bench.explain(&refused).await;
    assert_eq!(
        (explained["state"].as_str(), explained["gate"].as_str()),
        (Some("parked"), Some("model")),
        "{explained}"
    );
    check_ran_once(&bench.result(&refused, Duration::from_secs(20)).await);
    check_ran_once(&bench.result(&next, Duration::from_secs(20)).await);
    assert!(now().since(began) >= Duration::from_secs(5), "it was not left alone");
    let called = bench.called();
    assert_eq!(called[called.len() - 2..], [refused.to_string(), next.to_string()], "the older one goes first");
    bench.until_empty().await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_above_a_whole_token_limit_ends_and_smaller_ones_run() {
    let bench = of_deployments(Limits { tokens_per_minute: Some(1_000), ..Limits::default() }).await;
    let workers = workers(&bench, 1).await;
    let small = bench.submit(quick("small")).await;
    check_ran_once(&bench.result(&small, Duration::from_secs(20)).await);
    let large = bench.submit(quick(&"long ".repeat(1_500))).await;
    let result = bench.result(&large, Duration::from_secs(20)).await;
    let error = result.error.expect("an error");
    assert_eq!((result.tollgate.status, error.code), (Status::Rejected, ErrorCode::OverLimit));
    assert!(error.message.contains("1000"), "{}", error.message);
    assert_eq!(bench.calls_of(&large), 0);

    // The same for a team's own limit, also where the deployment has none of its own.
    let limits = Limits { tokens_per_minute: Some(500), ..Limits::default() };
    let record = TeamRecord { limits, ..TeamRecord::default() };
    bench.directory.put_team(&"search".parse().expect("a team"), &record, Expected::Any).await.expect("changed");
    eventually("the team's limit holds", Duration::from_secs(20), || async {
        let id = bench.submit(quick(&"long ".repeat(500))).await;
        let error = bench.result(&id, Duration::from_secs(30)).await.error?;
        (error.code == ErrorCode::OverLimit && error.message.contains("team:search")).then_some(())
    })
    .await;
    drop(workers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_its_own_limit_or_that_of_every_key_and_others_pass() {
    let bench = Bench::start().await;
    let key_limits = BTreeMap::from([("slow".to_owned(), per_minute(6)), ("*".to_owned(), at_once(1))]);
    let record = TeamRecord { key_limits, ..TeamRecord::default() };
    bench.directory.put_team(&"search".parse().expect("a team"), &record, Expected::Any).await.expect("changed");
    let workers = workers(&bench, 2).await;
    let slow = submit_all(&bench, (0..12).map(|n| quick(&format!("slow {n}"))), Some("slow")).await;
    let delayed = |n| line(&format!("any {n}"), "sim-small", "delay=50ms;tokens=10", json!({}));
    let any = submit_all(&bench, (0..12).map(delayed), Some("other")).await;
    let free = submit_all(&bench, (0..12).map(|n| quick(&format!("free {n}"))), None).await;

    for id in free.iter().chain(&any) {
        check_ran_once(&bench.result(id, Duration::from_secs(40)).await);
    }
    let of = |ids: &[JobId]| -> Vec<String> { ids.iter().map(|id| id.as_str().to_owned()).collect() };
    let any = of(&any);
    assert_eq!(most_at_once(&bench, |job| any.contains(&job.to_owned())), 1);
    let slow_names = of(&slow);
    let slow_called = bench.called().iter().filter(|job| slow_names.contains(job)).count();
    assert!((1..=6).contains(&slow_called), "{slow_called} of the slow key");
    let account = Scope::Key { team: "search".into(), key: "slow".into() }.account();
    let gate = Gate::Account(account);
    let parked = bench.waiting().await.iter().filter(|at| at.contains(&gate.token())).count();
    assert!(parked >= 4, "{parked} are parked behind their key");
    let consumer = format!("wait-{gate}-standard-search");
    let before = bench.touched(WAIT_STREAM, &consumer).await.deliveries;
    // That little happens has no condition to wait for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = bench.touched(WAIT_STREAM, &consumer).await.deliveries;
    assert!(after - before <= 10, "{} deliveries in two seconds", after - before);
    for worker in workers {
        worker.drained().await;
    }
}
