//! What an operator paused: a lane keeps its jobs untouched, a model parks its jobs and lets the others pass.

use std::time::Duration;

use testkit::eventually;
use tollgate_queue::directory::Paused;
use tollgate_types::subjects::WAIT_STREAM;
use tollgate_types::{Class, Gate};

use crate::bench::{A_SECOND, Bench, check_ran_once, line, quick};

async fn check_a_pause_of_lanes(class: Option<Class>, others: &[Class]) {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let first = bench.submit(quick("first")).await;
    bench.result(&first, Duration::from_secs(20)).await;
    let paused = Paused::Lane { class, team: "search".parse().expect("a team") };

    bench.pause(&paused).await;
    tokio::time::sleep(A_SECOND).await;
    let before = bench.touched_lane().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(bench.submit(quick(&format!("q{n}"))).await);
    }
    // Others go on, also other lanes of the team that are not paused.
    let marketing = bench.world.producer("marketing").await;
    check_ran_once(&bench.world.run(&marketing, Class::Standard, quick("other")).await);
    for &class in others {
        check_ran_once(&bench.world.run(&bench.search, class, quick("other class")).await);
    }
    // That nothing happens has no condition to wait for.
    tokio::time::sleep(A_SECOND).await;
    assert_eq!(bench.touched_lane().await, before, "nothing was delivered");
    for id in &ids {
        assert_eq!(bench.found(id).await.map(|result| result.id), None);
    }
    assert_eq!(bench.waiting().await, Vec::<String>::new(), "nothing was parked");
    let explained = bench.explain(&ids[7]).await;
    assert_eq!((explained["state"].as_str(), explained["gate"].as_str()), (Some("waiting"), Some("paused")));
    assert_eq!(explained["ahead"], 7, "{explained}");
    let reason = explained["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("ann") && reason.contains("a test"), "{explained}");

    bench.resume(&paused).await;
    for id in &ids {
        check_ran_once(&bench.result(id, Duration::from_secs(10)).await);
    }
    let after = bench.touched_lane().await;
    assert_eq!(after.deliveries - before.deliveries, 20, "each was delivered once");
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_lane_or_team_leaves_its_jobs_untouched_until_it_is_resumed() {
    let lane = check_a_pause_of_lanes(Some(Class::Standard), &[Class::Interactive, Class::Batch]);
    let team = check_a_pause_of_lanes(None, &[]);
    tokio::join!(lane, team);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_model_parks_its_jobs_and_lets_the_others_pass_and_resumes_in_order() {
    let bench = Bench::start().await;
    // One slot, so that the order can be seen.
    let worker = bench.world.worker("w1", |config| config.concurrency = 1).await;
    let paused = Paused::model("sim-small");
    bench.pause(&paused).await;
    tokio::time::sleep(A_SECOND).await;

    let (mut small, mut free) = (Vec::new(), Vec::new());
    for n in 0..8 {
        small.push(bench.submit(quick(&format!("small {n}"))).await);
        free.push(bench.submit(line(&format!("free {n}"), "sim-free", "tokens=10", serde_json::json!({}))).await);
    }
    for id in &free {
        check_ran_once(&bench.result(id, Duration::from_secs(20)).await);
    }
    let gate = Gate::of_model("sim-small");
    let parked: Vec<String> = small.iter().map(|id| format!("tollgate.wait.{gate}.standard.search.{id}")).collect();
    eventually("all are parked", Duration::from_secs(10), || async {
        let mut waiting = bench.waiting().await;
        let mut expected = parked.clone();
        waiting.sort();
        expected.sort();
        (waiting == expected).then_some(())
    })
    .await;
    assert_eq!(bench.jobs().await, Vec::<String>::new(), "none is left in the lane");
    assert_eq!(bench.called().len(), 8);
    let explained = bench.explain(&small[3]).await;
    assert_eq!((explained["state"].as_str(), explained["gate"].as_str()), (Some("parked"), Some("paused")));
    assert_eq!(explained["ahead"], 3, "{explained}");
    let consumer = format!("wait-{gate}-standard-search");
    assert_eq!(bench.touched(WAIT_STREAM, &consumer).await.deliveries, 0, "parked jobs stay untouched too");

    bench.resume(&paused).await;
    for id in &small {
        check_ran_once(&bench.result(id, Duration::from_secs(20)).await);
    }
    let order: Vec<String> = small.iter().map(|id| id.as_str().to_owned()).collect();
    assert_eq!(bench.called()[8..], order, "in the order in which they came");
    bench.until_empty().await;
    worker.drained().await;
}
