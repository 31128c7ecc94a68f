//! Who is let in, where to, and for how long.

use std::time::Duration;

use testkit::eventually;
use tollgate_queue::KeyRecord;
use tollgate_queue::keys::Before;
use tollgate_types::api_key::digest_of;
use tollgate_types::{Class, Door, UnixMillis};

use crate::world::{Doors, chat, told};

#[tokio::test]
async fn a_key_opens_until_it_is_revoked_and_running_processes_learn_of_it() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let listed = || async { doors.get("/v1/models", &key).send().await.unwrap().status().as_u16() };
    assert_eq!(listed().await, 200);

    // By another process, as the command does it.
    let elsewhere = tollgate_queue::Keys::open(&doors.world.jetstream().await).await.unwrap();
    let (record, revision) = elsewhere.stored(&key.id).await.unwrap().unwrap();
    let revoked = KeyRecord { revoked_at: Some(UnixMillis(1)), ..record };
    elsewhere.update(&key.id, &revoked, revision).await.unwrap();
    let closed = || async { (listed().await == 401).then_some(()) };
    eventually("the revoked key is refused", Duration::from_secs(10), closed).await;
    let (_, body) = told(doors.get("/v1/models", &key)).await;
    assert_eq!(body["error"]["code"], "api_key_revoked");
}

#[tokio::test]
async fn a_key_that_expires_closes_by_itself_and_a_rotated_one_opens_with_both_secrets() {
    let doors = Doors::open().await;
    let expired = doors.key(|record| record.expires_at = Some(UnixMillis(1))).await;
    let (status, body) = told(doors.get("/v1/models", &expired)).await;
    assert_eq!((status, &body["error"]["code"]), (401, &"api_key_expired".into()));

    let key = doors.key(|_| {}).await;
    let (record, revision) = doors.keys.stored(&key.id).await.unwrap().unwrap();
    let before = Before { digest: record.digest.clone(), until: UnixMillis(i64::MAX) };
    let rotated = KeyRecord { digest: digest_of("another").to_string(), before: Some(before), ..record };
    doors.keys.update(&key.id, &rotated, revision).await.unwrap();
    assert_eq!(told(doors.get("/v1/models", &key)).await.0, 200, "the old secret opens for its grace");
}

#[tokio::test]
async fn nobody_comes_in_without_a_key_and_nothing_tells_which_ids_exist() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    let wrong_secret =
        format!("{}{}", &key.text[..key.text.len() - 1], if key.text.ends_with('a') { 'b' } else { 'a' });
    let nobodys = wrong_secret.replace(key.id.as_str(), "aaaaaaaaaaaa");
    let mut answers = Vec::new();
    for bad in [wrong_secret, nobodys, "sk-whatever".to_owned()] {
        let (status, body) = told(doors.http.get(doors.url("/v1/models")).bearer_auth(&bad)).await;
        assert_eq!(status, 401, "{bad}");
        answers.push(body);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let (status, body) = told(doors.http.get(doors.url("/v1/models"))).await;
    assert_eq!((status, &body["error"]["code"]), (401, &"missing_api_key".into()));
    let as_anthropic =
        doors.http.post(doors.url("/v1/messages")).header("x-api-key", "nothing").json(&chat("Hi", None));
    let (status, body) = told(as_anthropic).await;
    assert_eq!((status, &body["error"]["type"]), (401, &"authentication_error".into()));
}

#[tokio::test]
async fn a_key_opens_no_more_than_its_scope() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let scope = |record: &mut KeyRecord| {
        record.models = vec!["sim-s*".to_owned()];
        record.classes = vec![Class::Batch];
        record.endpoints = vec![Door::Chat];
    };
    let key = doors.key(scope).await;
    let (_, models) = told(doors.get("/v1/models", &key)).await;
    assert_eq!((&models["data"][0]["id"], models["data"].as_array().unwrap().len()), (&"sim-small".into(), 1));
    assert_eq!(told(doors.get("/v1/models/sim-free", &key)).await.0, 404);

    let (status, body) = told(doors.post("/v1/embeddings", &key, &serde_json::json!({}))).await;
    assert_eq!((status, &body["error"]["code"]), (403, &"endpoint_not_allowed".into()));
    let mut other = chat("Hi", None);
    other["model"] = "sim-free".into();
    let (status, body) = told(doors.post("/v1/chat/completions", &key, &other)).await;
    assert_eq!((status, &body["error"]["param"]), (403, &"model".into()));
    let classed = doors.post("/v1/chat/completions", &key, &chat("Hi", None)).header("x-tollgate-class", "interactive");
    assert_eq!(told(classed).await.1["error"]["code"], "class_not_allowed");

    let answer = doors.post("/v1/chat/completions", &key, &chat("Hi", None)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-tollgate-class"], "batch", "the class that the key may use");
}

#[tokio::test]
async fn a_key_of_a_team_that_is_gone_opens_nothing() {
    let doors = Doors::open().await;
    let key = doors.key(|_| {}).await;
    doors.world.directory().await.remove_team(&"search".parse().unwrap()).await.unwrap();
    let refused = || async {
        let (status, body) = told(doors.get("/v1/models", &key)).await;
        (status == 403).then_some(body)
    };
    let body = eventually("the key is refused", Duration::from_secs(10), refused).await;
    assert_eq!(body["error"]["code"], "unknown_team");
}
