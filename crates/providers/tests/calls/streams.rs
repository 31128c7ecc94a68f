//! Answers that come as streams: what is given on, and what is put together.

use std::sync::Mutex;
use std::time::Duration;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use serde_json::{Value, json};
use sim_provider::{Config, Profile, SimProvider};
use tollgate_providers::{Answer, ApiKey, Call, Called, Deployment, Vendor};
use tollgate_types::{JobSpec, Tokens, UsageSource};

use crate::server::{Server, raw};
use crate::{ANSWER, KEY, caller, deployment, json as json_response};

/// A job that asks for a stream, with a directive for the simulated provider.
pub(crate) fn job(content: &str, directive: &str) -> JobSpec {
    let body = json!({
        "model": "fast",
        "messages": [{ "role": "user", "content": content }],
        "stream": true,
        "metadata": { "sim": directive },
    });
    JobSpec::decode(&Bytes::from(json!({ "body": body }).to_string()), 1 << 20).expect("a job")
}

/// Calls for somebody who reads along; with the deltas.
pub(crate) async fn streamed(spec: &JobSpec, deployment: &Deployment) -> (Called, Vec<Bytes>) {
    let heard = Mutex::new(Vec::new());
    let hear = |delta| heard.lock().expect("no panic under the lock").push(delta);
    let call = Call {
        body: &spec.body,
        request: &spec.request,
        traceparent: None,
        tracestate: None,
        job: "job-1",
        run: "run-1",
        attempt: 1,
        deadline_in: None,
        deltas: Some(&hear),
    };
    let caller = caller();
    let called = tokio::time::timeout(Duration::from_secs(30), caller.call(deployment, &call));
    let called = called.await.expect("every call ends");
    (called, heard.into_inner().expect("no panic under the lock"))
}

pub(crate) async fn simulated(profile: Profile) -> SimProvider {
    SimProvider::start(Config { profile, ..Config::default() }).await.expect("it starts")
}

/// A server that answers with this as a stream.
pub(crate) async fn streaming(text: impl Into<String>) -> Server {
    let text = text.into();
    Server::http(move |_| ([("content-type", "text/event-stream; charset=utf-8")], text.clone()).into_response()).await
}

pub(crate) fn chunks(deltas: &[Bytes]) -> Vec<Value> {
    deltas.iter().map(|delta| serde_json::from_slice(delta).expect("a delta is JSON")).collect()
}

