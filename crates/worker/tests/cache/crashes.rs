//! Workers that die at every step of a job whose answer is kept: nothing is paid more often than it must, and what was
//! kept is used.
//!
//! The worker that dies is a process of its own: this test's file, run again for one test alone.

use std::process::Stdio;
use std::time::Duration;

use testkit::PASSWORD;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tollgate_providers::{Deployment, Vendor};
use tollgate_queue::{Connection, LaneConfig, NatsConfig};
use tollgate_types::Status;
use tollgate_types::event::CacheUse;
use tollgate_worker::{Config, Priced, Worker};

use crate::bench::{Bench, answers_after, asking, routes_to};

/// The servers and the plan of the worker in a process of its own.
const TOLD: &str = "TOLLGATE_TEST_DOOMED_WORKER";

/// Starts a worker that dies at a point.
fn doomed(bench: &Bench, point: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test's own file"));
    command.args(["--exact", "crashes::the_worker_that_dies", "--ignored", "--nocapture"]);
    command.env(TOLD, format!("{} {} {point}:1", bench.world.nats.url(), bench.world.sim.base_url()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of its neighbours, in a process that dies"]
async fn the_worker_that_dies() {
    #[allow(clippy::disallowed_methods, reason = "a test that is told where its servers are")]
    let told = std::env::var(TOLD).expect("the neighbour sets it");
    let [nats, provider, plan] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("three words") };
    let reach = NatsConfig {
        url: nats.to_owned(),
        user: Some("broker".to_owned()),
        password: Some(PASSWORD.into()),
        ..NatsConfig::default()
    };
    let connection = Connection::open(&reach, "doomed").await.expect("connected");
    let lanes = LaneConfig { ack_wait: Duration::from_secs(3), ..LaneConfig::default() };
    let deployment = Deployment::new("a", Vendor::OpenAi, provider, "sim-small", None).expect("a deployment");
    let routes = routes_to(&Priced::new(deployment, Some(testkit::price()), 4096));
    let config = Config { name: "doomed".into(), lanes, crash: plan.parse().expect("a plan"), ..Config::default() };
    let worker = Worker::new(config, testkit::parts(connection, lanes, routes).await);
    worker.run(CancellationToken::new()).await.expect("it runs until it dies");
}

/// How often the provider is called for the job that met the crash, and how often for it and another together.
async fn check(point: &str, calls_of_the_first: usize, calls_of_both: usize) {
    let bench = Bench::start(answers_after(20.0)).await;
    let mut dying = doomed(&bench, point);
    let first = bench.submit(asking("use", "a")).await;
    let died = tokio::time::timeout(Duration::from_secs(60), dying.wait()).await;
    assert!(!died.unwrap_or_else(|_| panic!("{point} is never reached")).expect("waited for").success());
    let _worker = bench.worker("w0").await;
    let first = bench.result(&first, Duration::from_secs(60)).await;
    assert_eq!(first.tollgate.status, Status::Succeeded, "{point}");
    assert_eq!(bench.calls(), calls_of_the_first, "{point}");
    let second = bench.run(asking("use", "a")).await;
    assert_eq!(second.tollgate.status, Status::Succeeded, "{point}");
    assert_eq!(bench.calls(), calls_of_both, "{point}");
    let hit = second.tollgate.cache == CacheUse::Hit;
    assert_eq!(hit, calls_of_the_first == calls_of_both, "{point}");
    // Whatever became of the first one's answer, the next is kept.
    testkit::eventually("a kept answer is used", Duration::from_secs(20), || async {
        (bench.run(asking("use", "a")).await.tollgate.cache == CacheUse::Hit).then_some(())
    })
    .await;
    assert_eq!(bench.calls(), calls_of_both, "{point}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_call_a_crash_costs_nothing_and_its_job_takes_its_own_claim_over() {
    for point in ["C2", "F1", "F2", "C4"] {
        check(point, 1, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_the_call_and_the_kept_answer_a_crash_costs_one_call() {
    check("C5", 2, 2).await;
    // The result is there, the answer was not kept: another job calls once the dead claim ended.
    for point in ["C6", "K1"] {
        check(point, 1, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_the_answer_is_kept_a_crash_costs_no_call() {
    for point in ["K2", "C9", "C10"] {
        check(point, 1, 1).await;
    }
}
