//! Several keys of one provider, by a server that takes some of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::Instant;
use tollgate_providers::{Deployment, KeySource, Reload, Ring, Vendor};
use tollgate_types::{Billed, FailureKind, JobSpec};

use crate::server::Server;
use crate::{ANSWER, Log, call, call_of, json, logged};

/// A server that knows `sk-good`, has no credit for `sk-poor`, does not let `sk-narrow` use a model called `large`, and
/// refuses every other key, quoting all that it was given.
async fn server() -> Server {
    Server::http(|seen| {
        let key = seen.headers["authorization"].to_str().expect("text").trim_start_matches("Bearer ").to_owned();
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let (status, code) = match key.as_str() {
            "sk-good" => return json(ANSWER),
            "sk-narrow" if !body.contains("large") => return json(ANSWER),
            "sk-narrow" => (StatusCode::FORBIDDEN, "permission_error"),
            "sk-poor" => (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota"),
            _ => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
        };
        let message = format!("no: {key} (and neither s3cret-of-another)");
        let body = serde_json::json!({ "error": { "message": message, "code": code } });
        (status, body.to_string()).into_response()
    })
    .await
}

fn ring(values: &[&str]) -> Arc<Ring> {
    let env = |value: &str| Some(value.to_owned());
    let source = |(at, value): (usize, &&str)| (format!("key-{}", at + 1), KeySource::Env((*value).to_owned()));
    Ring::open("lab", values.iter().enumerate().map(source).collect(), &env, Instant::now()).expect("all are found")
}

fn deployment(server: &Server, model: &str, keys: &Arc<Ring>) -> Deployment {
    let mut to = Deployment::new("lab", Vendor::OpenAi, &server.base_url(), model, None).expect("a deployment");
    to.keys = keys.clone();
    to
}

#[tokio::test]
async fn a_bad_key_is_set_aside_and_the_others_go_on_in_turn() {
    let server = server().await;
    let keys = ring(&["sk-bad", "sk-good", "sk-poor", "s3cret-of-another"]);
    let to = deployment(&server, "small", &keys);
    let mut went = Vec::new();
    for _ in 0..6 {
        let called = call(&to).await;
        let kind = called.outcome.err().map(|failure| {
            assert!(!failure.message.contains("sk-") && !failure.message.contains("s3cret"), "{}", failure.message);
            failure.kind
        });
        went.push((called.key, kind, called.another_key));
    }
    let (auth, quota) = (Some(FailureKind::Auth), Some(FailureKind::QuotaExhausted));
    let expected = [
        ("key-1", auth, true),
        ("key-2", None, false),
        ("key-3", quota, true),
        ("key-4", auth, true),
        ("key-2", None, false),
        ("key-2", None, false),
    ];
    assert_eq!(went, expected.map(|(key, kind, another)| (key.to_owned(), kind, another)));
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn without_a_usable_key_nothing_is_sent() {
    let server = server().await;
    let to = deployment(&server, "small", &ring(&["sk-poor"]));
    let called = call(&to).await;
    assert!(!called.another_key);
    let called = call(&to).await;
    let failure = called.outcome.expect_err("no key is left");
    assert_eq!((failure.kind, failure.billed, called.key.as_str()), (FailureKind::QuotaExhausted, Billed::No, ""));
    assert!(failure.message.starts_with("no key of lab is usable: the last one was out of quota 0 s ago"), "{failure}");
    let wait = failure.retry_after.expect("it says when");
    assert!(Duration::from_secs(50) < wait && wait <= Duration::from_secs(60), "{wait:?}");
    assert_eq!((called.http_status, called.first_byte, server.seen().len()), (None, None, 1));
}

#[tokio::test]
async fn deployments_share_the_keys_and_what_is_known_of_them() {
    let server = server().await;
    let keys = ring(&["sk-bad", "sk-narrow"]);
    let (small, large) = (deployment(&server, "small", &keys), deployment(&server, "large", &keys));
    assert_eq!(call(&small).await.key, "key-1");
    let forbidden = call(&large).await;
    assert_eq!((forbidden.key.as_str(), forbidden.another_key), ("key-2", false), "key-1 is known to be bad");
    let called = call(&small).await;
    assert!(called.outcome.is_ok(), "what a key may not do for one model it may for another");
    assert_eq!(call(&large).await.outcome.expect_err("no key may").kind, FailureKind::Auth);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_key_that_is_replaced_in_its_file_is_used_without_a_restart() {
    let server = server().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, "sk-old").expect("written");
    let sources = vec![("main".to_owned(), KeySource::File(file.clone()))];
    let keys = Ring::open("lab", sources, &|_| None, Instant::now()).expect("it is found");
    let to = deployment(&server, "small", &keys);
    assert_eq!(call(&to).await.outcome.expect_err("it is bad").kind, FailureKind::Auth);
    assert!(call(&to).await.outcome.is_err() && server.seen().len() == 1, "it is out of use");
    std::fs::write(&file, "sk-good").expect("written");
    assert_eq!(keys.reload(Reload::Due, Instant::now()), 1);
    assert_eq!(call(&to).await.key, "main");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_key_out_of_use_is_logged_once_and_counted_and_never_shown() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let log = Log(Arc::new(Mutex::new(Vec::new())));
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let server = server().await;
            let run = async || {
                let to = deployment(&server, "small", &ring(&["sk-bad", "sk-poor"]));
                for _ in 0..5 {
                    assert!(call(&to).await.outcome.is_err());
                }
            };
            logged(&log, run).await;
        });
    });
    let text = log.text();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
    let [bad, poor] = errors[..] else { panic!("two keys: {errors:#?}") };
    assert!(bad.contains(r#"provider="lab" key="key-1""#) && bad.contains(r#"why="refused" for_s=600"#), "{bad}");
    assert!(poor.contains(r#"key="key-2""#) && poor.contains(r#"why="quota" for_s=60"#), "{poor}");
    let metrics = metrics.render();
    for (key, why) in [("key-1", "refused"), ("key-2", "quota")] {
        // Once while the log's lines are set up, and once more.
        let line = format!("tollgate_keys_disabled_total{{provider=\"lab\",key=\"{key}\",why=\"{why}\"}} 2");
        assert!(metrics.contains(&line), "{metrics}");
    }
    for secret in ["sk-bad", "sk-poor"] {
        assert!(!text.contains(secret) && !metrics.contains(secret), "{text}{metrics}");
    }
}

#[tokio::test]
async fn whatever_a_provider_echoes_no_key_of_its_is_published() {
    let server = Server::http(|seen| {
        let echo = format!(
            "{:?} and s3cret-of-another",
            seen.headers.values().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>()
        );
        let body = serde_json::json!({ "error": { "message": echo, "code": echo, "status": echo } });
        (StatusCode::UNAUTHORIZED, body.to_string()).into_response()
    })
    .await;
    // Ollama refuses what it has nothing for.
    let plain = br#"{"body":{"model":"fast","messages":[{"role":"user","content":"hello"}]}}"#;
    let plain = JobSpec::decode(&Bytes::from_static(plain), 1 << 20).expect("a job");
    for vendor in Vendor::ALL {
        let mut to = Deployment::new("lab", vendor, &server.base_url(), "m", None).expect("a deployment");
        to.keys = ring(&["s3cret-of-ours", "s3cret-of-another"]);
        let failure = call_of(&plain, &to, None).await.outcome.expect_err("it is refused");
        assert!(failure.message.contains("[key]") && !failure.message.contains("s3cret"), "{vendor:?}: {failure}");
    }
}
