//! Other models stand in where the operator named them, and only there.

use std::time::Duration;

use serde_json::json;
use tollgate_policy::routing::Strategy;
use tollgate_queue::directory::{Pause, Paused};
use tollgate_types::{AttemptOutcome, ErrorCode, Limits, Status, UnixMillis};
use tollgate_worker::{Priced, Routes, StandIns};

use crate::bench::{Bench, answers_after, line_of, serving, succeeded};

/// `fast` at `a`, for which `large` at `b` stands in after what is named.
fn routes(bench: &Bench, stand_ins: StandIns) -> Routes {
    let mut routes = serving("fast", Strategy::Ordered, [bench.at_a()]);
    routes.add("large", bench.at_b());
    routes.arrange("fast", Strategy::Ordered, stand_ins);
    routes
}

fn large() -> Vec<String> {
    vec!["large".to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_model_serves_a_prompt_that_is_too_long_and_no_other_failure() {
    let bench = Bench::start(answers_after(5.0)).await;
    let stand_ins = StandIns { on_context_length: large(), ..StandIns::default() };
    let _worker = bench.world.worker_on(routes(&bench, stand_ins), "w0", |_| {}).await;
    // The simulated providers share a grammar, so the second one has to be well for the first call it sees.
    let result = bench.run(line_of("fast", "x", Some("context-length*1;then=ok"), json!({}))).await;
    assert_eq!(result.tollgate.status, Status::Failed, "the second provider counts its own calls: {result:?}");
    assert_eq!(result.error.map(|error| error.code), Some(ErrorCode::ContextLengthExceeded));
    let outcomes: Vec<_> = result.tollgate.attempts.iter().map(|a| (a.provider.as_str(), a.outcome)).collect();
    assert_eq!(outcomes, [("a", AttemptOutcome::Error), ("b", AttemptOutcome::Error)]);

    bench.faults_at_a("context-length@1");
    let result = bench.run(line_of("fast", "y", None, json!({}))).await;
    assert_eq!((result.tollgate.provider.as_deref(), succeeded(std::slice::from_ref(&result))), (Some("b"), 1));
    assert_eq!(result.tollgate.model_requested.as_deref(), Some("fast"));

    bench.faults_at_a("echo-key@1");
    let result = bench.run(line_of("fast", "z", None, json!({}))).await;
    assert_eq!(result.error.map(|error| error.code), Some(ErrorCode::InvalidRequest));
    assert_eq!(bench.calls_at_b(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_surely_does_not_fit_is_not_sent_there() {
    let bench = Bench::start(answers_after(5.0)).await;
    let stand_ins = StandIns { on_context_length: large(), ..StandIns::default() };
    let small = Priced { context_tokens: Some(1_000), ..bench.at_a() };
    let mut routes = serving("fast", Strategy::Ordered, [small.clone()]);
    routes.add("large", bench.at_b());
    routes.arrange("fast", Strategy::Ordered, stand_ins);
    routes.add("small", small);
    let _worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    let (long, short) = ("many words ".repeat(2_000), "few words");
    let served = bench.run(line_of("fast", &long, None, json!({}))).await;
    assert_eq!((served.tollgate.provider.as_deref(), bench.calls_at_a()), (Some("b"), 0));
    let refused = bench.run(line_of("small", &long, None, json!({}))).await;
    let error = refused.error.expect("it fits nowhere");
    assert_eq!((error.code, bench.calls_at_a()), (ErrorCode::ContextLengthExceeded, 0));
    assert!(error.message.contains("1000"), "{}", error.message);
    let served = bench.run(line_of("fast", short, None, json!({}))).await;
    assert_eq!(served.tollgate.provider.as_deref(), Some("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_serves_when_no_deployment_answers() {
    let bench = Bench::start(answers_after(5.0)).await;
    let stand_ins = StandIns { fallbacks: large(), ..StandIns::default() };
    let _worker = bench.world.worker_on(routes(&bench, stand_ins), "w0", |_| {}).await;
    bench.faults_at_a("status=500@1");
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(bench.submit(line_of("fast", &format!("{n}"), None, json!({}))).await);
    }
    let results = bench.results(&ids, Duration::from_secs(60)).await;
    assert_eq!(succeeded(&results), ids.len());
    assert!(results.iter().all(|result| result.tollgate.provider.as_deref() == Some("b")));
    assert!(bench.calls_at_a() < 40, "{} calls at a provider that is down", bench.calls_at_a());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_that_could_cost_more_than_the_job_allows_does_not_stand_in() {
    let bench = Bench::start(answers_after(5.0)).await;
    let stand_ins = StandIns { on_context_length: large(), ..StandIns::default() };
    let mut routes = serving("fast", Strategy::Ordered, [bench.at_a()]);
    routes.add("large", Priced { output_tokens_max: 1_000_000, ..bench.at_b() });
    routes.arrange("fast", Strategy::Ordered, stand_ins);
    let _worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    bench.faults_at_a("context-length@1");
    let result = bench.run(line_of("fast", "x", None, json!({ "max_cost_usd": "0.05" }))).await;
    assert_eq!(result.error.map(|error| error.code), Some(ErrorCode::ContextLengthExceeded));
    assert_eq!(bench.calls_at_b(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_refuses_a_prompt_or_empties_its_answer_is_another_models_turn() {
    let bench = Bench::start(answers_after(5.0)).await;
    let stand_ins = StandIns { on_content_policy: large(), ..StandIns::default() };
    let _worker = bench.world.worker_on(routes(&bench, stand_ins), "w0", |_| {}).await;
    bench.faults_at_a("content-filter@1");
    let result = bench.run(line_of("fast", "x", None, json!({}))).await;
    assert_eq!((result.tollgate.provider.as_deref(), result.tollgate.attempts.len()), (Some("b"), 2));
    assert!(result.tollgate.attempts.iter().all(|attempt| attempt.cost_nanousd.0 > 0), "both were billed");

    // Where the other one does no better, the first answer is the answer.
    let spoilt = bench.run(line_of("fast", "y", Some("content-filter"), json!({}))).await;
    assert_eq!((spoilt.tollgate.status, spoilt.tollgate.attempts.len()), (Status::Succeeded, 2));
    bench.b.set_faults("context-length@1".parse().expect("a plan")).expect("a plan");
    let result = bench.run(line_of("fast", "z", None, json!({}))).await;
    let body: serde_json::Value = serde_json::from_str(result.response.expect("an answer").body.get()).expect("JSON");
    assert_eq!(
        (result.tollgate.status, &body["choices"][0]["finish_reason"]),
        (Status::Succeeded, &json!("content_filter"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_paid_for_is_not_lost_for_a_model_that_cannot_be_called() {
    let bench = Bench::start(answers_after(5.0)).await;
    let narrow = Limits { tokens_per_minute: Some(1), ..Limits::default() };
    let mut routes = serving("fast", Strategy::Ordered, [bench.at_a()]);
    routes.add("large", Priced { limits: narrow, ..bench.at_b() });
    routes.arrange("fast", Strategy::Ordered, StandIns { on_content_policy: large(), ..StandIns::default() });
    let _worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    bench.faults_at_a("content-filter@1");
    let result = bench.run(line_of("fast", "x", None, json!({}))).await;
    assert_eq!((result.tollgate.provider.as_deref(), result.tollgate.status), (Some("a"), Status::Succeeded));
    assert_eq!((bench.calls_at_a(), bench.calls_at_b()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_paused_stands_in_for_none() {
    let bench = Bench::start(answers_after(5.0)).await;
    let stand_ins = StandIns { fallbacks: large(), ..StandIns::default() };
    let directory = bench.world.directory().await;
    let paused = Paused::model("large");
    let pause = Pause { what: "large".into(), author: "ann".into(), at: UnixMillis(0), reason: String::new() };
    directory.pause(&paused, &pause).await.expect("paused");
    let _worker = bench.world.worker_on(routes(&bench, stand_ins), "w0", |_| {}).await;
    bench.faults_at_a("status=500@1");
    let id = bench.submit(line_of("fast", "x", None, json!({}))).await;
    testkit::eventually("it was tried and parked again and again", Duration::from_secs(60), || async {
        (bench.calls_at_a() >= 6).then_some(())
    })
    .await;
    assert_eq!(bench.calls_at_b(), 0, "a paused model was called");
    directory.resume(&paused).await.expect("resumed").expect("it was paused");
    let result = bench.result(&id, Duration::from_secs(60)).await;
    assert_eq!(result.tollgate.provider.as_deref(), Some("b"));
}
