//! The teams' service over their real accounts: each reaches its own subject only, and one worker answers.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tollgate_queue::Connection;
use tollgate_queue::service::{Api, Ask, NAME};

use crate::world::{DEADLINE, World, eventually};

/// A worker that answers who asked what; `cancel` it refuses.
async fn serving(world: &World, worker: &str, tasks: &mut JoinSet<()>) {
    let mut api = Api::open(&world.connection, worker).await.expect("the service opens");
    let worker = worker.to_owned();
    tasks.spawn(async move {
        loop {
            let question = api.next().await;
            let said = String::from_utf8_lossy(&question.payload).into_owned();
            let answer = json!({ "team": question.team, "what": question.what.as_str(), "said": said, "by": worker });
            let answered = match question.what {
                Ask::Cancel => question.error(404, "no such job\r\nX: y").await,
                Ask::Status | Ask::Usage | Ask::Budget | Ask::Batches => question.ok(&answer).await,
            };
            answered.expect("it is answered");
        }
    });
}

async fn ask(team: &Connection, subject: &str) -> Option<async_nats::Message> {
    let asked = team.client.request(subject.to_owned(), "x".into());
    timeout(Duration::from_secs(2), asked).await.ok()?.ok()
}

fn read(message: &async_nats::Message) -> Value {
    serde_json::from_slice(&message.payload).expect("an answer in JSON")
}

#[tokio::test]
async fn a_team_asks_under_its_own_name_and_gets_its_answer() {
    let world = World::start().await;
    let mut tasks = JoinSet::new();
    serving(&world, "w1", &mut tasks).await;
    let (search, marketing) = (world.team("search").await, world.team("marketing").await);
    for what in ["status", "usage", "budget", "batches"] {
        for (team, connection) in [("search", &search), ("marketing", &marketing)] {
            let answer = ask(connection, &format!("tollgate.api.{team}.{what}")).await.expect("an answer");
            assert_eq!(read(&answer), json!({ "team": team, "what": what, "said": "x", "by": "w1" }));
        }
    }
    let refused = ask(&search, "tollgate.api.search.cancel").await.expect("an answer");
    let headers = refused.headers.expect("headers");
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("Nats-Service-Error-Code").as_deref(), Some("404"));
    assert_eq!(header("Nats-Service-Error").as_deref(), Some("no such job  X: y"));
    assert_eq!(header("X"), None);
}

#[tokio::test]
async fn a_team_cannot_ask_under_another_name() {
    let world = World::start().await;
    let mut api = Api::open(&world.connection, "w1").await.expect("the service opens");
    let search = world.team("search").await;
    let asking = async {
        for subject in ["tollgate.api.marketing.status", "tollgate.api.marketing.cancel", "tollgate.api.*.usage"] {
            assert!(ask(&search, subject).await.is_none(), "{subject}");
        }
        // Nor is it told of the service's own side.
        assert!(ask(&search, "$SRV.INFO").await.is_none());
        // The first that is heard is what it may ask.
        let subject = "tollgate.api.search.status";
        // Without an inbox nobody can be answered.
        search.client.publish(subject, "to nobody".into()).await.expect("it is sent");
        let inbox = search.client.new_inbox();
        search.client.publish_with_reply(subject, inbox, "last".into()).await.expect("it is sent");
        std::future::pending::<()>().await;
    };
    let heard = tokio::select! {
        heard = timeout(DEADLINE, api.next()) => heard.expect("a question"),
        () = asking => unreachable!("it waits for ever"),
    };
    assert_eq!((heard.team.as_str(), heard.what, &*heard.payload), ("search", Ask::Status, b"last".as_slice()));
    heard.ok(&json!({})).await.expect("it is sent");
}

