//! A provider that fails for all: its jobs go elsewhere, or wait, and come back to it.

use std::time::{Duration, Instant};

use tollgate_policy::routing::Strategy;

use crate::bench::{Bench, answers_after, line, say, succeeded};

const A_SECOND: u32 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_brownout_of_the_first_provider_costs_no_job_and_few_calls_and_it_gets_its_jobs_back() {
    let bench = Bench::start(answers_after(50.0)).await;
    let workers = [
        bench.world.worker_on(bench.both(Strategy::Ordered), "w0", |_| {}).await,
        bench.world.worker_on(bench.both(Strategy::Ordered), "w1", |_| {}).await,
    ];
    let (down, up) = (Duration::from_secs(3), Duration::from_secs(11));
    let mut ended: Option<(Instant, usize)> = None;
    let mut back_after = None;
    let (mut is_down, mut seen) = (false, 0);
    let ids = bench
        .load(A_SECOND, |at| {
            if !is_down && at >= down && ended.is_none() {
                is_down = true;
                bench.faults_at_a("status=503@1");
            }
            if is_down && at >= up {
                is_down = false;
                bench.faults_at_a("");
                ended = Some((Instant::now(), bench.calls_at_b()));
                seen = bench.calls_at_b();
            }
            // Back: a second's worth of jobs, and none of them went to the other one.
            if let Some((since, _)) = ended
                && back_after.is_none()
                && since.elapsed().as_millis() % 1000 < 30
                && since.elapsed() > Duration::from_millis(500)
            {
                let now = bench.calls_at_b();
                if now == seen {
                    back_after = Some(since.elapsed());
                }
                seen = now;
            }
            back_after.is_some() || at > Duration::from_secs(60)
        })
        .await;
    let results = bench.results(&ids, Duration::from_secs(30)).await;
    let (good, calls) = (succeeded(&results), bench.calls_at_a() + bench.calls_at_b());
    say(format_args!("{} jobs, {good} succeeded, {calls} calls, first provider back after {back_after:?}", ids.len()));
    assert!(good * 1000 >= ids.len() * 995, "{good} of {}", ids.len());
    assert!(calls * 4 <= ids.len() * 5, "{calls} calls for {} jobs", ids.len());
    assert!(back_after.is_some_and(|after| after <= Duration::from_secs(30)), "{back_after:?}");
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_provider_the_jobs_wait_and_then_all_succeed() {
    let bench = Bench::start(answers_after(50.0)).await;
    let workers = [
        bench.world.worker_on(bench.only_a(), "w0", |_| {}).await,
        bench.world.worker_on(bench.only_a(), "w1", |_| {}).await,
    ];
    let (down, up) = (Duration::from_secs(2), Duration::from_secs(10));
    let mut phase = 0;
    let ids = bench
        .load(A_SECOND, |at| {
            if phase == 0 && at >= down {
                phase = 1;
                bench.faults_at_a("status=503@0.5;reset@0.5");
            }
            if phase == 1 && at >= up {
                phase = 2;
                bench.faults_at_a("");
            }
            at > up
        })
        .await;
    let ended = Instant::now();
    let results = bench.results(&ids, Duration::from_secs(60)).await;
    let (good, calls) = (succeeded(&results), bench.calls_at_a());
    say(format_args!(
        "{} jobs, {good} succeeded, {calls} calls, all done {:?} after the end",
        ids.len(),
        ended.elapsed()
    ));
    assert_eq!(good, ids.len());
    assert!(calls * 4 <= ids.len() * 5, "{calls} calls for {} jobs", ids.len());
    assert!(ended.elapsed() <= Duration::from_secs(30), "{:?}", ended.elapsed());
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_alone_with_a_provider_that_is_down_waits_for_it() {
    let bench = Bench::start(answers_after(5.0)).await;
    let _worker = bench.world.worker_on(bench.only_a(), "w0", |_| {}).await;
    bench.faults_at_a("reset-before-headers@1");
    let id = bench.submit(line("alone")).await;
    testkit::eventually("it was tried often", Duration::from_secs(60), || async {
        (bench.calls_at_a() >= 6).then_some(())
    })
    .await;
    bench.faults_at_a("");
    let result = bench.result(&id, Duration::from_secs(30)).await;
    assert_eq!(succeeded(&[result]), 1);
}
