//! 63, 64, 67, 68: no server, a server that comes back, acknowledgements that are lost, permissions that are revoked.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Flow, Proxy, Setup, World, eventually};
use tollgate_client::Producer;
use tollgate_queue::{Connection, NatsConfig};
use tollgate_types::{Class, JobId, Status};

use crate::bench::kept;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn without_a_server_the_connection_fails_in_words() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    let config = NatsConfig { url: format!("nats://u:secret@127.0.0.1:{port}"), ..NatsConfig::default() };

    let opened = tokio::time::timeout(Duration::from_secs(10), Connection::open(&config, "x")).await.expect("soon");

    let error = opened.err().expect("nobody is there").to_string();
    assert!(error.contains("cannot connect to NATS") && error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

/// Submits `count` jobs, however often it takes.
async fn submit_all(producer: &Producer, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for n in 0..count {
        let (id, line) = (producer.fresh_id(), World::line(&format!("{n}"), Some("delay=20ms"), json!({})));
        let submit = async || producer.submit(Class::Standard, line.clone(), Some(id.clone())).await.ok();
        eventually("accepted", SOON, submit).await;
        ids.push(id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_and_a_frozen_server_are_outlived_under_load() {
    let mut world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let mut worker = world.worker("w1", |_| {}).await;
    let producer = search.clone();
    let mut load = tokio::task::JoinSet::new();
    load.spawn(async move { submit_all(&producer, 400).await });
    eventually("jobs flow", SOON, || async { (world.sim.calls().len() > 20).then_some(()) }).await;

    world.nats.kill9().expect("killed");
    world.nats.restart().await.expect("restarted");
    resumes(&world, "after a kill").await;
    world.nats.pause().expect("frozen");
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.nats.resume().expect("thawed");
    resumes(&world, "after a freeze").await;

    let ids = tokio::time::timeout(Duration::from_secs(90), load.join_next()).await.expect("in time");
    let ids = ids.expect("one task").expect("it ends well");
    for id in &ids {
        assert_eq!(world.result(&search, id).await.tollgate.status, Status::Succeeded);
    }
    assert!(worker.is_alive());
    eventually("jobs are taken again", SOON, async || worker.status.borrow().holding.is_none().then_some(())).await;
}

/// A fresh job of a fresh connection is answered within three times five seconds.
async fn resumes(world: &World, what: &str) {
    let since = Instant::now();
    let producer = world.producer("marketing").await;
    let ids = submit_all(&producer, 1).await;
    world.result(&producer, &ids[0]).await;
    assert!(since.elapsed() < Duration::from_secs(15), "{what}: {:?}", since.elapsed());
}

#[tokio::test]
async fn a_lost_acknowledgement_of_a_result_makes_no_second_one() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let proxy = Proxy::start(world.nats.port()).await;
    let connection = world.broker_at(proxy.url(), "w1").await;
    let mut worker = world.worker_over(connection, "w1", |_| {}).await;
    let line = World::line("x", Some("delay=1s"), json!({}));
    let id = search.submit(Class::Standard, line, None).await.expect("accepted").id;
    eventually("the call began", SOON, || async { (!world.sim.calls().is_empty()).then_some(()) }).await;

    proxy.to_client(Flow::Lost);
    let first = world.result(&search, &id).await;
    proxy.to_client(Flow::Pass);
    proxy.cut();

    eventually("the job left the queue", SOON, || async { (kept(&world, "TOLLGATE_JOBS").await == 0).then_some(()) })
        .await;
    assert_eq!(kept(&world, "TOLLGATE_RESULTS").await, 1, "one result, and no other spend");
    assert_eq!(world.result(&search, &id).await.tollgate.run, first.tollgate.run);
    assert_eq!(world.sim.calls().len(), 1);
    assert!(worker.is_alive());
}

#[tokio::test]
async fn a_lost_acknowledgement_of_a_job_is_asked_for_again_and_the_job_runs_once() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let _worker = world.worker("w1", |_| {}).await;
    let mut cut = world.raw("search").await;
    let id = search.fresh_id();
    let line = World::line("x", None, json!({}));
    let block = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
    // Its producer goes away before it hears of the first acknowledgement, and submits again, twice.
    cut.request(b"tollgate.jobs.standard.search", block.as_bytes(), &line).await.expect("accepted");
    drop(cut);
    for _ in 0..2 {
        let again = async || search.submit(Class::Standard, line.clone(), Some(id.clone())).await.ok();
        let fresh = async || again().await.filter(|receipt| !receipt.duplicate);
        eventually("accepted anew", SOON, fresh).await;
    }

    assert_eq!(world.result(&search, &id).await.tollgate.status, Status::Succeeded);
    eventually("the queue is empty", SOON, || async { (kept(&world, "TOLLGATE_JOBS").await == 0).then_some(()) }).await;
    assert_eq!(kept(&world, "TOLLGATE_RESULTS").await, 1);
    assert_eq!(world.sim.calls().len(), 1);
}

#[tokio::test]
async fn a_revoked_permission_is_seen_by_the_operator_and_loses_no_job() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let mut worker = world.worker("w1", |_| {}).await;
    world.run(&search, Class::Standard, World::line("before", None, json!({}))).await;
    let granted = std::fs::read_to_string(world.nats.config_file()).expect("its configuration");
    let user = r#"{ user: "broker", password: "not-a-secret" }"#;
    let less =
        r#"{ user: "broker", password: "not-a-secret", permissions: { publish: { deny: ["tollgate.results.>"] } } }"#;
    assert!(granted.contains(user), "{granted}");

    reload(&world, &granted.replace(user, less));
    // The reload is seen by what it forbids.
    let probe = world.broker("probe").await;
    let errors = probe.health();
    eventually("the permission is gone", SOON, async || {
        let _lost = probe.reply("tollgate.results.search.probe".into(), "x".into()).await;
        (errors.borrow().errors > 0).then_some(())
    })
    .await;
    let known = kept(&world, "TOLLGATE_RESULTS").await;
    let id = search.submit(Class::Standard, World::line("during", None, json!({})), None).await.expect("accepted").id;
    eventually("the refusal is seen", SOON, async || (worker.health.borrow().errors > 0).then_some(())).await;
    let mut status = worker.status.clone();
    let said = tokio::time::timeout(SOON, status.wait_for(|s| s.holding == Some("results cannot be read or written")));
    said.await.expect("in time").expect("the worker runs");
    assert_eq!(kept(&world, "TOLLGATE_RESULTS").await, known);
    assert_eq!(kept(&world, "TOLLGATE_JOBS").await, 1, "the job is not lost");

    reload(&world, &granted);
    assert_eq!(world.result(&search, &id).await.tollgate.status, Status::Succeeded);
    assert_eq!(world.sim.calls().len(), 2, "and it was paid once");
    assert!(worker.is_alive());
}

fn reload(world: &World, config: &str) {
    std::fs::write(world.nats.config_file(), config).expect("written");
    let hup = std::process::Command::new("kill").arg("-HUP").arg(world.nats.pid().to_string()).status();
    assert!(hup.expect("there is a kill").success());
}
