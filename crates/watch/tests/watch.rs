//! Alerts over a real server: each line is announced when it is crossed and when it is not any more, once, also when the
//! process that watches dies.

use std::time::Duration;

use futures_util::StreamExt as _;
use testkit::{Setup, World, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_operate::connect;
use tollgate_queue::state::State;
use tollgate_queue::{Blobs, Results};
use tollgate_types::{Alert, AlertKind, AlertState, Class, UsageEvent};
use tollgate_watch::{Lines, Parts, Watch, WatchConfig, firing};

const WITHIN: Duration = Duration::from_secs(60);

/// A watch without ClickHouse that looks often.
async fn watch(world: &World, name: &str, lines: Lines) -> (JoinSet<()>, CancellationToken) {
    let connection = world.broker(name).await;
    let context = connect::jetstream(&connection);
    let clock = connect::server_clock(&connection).await.expect("the time");
    let parts = Parts {
        directory: world.directory().await,
        state: State::open(&context).await.expect("the state"),
        clock,
        connection,
        store: None,
    };
    let config = WatchConfig {
        lease: Duration::from_secs(1),
        every: Duration::from_millis(300),
        lines,
        ..WatchConfig::new(name)
    };
    let (mut task, stop) = (JoinSet::new(), CancellationToken::new());
    task.spawn(Watch::new(config, parts, |_| {}).run(stop.clone()));
    (task, stop)
}

/// Hears every alert of the broker.
struct Heard(async_nats::Subscriber);

impl Heard {
    async fn new(world: &World) -> Heard {
        let connection = world.broker("listener").await;
        let subscriber = connection.client.subscribe("tollgate.alert.>").await.expect("a subscription");
        connection.client.flush().await.expect("it is heard");
        Heard(subscriber)
    }

    async fn next(&mut self) -> (String, Alert) {
        let message = tokio::time::timeout(WITHIN, self.0.next()).await.expect("an alert in time").expect("open");
        (message.subject.to_string(), serde_json::from_slice(&message.payload).expect("an alert"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_waits_too_long_is_announced_once_and_again_when_it_is_empty() {
    let world = World::start(Setup::default()).await;
    let producer = world.producer("search").await;
    let mut heard = Heard::new(&world).await;
    let lines = Lines {
        lane_age: [(Class::Batch, Duration::from_secs(1))].into(),
        sink_lag: None,
        dead_letters: None,
        ..Lines::default()
    };
    let line = World::line("hello", None, serde_json::json!({}));
    let job = producer.submit(Class::Batch, line, None).await.expect("it is taken");
    let (first, _) = watch(&world, "first", lines.clone()).await;
    let (subject, alert) = heard.next().await;
    assert_eq!(subject, "tollgate.alert.search.lane_age");
    assert_eq!(
        (alert.kind, alert.state, alert.about.as_str()),
        (AlertKind::LaneAge, AlertState::Firing, "batch.search")
    );
    assert!(alert.value >= 1.0 && alert.runbook == "docs/runbook.md#lane-age", "{alert:?}");

    // As by kill -9; the next one knows what was said.
    drop(first);
    let (_second, stop) = watch(&world, "second", lines).await;
    let state = State::open(&world.jetstream().await).await.expect("the state");
    let known = async || firing(&state).await.ok().filter(|all| all.len() == 1);
    eventually("it is known to be crossed", WITHIN, known).await;
    let worker = world.worker("w", |_| {}).await;
    let over = loop {
        let (_, next) = heard.next().await;
        // It may have become critical, or twice as old, in the meantime.
        if next.state == AlertState::Resolved {
            break next;
        }
        assert_eq!(next.id, alert.id, "nothing is announced as new");
    };
    assert_eq!(over.id, alert.id);
    let none = async || firing(&state).await.ok().filter(Vec::is_empty);
    eventually("nothing is crossed any more", WITHIN, none).await;
    stop.cancel();
    drop((worker, job));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_and_a_sink_that_is_away_are_announced() {
    let world = World::start(Setup::default()).await;
    let mut heard = Heard::new(&world).await;
    let connection = world.broker("worker").await;
    let results = Results::open(&connection.client).await.expect("an inbox");
    let event: UsageEvent = serde_json::from_value(serde_json::json!({
        "version": 1, "kind": "extra", "job": "j", "team": "search", "class": "standard", "run": "r", "worker": "w",
        "delivery": 1, "status": "failed", "cache": "miss", "accepted_at": 0, "queued_ms": 0, "run_ms": 0, "attempts": [],
    }))
    .expect("an event");
    results.record(&event).await;
    let context = world.jetstream().await;
    let stored = context.publish("tollgate.dead.batch.marketing", "a letter".into()).await.expect("sent");
    stored.await.expect("stored");

    let lines = Lines { sink_lag: Some(Duration::from_secs(1)), lane_age: [].into(), ..Lines::default() };
    let (_watch, stop) = watch(&world, "watch", lines).await;
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let (subject, alert) = heard.next().await;
        match alert.kind {
            AlertKind::DeadLetters => assert_eq!(subject, "tollgate.alert.marketing.dead_letters"),
            AlertKind::SinkLag => assert_eq!(subject, "tollgate.alert.organisation.sink_lag"),
            other => panic!("{other:?}: {alert:?}"),
        }
        if !kinds.contains(&alert.kind) {
            kinds.push(alert.kind);
        }
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_for_large_bodies_that_fills_is_announced_with_those_who_fill_it() {
    let world = World::start(Setup::default()).await;
    let mut heard = Heard::new(&world).await;
    let blobs = Blobs::new(&world.broker("operator").await.client);
    let job = "search:large".parse().expect("an id");
    // Of a gibibyte.
    blobs.put("search", &job, &vec![b'x'; 12 << 20].into()).await.expect("it is put");
    let lines = Lines { blobs_full: Some(1), sink_lag: None, lane_age: [].into(), ..Lines::default() };
    let (_watch, stop) = watch(&world, "watch", lines).await;
    let (subject, alert) = heard.next().await;
    assert_eq!(subject, "tollgate.alert.organisation.blobs_full");
    assert_eq!((alert.kind, alert.state, alert.value), (AlertKind::BlobsFull, AlertState::Firing, 1.0));
    assert!(alert.what.ends_with("most of it those of: search 12 MiB"), "{}", alert.what);
    blobs.remove_all("search", &job).await.expect("it goes");
    let (_, over) = heard.next().await;
    assert_eq!((over.id, over.state), (alert.id, AlertState::Resolved));
    stop.cancel();
}
