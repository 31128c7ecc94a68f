//! What a team can do across the border of its account, and what it cannot, on the real server.
//!
//! Each test has a server of its own. The stream names and subjects are the broker's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its fixtures too")]

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use futures_util::{StreamExt, TryStreamExt};
use sandbox::{
    BROKER_USER, Error, Locations, NatsConfig, NatsOptions, NatsServer, Password, Progress, TeamAccount, nats_server,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Everything here takes milliseconds; ten seconds pass only when something is wrong.
const SOON: Duration = Duration::from_secs(10);

struct World {
    server: NatsServer,
    broker: Client,
    js: jetstream::Context,
    _dir: TempDir,
}

fn config(teams: &[&str]) -> NatsConfig {
    let teams = teams.iter().map(|team| TeamAccount::new(team, format!("{team}-secret").as_str()).unwrap()).collect();
    NatsConfig::new(teams, "broker-secret", "sys-secret")
}

impl World {
    async fn new() -> Self {
        let binary = nats_server(&Locations::from_env().unwrap(), &Progress::silent()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = NatsOptions {
            binary,
            work_dir: dir.path().join("nats"),
            store_dir: None,
            config: config(&["t1", "t2"]),
            port: None,
        };
        let server = NatsServer::start(options).await.unwrap();
        let broker = ConnectOptions::with_user_and_password(BROKER_USER.into(), "broker-secret".into())
            .connect(server.url())
            .await
            .unwrap();
        let js = jetstream::new(broker.clone());
        let jobs = stream::Config {
            name: "TOLLGATE_JOBS".into(),
            subjects: vec!["tollgate.jobs.*.*".into()],
            retention: stream::RetentionPolicy::WorkQueue,
            ..Default::default()
        };
        let results = stream::Config {
            name: "TOLLGATE_RESULTS".into(),
            subjects: vec!["tollgate.results.>".into()],
            allow_direct: true,
            ..Default::default()
        };
        js.create_stream(jobs).await.unwrap();
        js.create_stream(results).await.unwrap();
        Self { server, broker, js, _dir: dir }
    }

    /// A client of that team, and what the server complains about to it.
    async fn team(&self, team: &str) -> (Client, mpsc::Receiver<Event>) {
        let (complaints, seen) = mpsc::channel(64);
        let client = ConnectOptions::with_user_and_password(team.into(), format!("{team}-secret"))
            .custom_inbox_prefix(format!("_INBOX_{team}"))
            .event_callback(move |event| {
                let complaints = complaints.clone();
                async move {
                    if matches!(event, Event::ServerError(_)) {
                        let _ = complaints.try_send(event);
                    }
                }
            })
            .connect(self.server.url())
            .await
            .unwrap();
        (client, seen)
    }

    /// The messages on each subject of a stream.
    async fn stored(&self, stream: &str) -> Vec<(String, usize)> {
        let stream = self.js.get_stream(stream).await.unwrap();
        let mut stored: Vec<_> = stream.info_with_subjects(">").await.unwrap().try_collect().await.unwrap();
        stored.sort();
        stored
    }

    async fn wait_for_stored(&self, stream: &str, expected: &[(&str, usize)]) {
        let started = Instant::now();
        loop {
            let stored = self.stored(stream).await;
            if stored.iter().map(|(subject, count)| (subject.as_str(), *count)).eq(expected.iter().copied()) {
                return;
            }
            assert!(started.elapsed() < SOON, "{stream} holds {stored:?}, not {expected:?}");
        }
    }
}

async fn submit(client: &Client, lane: &str) -> jetstream::publish::PublishAck {
    let acknowledged = jetstream::new(client.clone()).publish(lane.to_owned(), "job".into()).await.unwrap();
    timeout(SOON, acknowledged.into_future()).await.unwrap().unwrap()
}

/// Returns once the server has taken in all that this client said before: a client's `flush` only writes.
async fn round_trip(client: &Client, nobody: &str) {
    let answer = timeout(SOON, client.request(nobody.to_owned(), "".into())).await.unwrap();
    assert_eq!(answer.unwrap_err().kind(), RequestErrorKind::NoResponders);
}

async fn wait_for_complaint(complaints: &mut mpsc::Receiver<Event>, about: &str) {
    let complaint = timeout(SOON, complaints.recv()).await.expect("the server says nothing").unwrap().to_string();
    assert!(complaint.contains(about), "{complaint} is not about {about}");
}

#[tokio::test]
async fn a_team_submits_to_its_own_lanes_and_gets_the_acknowledgement() {
    let world = World::new().await;
    let (t1, _) = world.team("t1").await;
    let first = submit(&t1, "tollgate.jobs.standard.t1").await;
    let second = submit(&t1, "tollgate.jobs.batch.t1").await;
    assert_eq!((first.stream.as_str(), first.sequence, second.sequence), ("TOLLGATE_JOBS", 1, 2));

    // A stock request is answered too, and the message id deduplicates across the border.
    for duplicate in [false, true] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "t1:once");
        let answer = t1.request_with_headers("tollgate.jobs.standard.t1", headers, "job".into()).await.unwrap().payload;
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert_eq!(
            answer.contains("\"duplicate\": true") || answer.contains("\"duplicate\":true"),
            duplicate,
            "{answer}"
        );
    }
    world.wait_for_stored("TOLLGATE_JOBS", &[("tollgate.jobs.batch.t1", 1), ("tollgate.jobs.standard.t1", 2)]).await;
}

