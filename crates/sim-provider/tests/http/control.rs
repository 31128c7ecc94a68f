//! The routes by which a running server is read and changed.

use super::*;

async fn control(sim: &SimProvider, path: &str, body: &Value) -> (u16, String) {
    let response = client().post(format!("http://{}/__sim/{path}", sim.addr())).json(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn read(sim: &SimProvider, path: &str) -> Value {
    json_of(client().get(format!("http://{}/__sim/{path}", sim.addr())).send().await.unwrap()).await
}

#[tokio::test]
async fn the_calls_are_read_in_parts_and_whole_over_http() {
    let sim = start(Config::default()).await;
    assert_eq!(read(&sim, "calls").await, json!([]));
    let (client, url) = (client(), format!("{}/nothing", sim.base_url()));
    for _ in 0..2_100 {
        client.get(&url).send().await.unwrap();
    }
    let ordinals = |calls: Value| -> Vec<u64> {
        calls.as_array().unwrap().iter().map(|call| call["received"]["ordinal"].as_u64().unwrap()).collect()
    };
    assert_eq!(ordinals(read(&sim, "calls").await), (1..=2_100).collect::<Vec<_>>());
    assert_eq!(ordinals(read(&sim, "calls?since=2098").await), [2_099, 2_100]);
    assert_eq!(read(&sim, "calls?since=2100").await, json!([]));
    let stats = read(&sim, "stats").await;
    assert_eq!((&stats["received"], &stats["by_status"]["404"]), (&json!(2_100), &json!(2_100)));
}

#[tokio::test]
async fn faults_and_profile_change_while_running() {
    let sim = start(Config::default()).await;
    let plan = json!({"faults": [{"fault": "status=503:retry-after=1", "probability": 1.0}]});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(control(&sim, "faults", &plan).await.0, 200);
    assert_eq!(post(&sim, &body).await.status(), 503);
    assert_eq!(control(&sim, "faults", &json!("429@1")).await.0, 200);
    assert_eq!(post(&sim, &body).await.status(), 429);
    assert_eq!(post(&sim, &chat("hi", "ok")).await.status(), 200, "a directive overrules the plan");
    assert_eq!(control(&sim, "faults", &json!({"faults": []})).await.0, 200);
    assert_eq!(control(&sim, "profile", &json!("fast")).await.0, 200);
    let exact = json!({
        "ttft_ms": {"median": 0.0, "sigma": 0.0}, "tokens_per_second": null,
        "answer_tokens": {"median": 5.0, "sigma": 0.0}, "reasoning_share": 0.4, "cached_share": 0.0,
    });
    assert_eq!(control(&sim, "profile", &exact).await.0, 200);
    let usage = json_of(post(&sim, &body).await).await["usage"].clone();
    assert_eq!(usage["completion_tokens"], 5);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 2);
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused_and_change_nothing() {
    let sim = start(Config::default()).await;
    let check = async |path: &str, body: Value, expected: &str| {
        let (status, text) = control(&sim, path, &body).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains(expected), "{text}");
    };
    check("profile", json!("slow"), "unknown profile").await;
    check("profile", json!({"ttft_ms": 5}), "expected struct LogNormal").await;
    check("faults", json!("hang@2"), "not from 0 to 1").await;
    check("faults", json!({"faults": [{"fault": "explode", "probability": 0.5}]}), "unknown fault").await;
    assert_eq!(post(&sim, &chat("hi", "ok")).await.status(), 200);
}

#[tokio::test]
async fn a_reset_forgets_calls_counts_and_attempts_but_not_the_ordinals() {
    let sim = start(Config::default()).await;
    assert_eq!(post(&sim, &chat("hi", "status=500*1")).await.status(), 500);
    assert_eq!(post(&sim, &chat("hi", "status=500*1")).await.status(), 200);
    wait_for(&sim, |calls| calls.len() == 2 && calls.iter().all(|call| call.ended.is_some())).await;
    assert_eq!(control(&sim, "reset-log", &Value::Null).await.0, 204);
    assert_eq!((sim.calls().len(), sim.stats().received), (0, 0));
    assert_eq!(post(&sim, &chat("hi", "status=500*1")).await.status(), 500);
    assert_eq!(sim.calls()[0].received.ordinal, 3);
}

#[tokio::test]
async fn run_serves_until_it_is_told_to_end() {
    let other = start(Config::default()).await;
    let (address, ready) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let ready_now = |addr| address.send(addr).unwrap();
    let until = async { drop(ended.await) };
    let server = sim_provider::run(Config::default(), ready_now, until);
    let caller = async {
        let addr = ready.await.unwrap();
        let health = client().get(format!("http://{addr}/healthz"));
        assert_eq!(health.send().await.unwrap().status(), 200);
        end.send(()).unwrap();
    };
    let (served, ()) = tokio::join!(server, caller);
    served.unwrap();
    other.shutdown().await;
    let bad = Config { faults: sim_provider::FaultPlan { faults: vec![] }, ..Config::default() };
    let bad = Config { log_path: Some("/nonexistent/log".into()), ..bad };
    assert!(SimProvider::start(bad).await.is_err());
}
