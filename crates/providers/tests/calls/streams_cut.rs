//! Streams that do not come to their end, by a server that cuts them, and what they have used all the same.

use std::time::{Duration, Instant};

use serde_json::json;
use sim_provider::Profile;
use tollgate_providers::{Called, Deployment, Vendor};
use tollgate_types::{Billed, FailureKind, Tokens, UsageSource};

use crate::server::raw;
use crate::streams::{chunks, job, simulated, streamed, streaming, text_of};
use crate::{KEY, caller, deployment};

const SHORT: Duration = Duration::from_millis(300);
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n";

fn check(called: &Called, kind: FailureKind, message: &str, what: &str) {
    let failure = called.outcome.as_ref().expect_err(what);
    assert_eq!((failure.kind, failure.billed), (kind, Billed::Maybe), "{what}: {}", failure.message);
    assert!(failure.message.contains(message) && !failure.message.contains(KEY), "{what}: {}", failure.message);
    assert_eq!((failure.http_status, called.http_status), (Some(200), Some(200)), "{what}");
}

/// One chunk that says this.
fn says(text: &str) -> String {
    let choice = json!({ "index": 0, "delta": { "content": text }, "finish_reason": null });
    let chunk =
        json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice] });
    format!("data: {chunk}\n\n")
}