#[tokio::test]
async fn a_team_hears_its_replies_inbox_results_and_streams_and_nobody_elses() {
    let world = World::new().await;
    let (t1, mut complaints) = world.team("t1").await;
    let (t2, _) = world.team("t2").await;
    for prefix in ["_INBOX_t1", "reply.t1", "tollgate.results.t1", "tollgate.stream.t1"] {
        let subject = format!("{prefix}.x");
        let mut own = t1.subscribe(subject.clone()).await.unwrap();
        let mut foreign = t2.subscribe(subject.replace("t1", "t2")).await.unwrap();
        round_trip(&t1, "tollgate.api.t1.nobody").await;
        round_trip(&t2, "tollgate.api.t2.nobody").await;
        world.broker.publish(subject.clone(), "for t1".into()).await.unwrap();
        world.broker.publish(subject.replace("t1", "t2"), "for t2".into()).await.unwrap();
        let heard = timeout(SOON, own.next()).await.unwrap_or_else(|_| panic!("t1 hears nothing on {subject}"));
        assert_eq!(heard.unwrap().payload, "for t1");
        let heard = timeout(SOON, foreign.next()).await.unwrap().unwrap();
        assert_eq!(heard.payload, "for t2");
    }
    for subject in ["tollgate.results.t2.>", "tollgate.results.>", "reply.t2.>", "_INBOX_t2.>", "tollgate.jobs.>", ">"]
    {
        let _refused = t1.subscribe(subject).await.unwrap();
        wait_for_complaint(&mut complaints, &format!("\"{subject}\"")).await;
    }
}

#[tokio::test]
async fn a_team_reads_its_own_stored_result_and_nobody_elses() {
    let world = World::new().await;
    for team in ["t1", "t2"] {
        let subject = format!("tollgate.results.{team}.j1");
        world.js.publish(subject, format!("result of {team}").into()).await.unwrap().await.unwrap();
    }
    let (t1, mut complaints) = world.team("t1").await;
    let results = jetstream::new(t1).get_stream_no_info("TOLLGATE_RESULTS").await.unwrap();
    let own = timeout(SOON, results.direct_get_last_for_subject("tollgate.results.t1.j1")).await.unwrap().unwrap();
    assert_eq!(own.payload, "result of t1");

    let refused = async {
        tokio::select! {
            answer = results.direct_get_last_for_subject("tollgate.results.t2.j1") => assert!(answer.is_err(), "{answer:?}"),
            () = wait_for_complaint(&mut complaints, "tollgate.results.t2.j1") => {}
        }
    };
    timeout(SOON, refused).await.unwrap();
}

#[tokio::test]
async fn a_team_cannot_submit_to_anothers_lane_or_write_results_or_manage_streams() {
    let world = World::new().await;
    let (t1, mut complaints) = world.team("t1").await;
    for subject in [
        "tollgate.jobs.standard.t2",
        "tollgate.results.t1.j1",
        "tollgate.results.t2.j1",
        "reply.t2.x",
        "_INBOX_t2.x",
        "tollgate.api.t2.cancel",
        "$JS.API.STREAM.PURGE.TOLLGATE_JOBS",
        "$JS.API.STREAM.INFO.TOLLGATE_JOBS",
    ] {
        t1.publish(subject, "x".into()).await.unwrap();
        wait_for_complaint(&mut complaints, &format!("\"{subject}\"")).await;
    }
    world.wait_for_stored("TOLLGATE_JOBS", &[]).await;
    world.wait_for_stored("TOLLGATE_RESULTS", &[]).await;
}

