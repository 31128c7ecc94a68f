//! Why a job is not running, in each state that it can be in.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::{Budget, Class};

use crate::bench::{Bench, line, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_explained_while_it_waits_runs_and_after_its_end() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |config| config.concurrency = 1).await;
    let slow = |n: usize| line(&format!("slow {n}"), "sim-small", "delay=900ms;tokens=10", json!({}));
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(bench.submit(slow(n)).await);
    }
    eventually("the first runs", Duration::from_secs(10), || async { (bench.called().len() == 1).then_some(()) }).await;
    let running = bench.explain(&ids[0]).await;
    assert_eq!(running["state"], "running", "{running}");
    let waiting = bench.explain(&ids[5]).await;
    assert_eq!(waiting["state"], "waiting", "{waiting}");
    assert_eq!(waiting["gate"], serde_json::Value::Null, "nothing stands in its way: {waiting}");
    assert!((3..=5).contains(&waiting["ahead"].as_u64().expect("a place")), "{waiting}");
    let result = bench.result(&ids[0], Duration::from_secs(20)).await;
    let ended = bench.explain(&ids[0]).await;
    assert_eq!((ended["state"].as_str(), ended["status"].as_str()), (Some("ended"), Some("succeeded")));
    assert_eq!(ended["cost_nanousd"], result.tollgate.cost_nanousd.0, "{ended}");
    for id in &ids {
        bench.result(id, Duration::from_secs(30)).await;
    }
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_is_explained_with_its_arithmetic_by_whichever_worker_is_asked() {
    let bench = Bench::start().await;
    let team = "search".parse().expect("a team");
    // Room for the bound of one call; each costs far less, so a few go.
    let budgets: Vec<Budget> = serde_json::from_value(json!([
        {"window": "day", "cap_usd": "10"},
        {"window": "day", "cap_usd": "0.0002", "on": "project:ranking"},
    ]))
    .expect("budgets");
    let record = TeamRecord { budgets, ..TeamRecord::default() };
    bench.directory.put_team(&team, &record, Expected::Any).await.expect("changed");
    let settler = bench.world.settler("settler").await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let options = json!({ "project": "ranking" });
        ids.push(bench.submit(line(&format!("q{n}"), "sim-small", "tokens=50", options)).await);
    }
    let parked = eventually("some are parked for good", Duration::from_secs(20), || async {
        // Less than the bound of one call is left, and nobody holds anything that could come back.
        let budget = bench.world.ask(&bench.search, "budget", json!({})).await.expect("an answer");
        let lines = budget["budgets"].as_array().expect("a list");
        let spent = &lines.iter().find(|line| line["scope"] == "project:search/ranking")?["main"];
        (spent["left"].as_u64()? < 50_000 && spent["held"] == 0).then_some(())?;
        let mut open = Vec::new();
        for id in &ids {
            if bench.found(id).await.is_none() {
                open.push(id.clone());
            }
        }
        (bench.jobs().await.is_empty() && bench.waiting().await.len() == open.len() && !open.is_empty()).then_some(open)
    })
    .await;
    // A second worker, which denied nothing to anybody, is asked sooner or later too.
    let second = bench.world.worker("w2", |_| {}).await;
    eventually("the second serves", Duration::from_secs(10), || async {
        (second.status.borrow().lanes > 0).then_some(())
    })
    .await;
    for _ in 0..12 {
        let explained = bench.explain(&parked[0]).await;
        assert_eq!((explained["state"].as_str(), explained["gate"].as_str()), (Some("parked"), Some("budget")));
        let reason = explained["reason"].as_str().unwrap_or_default();
        for part in ["project:search/ranking", "0.0002", "settled", "held"] {
            assert!(reason.contains(part), "{part} is missing in {explained}");
        }
    }
    // The lane is open for others meanwhile.
    let other = bench.world.run(&bench.search, Class::Standard, quick("another project")).await;
    assert_eq!(other.tollgate.status, tollgate_types::Status::Succeeded);

    let budget = bench.world.ask(&bench.search, "budget", json!({})).await.expect("an answer");
    let line = budget["budgets"].as_array().expect("a list").iter().find(|b| b["scope"] == "project:search/ranking");
    let line = line.unwrap_or_else(|| panic!("no line of the project in {budget}"));
    assert_eq!(line["main"]["cap"], 200_000, "{line}");
    let usage = bench.world.ask(&bench.search, "usage", json!({})).await.expect("an answer");
    let jobs: u64 = usage["usage"].as_array().expect("a list").iter().filter_map(|line| line["jobs"].as_u64()).sum();
    assert!(jobs as usize <= 41 - parked.len() && jobs > 0, "{usage}");
    worker.drained().await;
    second.drained().await;
    settler.stop.cancel();
}
