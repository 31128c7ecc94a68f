//! Answers that are streamed: in order, whole at the end, and counted where they are cut.

use std::sync::Mutex;

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_providers::Called;
use tollgate_types::{Billed, Endpoint, FailureKind, UsageSource};

use crate::server::Independent;
use crate::{KEY, SERVICES, Service, arrived, called_at, used};

const ANSWER: &str = "Seven wörds of rain fell on Oslo, and then the sun came out; nobody had asked it to.";
const ARGUMENTS: &str = r#"{"city":"Oslo"}"#;

/// Calls for somebody who reads along; with the deltas, after a look at what arrived.
async fn streamed(server: &Independent, service: &Service, says: &str, what: &str) -> (Called, Vec<Value>) {
    let heard = Mutex::new(Vec::new());
    let hear = |delta: Bytes| heard.lock().expect("no panic under the lock").push(delta);
    let function = json!({ "name": "weather_at", "parameters": { "type": "object" } });
    let body = json!({ "model": "fast", "max_tokens": 50, "stream": true,
        "messages": [{ "role": "user", "content": says }],
        "tools": [{ "type": "function", "function": function }] });
    let to = service.deployment(server, &[KEY]);
    let (called, journal) = called_at(server, &to, Endpoint::ChatCompletions, &body, Some(&hear)).await;
    arrived(service, service.streams_at.expect("it streams"), &[says], &journal, what);
    let deltas = heard.into_inner().expect("no panic under the lock");
    (called, deltas.iter().map(|delta| serde_json::from_slice(delta).expect("a delta is JSON")).collect())
}

/// The vendors whose answers are streamed.
fn streaming() -> impl Iterator<Item = (&'static Service, String)> {
    let all = SERVICES.iter().filter(|service| service.streams_at.is_some());
    all.map(|service| (service, service.vendor.as_str().to_owned()))
}

/// What the deltas say, joined.
fn text(deltas: &[Value]) -> String {
    deltas.iter().filter_map(|delta| delta["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn joined_deltas_are_the_answer() {
    let server = Independent::from_environment();
    for (service, what) in streaming() {
        let (called, deltas) = streamed(&server, service, "an answer in pieces", &what).await;
        let answer = called.outcome.expect(&what);
        assert!(deltas.len() > 10, "{what}: {} deltas", deltas.len());
        assert_eq!(text(&deltas), ANSWER, "{what}");
        let body: Value = serde_json::from_str(answer.body.get()).expect("JSON");
        assert_eq!(body["choices"][0]["message"]["content"], ANSWER, "{what}");
        assert_eq!(answer.finish, "stop", "{what}");
        used(service, &answer, &what);
        assert!(called.first_token.is_some(), "{what}");
    }
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn a_call_of_a_tool_comes_in_deltas() {
    let server = Independent::from_environment();
    for (service, what) in streaming() {
        let (called, deltas) = streamed(&server, service, "a tool in pieces", &what).await;
        let answer = called.outcome.expect(&what);
        let calls: Vec<&Value> = deltas
            .iter()
            .map(|delta| &delta["choices"][0]["delta"]["tool_calls"][0])
            .filter(|call| !call.is_null())
            .collect();
        let joined: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
        assert_eq!(serde_json::from_str::<Value>(&joined).expect(&what), json!({ "city": "Oslo" }), "{what}");
        let names: String = calls.iter().filter_map(|call| call["function"]["name"].as_str()).collect();
        assert_eq!(names, "weather_at", "{what}: named once");
        let body: Value = serde_json::from_str(answer.body.get()).expect("JSON");
        let call = &body["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(
            (&call["function"]["name"], &call["function"]["arguments"]),
            (&names.into(), &ARGUMENTS.into()),
            "{what}"
        );
        assert!(call["id"].as_str().is_some_and(|id| !id.is_empty()), "{what}: {call}");
        assert_eq!(answer.finish, "tool_calls", "{what}");
        used(service, &answer, &what);
    }
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn a_stream_that_is_cut_has_failed_and_what_came_is_counted() {
    let server = Independent::from_environment();
    for (service, vendor) in streaming() {
        for says in ["a stream that is cut by its pieces", "a stream that is cut by its time"] {
            let what = format!("{vendor}, {says}");
            let (called, deltas) = streamed(&server, service, says, &what).await;
            let failure = called.outcome.expect_err(&what);
            assert_eq!((failure.kind, failure.billed), (FailureKind::Reset, Billed::Maybe), "{what}: {failure}");
            assert_eq!(failure.http_status, Some(200), "{what}");
            let came = text(&deltas);
            assert!(!came.is_empty() && came.len() < ANSWER.len() && ANSWER.starts_with(&came), "{what}: {came}");
            let usage = called.failed_usage.expect(&what);
            assert_eq!(usage.source, UsageSource::Estimated, "{what}");
            assert!(usage.tokens.input > 0 && usage.tokens.output > 0, "{what}: {:?}", usage.tokens);
        }
    }
}
