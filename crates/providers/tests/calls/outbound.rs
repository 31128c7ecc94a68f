//! What never leaves, and what never comes in: addresses in a job are not fetched, and no response is read without end.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use tollgate_providers::{Deployment, Vendor};
use tollgate_types::{Billed, FailureKind, JobSpec};

use crate::server::{Server, raw};
use crate::{ANSWER, call, call_of, deployment, failure_of, gzipped, json};

/// A question about a picture at an address.
fn about(picture: &str) -> JobSpec {
    let part = serde_json::json!({ "type": "image_url", "image_url": { "url": picture } });
    let body = serde_json::json!({ "model": "fast", "messages": [{ "role": "user", "content": [part] }] });
    JobSpec::decode(&Bytes::from(format!(r#"{{"body":{body}}}"#)), 1 << 20).expect("a job")
}

#[tokio::test]
async fn the_address_of_a_picture_is_passed_on_or_refused_and_never_fetched() {
    let pictures = Server::http(|_| json("a picture")).await;
    let provider = Server::http(|_| json(ANSWER)).await;
    let (plain, tls) = (format!("http://{}/p.png", pictures.at), format!("https://{}/p.png", pictures.at));
    for (vendor, address, passed_on) in [
        (Vendor::OpenAi, &plain, true),
        (Vendor::OpenAi, &tls, true),
        (Vendor::Anthropic, &plain, false),
        (Vendor::Anthropic, &tls, true),
        (Vendor::Gemini, &plain, false),
        (Vendor::Gemini, &tls, false),
    ] {
        let before = provider.seen().len();
        let to = Deployment::new("lab", vendor, &provider.base_url(), "m", None).expect("a deployment");
        let called = call_of(&about(address), &to, None).await;
        let seen = provider.seen();
        let sent = seen.get(before).map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
        assert_eq!(sent.is_some_and(|body| body.contains(address.as_str())), passed_on, "{vendor:?} {address}");
        if !passed_on {
            let failure = called.outcome.expect_err("it is refused");
            assert_eq!((failure.kind, failure.billed), (FailureKind::Unsupported, Billed::No), "{failure}");
        }
    }
    assert!(pictures.seen().is_empty(), "{:?}", pictures.seen());
}

#[tokio::test]
async fn headers_without_end_are_not_read_without_end() {
    let one = format!("x-more: {}\r\n", "x".repeat(1000));
    for (what, headers) in [("long", format!("x-long: {}\r\n", "x".repeat(4 << 20))), ("many", one.repeat(4 << 10))] {
        let (at, server) = raw(format!("HTTP/1.1 200 OK\r\n{headers}\r\n{ANSWER}"), true).await;
        let failure = failure_of(&deployment(&format!("http://{at}"))).await;
        assert_eq!((failure.kind, failure.billed), (FailureKind::Reset, Billed::Maybe), "{what}: {failure}");
        assert!(server.await.expect("the server ends"), "{what}: it was read to its end");
    }
}

#[tokio::test]
async fn a_refusal_that_unpacks_to_a_large_one_is_stopped() {
    let message = "x".repeat(64 << 20);
    let bomb = serde_json::json!({ "error": { "message": message, "code": "rate_limit_exceeded" } }).to_string();
    let server = Server::http(move |_| {
        let mut response = gzipped(bomb.as_bytes());
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response
    })
    .await;
    let started = Instant::now();
    let failure = call(&deployment(&server.base_url())).await.outcome.expect_err("it is refused");
    assert_eq!((failure.kind, failure.http_status), (FailureKind::RateLimited, Some(429)));
    assert_eq!(failure.message, "HTTP 429 without a readable error", "its beginning is no JSON");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_redirect_within_the_same_server_is_not_followed_either() {
    let server = Server::http(|_| {
        let mut response = json("");
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response.headers_mut().insert("location", axum::http::HeaderValue::from_static("/v1/elsewhere"));
        response
    })
    .await;
    let failure = failure_of(&deployment(&server.base_url())).await;
    assert_eq!((failure.kind, server.seen().len()), (FailureKind::BadResponse, 1));
    assert_eq!(failure.message, "HTTP 307: a redirect, which is not followed");
}
