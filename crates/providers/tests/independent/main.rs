//! Every vendor's adapter against a server that none of us wrote: aimock, which serves the vendors' wire formats with
//! chosen answers and faults, and keeps a journal of what it was asked.
//!
//! `.ci/adapters` installs and starts it with this directory's `fixtures.json`, and runs these tests; they need its
//! address in `TOLLGATE_INDEPENDENT_URL`, so they are ignored unless asked for. A vendor is one more row of
//! [`SERVICES`], a behaviour one more row of [`CASES`] and, if the server must be told, one more fixture.

mod cases;
mod server;

use std::time::Duration;

use bytes::Bytes;
use cases::{CASES, Case, Then};
use serde_json::Value;
use server::{Entry, Independent};
use tokio::time::Instant;
use tollgate_providers::{Call, Called, Caller, CallerOptions, Deployment, KeySource, Ring, Vendor};
use tollgate_types::{Billed, FailureKind, JobSpec, Tokens, UsageSource};

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
}

const SERVICES: &[Service] = &[
    Service { vendor: Vendor::OpenAi, base: "/v1", path: "/v1/chat/completions", key_header: "authorization" },
    Service { vendor: Vendor::Anthropic, base: "/v1", path: "/v1/messages", key_header: "x-api-key" },
    Service {
        vendor: Vendor::Gemini,
        base: "/v1beta",
        path: "/v1beta/models/model-7:generateContent",
        key_header: "x-goog-api-key",
    },
];

impl Service {
    fn deployment(&self, server: &Independent, keys: &[&str]) -> Deployment {
        let base_url = format!("{}{}", server.url(), self.base);
        let mut to = Deployment::new("lab", self.vendor, &base_url, MODEL, None).expect("a deployment");
        let named = |(at, key): (usize, &&str)| (format!("key-{}", at + 1), KeySource::Env((*key).to_owned()));
        let keys = keys.iter().enumerate().map(named).collect();
        to.keys = Ring::open("lab", keys, &|key| Some(key.to_owned()), Instant::now()).expect("all are found");
        to
    }
}

/// Calls once; returns how it went and what the server says that it was asked.
async fn called(server: &Independent, to: &Deployment, body: &Value) -> (Called, Vec<Entry>) {
    let spec = JobSpec::decode(&Bytes::from(format!(r#"{{"body":{body}}}"#)), 1 << 20).expect("a job");
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
        deltas: None,
    };
    let caller = Caller::new(&CallerOptions::default()).expect("a caller");
    (caller.call(to, &call).await, server.journal(&trace).await)
}

/// What the server was asked: once, in the vendor's place, with the key in the vendor's header alone, and all of it.
fn arrived(service: &Service, case: &Case, journal: &[Entry], what: &str) {
    let [entry] = journal else { panic!("{what}: {} requests", journal.len()) };
    assert_eq!((entry.method.as_str(), entry.path.as_str()), ("POST", service.path), "{what}");
    let key_headers = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];
    let sent: Vec<&str> = key_headers.into_iter().filter(|name| entry.headers.contains_key(*name)).collect();
    assert_eq!(sent, [service.key_header], "{what}");
    assert_eq!(entry.body["model"], MODEL, "{what}");
    // The journal shows every vendor's request in one shape, which is the server's own reading of it.
    let understood = entry.body.to_string();
    for word in case.understood {
        assert!(understood.contains(word), "{what}: `{word}` did not arrive: {understood}");
    }
}

fn check(case: &Case, called: Called, what: &str) {
    match (&case.then, called.outcome) {
        (Then::Answer { finish, says }, Ok(answer)) => {
            assert_eq!((answer.finish.as_str(), answer.http_status), (*finish, 200), "{what}");
            assert_eq!(answer.tokens, Tokens { input: 12, output: 3, ..Tokens::default() }, "{what}");
            assert_eq!(answer.usage_source, UsageSource::Provider, "{what}");
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
            arrived(service, case, &journal, &what);
            check(case, called, &what);
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
