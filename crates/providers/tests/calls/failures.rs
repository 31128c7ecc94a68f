//! Each way to fail, by a server that fails that way.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use tollgate_providers::Timeouts;
use tollgate_types::{Billed, FailureKind, Tokens};

use crate::server::{Server, raw};
use crate::{ANSWER, KEY, call, call_within, caller, deployment, failure_of, gzipped, json, spec};

const SHORT: Duration = Duration::from_millis(300);

fn check(failure: &tollgate_types::Failure, kind: FailureKind, billed: Billed, what: &str) {
    assert_eq!((failure.kind, failure.billed), (kind, billed), "{what}: {}", failure.message);
    assert!(!failure.message.is_empty() && !failure.message.contains(KEY), "{what}: {}", failure.message);
}

#[tokio::test]
async fn what_cannot_be_reached_was_not_billed() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let refused = free.local_addr().expect("it is bound");
    drop(free);
    check(&failure_of(&deployment(&format!("http://{refused}"))).await, FailureKind::Connect, Billed::No, "refused");
    check(&failure_of(&deployment("http://no-such-host.invalid")).await, FailureKind::Connect, Billed::No, "DNS");
    let plain = Server::http(|_| json(ANSWER)).await;
    check(&failure_of(&deployment(&format!("https://{}", plain.at))).await, FailureKind::Connect, Billed::No, "TLS");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn each_status_has_its_kind_and_its_hint() {
    for (status, code, kind) in [
        (400, "unsupported_parameter", FailureKind::InvalidRequest),
        (400, "context_length_exceeded", FailureKind::ContextLength),
        (400, "content_policy_violation", FailureKind::ContentPolicy),
        (401, "invalid_api_key", FailureKind::Auth),
        (404, "model_not_found", FailureKind::NotFound),
        (429, "rate_limit_exceeded", FailureKind::RateLimited),
        (429, "insufficient_quota", FailureKind::QuotaExhausted),
        (500, "server_error", FailureKind::ServerError),
        (503, "server_is_overloaded", FailureKind::ServerError),
    ] {
        let server = Server::http(move |_| {
            let body = format!(r#"{{"error":{{"message":"no","type":"t","code":"{code}"}}}}"#);
            (StatusCode::from_u16(status).expect("a status"), [("retry-after", "7"), ("x-request-id", "r-9")], body)
                .into_response()
        })
        .await;
        let called = call(&deployment(&server.base_url())).await;
        let failure = called.outcome.expect_err("it fails");
        check(&failure, kind, Billed::No, code);
        assert_eq!((failure.http_status, called.http_status), (Some(status), Some(status)));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert_eq!((failure.message, called.request_id.as_str()), (format!("HTTP {status} {code}: no"), "r-9"));
        assert_eq!(server.seen().len(), 1, "a call never retries");
    }
}

#[tokio::test]
async fn a_date_in_retry_after_counts_from_the_responses_date() {
    let reply = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\ndate: Mon, 23 Nov 2020 10:00:00 GMT\r\nretry-after: Mon, 23 Nov 2020 10:00:42 GMT\r\n\r\n";
    let (at, _server) = raw(reply, true).await;
    let failure = failure_of(&deployment(&format!("http://{at}"))).await;
    check(&failure, FailureKind::RateLimited, Billed::No, "429");
    assert_eq!(failure.retry_after, Some(Duration::from_secs(42)));
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_may_have_billed() {
    let (at, server) = raw("", false).await;
    let mut to = deployment(&format!("http://{at}"));
    to.timeouts = Timeouts { first_byte: SHORT, ..Timeouts::default() };
    let called = call(&to).await;
    check(&called.outcome.expect_err("it fails"), FailureKind::FirstByteTimeout, Billed::Maybe, "silent");
    assert_eq!((called.first_byte, called.http_status), (None, None));
    assert!(called.latency >= SHORT);
    assert!(server.await.expect("the server ends"), "the connection was closed");
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up_and_may_have_billed() {
    let (at, server) = raw("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"choices\"", false).await;
    let mut to = deployment(&format!("http://{at}"));
    to.timeouts = Timeouts { first_byte: Duration::from_secs(20), total: SHORT, ..Timeouts::default() };
    let called = call(&to).await;
    let failure = called.outcome.expect_err("it fails");
    check(&failure, FailureKind::TotalTimeout, Billed::Maybe, "endless");
    assert_eq!((failure.http_status, called.http_status), (Some(200), Some(200)));
    assert!(called.first_byte.is_some());
    assert!(server.await.expect("the server ends"), "the connection was closed");
}

#[tokio::test]
async fn the_deadline_ends_a_call_at_any_stage() {
    for reply in ["", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"] {
        let (at, _server) = raw(reply, false).await;
        let called = call_within(&deployment(&format!("http://{at}")), Some(SHORT)).await;
        check(&called.outcome.expect_err("it fails"), FailureKind::Deadline, Billed::Maybe, reply);
    }
    let server = Server::http(|_| json(ANSWER)).await;
    let called = call_within(&deployment(&server.base_url()), Some(Duration::ZERO)).await;
    check(&called.outcome.expect_err("it fails"), FailureKind::Deadline, Billed::No, "over before");
    assert!(server.seen().is_empty());
    let called = call_within(&deployment(&server.base_url()), Some(Duration::MAX)).await;
    called.outcome.expect("far deadlines do not overflow");
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_may_have_billed() {
    for (what, reply) in [
        ("no response", ""),
        ("half a header", "HTTP/1.1 200 OK\r\ncontent-le"),
        ("half a body", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"choices\":[]"),
        ("half a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{\"choices\":[]"),
        ("no HTTP", "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    ] {
        let (at, _server) = raw(reply, true).await;
        check(&failure_of(&deployment(&format!("http://{at}"))).await, FailureKind::Reset, Billed::Maybe, what);
    }
}

#[tokio::test]
async fn a_success_that_is_no_answer_is_a_bad_response() {
    for (what, body) in [
        ("empty", ""),
        ("HTML", "<html>gateway</html>"),
        ("cut", r#"{"choices":[{"mess"#),
        ("no choices", r#"{"choices":[]}"#),
        ("an error", r#"{"error":{"message":"overloaded"}}"#),
    ] {
        let server = Server::http(move |_| json(body)).await;
        let failure = failure_of(&deployment(&server.base_url())).await;
        check(&failure, FailureKind::BadResponse, Billed::Maybe, what);
        assert_eq!(failure.http_status, Some(200), "{what}");
    }
}

#[tokio::test]
async fn what_cannot_be_decompressed_is_a_bad_response() {
    for body in ["this is not gzip", "\u{1f}\u{8b}"] {
        let server = Server::http(move |_| ([("content-encoding", "gzip")], body).into_response()).await;
        let failure = failure_of(&deployment(&server.base_url())).await;
        assert_eq!((failure.billed, failure.http_status), (Billed::Maybe, Some(200)), "{}", failure.message);
        assert_eq!(failure.kind, FailureKind::BadResponse, "{}", failure.message);
    }
}

#[tokio::test]
async fn what_an_unusable_answer_used_is_not_lost() {
    let body = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let server = Server::http(move |_| json(body)).await;
    let called = call(&deployment(&server.base_url())).await;
    check(&called.outcome.expect_err("it fails"), FailureKind::BadResponse, Billed::Maybe, "empty");
    let usage = called.failed_usage.expect("it was reported");
    assert_eq!(usage.tokens, Tokens { input: 9, output: 1, ..Tokens::default() });
    assert_eq!(usage.raw, r#"{"prompt_tokens":9,"completion_tokens":1}"#);
}

#[tokio::test]
async fn a_small_body_that_unpacks_to_a_large_one_is_stopped() {
    let bomb = vec![b' '; 64 << 20];
    let server = Server::http(move |_| gzipped(&bomb)).await;
    let mut to = deployment(&server.base_url());
    to.response_bytes_max = 1 << 20;
    let failure = failure_of(&to).await;
    check(&failure, FailureKind::BadResponse, Billed::Maybe, "bomb");
    assert_eq!(failure.message, "an answer of more than 1048576 bytes");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_stopped_announced_or_not() {
    let large = format!(r#"{{"choices":[{{"message":{{"content":"{}"}}}}]}}"#, "x".repeat(5000));
    let in_pieces = large.clone();
    let announced = Server::http(move |_| json(large.clone())).await;
    let streamed = Server::http(move |_| {
        let pieces: Vec<_> =
            in_pieces.as_bytes().chunks(100).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        json(Body::from_stream(futures_util::stream::iter(pieces)))
    })
    .await;
    for server in [&announced, &streamed] {
        let mut to = deployment(&server.base_url());
        to.response_bytes_max = 5000;
        check(&failure_of(&to).await, FailureKind::BadResponse, Billed::Maybe, "too large");
        to.response_bytes_max = 6000;
        call(&to).await.outcome.expect("it fits");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_key_stays_home() {
    let other = Server::http(|_| json(ANSWER)).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/v1/chat/completions", other.at);
        let server = Server::http(move |_| {
            let response = Response::builder().status(status).header("location", location.clone());
            response.body(Body::empty()).expect("a response")
        })
        .await;
        let failure = failure_of(&deployment(&server.base_url())).await;
        check(&failure, FailureKind::BadResponse, Billed::No, "redirect");
        assert_eq!(failure.http_status, Some(status));
    }
    assert!(other.seen().is_empty(), "{:?}", other.seen());
}

#[tokio::test]
async fn a_provider_that_echoes_the_key_does_not_publish_it() {
    let server = Server::http(|seen| {
        let echo = seen.headers["authorization"].to_str().expect("text").to_owned();
        let body = serde_json::json!({"error": {"message": format!("bad header '{echo}' or key {KEY}"), "code": KEY}});
        (StatusCode::UNAUTHORIZED, body.to_string()).into_response()
    })
    .await;
    let failure = failure_of(&deployment(&server.base_url())).await;
    check(&failure, FailureKind::Auth, Billed::No, "echo");
    assert_eq!(failure.message, "HTTP 401 [key]: bad header 'Bearer [key]' or key [key]");
}

#[tokio::test]
async fn an_error_is_judged_by_its_status_however_its_body_goes_on() {
    let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 9999999\r\nretry-after: 1\r\n\r\n";
    let endless = format!("{head}{}", "x".repeat(1 << 20));
    for (what, reply, close) in
        [("cut", head.to_owned(), true), ("stalled", head.to_owned(), false), ("endless", endless, false)]
    {
        let (at, _server) = raw(reply, close).await;
        let mut to = deployment(&format!("http://{at}"));
        to.timeouts.total = Duration::from_secs(2);
        let failure = failure_of(&to).await;
        check(&failure, FailureKind::RateLimited, Billed::No, what);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(1)), "{what}");
    }
}

#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    let (at, server) = raw("", false).await;
    let (to, caller, spec) = (deployment(&format!("http://{at}")), caller(), spec());
    let call = tollgate_providers::Call {
        body: &spec.body,
        request: &spec.request,
        traceparent: None,
        tracestate: None,
        job: "j",
        run: "r",
        attempt: 1,
        deadline_in: None,
        deltas: None,
    };
    let started = Instant::now();
    tokio::time::timeout(SHORT, caller.call(&to, &call)).await.expect_err("nobody answers");
    assert!(server.await.expect("the server ends"), "the server did not see the end");
    assert!(started.elapsed() < Duration::from_secs(10));
}
