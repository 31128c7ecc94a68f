//! From whom an answer came, and whether the job may have it from there now.

use std::time::Duration;

use testkit::eventually;
use tollgate_policy::routing::Strategy;
use tollgate_queue::directory::{Access, Expected, TeamRecord};
use tollgate_types::JobResult;
use tollgate_types::event::CacheUse;
use tollgate_worker::{Priced, Routes, StandIns};

use crate::bench::{Bench, answers_after, asking, check_hit};

/// `fast` is served by these, each a provider and its region.
fn served(bench: &Bench, by: &[(&str, &str)]) -> Routes {
    let mut routes = Routes::default();
    routes.arrange("fast", Strategy::Ordered, StandIns::default());
    for (provider, region) in by {
        let mut deployment = bench.world.deployment(provider, &bench.world.sim.base_url());
        deployment.region = (*region).to_owned();
        routes.add("fast", Priced::new(deployment, Some(testkit::price()), 4096));
    }
    routes
}

fn came(result: &JobResult) -> (CacheUse, Option<&str>) {
    (result.tollgate.cache, result.tollgate.provider.as_deref())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_is_held_to_a_region_gets_no_answer_from_elsewhere() {
    let bench = Bench::start(answers_after(2.0)).await;
    let routes = served(&bench, &[("a", "us-east-1"), ("b", "eu-central-1")]);
    let worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    let first = bench.run_kept(asking("use", "a")).await;
    assert_eq!(came(&first), (CacheUse::Miss, Some("a")));
    check_hit(&bench.run(asking("use", "a")).await, &first);
    let access = Access { regions: vec!["eu".into()], ..Access::default() };
    let record = TeamRecord { access, ..TeamRecord::default() };
    let put = bench.world.directory().await.put_team(&"search".parse().expect("a team"), &record, Expected::Any).await;
    put.expect("stored");
    eventually("the worker knows", Duration::from_secs(10), || async {
        (*worker.directory.team("search")? == record).then_some(())
    })
    .await;
    let european = bench.run(asking("use", "a")).await;
    assert_eq!(came(&european), (CacheUse::Miss, Some("b")));
    eventually("its answer takes the place of the other", Duration::from_secs(10), || async {
        (came(&bench.run(asking("use", "a")).await) == (CacheUse::Hit, Some("b"))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_means_another_model_now_has_its_own_answers() {
    let bench = Bench::start(answers_after(2.0)).await;
    let before = bench.world.worker_on(served(&bench, &[("a", "")]), "w0", |_| {}).await;
    bench.run_kept(asking("use", "a")).await;
    before.drained().await;
    let _after = bench.world.worker_on(served(&bench, &[("b", "")]), "w1", |_| {}).await;
    assert_eq!(came(&bench.run(asking("use", "a")).await), (CacheUse::Miss, Some("b")));
}