#[tokio::test]
async fn a_chosen_reply_subject_injects_nothing_across_the_border() {
    let world = World::new().await;
    let (t1, _) = world.team("t1").await;
    let (t2, _) = world.team("t2").await;
    let mut t2_hears = t2.subscribe("reply.t2.>").await.unwrap();
    round_trip(&t2, "tollgate.api.t2.nobody").await;
    for reply in
        ["tollgate.jobs.standard.t2", "tollgate.results.t2.j", "reply.t2.x", "$JS.API.STREAM.PURGE.TOLLGATE_JOBS"]
    {
        t1.publish_with_reply("tollgate.jobs.standard.t1", reply, "job".into()).await.unwrap();
    }
    // The stream answers in order: once this one is acknowledged, the four above have been.
    assert_eq!(submit(&t1, "tollgate.jobs.standard.t1").await.sequence, 5);
    // What was injected, had it been, would be stored by the time the stream takes the next message of another team.
    submit(&t2, "tollgate.jobs.batch.t2").await;
    world.wait_for_stored("TOLLGATE_JOBS", &[("tollgate.jobs.batch.t2", 1), ("tollgate.jobs.standard.t1", 5)]).await;
    world.wait_for_stored("TOLLGATE_RESULTS", &[]).await;
    // A marker from the broker is the first thing that t2 hears.
    world.broker.publish("reply.t2.marker", "marker".into()).await.unwrap();
    let heard = timeout(SOON, t2_hears.next()).await.unwrap().unwrap();
    assert_eq!(heard.subject.as_str(), "reply.t2.marker");

    // The same publish from inside the account CORE does inject: the border is what stops it.
    world
        .broker
        .publish_with_reply("tollgate.jobs.standard.t1", "tollgate.jobs.standard.t2", "job".into())
        .await
        .unwrap();
    world
        .wait_for_stored(
            "TOLLGATE_JOBS",
            &[("tollgate.jobs.batch.t2", 1), ("tollgate.jobs.standard.t1", 6), ("tollgate.jobs.standard.t2", 1)],
        )
        .await;
}

#[tokio::test]
async fn a_team_calls_the_api_under_its_own_name_only() {
    let world = World::new().await;
    let mut api = world.broker.subscribe("tollgate.api.>").await.unwrap();
    round_trip(&world.broker, "nobody").await;
    let (t1, _) = world.team("t1").await;
    let serve = async {
        let request = api.next().await.unwrap();
        world.broker.publish(request.reply.unwrap(), "cancelled".into()).await.unwrap();
        request.subject
    };
    let call = t1.request("tollgate.api.t1.cancel.j1", "".into());
    let (subject, answer) = timeout(SOON, async { tokio::join!(serve, call) }).await.unwrap();
    assert_eq!(subject.as_str(), "tollgate.api.t1.cancel.j1");
    assert_eq!(answer.unwrap().payload, "cancelled");
}

#[tokio::test]
async fn a_team_that_is_added_can_work_after_a_reload_while_others_stay_connected() {
    let mut world = World::new().await;
    let (t1, _) = world.team("t1").await;
    submit(&t1, "tollgate.jobs.standard.t1").await;
    world.server.reload(&config(&["t1", "t2", "late-comer_3"])).await.unwrap();
    let (late, _) = world.team("late-comer_3").await;
    assert_eq!(submit(&late, "tollgate.jobs.standard.late-comer_3").await.sequence, 2);
    assert_eq!(submit(&t1, "tollgate.jobs.standard.t1").await.sequence, 3);
    assert_eq!(t1.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_team_that_is_removed_is_out_after_a_reload_and_a_faulty_configuration_changes_nothing() {
    let mut world = World::new().await;
    let (t1, _) = world.team("t1").await;
    let mut faulty = config(&["t1"]);
    faulty.sys_password = Password::Variable("TOLLGATE_NOT_SET_ANYWHERE".to_owned());
    let error = world.server.reload(&faulty).await.unwrap_err();
    assert!(matches!(error, Error::ReloadRefused { .. }), "{error}");
    world.team("t2").await;

    world.server.reload(&config(&["t1"])).await.unwrap();
    let t2 = ConnectOptions::with_user_and_password("t2".into(), "t2-secret".into());
    assert!(t2.connect(world.server.url()).await.is_err());
    submit(&t1, "tollgate.jobs.standard.t1").await;
}
