//! Calls over real connections: what is sent, what comes back, and what each failure is called.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod failures;
mod keys;
mod outbound;
mod server;
mod streams;
mod streams_corpus;
mod streams_cut;

use std::time::Duration;

use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use server::Server;
use tollgate_providers::{ApiKey, Call, Called, Caller, CallerOptions, Deployment, Vendor};
use tollgate_types::{Billed, Failure, FailureKind, JobSpec, Tokens, UsageSource};

const KEY: &str = "k3y-of-ours";
const PROMPT: &str = "a word nobody else says: xylotomous";
const ANSWER: &str = r#"{"id":"c-1", "choices":[{"index":0,"message":{"role":"assistant","content":"hello world"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}}"#;

fn caller() -> Caller {
    let options = CallerOptions { connect_timeout: Duration::from_secs(2), ..CallerOptions::default() };
    Caller::new(&options).expect("a caller")
}

fn deployment(base_url: &str) -> Deployment {
    let key = ApiKey::new(KEY).expect("a key");
    Deployment::new("lab", Vendor::OpenAi, base_url, "model-7", Some(key)).expect("a deployment")
}

fn spec() -> JobSpec {
    let line = format!(
        r#"{{"body":{{"model":"fast", "messages":[{{"role":"user","content":"{PROMPT}"}}],"stream":true,"x":1.50}}}}"#
    );
    JobSpec::decode(&Bytes::from(line), 1 << 20).expect("a job")
}

async fn call_within(deployment: &Deployment, deadline_in: Option<Duration>) -> Called {
    call_of(&spec(), deployment, deadline_in).await
}

async fn call_of(spec: &JobSpec, deployment: &Deployment, deadline_in: Option<Duration>) -> Called {
    let call = Call {
        body: &spec.body,
        request: &spec.request,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        tracestate: Some("a=b"),
        job: "job-1",
        run: "run-1",
        attempt: 2,
        deadline_in,
        deltas: None,
    };
    let caller = caller();
    tokio::time::timeout(Duration::from_secs(30), caller.call(deployment, &call)).await.expect("every call ends")
}

async fn call(deployment: &Deployment) -> Called {
    call_within(deployment, None).await
}

async fn failure_of(deployment: &Deployment) -> Failure {
    let called = call(deployment).await;
    called.outcome.expect_err("it fails")
}

fn json(body: impl Into<axum::body::Body>) -> axum::response::Response {
    Response::builder().header("content-type", "application/json").body(body.into()).expect("a response")
}

