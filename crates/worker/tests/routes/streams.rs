//! Jobs that ask for a stream: pieces while the answer is written, and one whole result all the same.

use std::time::Duration;

use serde_json::{Value, json};
use sim_provider::{LogNormal, Profile};
use tollgate_client::{Deltas, Piece, text_of};
use tollgate_policy::routing::Strategy;
use tollgate_types::{Class, JobId, JobResult, Status, UsageSource};

use crate::bench::{Bench, answers_after};

fn line(prompt: &str, directive: Option<&str>) -> String {
    let mut body = json!({ "model": "fast", "stream": true, "messages": [{ "role": "user", "content": prompt }] });
    if let Some(directive) = directive {
        body["metadata"] = json!({ "sim": directive });
    }
    json!({ "body": body }).to_string()
}

/// Submits a job and listens before.
async fn begin(bench: &Bench, line: String) -> (JobId, Deltas) {
    let id = bench.search.fresh_id();
    let deltas = bench.search.deltas(&id).await.expect("subscribed");
    bench.search.client().flush().await.expect("the server has the subscription");
    bench.search.submit(Class::Standard, line.into(), Some(id.clone())).await.expect("accepted");
    (id, deltas)
}

/// What was read up to the end, and how often it began anew.
async fn read(deltas: &mut Deltas) -> (String, usize) {
    let (mut text, mut anew) = (String::new(), 0);
    loop {
        let piece = tokio::time::timeout(Duration::from_secs(30), deltas.next()).await;
        match piece.expect("a piece in time").expect("the connection stands") {
            Piece::Chunk(chunk) => text.push_str(text_of(&chunk)),
            Piece::StartOver => (text, anew) = (String::new(), anew + 1),
            Piece::Lost => panic!("a piece was lost"),
            Piece::End => return (text, anew),
        }
    }
}

fn answer(result: &JobResult) -> String {
    let response = result.response.as_ref().expect("it was answered");
    let body: Value = serde_json::from_str(response.body.get()).expect("JSON");
    assert_eq!(body["object"], "chat.completion");
    body["choices"][0]["message"]["content"].as_str().expect("text").to_owned()
}

fn written_slowly() -> Profile {
    let answer_tokens = LogNormal { median: 60.0, sigma: 0.1 };
    Profile { tokens_per_second: Some(60.0), answer_tokens, ..answers_after(20.0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_come_while_it_is_written_and_the_result_is_whole() {
    let bench = Bench::start(written_slowly()).await;
    let _worker = bench.world.worker_on(bench.only_a(), "w0", |_| {}).await;
    let (id, mut deltas) = begin(&bench, line("x", None)).await;
    let first = tokio::time::timeout(Duration::from_secs(30), deltas.next()).await.expect("in time");
    assert!(matches!(first, Some(Piece::Chunk(_))), "{first:?}");
    let under_way = bench.world.sim.calls();
    assert!(under_way[0].ended.is_none(), "the first piece comes before the last");
    let (rest, anew) = read(&mut deltas).await;
    let result = bench.result(&id, Duration::from_secs(10)).await;
    let whole = answer(&result);
    assert!(anew == 0 && whole.ends_with(rest.as_str()) && rest.len() > 100, "{rest}");
    let call = &bench.world.sim.calls()[0];
    assert!(call.received.stream);
    let truth = call.ended.as_ref().expect("it ended").usage_true;
    assert_eq!(result.tollgate.tokens.completion(), truth.completion_tokens);
    assert_eq!(result.tollgate.attempts[0].usage_source, UsageSource::Provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_reading_along_changes_nothing() {
    let bench = Bench::start(written_slowly()).await;
    let _worker = bench.world.worker_on(bench.only_a(), "w0", |_| {}).await;
    let (id, mut deltas) = begin(&bench, line("x", None)).await;
    deltas.next().await.expect("a piece");
    drop(deltas);
    let result = bench.result(&id, Duration::from_secs(20)).await;
    let truth = bench.world.sim.calls()[0].ended.as_ref().expect("it was read to its end").usage_true;
    assert_eq!(result.tollgate.tokens.completion(), truth.completion_tokens);
    assert_eq!(answer(&result).split_whitespace().count() as u64, truth.completion_tokens - truth.reasoning_tokens);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_made_anew_elsewhere_and_the_reader_is_told() {
    for fault in ["truncate@1", "abort-stream@1", "reset@1"] {
        let bench = Bench::start(answers_after(5.0)).await;
        let _worker = bench.world.worker_on(bench.both(Strategy::Ordered), "w0", |_| {}).await;
        bench.faults_at_a(fault);
        let (id, mut deltas) = begin(&bench, line(fault, None)).await;
        let (text, anew) = read(&mut deltas).await;
        let result = bench.result(&id, Duration::from_secs(20)).await;
        assert_eq!(result.tollgate.status, Status::Succeeded, "{fault}: {result:?}");
        assert_eq!((result.tollgate.provider.as_deref(), text), (Some("b"), answer(&result)), "{fault}");
        assert_eq!(anew + 1, result.tollgate.attempts.len(), "{fault}");
        assert!(anew >= 1, "{fault}");
        let broken = &result.tollgate.attempts[0];
        assert_eq!(broken.usage_source, UsageSource::Estimated, "{fault}: what was written is booked");
        assert!(broken.cost_nanousd.0 > 0, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_while_it_reads_is_followed_by_one_that_starts_over() {
    let bench = Bench::start(written_slowly()).await;
    let first = bench.world.worker_on(bench.only_a(), "w0", |_| {}).await;
    let (id, mut deltas) = begin(&bench, line("x", None)).await;
    deltas.next().await.expect("a piece");
    first.crash();
    let _second = bench.world.worker_on(bench.only_a(), "w1", |_| {}).await;
    let (text, anew) = read(&mut deltas).await;
    let result = bench.result(&id, Duration::from_secs(20)).await;
    assert_eq!((anew, text), (1, answer(&result)));
    assert_eq!(result.tollgate.unknown_attempts, 1);
}