#[tokio::test]
async fn operators_see_one_service_whose_workers_share_the_questions() {
    let world = World::start().await;
    let mut tasks = JoinSet::new();
    serving(&world, "w1", &mut tasks).await;
    serving(&world, "w2", &mut tasks).await;
    let search = world.team("search").await;
    let mut by = BTreeSet::new();
    for _ in 0..60 {
        let answer = ask(&search, "tollgate.api.search.status").await.expect("an answer");
        by.insert(read(&answer)["by"].to_string());
    }
    assert_eq!(by.len(), 2, "{by:?}");

    let client = &world.connection.client;
    let gather = async |verb: &str| {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.expect("an inbox");
        client.publish_with_reply(format!("$SRV.{verb}.{NAME}"), inbox, "".into()).await.expect("it is sent");
        let mut both = Vec::new();
        while both.len() < 2 {
            both.push(read(&timeout(DEADLINE, answers.next()).await.expect("in time").expect("an answer")));
        }
        both
    };
    for pong in gather("PING").await {
        assert_eq!((&pong["type"], &pong["name"]), (&json!("io.nats.micro.v1.ping_response"), &json!("tollgate")));
    }
    for info in gather("INFO").await {
        let endpoints = info["endpoints"].as_array().expect("endpoints");
        let subjects: BTreeSet<&str> = endpoints.iter().filter_map(|endpoint| endpoint["subject"].as_str()).collect();
        let wanted = ["status", "cancel", "usage", "budget", "batches"].map(|what| format!("tollgate.api.*.{what}"));
        assert_eq!(subjects, wanted.iter().map(String::as_str).collect());
    }
    // Each question was answered once.
    let stats = gather("STATS").await;
    let endpoints = stats.iter().flat_map(|stats| stats["endpoints"].as_array().cloned().unwrap_or_default());
    let asked: u64 = endpoints.filter_map(|endpoint| endpoint["num_requests"].as_u64()).sum();
    assert_eq!(asked, 60);
}

#[tokio::test]
async fn headers_that_end_the_client_do_not_end_the_service() {
    let world = World::start().await;
    let mut tasks = JoinSet::new();
    serving(&world, "w1", &mut tasks).await;
    let search = world.team("search").await;
    for block in [b"NATS/1.0\r\nA: \xff\r\n\r\n".as_slice(), b"NATS/1.0\r\nA: b\rc\r\n\r\n"] {
        publish_raw(&world, block);
        let answer = eventually("an answer", async || ask(&search, "tollgate.api.search.status").await).await;
        assert_eq!(read(&answer)["team"], json!("search"));
    }
    assert_eq!(world.connection.health().borrow().losses, 0, "nobody else's connection suffers");
}

#[tokio::test]
async fn a_killed_server_ends_no_service_and_a_stopped_service_leaves_the_questions_to_others() {
    let mut world = World::start().await;
    let mut tasks = JoinSet::new();
    serving(&world, "w1", &mut tasks).await;
    let stopped = Api::open(&world.connection, "w2").await.expect("the service opens");
    stopped.stop().await;
    world.kill_and_restart().await;
    let search = world.team("search").await;
    eventually("an answer", async || ask(&search, "tollgate.api.search.status").await).await;
    for _ in 0..20 {
        let answer = ask(&search, "tollgate.api.search.status").await.expect("an answer");
        assert_eq!(read(&answer)["by"], json!("w1"));
    }
}

/// Asks as the team `search` with a header block that no proper client would send.
fn publish_raw(world: &World, block: &[u8]) {
    let mut socket = TcpStream::connect(("127.0.0.1", world.server.port())).expect("the server listens");
    let hello = r#"{"verbose":false,"headers":true,"no_responders":true,"user":"search","pass":"secret"}"#;
    let subject = "tollgate.api.search.status";
    let mut sent = format!("CONNECT {hello}\r\nHPUB {subject} {0} {0}\r\n", block.len()).into_bytes();
    sent.extend_from_slice(block);
    sent.extend_from_slice(b"\r\nPING\r\n");
    socket.write_all(&sent).expect("it is sent");
    let mut lines = BufReader::new(socket).lines();
    assert!(lines.any(|line| line.expect("a line") == "PONG"), "the server took it");
}
