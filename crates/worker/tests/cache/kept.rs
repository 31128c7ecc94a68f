//! Which answers are kept.

use serde_json::{Value, json};
use tollgate_policy::routing::Strategy;
use tollgate_types::Status;
use tollgate_types::event::CacheUse;
use tollgate_worker::{Routes, StandIns};

use crate::bench::{Bench, answers_after, cut_short, line};

/// Runs the same job twice and says how often the provider was called for the second.
async fn calls_of_the_second(bench: &Bench, more: Value) -> usize {
    let line = line(more, "a", json!({ "cache": "use" }));
    let first = bench.run(line.clone()).await;
    assert_ne!(first.tollgate.cache, CacheUse::Hit);
    let before = bench.calls();
    bench.run(line).await;
    bench.calls() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_answers_are_kept() {
    let bench = Bench::start(answers_after(2.0)).await;
    let worker = bench.worker("w0").await;
    let told = |directive: &str| json!({ "seed": directive.len(), "metadata": { "sim": directive } });
    for more in [cut_short(), told("content-filter"), told("status=400")] {
        assert!(calls_of_the_second(&bench, more.clone()).await >= 1, "{more}");
    }
    assert_eq!(bench.answers().contents().await.expect("counted").answers, 0);
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_stand_in_is_not_kept() {
    let bench = Bench::start(answers_after(2.0)).await;
    let mut routes = Routes::default();
    let nowhere = bench.world.deployment("b", "http://127.0.0.1:9");
    routes.arrange("fast", Strategy::Ordered, StandIns { fallbacks: vec!["other".into()], ..StandIns::default() });
    routes.add("fast", tollgate_worker::Priced::new(nowhere, Some(testkit::price()), 4096));
    routes.add("other", bench.at_a());
    let _worker = bench.world.worker_on(routes, "w0", |_| {}).await;
    let result = bench.run(line(json!({}), "a", json!({ "cache": "use" }))).await;
    assert_eq!((result.tollgate.status, result.tollgate.provider.as_deref()), (Status::Succeeded, Some("a")));
    let again = bench.run(line(json!({}), "a", json!({ "cache": "use" }))).await;
    assert_eq!((again.tollgate.cache, bench.calls()), (CacheUse::Miss, 2));
}