#[tokio::test]
async fn each_way_to_break_a_stream_has_its_kind_and_what_came_is_counted() {
    let sim = simulated(Profile::instant()).await;
    for (directive, kind, message) in [
        ("truncate", FailureKind::Reset, "error"),
        ("reset", FailureKind::Reset, "error"),
        ("stall", FailureKind::TotalTimeout, "the stream stalled: nothing came for 300ms"),
        ("abort-stream:after=12", FailureKind::Reset, "the stream ended without an end"),
    ] {
        let mut to = deployment(&sim.base_url());
        to.timeouts.stall = SHORT;
        let (called, deltas) = streamed(&job("count", &format!("{directive};tokens=200")), &to).await;
        check(&called, kind, message, directive);
        let text = text_of(&deltas);
        assert!(!text.is_empty() && called.first_token.is_some(), "{directive}");
        assert!(chunks(&deltas).iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
        let usage = called.failed_usage.expect("some of it came");
        assert_eq!((usage.source, usage.raw.as_str()), (UsageSource::Estimated, ""), "{directive}");
        let counted = tollgate_providers::tokens::count(text, "model-7").await;
        assert_eq!(usage.tokens.output, counted, "{directive}");
        assert!((1..60).contains(&usage.tokens.input), "{directive}: {:?}", usage.tokens);
    }
}

#[tokio::test]
async fn what_is_no_stream_at_all_has_its_kind_and_no_usage() {
    let sim = simulated(Profile::instant()).await;
    for (directive, kind, message) in [
        ("garbage", FailureKind::BadResponse, "an event of 21 bytes that holds no JSON"),
        ("empty", FailureKind::Reset, "the stream ended without an end"),
        ("html", FailureKind::BadResponse, "an HTML page"),
        ("bomb:mib=64", FailureKind::BadResponse, "an event of more than 8388608 bytes"),
        ("error-200", FailureKind::ServerError, "an error in the stream server_error: The server had an error"),
    ] {
        let (called, deltas) = streamed(&job("count", directive), &deployment(&sim.base_url())).await;
        check(&called, kind, message, directive);
        assert_eq!((deltas.len(), &called.failed_usage), (0, &None), "{directive}");
        assert_eq!(called.first_token, None, "{directive}");
    }
}

#[tokio::test]
async fn what_only_looks_odd_is_an_answer() {
    let sim = simulated(Profile::instant()).await;
    for (directive, finish, source) in [
        ("no-done", "stop", UsageSource::Provider),
        ("no-usage", "stop", UsageSource::Estimated),
        ("wrong-usage=absurd", "stop", UsageSource::Estimated),
        ("content-filter", "content_filter", UsageSource::Provider),
        ("drip:every=1ms;tokens=2", "stop", UsageSource::Provider),
    ] {
        let (called, deltas) = streamed(&job("count", directive), &deployment(&sim.base_url())).await;
        let answer = called.outcome.expect(directive);
        assert_eq!((answer.finish.as_str(), answer.usage_source), (finish, source), "{directive}");
        assert!(!deltas.is_empty() && called.failed_usage.is_none(), "{directive}");
    }
}

#[tokio::test]
async fn a_refusal_in_place_of_a_stream_is_as_ever() {
    let sim = simulated(Profile::instant()).await;
    let (called, deltas) = streamed(&job("a", "429:retry-after=7"), &deployment(&sim.base_url())).await;
    let failure = called.outcome.expect_err("it is refused");
    assert_eq!((failure.kind, failure.billed), (FailureKind::RateLimited, Billed::No));
    assert_eq!((failure.retry_after, deltas.len()), (Some(Duration::from_secs(7)), 0));
}

#[tokio::test]
async fn an_error_in_the_stream_is_what_it_would_have_been_before_it() {
    for (error, kind) in [
        (json!({ "type": "rate_limit_error", "code": "rate_limit_exceeded" }), FailureKind::RateLimited),
        (json!({ "type": "insufficient_quota", "code": "insufficient_quota" }), FailureKind::QuotaExhausted),
        (json!({ "type": "invalid_request_error", "code": "context_length_exceeded" }), FailureKind::ContextLength),
        (json!({ "code": "content_filter" }), FailureKind::ContentPolicy),
        (json!({ "type": "invalid_request_error" }), FailureKind::InvalidRequest),
        (json!({ "code": "invalid_api_key" }), FailureKind::Auth),
        (json!({ "type": "server_error" }), FailureKind::ServerError),
        (json!({ "code": "server_is_overloaded" }), FailureKind::ServerError),
        (json!({ "code": 429 }), FailureKind::RateLimited),
        (json!({ "code": "502" }), FailureKind::ServerError),
        (json!({ "code": 200 }), FailureKind::ServerError),
        (json!({}), FailureKind::ServerError),
    ] {
        let mut error = error;
        error["message"] = format!("no, with {KEY}").into();
        let server = streaming(format!("{}data: {}\n\n", says("hello world"), json!({ "error": error }))).await;
        let (called, deltas) = streamed(&job("a", ""), &deployment(&server.base_url())).await;
        check(&called, kind, ": no, with [key]", &error.to_string());
        assert_eq!(text_of(&deltas), "hello world");
        assert_eq!(called.failed_usage.map(|usage| usage.tokens.output), Some(2));
    }
}

#[tokio::test]
async fn errors_in_the_streams_of_other_vendors_are_read_as_theirs() {
    let anthropic = |kind: &str| {
        let error = json!({ "type": "error", "error": { "type": kind, "message": "m" } });
        format!("event: error\ndata: {error}\n\n")
    };
    let info = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s" });
    let limited =
        json!([{ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [info] } }]);
    let wait = Some(Duration::from_secs(37));
    for (vendor, event, kind, retry_after) in [
        (Vendor::Anthropic, anthropic("overloaded_error"), FailureKind::ServerError, None),
        (Vendor::Anthropic, anthropic("rate_limit_error"), FailureKind::RateLimited, None),
        (Vendor::Anthropic, anthropic("billing_error"), FailureKind::QuotaExhausted, None),
        (Vendor::Anthropic, anthropic("authentication_error"), FailureKind::Auth, None),
        (Vendor::Gemini, format!("data: {limited}\n\n"), FailureKind::RateLimited, wait),
    ] {
        let server = streaming(event).await;
        let to = Deployment::new("lab", vendor, &server.base_url(), "m", None).expect("a deployment");
        let (called, _) = streamed(&job("a", ""), &to).await;
        check(&called, kind, "an error in the stream", vendor.as_str());
        assert_eq!(called.outcome.expect_err("it failed").retry_after, retry_after);
    }
}

