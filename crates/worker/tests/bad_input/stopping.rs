//! 71: SIGTERM while an answer is under way, and a second one. A process makes of them: drain, then drop.

use std::time::Duration;

use serde_json::json;
use testkit::{Setup, World, eventually};
use tollgate_types::{Class, Status};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_stop_lets_the_stream_under_way_end() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let worker = world.worker("w1", |_| {}).await;
    let line = json!({ "custom_id": "s", "body": { "model": "sim-small", "stream": true, "metadata": { "sim": "delay=1s" },
        "messages": [{ "role": "user", "content": "x" }] } });
    let id = search.submit(Class::Standard, line.to_string().into(), None).await.expect("accepted").id;
    eventually("the call began", SOON, || async { (!world.sim.calls().is_empty()).then_some(()) }).await;

    tokio::time::timeout(SOON, worker.drained()).await.expect("within the drain time");

    assert_eq!(world.result(&search, &id).await.tollgate.status, Status::Succeeded);
    assert_eq!(world.sim.calls().len(), 1);
}

#[tokio::test]
async fn a_second_stop_leaves_at_once_and_another_worker_runs_the_job() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let worker = world.worker("w1", |_| {}).await;
    let line = World::line("x", Some("hang*1"), json!({}));
    let id = search.submit(Class::Standard, line, None).await.expect("accepted").id;
    eventually("the call began", SOON, || async { (!world.sim.calls().is_empty()).then_some(()) }).await;
    worker.stop.cancel();
    worker.crash();
    let _other = world.worker("w2", |_| {}).await;

    let result = world.result(&search, &id).await;

    assert_eq!((result.tollgate.status, result.tollgate.unknown_attempts), (Status::Succeeded, 1), "{result:?}");
    assert_eq!(world.sim.calls().len(), 2);
}
