//! The log: complete, in the file as in memory, and right about what a provider would bill.

use std::collections::{BTreeMap, BTreeSet};

use sim_provider::{LogNormal, Outcome, Profile};

use super::*;

#[tokio::test]
async fn every_one_of_many_concurrent_requests_is_received_and_ended_once() {
    const CALLS: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let log_path = dir.path().join("calls.jsonl");
    let faults = "429@0.2;reset@0.1;garbage@0.1".parse().unwrap();
    let sim = start(Config { log_path: Some(log_path.clone()), faults, ..Config::default() }).await;
    let url = format!("{}/chat/completions", sim.base_url());
    let client = client();
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..CALLS {
        let body = json!({"model": format!("m{}", n % 3), "messages": [{"role": "user", "content": n.to_string()}]});
        let request = client.post(&url).header("x-tollgate-job", format!("job-{n}")).json(&body);
        requests.spawn(async move { request.send().await.map(|response| response.headers()["x-request-id"].clone()) });
    }
    let answers = requests.join_all().await;
    wait_for(&sim, |calls| calls.len() == CALLS && calls.iter().all(|call| call.ended.is_some())).await;
    let stats = sim.stats();
    assert_eq!((stats.received, stats.ended, stats.in_flight), (CALLS as u64, CALLS as u64, 0));
    assert_eq!(stats.by_model.values().sum::<u64>(), CALLS as u64);
    assert!(stats.by_fault["status=429"] > 0 && stats.by_fault["reset"] > 0, "{stats:?}");
    assert!(stats.in_flight_max > 1);

    let calls = sim.shutdown().await;
    let jobs: BTreeSet<_> = calls.iter().map(|call| call.received.job.clone().unwrap()).collect();
    assert_eq!(jobs.len(), CALLS);
    let ids: BTreeSet<&str> = calls.iter().map(|call| &*call.received.id).collect();
    assert_eq!(ids.len(), CALLS);
    assert!(answers.iter().flatten().all(|id| ids.contains(id.to_str().unwrap())));

    let text = std::fs::read_to_string(log_path).unwrap();
    let mut seen: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let record = line["record"].as_str().unwrap().to_owned();
        seen.entry(line["ordinal"].as_u64().unwrap()).or_default().push(record);
    }
    assert_eq!(seen.len(), CALLS);
    assert!(seen.values().all(|records| records == &["received", "ended"]), "{seen:?}");
}

#[tokio::test]
async fn a_request_is_written_down_with_what_identifies_it() {
    let sim = start(Config::default()).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let request = client().post(format!("{}/chat/completions", sim.base_url()));
    let headers = [("traceparent", "00-a-b-01"), ("x-tollgate-attempt", "2"), ("x-tollgate-run", "r1")];
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let response = request.body(body).send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let call = sim.calls().remove(0).received;
    assert_eq!((call.ordinal, &*call.id), (1, id.as_str()));
    assert_eq!((&*call.method, &*call.path), ("POST", "/v1/chat/completions"));
    assert_eq!(call.traceparent.as_deref(), Some("00-a-b-01"));
    assert_eq!((call.attempt.as_deref(), call.run.as_deref()), (Some("2"), Some("r1")));
    assert_eq!((call.model.as_deref(), call.stream, call.key_hash), (Some("m"), true, None));
    assert_eq!(call.body_bytes, body.len() as u64);
    assert_eq!(call.body_sha256.unwrap().len(), 64);
    assert!(call.arrived_unix_ms > 1_700_000_000_000);
}

#[tokio::test]
async fn refused_and_unfinished_requests_are_written_down_too() {
    let sim = start(Config { body_bytes_max: 1_000, ..Config::default() }).await;
    let base = sim.base_url();
    let send = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(send(client().get(format!("{base}/models"))).await, 200);
    assert_eq!(send(client().get(format!("{base}/nothing"))).await, 404);
    assert_eq!(send(client().post(format!("{base}/chat/completions")).body("{")).await, 400);
    assert_eq!(send(client().post(format!("{base}/chat/completions")).body("x".repeat(1_001))).await, 413);
    assert_eq!(send(client().post(format!("{base}/chat/completions")).body("x".repeat(100_000))).await, 413);
    assert_eq!(send(client().get(base.replace("/v1", "/healthz"))).await, 200);

    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: 500\r\n\r\n{\"model\":";
    stream.write_all(head).await.unwrap();
    drop(stream);
    wait_for(&sim, |calls| calls.len() == 6 && calls.iter().all(|call| call.ended.is_some())).await;
    let calls = sim.calls();
    let last = calls.last().unwrap();
    assert_eq!(last.received.body_sha256, None);
    assert_eq!(last.ended.as_ref().unwrap().outcome, Outcome::ClientLeft);
    assert!(calls.iter().all(|call| !call.ended.as_ref().unwrap().billable));
}

#[tokio::test]
async fn a_client_that_leaves_early_is_billed_for_what_was_generated() {
    let profile = Profile { ttft_ms: LogNormal::always(0.0), tokens_per_second: Some(100.0), ..Profile::instant() };
    for make in [chat, streamed] {
        let sim = start(Config { profile: profile.clone(), ..Config::default() }).await;
        let stream = raw_post(&sim, &make("hello", "tokens=100000")).await;
        wait_for(&sim, |calls| calls.len() == 1).await;
        // The model's clock is the condition: ten tokens at a hundred a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(stream);
        let ended = only_end(&sim).await;
        assert_eq!(ended.outcome, Outcome::ClientLeft);
        let generated = ended.usage_true.completion_tokens;
        assert!(ended.billable && (9..100_000).contains(&generated), "{generated}");
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_answers_under_way() {
    let sim = start(Config { shutdown_grace: DEADLINE, ..Config::default() }).await;
    let mut stream = raw_post(&sim, &chat("hello", "delay=100ms")).await;
    wait_for(&sim, |calls| calls.len() == 1).await;
    let (calls, (text, end)) = tokio::join!(sim.shutdown(), read_to_end(&mut stream));
    end.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert_eq!(calls[0].ended.as_ref().unwrap().outcome, Outcome::Completed);
}