#[tokio::test]
async fn an_answer_comes_back_byte_for_byte_with_what_was_measured() {
    let server = Server::http(|_| {
        let mut response = json(ANSWER);
        response.headers_mut().insert("x-request-id", axum::http::HeaderValue::from_static("req 1"));
        response
    })
    .await;
    let called = call(&deployment(&server.base_url())).await;
    let answer = called.outcome.expect("an answer");
    assert_eq!(answer.body.get(), ANSWER);
    assert_eq!((answer.http_status, called.http_status), (200, Some(200)));
    assert_eq!(answer.tokens, Tokens { input: 8, cache_read: 4, output: 3, ..Tokens::default() });
    assert_eq!(answer.usage_source, UsageSource::Provider);
    assert!(answer.raw_usage.starts_with(r#"{"prompt_tokens":12,"#), "{}", answer.raw_usage);
    assert_eq!((answer.finish.as_str(), answer.answer_text_bytes), ("stop", "\"hello world\"".len()));
    assert_eq!(called.request_id, "req1");
    assert_eq!(called.failed_usage, None);
    let first_byte = called.first_byte.expect("there was a response");
    assert!(Duration::ZERO < first_byte && first_byte <= called.latency);
}

#[tokio::test]
async fn the_request_carries_the_deployments_model_and_key_and_the_trace() {
    let server = Server::http(|_| json(ANSWER)).await;
    let mut to = deployment(&server.base_url());
    call(&to).await.outcome.expect("an answer");
    to.correlation_headers = true;
    call(&to).await.outcome.expect("an answer");

    let [plain, correlated] = server.seen().try_into().expect("two requests");
    assert_eq!(plain.path, "/v1/chat/completions");
    let expected = format!(
        r#"{{"model":"model-7", "messages":[{{"role":"user","content":"{PROMPT}"}}],"stream":false,"x":1.50}}"#
    );
    assert_eq!(plain.body, expected);
    let header = |name: &str| plain.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("authorization"), Some("Bearer k3y-of-ours"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("traceparent"), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_eq!(header("tracestate"), Some("a=b"));
    assert_eq!(header("accept-encoding"), Some("gzip"));
    assert!(!plain.headers.keys().any(|name| name.as_str().starts_with("x-tollgate")), "{:?}", plain.headers);
    let header = |name: &str| correlated.headers.get(name).and_then(|value| value.to_str().ok());
    let ours = ["x-tollgate-job", "x-tollgate-run", "x-tollgate-attempt"].map(header);
    assert_eq!(ours, [Some("job-1"), Some("run-1"), Some("2")]);
}

#[tokio::test]
async fn a_question_to_anthropic_goes_out_as_theirs_and_comes_back_as_ours() {
    let server = Server::http(|_| {
        json(
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"hello"}],
            "stop_reason":"end_turn","usage":{"input_tokens":12,"cache_read_input_tokens":4,"output_tokens":3}}"#,
        )
    })
    .await;
    let key = ApiKey::new(KEY).expect("a key");
    let base_url = server.base_url();
    let to = Deployment::new("lab", Vendor::Anthropic, &base_url, "claude-x", Some(key)).expect("a deployment");
    let answer = call(&to).await.outcome.expect("an answer");
    assert_eq!(answer.tokens, Tokens { input: 12, cache_read: 4, output: 3, ..Tokens::default() });
    assert_eq!((answer.usage_source, answer.finish.as_str()), (UsageSource::Provider, "stop"));
    assert!(answer.raw_usage.starts_with(r#"{"input_tokens":12,"#), "{}", answer.raw_usage);
    let body: serde_json::Value = serde_json::from_str(answer.body.get()).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], "hello");
    assert_eq!(body["usage"]["total_tokens"], 19);

    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/v1/messages");
    let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!((header("x-api-key"), header("anthropic-version")), (Some(KEY), Some("2023-06-01")));
    assert_eq!(header("authorization"), None);
    let sent: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!((&sent["model"], &sent["messages"][0]["content"][0]["text"]), (&"claude-x".into(), &PROMPT.into()));
}

#[tokio::test]
async fn a_question_to_gemini_names_its_model_in_the_address() {
    let server = Server::http(|_| {
        json(
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hello"}]},"finishReason":"STOP"}],
            "usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":3,"totalTokenCount":15}}"#,
        )
    })
    .await;
    let key = ApiKey::new(KEY).expect("a key");
    let base_url = format!("http://{}", server.at);
    let to = Deployment::new("lab", Vendor::Gemini, &base_url, "gemini-x", Some(key)).expect("a deployment");
    let answer = call(&to).await.outcome.expect("an answer");
    assert_eq!(answer.tokens, Tokens { input: 12, output: 3, ..Tokens::default() });
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/v1beta/models/gemini-x:generateContent");
    let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!((header("x-goog-api-key"), header("authorization")), (Some(KEY), None));
    let sent: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!((&sent["contents"][0]["parts"][0]["text"], sent.get("model")), (&PROMPT.into(), None));
}

