//! Workers that serve some classes or teams alone.

use std::time::Duration;

use testkit::eventually;
use tollgate_types::{Class, Status};
use tollgate_worker::Pool;

use crate::bench::{A_SECOND, Bench, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_serves_its_classes_and_teams_alone() {
    let bench = Bench::start().await;
    let pool = Pool { classes: vec![Class::Interactive], teams: vec!["search".into()] };
    let narrow = bench.world.worker("narrow", |config| config.pool = pool).await;
    let marketing = bench.world.producer("marketing").await;

    let served = bench.world.run(&bench.search, Class::Interactive, quick("served")).await;
    assert_eq!(served.tollgate.status, Status::Succeeded);
    let other_class = bench.submit(quick("another class")).await;
    let other_team = marketing.submit(Class::Interactive, quick("another team").into(), None).await;
    let other_team = other_team.expect("accepted").id;
    // That nothing happens has no condition to wait for.
    tokio::time::sleep(A_SECOND).await;
    assert_eq!(bench.jobs().await.len(), 2);
    assert_eq!(bench.called().len(), 1);

    // Whoever is asked answers for all.
    assert_eq!(bench.status(&other_class).await["state"], "waiting");
    let wide = bench.world.worker("wide", |_| {}).await;
    bench.result(&other_class, Duration::from_secs(20)).await;
    eventually("the other team's job", Duration::from_secs(20), || async {
        marketing.result(&other_team).await.ok().flatten()
    })
    .await;
    narrow.drained().await;
    wide.drained().await;
}
