//! What a caller hears of limits, and how a team's bodies leave room for others.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;
use tollgate_queue::Blobs;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::{JobId, subjects};

use crate::world::{Doors, chat, told};

const LONG: Duration = Duration::from_secs(30);

async fn limited(doors: &Doors, limits: Value, of_keys: Value) {
    let record = json!({ "limits": limits, "key_limits": of_keys });
    let record: TeamRecord = serde_json::from_value(record).unwrap();
    let team = "search".parse().unwrap();
    doors.world.directory().await.put_team(&team, &record, Expected::Any).await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_limit_is_told_in_the_words_of_each_vendor() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    limited(
        &doors,
        json!({ "requests_per_minute": 1000, "tokens_per_minute": 900_000 }),
        json!({ "*": { "requests_per_minute": 60 } }),
    )
    .await;
    let call = || async {
        let answer = doors.post("/v1/chat/completions", &key, &chat("Hi", None)).send().await.unwrap();
        let said = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let left: u64 = said("x-ratelimit-remaining-requests")?.parse().unwrap();
        let all = ["limit-requests", "reset-requests", "limit-tokens", "remaining-tokens", "reset-tokens"];
        let all = all.map(|name| said(&format!("x-ratelimit-{name}")).expect(name));
        // What was taken is known within a second.
        (left < 60).then_some((left, all))
    };
    let (left, [limit, reset, limit_tokens, left_tokens, _]) = eventually("some of it is taken", LONG, call).await;
    assert_eq!((limit.as_str(), limit_tokens.as_str()), ("60", "900000"), "the key's is narrower");
    assert!(left > 40, "{left}");
    assert!(reset.ends_with('s') && reset != "0s", "{reset}");
    assert!((1..900_000).contains(&left_tokens.parse::<u64>().unwrap()), "{left_tokens}");

    let body = json!({ "model": "sim-small", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] });
    let answer = doors.post("/v1/messages", &key, &body).send().await.unwrap();
    let said = |name: &str| answer.headers()[format!("anthropic-ratelimit-{name}")].to_str().unwrap();
    assert_eq!((said("requests-limit"), said("tokens-limit")), ("60", "900000"));
    assert!(said("requests-remaining").parse::<u64>().unwrap() < 60);
    assert!(said("requests-reset").ends_with('Z') && said("tokens-reset").len() == 20, "{:?}", answer.headers());
    assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("x-ratelimit")));
}

#[tokio::test]
async fn a_team_without_limits_hears_of_none() {
    let doors = Doors::open().await;
    let _worker = doors.worker().await;
    let key = doors.key(|_| {}).await;
    let answer = doors.post("/v1/chat/completions", &key, &chat("Hi", None)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().keys().all(|name| !name.as_str().contains("ratelimit")), "{:?}", answer.headers());
}

#[tokio::test]
async fn large_bodies_of_a_team_that_has_its_share_of_the_stream_are_refused_at_the_door() {
    let doors = Doors::with(Default::default(), |config| config.body_bytes_max = 64 << 20).await;
    let (_worker, key) = (doors.worker().await, doors.key(|_| {}).await);
    let context = doors.world.jetstream().await;
    let mut config = context.get_stream(subjects::BLOBS_STREAM).await.unwrap().cached_info().config.clone();
    config.max_bytes = 16 << 20;
    context.update_stream(config).await.unwrap();
    let blobs = Blobs::new(&doors.world.broker("operator").await.client);
    let id = |team: &str| -> JobId { format!("{team}:waits").parse().unwrap() };
    let large = chat(&"word ".repeat(600_000), None);

    blobs.put("marketing", &id("marketing"), &vec![b'x'; 10 << 20].into()).await.unwrap();
    let (status, answer) = told(doors.post("/v1/chat/completions", &key, &large)).await;
    assert_eq!(status, 200, "who has nothing there has room: {answer}");
    blobs.remove_all("marketing", &id("marketing")).await.unwrap();
    blobs.put("search", &id("search"), &vec![b'x'; 10 << 20].into()).await.unwrap();
    let answer = doors.post("/v1/chat/completions", &key, &large).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-should-retry"].to_str().unwrap()), (429, "false"));
    assert!(answer.headers().contains_key("retry-after"));
    let (status, _) = told(doors.post("/v1/chat/completions", &key, &chat("Hi", None))).await;
    assert_eq!(status, 200, "what fits a message is served as ever");
}
