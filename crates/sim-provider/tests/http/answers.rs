//! Well answers: their form, their counts, their reproducibility.

use sim_provider::{LogNormal, Profile};

use super::*;

#[tokio::test]
async fn a_plain_answer_has_the_vendors_form_and_exact_counts() {
    let sim = start(Config::default()).await;
    let response = post(&sim, &chat("hello there", "tokens=40")).await;
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    for name in ["openai-processing-ms", "x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens"] {
        assert!(response.headers().contains_key(name), "{name}");
    }
    let body = json_of(response).await;
    assert_eq!(body["id"], format!("chatcmpl-{id}"));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "sim-small");
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["message"]["content"].as_str().unwrap().split(' ').count(), 40);
    // 3 a message, "user" and "hello there" in quarters, 3 to prime.
    assert_eq!(body["usage"]["prompt_tokens"], 3 + 4 + 3);
    assert_eq!(body["usage"]["completion_tokens"], 40);
    assert_eq!(body["usage"]["total_tokens"], 50);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
}

#[tokio::test]
async fn a_stream_carries_the_same_answer_as_a_plain_response() {
    let config = || Config { seed: 3, ..Config::default() };
    let (one, other) = (start(config()).await, start(config()).await);
    let plain = json_of(post(&one, &chat("hello", "tokens=300")).await).await;
    let response = post(&other, &streamed("hello", "tokens=300")).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = response.text().await.unwrap();
    let (mut content, mut usage, mut finish) = (String::new(), Value::Null, Value::Null);
    let mut frames = text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap()).peekable();
    while let Some(frame) = frames.next() {
        if frame == "[DONE]" {
            assert_eq!(frames.peek(), None);
            break;
        }
        let frame: Value = serde_json::from_str(frame).unwrap();
        content += frame["choices"][0]["delta"]["content"].as_str().unwrap_or("");
        let choice = &frame["choices"][0];
        if choice["finish_reason"].is_string() {
            finish = choice["finish_reason"].clone();
        }
        if frame["usage"].is_object() {
            usage = frame["usage"].clone();
        }
    }
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert_eq!(content, plain["choices"][0]["message"]["content"].as_str().unwrap());
    assert_eq!(usage, plain["usage"]);
    assert_eq!(finish, "stop");
}

#[tokio::test]
async fn usage_comes_in_a_stream_only_when_asked_for() {
    let sim = start(Config::default()).await;
    let mut body = streamed("hello", "ok");
    body.as_object_mut().unwrap().remove("stream_options");
    let text = post(&sim, &body).await.text().await.unwrap();
    assert!(!text.contains("\"usage\""), "{text}");
    assert_eq!(only_end(&sim).await.usage_reported, sim_provider::Reported::Nothing);
}

#[tokio::test]
async fn the_requests_limit_cuts_the_answer() {
    let sim = start(Config::default()).await;
    for field in ["max_tokens", "max_completion_tokens"] {
        let mut body = chat("hello", "tokens=40");
        body[field] = json!(7);
        let answer = json_of(post(&sim, &body).await).await;
        assert_eq!(answer["choices"][0]["finish_reason"], "length", "{field}");
        assert_eq!(answer["usage"]["completion_tokens"], 7, "{field}");
    }
}

/// What one server says to ten contents, each asked twice, without ids and clocks.
async fn transcript(seed: u64) -> Vec<Value> {
    let faults = "status=500@0.2;no-usage@0.2".parse().unwrap();
    let sim = start(Config { seed, faults, ..Config::default() }).await;
    let mut answers = Vec::new();
    for n in 0..20 {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": format!("question {}", n % 10)}]});
        let mut answer = json_of(post(&sim, &body).await).await;
        answer.as_object_mut().unwrap().retain(|key, _| key != "id" && key != "created");
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn the_same_seed_says_the_same_and_another_does_not() {
    let first = transcript(11).await;
    assert_eq!(first, transcript(11).await);
    assert_ne!(first, transcript(12).await);
    assert_ne!(first[..10], first[10..], "the second time is another draw");
    assert!(first.iter().any(|answer| answer["error"].is_object()), "no planned fault in 20 calls");
}

#[tokio::test]
async fn a_plain_answer_takes_the_models_time() {
    let profile = Profile { ttft_ms: LogNormal::always(60.0), tokens_per_second: Some(1_000.0), ..Profile::instant() };
    let sim = start(Config { profile, ..Config::default() }).await;
    let started = std::time::Instant::now();
    post(&sim, &chat("hello", "tokens=90")).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(150), "{took:?}");
    let delayed = std::time::Instant::now();
    post(&sim, &chat("hello", "tokens=1;delay=200ms")).await;
    assert!(delayed.elapsed() >= Duration::from_millis(261), "{:?}", delayed.elapsed());
}

#[tokio::test]
async fn keys_are_asked_for_when_there_are_some() {
    let keys = ["sk-test".to_owned()].into();
    let sim = start(Config { api_keys: Some(keys), ..Config::default() }).await;
    assert_eq!(post(&sim, &chat("hello", "ok")).await.status(), 200);
    let url = format!("{}/chat/completions", sim.base_url());
    for request in [client().post(&url), client().post(&url).bearer_auth("sk-other")] {
        let response = request.json(&chat("hello", "ok")).send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(json_of(response).await["error"]["code"], "invalid_api_key");
    }
    let models = client().get(format!("{}/models", sim.base_url()));
    assert_eq!(models.try_clone().unwrap().send().await.unwrap().status(), 401);
    let list = json_of(models.bearer_auth("sk-test").send().await.unwrap()).await;
    assert_eq!(list["data"][0]["object"], "model");
}
