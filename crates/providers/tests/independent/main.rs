//! Every vendor's adapter against a server that none of us wrote: aimock, which serves the vendors' wire formats with
//! chosen answers and faults, and keeps a journal of what it was asked.
//!
//! `.ci/adapters` installs and starts it with this directory's `fixtures.json`, and runs these tests; they need its
//! address in `TOLLGATE_INDEPENDENT_URL`, so they are ignored unless asked for. A vendor is one more row of
//! [`SERVICES`], a behaviour one more row of [`CASES`] and, if the server must be told,
//! one more fixture. [`endpoints`] has what is no chat, [`streams`] what is streamed.

mod cases;
mod endpoints;
mod server;
mod streams;

use std::time::Duration;

use bytes::Bytes;
use cases::{CASES, Case, Then};
use serde_json::{Value, json};
use server::{Entry, Independent};
use tokio::time::Instant;
use tollgate_providers::{Answer, Call, Called, Caller, CallerOptions, Deployment, KeySource, OnDelta, Ring, Vendor};
use tollgate_types::{Billed, Endpoint, FailureKind, JobSpec, Tokens, UsageSource};

/// The key that the server takes; `.ci/adapters` tells it so.
const KEY: &str = "sk-independent-1";
const WRONG_KEY: &str = "sk-independent-wrong";
const MODEL: &str = "model-7";

/// A vendor's wire format, and where and how it must arrive.
struct Service {
    vendor: Vendor,
    /// What follows the server's address in a base URL.
    base: &'static str,
    /// Where a call arrives.
    path: &'static str,
    /// The header that carries the key, and no other may.
    key_header: &'static str,
    /// Whether the server's copy of the format says what was used; else it says zero, and we count.
    tells_usage: bool,
    /// Where a call whose answer is streamed arrives, if the vendor's answers are.
    streams_at: Option<&'static str>,
    /// The version of the API, where Azure is asked for a dated one.
    version: Option<&'static str>,
}

const SERVICES: &[Service] = &[
    Service {
        streams_at: Some("/v1/chat/completions"),
        ..service(Vendor::OpenAi, "/v1", "/v1/chat/completions", "authorization")
    },
    Service { streams_at: Some("/v1/messages"), ..service(Vendor::Anthropic, "/v1", "/v1/messages", "x-api-key") },
    Service {
        streams_at: Some("/v1beta/models/model-7:streamGenerateContent?alt=sse"),
        ..service(Vendor::Gemini, "/v1beta", "/v1beta/models/model-7:generateContent", "x-goog-api-key")
    },
    Service {
        streams_at: Some("/openai/v1/chat/completions"),
        ..service(Vendor::Azure, "/openai/v1", "/openai/v1/chat/completions", "api-key")
    },
    Service {
        version: Some("2024-10-21"),
        streams_at: Some("/openai/deployments/model-7/chat/completions?api-version=2024-10-21"),
        ..service(
            Vendor::Azure,
            "/openai",
            "/openai/deployments/model-7/chat/completions?api-version=2024-10-21",
            "api-key",
        )
    },
    // Not streamed: Mistral tells unasked what a stream has used, and this server only when asked, which Mistral refuses.
    service(Vendor::Mistral, "/v1", "/v1/chat/completions", "authorization"),
    Service {
        streams_at: Some("/v1/chat/completions"),
        ..service(Vendor::Xai, "/v1", "/v1/chat/completions", "authorization")
    },
    Service { tells_usage: false, ..service(Vendor::Ollama, "", "/api/chat", "authorization") },
];

const fn service(vendor: Vendor, base: &'static str, path: &'static str, key_header: &'static str) -> Service {
    Service { vendor, base, path, key_header, tells_usage: true, streams_at: None, version: None }
}

impl Service {
    fn deployment(&self, server: &Independent, keys: &[&str]) -> Deployment {
        let base_url = format!("{}{}", server.url(), self.base);
        let mut to = Deployment::new("lab", self.vendor, &base_url, MODEL, None).expect("a deployment");
        if let Some(version) = self.version {
            to = to.with_api_version(version).expect("a version");
        }
        let named = |(at, key): (usize, &&str)| (format!("key-{}", at + 1), KeySource::Env((*key).to_owned()));
        let keys = keys.iter().enumerate().map(named).collect();
        to.keys = Ring::open("lab", keys, &|key| Some(key.to_owned()), Instant::now()).expect("all are found");
        to
    }
}

/// Calls once; returns how it went and what the server says that it was asked.
async fn called(server: &Independent, to: &Deployment, body: &Value) -> (Called, Vec<Entry>) {
    called_at(server, to, Endpoint::ChatCompletions, body, None).await
}

