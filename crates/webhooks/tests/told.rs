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
use tollgate_types::{Class, JobId, JobResult, Status};
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
    // As the program does at its start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = |&(team, url): &(&str, &str)| {
        (team.parse().expect("a team"), Endpoint { url: url.to_owned().into(), secret: SECRET.to_owned().into() })
    };
    let endpoints: Vec<_> = urls.iter().map(endpoint).collect();
    let teams = endpoints.len();
    let hooks = Webhooks::new(world.jetstream().await, endpoints, None).expect("they can be used");
    let stop = CancellationToken::new();
    let running = tokio::spawn(hooks.again_after(Duration::from_millis(50)).run(stop.clone()));
    // They tell what comes after they were made.
    let context = world.jetstream().await;
    eventually("the consumers are there", Duration::from_secs(30), || async {
        let stream = context.get_stream("TOLLGATE_RESULTS").await.ok()?;
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

#[test]
fn an_address_or_a_secret_that_is_none_is_said_without_repeating_it() {
    let of = |url: &str, secret: &str| Endpoint { url: url.to_owned().into(), secret: secret.to_owned().into() };
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
