//! Whole exchanges with every vendor, from files: what a job becomes on the wire, and what becomes of the reply.
//!
//! A file `<vendor>/*.json` holds exchanges with one deployment. The replies are those that the vendor documents at the
//! `source` of the file, in full; no service was asked for them. Each goes through a real [`Caller`] to a server on a free
//! port, which checks nothing, remembers what it saw, and replies as the file says.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod file;
mod server;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use file::{Case, Expected, File, Sent};
use serde_json::Value;
use server::Seen;
use tollgate_providers::{ApiKey, Call, Called, Caller, CallerOptions, Deployment, Vendor};
use tollgate_types::{Endpoint, JobSpec, UsageSource};

const KEY: &str = "k3y-of-ours";

#[tokio::test]
async fn every_recorded_exchange_goes_as_its_file_says() {
    let caller = Caller::new(&CallerOptions::default()).expect("a caller");
    let mut cases = 0;
    for (vendor, name, file) in files() {
        for case in &file.cases {
            let label = format!("{}/{name}: {}", vendor.as_str(), case.about);
            check(&caller, vendor, &file, case, &label).await;
            cases += 1;
        }
    }
    assert!(cases >= 100, "only {cases} exchanges were found");
}

#[test]
fn every_vendor_has_an_answer_for_each_endpoint_and_every_common_failure() {
    for vendor in Vendor::ALL {
        let (mut answered, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for (_, _, file) in files().into_iter().filter(|(of, ..)| *of == vendor) {
            for case in file.cases {
                let endpoint = job(&case).request.endpoint;
                match case.expected() {
                    Expected::Answer(_) => drop(answered.insert(endpoint)),
                    Expected::Failure(failure) => drop(failed.insert(failure.kind.clone())),
                }
            }
        }
        let served: BTreeSet<Endpoint> = Endpoint::ALL.into_iter().filter(|one| vendor.serves(*one)).collect();
        assert_eq!(answered, served, "{vendor:?}");
        for kind in ["RateLimited", "Auth", "NotFound", "ServerError", "ContextLength", "InvalidRequest", "BadResponse"]
        {
            assert!(failed.contains(kind), "{vendor:?} has no {kind}");
        }
        let can_everything = matches!(vendor, Vendor::OpenAi | Vendor::Azure);
        assert!(can_everything || failed.contains("Unsupported"), "{vendor:?} refuses nothing");
    }
}

fn files() -> Vec<(Vendor, String, File)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut files = Vec::new();
    for vendor in Vendor::ALL {
        let directory = std::fs::read_dir(root.join(vendor.as_str())).expect("every vendor has a directory");
        for entry in directory {
            let path = entry.expect("a readable directory").path();
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
            let file = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{vendor:?} {name}: {error}"));
            files.push((vendor, name, file));
        }
    }
    files
}

fn job(case: &Case) -> JobSpec {
    let line = serde_json::to_vec(&case.job).expect("JSON");
    JobSpec::decode(&Bytes::from(line), 1 << 20).unwrap_or_else(|rejection| panic!("{}: {rejection}", case.about))
}

fn deployment(vendor: Vendor, file: &File, at: std::net::SocketAddr) -> Deployment {
    let key = file.provider.with_key.then(|| ApiKey::new(KEY).expect("a key"));
    let base_url = format!("http://{at}{}", file.provider.base_path);
    let mut to = Deployment::new("recorded", vendor, &base_url, &file.provider.model, key).expect("a deployment");
    if let Some(version) = &file.provider.api_version {
        to = to.with_api_version(version).expect("a version");
    }
    if file.provider.bearer {
        to = to.with_bearer_token().expect("azure");
    }
    to.context_tokens = file.provider.context_tokens;
    to
}

async fn check(caller: &Caller, vendor: Vendor, file: &File, case: &Case, label: &str) {
    let reply = case.reply.clone();
    let (at, server) = server::reply_once(reply).await;
    let to = deployment(vendor, file, at);
    let spec = job(case);
    let call = Call {
        body: &spec.body,
        request: &spec.request,
        traceparent: None,
        tracestate: None,
        job: "job-1",
        run: "run-1",
        attempt: 1,
        deadline_in: Some(Duration::from_secs(20)),
        deltas: None,
    };
    let called = caller.call(&to, &call).await;
    let seen = server.seen();
    if let Some(sent) = &case.sent {
        check_sent(
            &seen.clone().unwrap_or_else(|| panic!("{label}: nothing was sent, {:?}", called.outcome)),
            sent,
            label,
        );
    }
    assert_eq!(seen.is_some(), case.reply.is_some(), "{label}: whether anything is sent, {:?}", called.outcome);
    check_outcome(called, case, label);
}

fn check_sent(seen: &Seen, sent: &Sent, label: &str) {
    assert_eq!(seen.target, sent.path, "{label}: the path");
    for (name, value) in &sent.headers {
        let found = seen.headers.get(name).map(|found| found.to_str().expect("text"));
        assert_eq!(found, value.as_deref(), "{label}: the header {name}");
    }
    let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!(body, sent.body, "{label}: the body, which is {body:#}");
}

fn check_outcome(called: Called, case: &Case, label: &str) {
    match (case.expected(), called.outcome) {
        (Expected::Answer(expected), Ok(answer)) => {
            let source = if expected.tokens.is_some() { UsageSource::Provider } else { UsageSource::Estimated };
            assert_eq!((answer.finish.as_str(), answer.usage_source), (expected.finish.as_str(), source), "{label}");
            if let Some(tokens) = expected.tokens {
                assert_eq!(answer.tokens, tokens, "{label}: the tokens");
            }
            match &expected.body {
                Some(wanted) => {
                    let body = without_ours(serde_json::from_str(answer.body.get()).expect("JSON"), wanted);
                    assert_eq!(&body, wanted, "{label}: the answer, which is {body:#}");
                }
                None => {
                    let reply = case.reply.as_ref().expect("there was one").text();
                    assert_eq!(answer.body.get(), reply, "{label}: the answer is passed on");
                }
            }
        }
        (Expected::Failure(expected), Err(failure)) => {
            assert_eq!(format!("{:?}", failure.kind), expected.kind, "{label}: {failure:?}");
            assert_eq!(failure.retry_after, expected.retry_after_ms.map(Duration::from_millis), "{label}: {failure:?}");
            assert_eq!(format!("{:?}", failure.billed), expected.billed, "{label}: {failure:?}");
            if let Some(message) = &expected.message {
                assert_eq!(&failure.message, message, "{label}");
            }
            assert_eq!(called.failed_usage.map(|usage| usage.tokens), expected.used, "{label}: what it used");
        }
        (_, outcome) => panic!("{label}: {outcome:?}"),
    }
}

/// An answer without the time at which we made it, and without an id that we made.
fn without_ours(mut body: Value, wanted: &Value) -> Value {
    let fields = body.as_object_mut().expect("an answer is an object");
    for name in ["created", "id"] {
        if wanted.get(name).is_none() {
            assert!(fields.remove(name).is_none_or(|value| !value.is_null()), "there is no {name}");
        }
    }
    body
}