/// The same at any endpoint, for somebody who reads along.
async fn called_at(
    server: &Independent,
    to: &Deployment,
    endpoint: Endpoint,
    body: &Value,
    deltas: Option<OnDelta<'_>>,
) -> (Called, Vec<Entry>) {
    let line = json!({ "method": "POST", "url": endpoint.as_str(), "body": body }).to_string();
    let spec = JobSpec::decode(&Bytes::from(line), 1 << 20).expect("a job");
    let trace = server.new_trace();
    let call = Call {
        body: &spec.body,
        request: &spec.request,
        traceparent: Some(&trace),
        tracestate: None,
        job: "job-1",
        run: "run-1",
        attempt: 1,
        deadline_in: Some(Duration::from_secs(30)),
        deltas,
    };
    let caller = Caller::new(&CallerOptions::default()).expect("a caller");
    (caller.call(to, &call).await, server.journal(&trace).await)
}

/// What the server was asked: once, in the vendor's place, with the key in the vendor's header alone, and all of it.
fn arrived(service: &Service, path: &str, understood: &[&str], journal: &[Entry], what: &str) {
    let [entry] = journal else { panic!("{what}: {} requests", journal.len()) };
    assert_eq!((entry.method.as_str(), entry.path.as_str()), ("POST", path), "{what}");
    let key_headers = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];
    let sent: Vec<&str> = key_headers.into_iter().filter(|name| entry.headers.contains_key(*name)).collect();
    assert_eq!(sent, [service.key_header], "{what}");
    assert_eq!(entry.body["model"], MODEL, "{what}");
    // The journal shows every vendor's request in one shape, which is the server's own reading of it.
    let body = entry.body.to_string();
    for word in understood {
        assert!(body.contains(word), "{what}: `{word}` did not arrive: {body}");
    }
}

/// What an answer used: as the server says, or as we count it.
fn used(service: &Service, answer: &Answer, what: &str) {
    if service.tells_usage {
        assert_eq!(answer.tokens, Tokens { input: 12, output: 3, ..Tokens::default() }, "{what}");
        assert_eq!(answer.usage_source, UsageSource::Provider, "{what}");
    } else {
        assert!(answer.tokens.input > 0 && answer.tokens.output > 0, "{what}: {:?}", answer.tokens);
        assert_eq!(answer.usage_source, UsageSource::Estimated, "{what}");
    }
}

fn check(service: &Service, case: &Case, called: Called, what: &str) {
    match (&case.then, called.outcome) {
        (Then::Answer { finish, says }, Ok(answer)) => {
            assert_eq!((answer.finish.as_str(), answer.http_status), (*finish, 200), "{what}");
            used(service, &answer, what);
            let body: Value = serde_json::from_str(answer.body.get()).expect("JSON");
            says(&body["choices"][0]["message"], what);
        }
        (Then::Fail { kind, status, retry_after, billed }, Err(failure)) => {
            assert_eq!((failure.kind, failure.billed), (*kind, *billed), "{what}: {failure}");
            assert_eq!((failure.http_status, failure.retry_after), (*status, *retry_after), "{what}: {failure}");
            assert!(!failure.message.is_empty() && !failure.message.contains(KEY), "{what}: {failure}");
        }
        (_, outcome) => panic!("{what}: {outcome:?}"),
    }
    assert_eq!(called.key, "key-1", "{what}");
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn every_vendor_does_what_an_independent_server_says_it_should() {
    let server = Independent::from_environment();
    let mut done = 0;
    for service in SERVICES {
        for case in CASES {
            let what = format!("{}, {}", service.vendor.as_str(), case.name);
            let (called, journal) = called(&server, &service.deployment(&server, &[KEY]), &case.body()).await;
            arrived(service, service.path, case.understood, &journal, &what);
            check(service, case, called, &what);
            done += 1;
        }
    }
    assert_eq!(done, SERVICES.len() * CASES.len());
}

#[tokio::test]
#[ignore = "needs the server of .ci/adapters"]
async fn a_wrong_key_is_refused_and_set_aside_and_the_right_one_goes_on() {
    let server = Independent::from_environment();
    for service in SERVICES {
        let what = service.vendor.as_str();
        let to = service.deployment(&server, &[WRONG_KEY, KEY]);
        let body = CASES[0].body();
        let (refused, journal) = called(&server, &to, &body).await;
        let failure = refused.outcome.expect_err("the key is wrong");
        assert_eq!((failure.kind, failure.http_status), (FailureKind::Auth, Some(401)), "{what}: {failure}");
        assert_eq!((refused.key.as_str(), refused.another_key), ("key-1", true), "{what}");
        // The server turns it away before it writes anything down.
        assert_eq!(journal.len(), 0, "{what}");
        for _ in 0..2 {
            let (answered, journal) = called(&server, &to, &body).await;
            assert_eq!((answered.outcome.is_ok(), answered.key.as_str(), journal.len()), (true, "key-2", 1), "{what}");
        }
        let to = service.deployment(&server, &[WRONG_KEY]);
        assert!(!called(&server, &to, &body).await.0.another_key, "{what}");
        let (without, _) = called(&server, &to, &body).await;
        let failure = without.outcome.expect_err("no key is left");
        assert_eq!(
            (failure.kind, failure.billed, failure.http_status),
            (FailureKind::Auth, Billed::No, None),
            "{what}"
        );
    }
}