#[tokio::test]
async fn what_the_provider_said_of_a_cut_stream_counts() {
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": 7 } });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let error = json!({ "error": { "message": "m" } });
    let text = format!("{}data: {end}\n\ndata: {usage}\n\ndata: {error}\n\n", says("hello"));
    let (called, _) = streamed(&job("a", ""), &deployment(&streaming(text).await.base_url())).await;
    check(&called, FailureKind::ServerError, "m", "an error after all");
    let said = called.failed_usage.expect("it was said");
    assert_eq!(said.tokens, Tokens { input: 9, output: 7, ..Tokens::default() });
    assert_eq!(
        (said.source, said.raw.as_str()),
        (UsageSource::Provider, r#"{"completion_tokens":7,"prompt_tokens":9}"#)
    );

    let whole = include_str!("../streams/anthropic.sse");
    let (cut, _) = whole.split_once("\n\nevent: message_delta").expect("it has an end");
    let server = streaming(format!("{cut}\n\n")).await;
    let to = Deployment::new("lab", Vendor::Anthropic, &server.base_url(), "claude-x", None).expect("a deployment");
    let (called, _) = streamed(&job(&"x".repeat(400), ""), &to).await;
    check(&called, FailureKind::Reset, "the stream ended without an end", "cut");
    let counted = called.failed_usage.expect("it was said and counted");
    assert_eq!((counted.tokens.input, counted.tokens.cache_read), (472, 28), "the prompt is the provider's");
    assert!((20..60).contains(&counted.tokens.output), "what was written is counted: {:?}", counted.tokens);
    assert_eq!(counted.source, UsageSource::Estimated);
}

#[tokio::test]
async fn a_break_after_the_model_was_done_takes_nothing_from_the_answer() {
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    for close in [true, false] {
        let (at, _server) = raw(format!("{HEAD}{}data: {end}\n\n", says("hello world")), close).await;
        let mut to = deployment(&format!("http://{at}/v1"));
        to.timeouts.stall = SHORT;
        let (called, _) = streamed(&job("a", ""), &to).await;
        let answer = called.outcome.expect("it is whole");
        assert_eq!((answer.usage_source, answer.tokens.output), (UsageSource::Estimated, 2));
    }
}

#[tokio::test]
async fn a_stream_is_stopped_by_its_time_and_by_its_size() {
    let (at, server) = raw(format!("{HEAD}{}", says("hello")), false).await;
    let mut to = deployment(&format!("http://{at}/v1"));
    to.timeouts.total = SHORT;
    let (called, _) = streamed(&job("a", ""), &to).await;
    check(&called, FailureKind::TotalTimeout, "did not end in time", "total");
    assert!(server.await.expect("the server ends"), "the connection was closed");

    let server = streaming(says(&"x".repeat(100)).repeat(100)).await;
    let mut to = deployment(&server.base_url());
    to.response_bytes_max = 5000;
    let (called, _) = streamed(&job("a", ""), &to).await;
    check(&called, FailureKind::BadResponse, "an answer of more than 5000 bytes", "kept");

    let server = streaming(": a comment that nobody keeps\n".repeat(20_000)).await;
    let mut to = deployment(&server.base_url());
    to.response_bytes_max = 5000;
    let (called, _) = streamed(&job("a", ""), &to).await;
    check(&called, FailureKind::BadResponse, "an answer of more than 5000 bytes", "came");
}

#[tokio::test]
async fn dropping_a_streamed_call_closes_its_connection() {
    let (at, server) = raw(format!("{HEAD}{}", says("hello")), false).await;
    let (to, caller, spec) = (deployment(&format!("http://{at}/v1")), caller(), job("a", ""));
    let (heard, hears) = tokio::sync::watch::channel(0);
    let hear = |_| heard.send_modify(|count| *count += 1);
    let call = tollgate_providers::Call {
        body: &spec.body,
        request: &spec.request,
        traceparent: None,
        tracestate: None,
        job: "j",
        run: "r",
        attempt: 1,
        deadline_in: None,
        deltas: Some(&hear),
    };
    let started = Instant::now();
    tokio::time::timeout(SHORT, caller.call(&to, &call)).await.expect_err("it does not end");
    assert_eq!(*hears.borrow(), 1, "it was under way");
    assert!(server.await.expect("the server ends"), "the server did not see the end");
    assert!(started.elapsed() < Duration::from_secs(10));
}
