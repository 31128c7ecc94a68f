//! Webhooks against a real server, a real worker and a receiver on a socket.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::json;
use testkit::{Setup, World, eventually};
use tokio_util::sync::CancellationToken;
use tollgate_queue::Batches;
use tollgate_queue::notices::Topic;
use tollgate_types::{BatchId, Class, JobId, JobResult, Status};
use tollgate_webhooks::{Endpoint, Webhooks, signature};

const SECRET: &str = "a secret of at least 24 bytes";

#[derive(Clone, Default)]
struct Receiver {
    /// How the next requests are answered; then with 204.
    answers: Arc<Mutex<Vec<StatusCode>>>,
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Receiver {
    async fn start(answers: &[StatusCode]) -> (Receiver, String) {
        let receiver = Receiver::default();
        receiver.answers.lock().expect("no holder panics").extend(answers.iter().rev());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/results?key=in-the-address", listener.local_addr().expect("an address"));
        let router = Router::new().route("/results", post(take)).with_state(receiver.clone());
        let router = router.layer(axum::extract::DefaultBodyLimit::max(80 << 20));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    fn by_job(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (headers, _) in &*self.seen.lock().expect("no holder panics") {
            *counts.entry(headers["webhook-id"].to_str().expect("a text").to_owned()).or_default() += 1;
        }
        counts
    }

    async fn saw(&self, jobs: &[JobId], each: usize) {
        eventually("the receiver has seen them", Duration::from_secs(60), || async {
            let seen = self.by_job();
            jobs.iter().all(|job| seen.get(job.as_str()).is_some_and(|&count| count >= each)).then_some(())
        })
        .await;
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.seen.lock().expect("no holder panics").push((headers, body));
    receiver.answers.lock().expect("no holder panics").pop().unwrap_or(StatusCode::NO_CONTENT)
}

async fn hooks(world: &World, urls: &[(&str, &str)]) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    hooks_for(world, urls, Topic::Results).await
}

async fn hooks_for(
    world: &World,
    urls: &[(&str, &str)],
    topic: Topic,
) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    // As the program does at its start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = |&(team, url): &(&str, &str)| {
        (
            team.parse().expect("a team"),
            Endpoint { url: url.to_owned().into(), secret: SECRET.to_owned().into(), topics: vec![topic] },
        )
    };
    let endpoints: Vec<_> = urls.iter().map(endpoint).collect();
    let teams = endpoints.len();
    let hooks = Webhooks::new(world.jetstream().await, endpoints, None).expect("they can be used");
    let stop = CancellationToken::new();
    let running = tokio::spawn(hooks.again_after(Duration::from_millis(50)).run(stop.clone()));
    // They tell what comes after they were made.
    let context = world.jetstream().await;
    eventually("the consumers are there", Duration::from_secs(30), || async {
        let stream = match topic {
            Topic::Results => context.get_stream("TOLLGATE_RESULTS").await.ok()?,
            Topic::Batches => context.get_stream("TOLLGATE_BATCHES").await.ok()?,
        };
        (stream.cached_info().state.consumer_count >= teams).then_some(())
    })
    .await;
    (stop, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_posted_signed_again_until_it_is_taken_and_by_others_failures_untouched() {
    let world = World::start(Setup::default()).await;
    let _worker = world.worker("w1", |_| {}).await;
    let trouble = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::NOT_FOUND, StatusCode::FOUND];
    let (searching, search_url) = Receiver::start(&trouble).await;
    let (_stop, _running) =
        hooks(&world, &[("search", &search_url), ("marketing", "http://127.0.0.1:1/nobody-listens")]).await;
    let (search, marketing) = (world.producer("search").await, world.producer("marketing").await);
    for _ in 0..20 {
        let line = World::line("for nobody", None, json!({}));
        marketing.submit(Class::Standard, line, None).await.expect("it is accepted");
    }
    let mut jobs = Vec::new();
    for n in 0..5 {
        let line = World::line(&format!("question {n}"), None, json!({}));
        jobs.push(search.submit(Class::Standard, line, None).await.expect("it is accepted").id);
    }
    searching.saw(&jobs, 1).await;
    let all = jobs.len() + trouble.len();
    eventually("what was not taken came again", Duration::from_secs(60), || async {
        (searching.by_job().values().sum::<usize>() >= all).then_some(())
    })
    .await;
    let key = signature::key(&SECRET.to_owned().into()).expect("a key");
    for (headers, body) in &*searching.seen.lock().expect("no holder panics") {
        let text = |name: &str| headers[name].to_str().expect("a text").to_owned();
        let seconds = text("webhook-timestamp").parse().expect("seconds");
        assert_eq!(text("webhook-signature"), signature::sign(&key, &text("webhook-id"), seconds, body));
        assert_eq!(text("content-type"), "application/json");
        let result: JobResult = serde_json::from_slice(body).expect("a result line");
        assert_eq!((result.id.as_str(), result.tollgate.status), (text("webhook-id").as_str(), Status::Succeeded));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_nobody_told_is_told_and_what_was_told_is_not_told_again() {
    let world = World::start(Setup::default()).await;
    let _worker = world.worker("w1", |_| {}).await;
    let (receiver, url) = Receiver::start(&[]).await;
    let search = world.producer("search").await;
    let (stop, running) = hooks(&world, &[("search", &url)]).await;
    let first = world.run(&search, Class::Standard, World::line("one", None, json!({}))).await.id;
    receiver.saw(std::slice::from_ref(&first), 1).await;
    stop.cancel();
    running.await.expect("it ends");
    // Larger than a message: told whole.
    let second = world.run(&search, Class::Standard, World::line("two", Some("tokens=400000"), json!({}))).await;
    let (stop, running) = hooks(&world, &[("search", &url)]).await;
    receiver.saw(std::slice::from_ref(&second.id), 1).await;
    // A third proves that the first is not told again: it is behind both.
    let third = world.run(&search, Class::Standard, World::line("three", None, json!({}))).await.id;
    receiver.saw(std::slice::from_ref(&third), 1).await;
    stop.cancel();
    running.await.expect("it ends");
    assert_eq!(receiver.by_job()[first.as_str()], 1);
    let seen = receiver.seen.lock().expect("no holder panics");
    let (_, body) = seen.iter().find(|(headers, _)| headers["webhook-id"] == second.id.as_str()).expect("it was told");
    let told: JobResult = serde_json::from_slice(body).expect("a result line");
    let answer = |result: &JobResult| result.response.as_ref().expect("an answer").body.get().to_owned();
    assert_eq!(answer(&told), answer(&second));
}

/// Records of a batch as the broker writes them.
struct Records {
    batches: Batches,
    producer: tollgate_client::Producer,
    id: BatchId,
}

impl Records {
    async fn new(world: &World, bits: u128) -> Records {
        let batches = Batches::new(world.broker("records").await.client);
        Records { batches, producer: world.producer("search").await, id: BatchId::from_bits(bits) }
    }

    async fn ordered(&self, deadline: i64) {
        let order = json!({ "version": 1, "id": self.id, "input": format!("file-{}", "b".repeat(32)),
            "endpoint": "/v1/chat/completions", "window": "24h", "deadline": deadline, "metadata": { "a": "b" },
            "class": "batch", "key": "abcdefghijkl", "digest": "d", "created_at": 0 });
        let order = serde_json::from_value(order).expect("an order");
        self.batches.say_order("search", &order).await.expect("it is stored");
    }

    /// What its submitter writes.
    async fn made(&self) {
        let spec = json!({ "version": 1, "id": self.id, "format": "openai", "file": "f", "sha256": "s", "bytes": 1,
            "jobs": 2, "class": "batch", "created_at": 0 });
        let subject = tollgate_types::subjects::batch_spec("search", &self.id);
        self.producer.client().publish(subject, spec.to_string().into()).await.expect("it is sent");
        eventually("the spec is there", Duration::from_secs(30), || async {
            self.batches.spec("search", &self.id).await.ok().flatten()
        })
        .await;
    }

    async fn failed(&self) {
        let outcome = json!({ "version": 1, "batch": self.id, "end": "failed", "at": 7000,
            "errors": [{ "code": "empty_file", "message": "m", "param": null, "line": null }] });
        let outcome = serde_json::from_value(outcome).expect("an outcome");
        self.batches.say_outcome("search", &outcome).await.expect("it is stored");
    }

    async fn done(&self, end: &str, expired: u64) {
        let ends = json!({ "succeeded": 2 - expired, "failed": 0, "rejected": 0, "blocked": 0, "expired": expired, "cancelled": 0 });
        let done = json!({ "version": 1, "id": format!("search:{}:done", self.id), "team": "search", "batch": self.id,
            "end": end, "file": "f", "jobs": 2, "not_submitted": 0, "created_at": 0, "ended_at": 9000,
            "tally": { "ends": ends, "cost_nanousd": 5, "tokens": { "input": 1, "output": 1 } } });
        let done = serde_json::from_value(done).expect("an end");
        self.batches.say_done(&done).await.expect("it is stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_a_batch_is_told_once_as_openai_tells_it() {
    let world = World::start(Setup::default()).await;
    let (receiver, url) = Receiver::start(&[StatusCode::SERVICE_UNAVAILABLE]).await;
    let (_stop, _running) = hooks_for(&world, &[("search", &url)], Topic::Batches).await;
    let mut expected = BTreeMap::new();
    let mut expect =
        |records: &Records, kind: &str| expected.insert(format!("search:{}:done", records.id), kind.to_owned());
    // Made by the command line: no order.
    let plain = Records::new(&world, 1).await;
    plain.made().await;
    plain.done("completed", 0).await;
    expect(&plain, "batch.completed");
    // Its file is wrong: nothing is ever submitted.
    let wrong = Records::new(&world, 2).await;
    wrong.ordered(1_000_000).await;
    wrong.failed().await;
    expect(&wrong, "batch.failed");
    // Its file goes while it is submitted: it ends when what was submitted has.
    let gone = Records::new(&world, 3).await;
    gone.ordered(1_000_000).await;
    gone.made().await;
    gone.failed().await;
    gone.done("cancelled", 0).await;
    expect(&gone, "batch.failed");
    let late = Records::new(&world, 4).await;
    late.ordered(9000).await;
    late.made().await;
    late.done("completed", 1).await;
    expect(&late, "batch.expired");
    let stopped = Records::new(&world, 5).await;
    stopped.ordered(1_000_000).await;
    stopped.made().await;
    stopped.done("cancelled", 0).await;
    expect(&stopped, "batch.cancelled");
    eventually("each end is told, and the first again", Duration::from_secs(60), || async {
        let told = receiver.by_job();
        (told.len() == expected.len() && told.values().sum::<usize>() == expected.len() + 1).then_some(())
    })
    .await;
    for (headers, body) in &*receiver.seen.lock().expect("no holder panics") {
        let event: serde_json::Value = serde_json::from_slice(body).expect("an event");
        let id = headers["webhook-id"].to_str().expect("a text");
        assert_eq!(
            (event["type"].as_str(), &event["object"]),
            (Some(expected[id].as_str()), &json!("event")),
            "{event}"
        );
        assert!(id.contains(event["data"]["id"].as_str().expect("an id")), "{event}");
    }
}

#[test]
fn an_address_or_a_secret_that_is_none_is_said_without_repeating_it() {
    let of = |url: &str, secret: &str| Endpoint {
        url: url.to_owned().into(),
        secret: secret.to_owned().into(),
        topics: vec![Topic::Results],
    };
    for (url, secret, says) in [
        ("hooks.example.com/T0/hidden", SECRET, "the url"),
        ("file:///hidden", SECRET, "the url"),
        ("https://example.com/", "hidden", "24 bytes"),
    ] {
        let error = of(url, secret).check().expect_err("it is none").to_string();
        assert!(error.contains(says) && !error.contains("hidden"), "{error}");
    }
    assert!(of("https://example.com/", SECRET).check().is_ok());
}