#[tokio::test]
async fn what_a_vendor_cannot_do_is_said_before_the_call() {
    let server = Server::http(|_| json(ANSWER)).await;
    let to = Deployment::new("lab", Vendor::Anthropic, &server.base_url(), "claude-x", None).expect("a deployment");
    let line = format!(r#"{{"body":{{"model":"fast","messages":[{{"role":"user","content":"{PROMPT}"}}],"seed":7}}}}"#);
    let spec = JobSpec::decode(&Bytes::from(line), 1 << 20).expect("a job");
    let called = call_of(&spec, &to, None).await;
    let failure = called.outcome.expect_err("it is refused");
    assert_eq!((failure.kind, failure.billed), (FailureKind::Unsupported, Billed::No));
    assert_eq!(failure.message, "anthropic cannot do this: it has nothing like `seed`");
    assert_eq!((server.seen().len(), called.http_status), (0, None));
}

#[tokio::test]
async fn a_server_without_a_key_gets_none() {
    let server = Server::http(|_| json(ANSWER)).await;
    let to = Deployment::new("lab", Vendor::OpenAi, &server.base_url(), "m", None).expect("a deployment");
    call(&to).await.outcome.expect("an answer");
    assert!(!server.seen()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn calls_reuse_their_connection() {
    let server = Server::http(|_| json(ANSWER)).await;
    let (to, caller, spec) = (deployment(&server.base_url()), caller(), spec());
    for attempt in 1..=20 {
        let call = Call {
            body: &spec.body,
            request: &spec.request,
            traceparent: None,
            tracestate: None,
            job: "j",
            run: "r",
            attempt,
            deadline_in: None,
            deltas: None,
        };
        caller.call(&to, &call).await.outcome.expect("an answer");
    }
    let ports: std::collections::HashSet<_> = server.seen().iter().map(|seen| seen.peer.port()).collect();
    assert_eq!((server.seen().len(), ports.len()), (20, 1));
}

#[tokio::test]
async fn usage_that_is_missing_or_impossible_is_counted_instead() {
    for usage in [
        "null",
        r#"{"prompt_tokens":-5,"completion_tokens":1}"#,
        r#"{"prompt_tokens":900000000,"completion_tokens":1}"#,
        r#"{"prompt_tokens":12,"completion_tokens":0}"#,
        r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
    ] {
        let body = format!(
            r#"{{"choices":[{{"message":{{"content":"hello world"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
        );
        let server = Server::http(move |_| json(body.clone())).await;
        let answer = call(&deployment(&server.base_url())).await.outcome.expect("an answer");
        assert_eq!(answer.usage_source, UsageSource::Estimated, "{usage}");
        assert_eq!(answer.tokens.output, 2, "{usage}");
        assert!((8..20).contains(&answer.tokens.input), "{usage}: {:?}", answer.tokens);
    }
}

#[tokio::test]
async fn compressed_answers_are_read() {
    let server = Server::http(|_| gzipped(ANSWER.as_bytes())).await;
    let answer = call(&deployment(&server.base_url())).await.outcome.expect("an answer");
    assert_eq!(answer.body.get(), ANSWER);
}

fn gzipped(bytes: &[u8]) -> axum::response::Response {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    let body = encoder.finish().expect("memory takes it");
    (StatusCode::OK, [("content-encoding", "gzip"), ("content-type", "application/json")], body).into_response()
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic under the lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic under the lock").clone()).expect("UTF-8")
    }
}

/// Runs the same twice, and keeps what the second run logs.
///
/// Another test that passes a log line for the first time while the log is set up can switch the line off for all, so
/// the lines are passed once before.
async fn logged(log: &Log, run: impl AsyncFn()) {
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    run().await;
    tracing::callsite::rebuild_interest_cache();
    log.0.lock().expect("no panic under the lock").clear();
    run().await;
}

#[tokio::test]
async fn neither_prompt_nor_answer_nor_key_nor_message_is_logged() {
    let log = Log::default();
    let server = Server::http(|seen| {
        let echo = String::from_utf8_lossy(&seen.body).replace('"', "'");
        (StatusCode::BAD_REQUEST, format!(r#"{{"error":{{"message":"what is {echo} with {KEY}?"}}}}"#)).into_response()
    })
    .await;
    let run = async || {
        let failure = failure_of(&deployment(&server.base_url())).await;
        assert!(failure.message.contains("xylotomous") && !failure.message.contains(KEY), "{}", failure.message);
    };
    logged(&log, run).await;
    let log = log.text();
    assert!(log.contains("called a provider"), "{log}");
    for secret in ["xylotomous", KEY, "what is"] {
        assert!(!log.contains(secret), "{log}");
    }
}
