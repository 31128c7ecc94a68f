//! A provider that answers, and much more slowly than it used to, loses traffic before anything fails.

use std::time::{Duration, Instant};

use tollgate_policy::routing::Strategy;
use tollgate_types::JobResult;

use crate::bench::{Bench, answers_after, percentile, say, succeeded};

const A_SECOND: u32 = 40;

fn waited(results: &[JobResult]) -> Vec<u64> {
    results.iter().map(|result| result.tollgate.queued_ms + result.tollgate.latency_ms).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_latency_moves_the_traffic_and_the_95th_percentile_is_back_in_ten_seconds() {
    for strategy in [Strategy::Ordered, Strategy::LowestLatency] {
        let bench = Bench::start(answers_after(150.0)).await;
        let _worker = bench.world.worker_on(bench.both(strategy), "w0", |config| config.concurrency = 64).await;
        let normal = bench.load(A_SECOND, |at| at > Duration::from_secs(4)).await;
        bench.world.sim.set_profile(answers_after(1_500.0)).expect("a profile");
        let slow_since = Instant::now();
        let turning = bench.load(A_SECOND, |at| at > Duration::from_secs(6)).await;
        let calls_before = bench.calls_at_a();
        let after = bench.load(A_SECOND, |at| at > Duration::from_secs(6)).await;
        let tries = bench.calls_at_a() - calls_before;
        let normal = bench.results(&normal, Duration::from_secs(30)).await;
        let turning = bench.results(&turning, Duration::from_secs(30)).await;
        let after = bench.results(&after, Duration::from_secs(30)).await;
        assert_eq!(succeeded(&after), after.len());
        let all = [&normal, &turning, &after].map(|results| percentile(waited(results), 95));
        say(format_args!(
            "{strategy:?}: p95 {all:?} ms before, in the six seconds after, and in the six seconds after those"
        ));
        assert!(slow_since.elapsed() > Duration::from_secs(10));
        // By the provider's log fewer calls than the 95th percentile can feel; the clock's word has three times slack.
        assert!(tries * 25 <= after.len(), "{strategy:?}: {tries} of {} calls at the slow one", after.len());
        let [normal, _, now] = all;
        assert!(now * 2 <= normal * 9, "{strategy:?}: p95 {now} ms after it, {normal} ms before");

        // It is tried now and then, so that it is found when it is well again.
        bench.world.sim.set_profile(answers_after(150.0)).expect("a profile");
        let before = bench.calls_at_a();
        let mut last = (Instant::now(), before);
        let mut back = false;
        bench
            .load(A_SECOND, |at| {
                if last.0.elapsed() > Duration::from_secs(1) {
                    back = bench.calls_at_a() - last.1 >= A_SECOND as usize / 4;
                    last = (Instant::now(), bench.calls_at_a());
                }
                back || at > Duration::from_secs(60)
            })
            .await;
        assert!(back, "{strategy:?}: it does not get its traffic back");
    }
}