/// What the deltas of the first choice say.
pub(crate) fn text_of(deltas: &[Bytes]) -> String {
    let firsts = chunks(deltas).into_iter().map(|mut chunk| chunk["choices"][0].take());
    let texts = firsts.filter(|choice| choice["index"] == 0).map(|mut choice| choice["delta"]["content"].take());
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn body_of(answer: &Answer) -> Value {
    serde_json::from_str(answer.body.get()).expect("JSON")
}

#[tokio::test]
async fn deltas_come_in_order_and_the_answer_is_that_of_a_whole_call() {
    let paced = Profile { tokens_per_second: Some(200.0), reasoning_share: 0.2, ..Profile::instant() };
    let (one, other) = (simulated(paced.clone()).await, simulated(paced).await);
    let spec = job("count to forty", "tokens=40");
    let (called, deltas) = streamed(&spec, &deployment(&one.base_url())).await;
    let answer = called.outcome.expect("an answer");
    let body = body_of(&answer);
    let content = body["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
    assert_eq!(text_of(&deltas), content);
    assert!(deltas.len() > 30, "{} deltas", deltas.len());
    assert!(
        chunks(&deltas).iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == body["id"])
    );
    assert_eq!((answer.finish.as_str(), answer.usage_source), ("stop", UsageSource::Provider));

    // Forty tokens at two hundred a second, of which the first eight are thoughts that nobody sees.
    let first_token = called.first_token.expect("it wrote");
    assert!(called.first_byte.expect("it answered") < first_token);
    assert!(called.latency - first_token > Duration::from_millis(100), "{first_token:?} of {:?}", called.latency);

    let log = one.calls().remove(0);
    assert!(log.received.stream);
    let billed = log.ended.expect("it ended").usage_true;
    assert_eq!((answer.tokens.prompt(), answer.tokens.completion()), (billed.prompt_tokens, billed.completion_tokens));
    assert_eq!((answer.tokens.cache_read, answer.tokens.reasoning), (billed.cached_tokens, billed.reasoning_tokens));

    let whole = crate::call_of(&spec, &deployment(&other.base_url()), None).await;
    assert_eq!((whole.first_token, other.calls()[0].received.stream), (None, false));
    let mut whole = body_of(&whole.outcome.expect("an answer"));
    for of_its_own in ["id", "created"] {
        whole[of_its_own] = body[of_its_own].clone();
    }
    assert_eq!(body, whole);
}

#[tokio::test]
async fn an_anthropic_stream_becomes_deltas_and_a_completion() {
    let server = streaming(include_str!("../streams/anthropic.sse")).await;
    let key = ApiKey::new(KEY).expect("a key");
    let base_url = server.base_url();
    let to = Deployment::new("lab", Vendor::Anthropic, &base_url, "claude-x", Some(key)).expect("a deployment");
    let (called, deltas) = streamed(&job(&"x".repeat(400), ""), &to).await;
    let answer = called.outcome.expect("an answer");
    assert_eq!(answer.tokens, Tokens { input: 472, cache_read: 28, output: 89, ..Tokens::default() });
    assert_eq!((answer.finish.as_str(), answer.usage_source), ("tool_calls", UsageSource::Provider));
    assert_eq!(text_of(&deltas), "Okay, let's check the wéather:");
    assert_eq!(body_of(&answer)["choices"][0]["message"]["content"], "Okay, let's check the wéather:");
    assert!(called.first_token.is_some());
    let seen = &server.seen()[0];
    assert_eq!(seen.headers["accept"], "text/event-stream");
    let sent: Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!((&sent["stream"], sent.get("stream_options")), (&true.into(), None));
}

#[tokio::test]
async fn a_gemini_stream_has_its_own_address_and_becomes_deltas_and_a_completion() {
    let server = streaming(include_str!("../streams/gemini.sse")).await;
    let base_url = format!("http://{}", server.at);
    let to = Deployment::new("lab", Vendor::Gemini, &base_url, "gemini-x", None).expect("a deployment");
    let (called, deltas) = streamed(&job("hello", ""), &to).await;
    let answer = called.outcome.expect("an answer");
    assert_eq!(answer.tokens, Tokens { input: 8, cache_read: 3, output: 40, reasoning: 22, ..Tokens::default() });
    assert_eq!(body_of(&answer)["choices"][0]["message"]["content"], "The weather in Köln:");
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/v1beta/models/gemini-x:streamGenerateContent?alt=sse");
    let sent: Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!(sent.get("stream"), None);
    assert_eq!(chunks(&deltas)[0]["choices"][0]["delta"]["reasoning_content"], "Let me ");
}

#[tokio::test]
async fn a_stream_is_asked_for_only_where_somebody_reads_along_and_the_job_says_so() {
    let server = streaming(include_str!("../streams/openai_text.sse")).await;
    let to = deployment(&server.base_url());
    streamed(&job("a", ""), &to).await.0.outcome.expect("an answer");
    let plain = br#"{"body":{"model":"m","messages":[{"role":"user","content":"a"}]}}"#;
    let plain = JobSpec::decode(&Bytes::from_static(plain), 1 << 20).expect("a job");
    let sent = |n: usize| -> Value { serde_json::from_slice(&server.seen()[n].body).expect("JSON") };
    assert_eq!((&sent(0)["stream"], &sent(0)["stream_options"]["include_usage"]), (&true.into(), &true.into()));

    let whole = Server::http(|_| json_response(ANSWER)).await;
    let (called, deltas) = streamed(&plain, &deployment(&whole.base_url())).await;
    assert_eq!(called.outcome.expect("an answer").body.get(), ANSWER);
    assert_eq!((whole.seen()[0].headers["accept"].to_str().expect("text"), deltas.len()), ("application/json", 1));
    let sent: Value = serde_json::from_slice(&whole.seen()[0].body).expect("JSON");
    assert_eq!((sent.get("stream"), sent.get("stream_options")), (None, None));
}

#[tokio::test]
async fn a_server_that_does_not_stream_gives_one_delta() {
    let server = Server::http(|_| json_response(ANSWER)).await;
    let (called, deltas) = streamed(&job("a", ""), &deployment(&server.base_url())).await;
    let answer = called.outcome.expect("an answer");
    assert_eq!((answer.body.get(), answer.tokens.cache_read), (ANSWER, 4));
    assert!(called.first_token.is_some());
    let [delta] = &chunks(&deltas)[..] else { panic!("{deltas:?}") };
    assert_eq!(delta["object"], "chat.completion.chunk");
    let choice = json!({
        "index": 0,
        "delta": { "role": "assistant", "content": "hello world" },
        "finish_reason": "stop",
    });
    assert_eq!(delta["choices"], json!([choice]));
}

#[tokio::test]
async fn a_stream_without_a_type_or_an_empty_line_at_its_end_is_read() {
    let text = include_str!("../streams/openai_text.sse").trim_end().to_owned();
    assert!(text.ends_with("[DONE]"));
    let whole = text.split("data: [DONE]").next().expect("a part").trim_end().to_owned();
    for body in [text, whole] {
        let server = Server::http(move |_| body.clone().into_response()).await;
        let (called, deltas) = streamed(&job(&"x".repeat(100), ""), &deployment(&server.base_url())).await;
        let answer = called.outcome.expect("an answer");
        assert_eq!((answer.tokens.prompt(), answer.usage_source), (19, UsageSource::Provider));
        assert_eq!(text_of(&deltas), "Hello wörld");
    }
}

#[tokio::test]
async fn streams_reuse_their_connection() {
    let server = streaming(include_str!("../streams/openai_tools.sse")).await;
    let (to, caller, spec) = (deployment(&server.base_url()), caller(), job("a", ""));
    for attempt in 1..=10 {
        let call = Call {
            body: &spec.body,
            request: &spec.request,
            traceparent: None,
            tracestate: None,
            job: "j",
            run: "r",
            attempt,
            deadline_in: None,
            deltas: Some(&drop),
        };
        caller.call(&to, &call).await.outcome.expect("an answer");
    }
    let ports: std::collections::HashSet<_> = server.seen().iter().map(|seen| seen.peer.port()).collect();
    assert_eq!((server.seen().len(), ports.len()), (10, 1));
}

#[tokio::test]
async fn a_server_that_keeps_its_connection_open_after_the_end_does_not_hold_up_the_answer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n";
    let (at, _server) = raw(format!("{head}{}", include_str!("../streams/openai_text.sse")), false).await;
    let (called, _) = streamed(&job(&"x".repeat(100), ""), &deployment(&format!("http://{at}/v1"))).await;
    called.outcome.expect("an answer");
    assert!(called.latency < Duration::from_secs(2), "{:?}", called.latency);
}

#[tokio::test]
async fn a_slow_model_is_waited_for_before_its_first_word() {
    let text = include_str!("../streams/openai_text.sse");
    let server = Server::http(move |_| {
        let late = futures_util::stream::once(async move {
            tokio::time::sleep(Duration::from_millis(600)).await;
            Ok::<_, std::io::Error>(text)
        });
        ([("content-type", "text/event-stream")], axum::body::Body::from_stream(late)).into_response()
    })
    .await;
    let mut to = deployment(&server.base_url());
    to.timeouts.stall = Duration::from_millis(200);
    let (called, _) = streamed(&job("a", "ok"), &to).await;
    called.outcome.expect("an answer");
    assert!(called.first_byte.expect("it answered") < Duration::from_millis(400));
    to.timeouts.first_byte = Duration::from_millis(300);
    let failure = streamed(&job("a", "ok"), &to).await.0.outcome.expect_err("it is too slow");
    assert_eq!(failure.message, "the stream stalled: nothing came for 300ms");
}
