//! The dry run and what it foretells, on the streams of a real nats-server.

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use sandbox::{BROKER_USER, Locations, NatsOptions, NatsServer, Progress};
use tollgate_queue::connect::{Connection, NatsConfig};
use tollgate_queue::streams::{self, Change, InitError, Limits, Step};
use tollgate_types::subjects;

/// Eleven streams and five buckets.
const ALL: usize = 16;

async fn server(dir: &tempfile::TempDir) -> (NatsServer, Context) {
    let locations = Locations::from_env().expect("a cache directory");
    let binary = sandbox::nats_server(&locations, &Progress::silent()).await.expect("a nats-server");
    let config = sandbox::NatsConfig::new(vec![], "broker-secret", "sys-secret");
    let options = NatsOptions { binary, work_dir: dir.path().join("nats"), store_dir: None, config, port: None };
    let server = NatsServer::start(options).await.expect("nats-server starts");
    let config = NatsConfig {
        url: server.url(),
        user: Some(BROKER_USER.to_owned()),
        password: Some("broker-secret".to_owned().into()),
        ..NatsConfig::default()
    };
    let connection = Connection::open(&config, "test").await.expect("a connection");
    (server, jetstream::new(connection.client))
}

fn limits() -> Limits {
    Limits {
        jobs_bytes_max: 8 << 20,
        wait_bytes_max: 8 << 20,
        results_bytes_max: 8 << 20,
        dead_bytes_max: 1 << 20,
        blobs_bytes_max: 1 << 20,
        files_bytes_max: 1 << 20,
        ..Limits::default()
    }
}

async fn steps(context: &Context, limits: &Limits) -> Vec<Step> {
    let planned = streams::plan(context, limits).await.expect("a plan");
    planned.into_iter().map(|planned| planned.step).collect()
}

async fn config(context: &Context, stream: &str) -> Config {
    context.get_stream(stream).await.expect("the stream").cached_info().config.clone()
}

#[tokio::test]
async fn what_is_planned_is_what_is_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_server, context) = server(&dir).await;
    assert_eq!(steps(&context, &limits()).await, vec![Step::Create; ALL]);
    assert_eq!(steps(&context, &limits()).await, vec![Step::Create; ALL], "a plan changes nothing");
    let made = streams::ensure(&context, &limits()).await.expect("all are made");
    assert!(made.iter().all(|change| matches!(change, Change::Created(_))), "{made:?}");
    assert_eq!(steps(&context, &limits()).await, vec![Step::Keep; ALL]);

    // Without direct gets no lookup of a result is answered; a running stream may have lost them by hand.
    let results = config(&context, subjects::RESULTS_STREAM).await;
    let less = Config {
        allow_direct: false,
        max_message_size: 4096,
        max_messages: 7,
        description: Some("ours".into()),
        ..results
    };
    context.update_stream(&less).await.expect("the operator may");
    let words = ["max_msgs 7 -> 2000000", "max_msg_size 4096 -> -1", "allow_direct false -> true"];
    let words: Vec<String> = words.map(str::to_owned).into();
    let raised = steps(&context, &limits()).await;
    assert_eq!(raised[1], Step::Raise(words.clone()));
    let done = streams::ensure(&context, &limits()).await.expect("it is raised");
    assert_eq!(done[1], Change::Updated(subjects::RESULTS_STREAM.to_owned(), words));
    assert!(config(&context, subjects::RESULTS_STREAM).await.allow_direct);

    // What makes a stream of waiting jobs, and an audit, out of one that lacks it.
    for stream in [subjects::WAIT_STREAM, subjects::AUDIT_STREAM] {
        let plain = Config { allow_message_schedules: false, deny_delete: false, ..config(&context, stream).await };
        let plain = Config { deny_purge: false, ..plain };
        context.delete_stream(stream).await.expect("the operator may");
        context.create_stream(plain).await.expect("the operator may");
    }
    let raised = steps(&context, &limits()).await;
    assert_eq!(raised[3], Step::Raise(vec!["allow_msg_schedules false -> true".into()]));
    assert_eq!(raised[4], Step::Raise(vec!["deny_delete false -> true".into(), "deny_purge false -> true".into()]));
    streams::ensure(&context, &limits()).await.expect("they are raised");
    assert!(config(&context, subjects::WAIT_STREAM).await.allow_message_schedules);
    let audit = context.get_stream(subjects::AUDIT_STREAM).await.expect("the stream");
    assert!(audit.purge().await.is_err(), "an audit cannot be emptied");
    assert_eq!(steps(&context, &limits()).await, vec![Step::Keep; ALL]);
}

#[tokio::test]
async fn a_refusal_comes_before_anything_is_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_server, context) = server(&dir).await;
    streams::ensure(&context, &limits()).await.expect("all are made");
    // The jobs would be raised, the dead letters lowered.
    let mixed = Limits { jobs_bytes_max: 16 << 20, dead_bytes_max: 1 << 19, ..limits() };
    let planned = steps(&context, &mixed).await;
    assert!(matches!(planned[0], Step::Raise(_)), "{planned:?}");
    assert_eq!(planned[2], Step::Refuse(vec!["max_bytes 1048576 -> 524288".into()]));
    let refused = streams::ensure(&context, &mixed).await.expect_err("it would lower");
    assert!(matches!(&refused, InitError::WouldLower { stream, .. } if stream == subjects::DEAD_STREAM), "{refused}");
    assert_eq!(config(&context, subjects::JOBS_STREAM).await.max_bytes, 8 << 20);

    let shorter = Limits { duplicate_window: std::time::Duration::from_secs(60), ..limits() };
    assert!(matches!(steps(&context, &shorter).await[0], Step::Refuse(_)));
    let longer = Limits { duplicate_window: std::time::Duration::from_secs(180), ..limits() };
    streams::ensure(&context, &longer).await.expect("it is raised");
    assert_eq!(config(&context, subjects::JOBS_STREAM).await.duplicate_window, longer.duplicate_window);
}
