//! 33, 34: header blocks that our NATS client cannot read. They cut the connection of whoever is given the job; it is
//! answered all the same, and the others go on.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use testkit::{Setup, World, eventually};
use tollgate_types::{Class, ErrorCode, JobId, JobResult, Status};

use crate::bench::{Bench, kept};

/// A block, and the id in it.
const CUTTING: [(&[u8], &str); 2] = [
    (b"NATS/1.0\r\nNats-Msg-Id: search:not-utf8\r\nA: \xff\xfe\r\n\r\n", "search:not-utf8"),
    (b"NATS/1.0\r\nNats-Msg-Id: search:no-colon\r\nno colon here\r\n\r\n", "search:no-colon"),
];

fn is_bad_header(result: &JobResult) {
    assert_eq!(result.error.as_ref().map(|e| e.code), Some(ErrorCode::BadHeader), "{result:?}");
    assert_eq!(result.tollgate.cost_nanousd.0, 0);
}

#[tokio::test]
async fn headers_that_cut_the_connection_are_answered_within_seconds_and_others_go_on() {
    let mut bench = Bench::start(Setup::default()).await;
    let mut replies = bench.search.client().subscribe("reply.search.cut").await.expect("allowed");
    for (block, id) in CUTTING {
        let id: JobId = id.parse().expect("an id");
        let line = World::line("x", None, json!({ "reply_to": "reply.search.cut" }));
        bench.raw.request(b"tollgate.jobs.standard.search", block, &line).await.expect("NATS takes it");
        let answered = bench.world.result(&bench.search, &id);
        let result = tokio::time::timeout(Duration::from_secs(10), answered).await.expect("within seconds");
        is_bad_header(&result);
        assert_eq!(result.custom_id.as_deref(), Some("x"), "its payload could be read");
        let reply = tokio::time::timeout(Duration::from_secs(5), replies.next()).await.expect("in time").expect("one");
        let reply: JobResult = serde_json::from_slice(&reply.payload).expect("readable");
        assert_eq!(reply.id, id);
        assert_eq!(bench.calls(&id), 0);
        bench.others_are_well().await;
    }
    let cut = async || (bench.worker.status.borrow().intake_losses >= 2).then_some(());
    eventually("the connection was cut, or this tests nothing", Duration::from_secs(10), cut).await;
    assert_eq!(bench.worker.health.borrow().losses, 0, "results and acks go over another");
    assert_eq!(bench.kept("TOLLGATE_DEAD").await, 2, "each is kept as a dead letter, once");
    bench.quiet().await;
}

#[tokio::test]
async fn a_status_line_in_a_jobs_headers_is_no_word_of_the_servers() {
    let mut bench = Bench::start(Setup::default()).await;
    // nats-server 2.15 takes the status away when it accepts the message; nothing here counts on that.
    for status in ["404", "409 Consumer Deleted", "503", "what"] {
        let id: JobId = format!("search:status-{}", &status[..3]).parse().expect("an id");
        let block = format!("NATS/1.0 {status}\r\nNats-Msg-Id: {id}\r\n\r\n");
        let line = World::line(status, None, json!({}));
        bench.raw.request(b"tollgate.jobs.standard.search", block.as_bytes(), &line).await.expect("NATS takes it");
        let result = bench.world.result(&bench.search, &id).await;
        assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
        assert_eq!(bench.calls(&id), 1);
    }
    bench.others_are_well().await;
    bench.quiet().await;
}

#[tokio::test]
async fn a_header_that_ends_the_client_for_good_ends_no_worker() {
    let world = World::start(Setup::default()).await;
    let search = world.producer("search").await;
    let mut worker = world.worker("w1", |_| {}).await;
    world.run(&search, Class::Standard, World::line("before", None, json!({}))).await;
    let id: JobId = "search:bare-cr".parse().expect("an id");
    let block = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\nA: b\rc\r\n\r\n");
    let mut raw = world.raw("search").await;
    raw.request(b"tollgate.jobs.standard.search", block.as_bytes(), b"{}").await.expect("NATS takes it");

    let answered = world.result(&search, &id);
    is_bad_header(&tokio::time::timeout(Duration::from_secs(10), answered).await.expect("within seconds"));
    let after = world.run(&search, Class::Standard, World::line("after", None, json!({}))).await;
    assert_eq!(after.tollgate.status, Status::Succeeded);
    assert_eq!(kept(&world, "TOLLGATE_DEAD").await, 1);
    assert!(worker.is_alive());
    assert_eq!(worker.health.borrow().losses, 0, "results and acks go over another connection");
}
