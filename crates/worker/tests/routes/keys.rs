//! A bad key is set aside alone; without any that works the jobs wait for one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sim_provider::{Config as SimConfig, SimProvider};
use tollgate_policy::routing::Strategy;
use tollgate_providers::{KeySource, Reload, Ring};
use tollgate_types::{ErrorCode, Status};
use tollgate_worker::Priced;

use crate::bench::{Bench, answers_after, line, serving, succeeded};

/// A provider that takes the key `good` alone, and what serves a model there with these keys.
async fn strict(bench: &Bench, keys: &[&Path]) -> (SimProvider, Priced, Arc<Ring>) {
    let accepted = Some(["good".to_owned()].into());
    let provider =
        SimProvider::start(SimConfig { api_keys: accepted, ..SimConfig::default() }).await.expect("it starts");
    let sources = keys.iter().enumerate();
    let sources = sources.map(|(n, path)| (format!("key-{n}"), KeySource::File(path.to_path_buf()))).collect();
    let ring = Ring::open("strict", sources, &|_| None, tokio::time::Instant::now()).expect("keys");
    let mut deployment = bench.world.deployment("strict", &provider.base_url());
    deployment.keys = ring.clone();
    (provider, Priced::new(deployment, Some(testkit::price()), 4096), ring)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_key_among_good_ones_costs_one_call_and_no_job() {
    let bench = Bench::start(answers_after(5.0)).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (bad, good) = (dir.path().join("bad"), dir.path().join("good"));
    std::fs::write(&bad, "bad").expect("written");
    std::fs::write(&good, "good").expect("written");
    let (provider, priced, _ring) = strict(&bench, &[&bad, &good]).await;
    let _worker = bench.world.worker_on(serving("fast", Strategy::Ordered, [priced]), "w0", |_| {}).await;
    for n in 0..10 {
        let result = bench.run(line(&format!("{n}"))).await;
        assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
    }
    let refused =
        provider.calls().iter().filter(|call| call.ended.as_ref().is_some_and(|e| e.status == Some(401))).count();
    assert_eq!((refused, provider.calls().len()), (1, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_that_works_the_first_job_hears_it_and_the_others_wait_for_a_new_key() {
    let bench = Bench::start(answers_after(5.0)).await;
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, "bad").expect("written");
    let (provider, priced, ring) = strict(&bench, &[&key]).await;
    let _worker = bench.world.worker_on(serving("fast", Strategy::Ordered, [priced]), "w0", |_| {}).await;
    let first = bench.run(line("first")).await;
    assert_eq!(first.error.map(|error| error.code), Some(ErrorCode::ProviderAuth));
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(bench.submit(line(&format!("{n}"))).await);
    }
    let waits = async || bench.world.jetstream().await.get_stream(tollgate_types::subjects::WAIT_STREAM).await;
    testkit::eventually("they wait", Duration::from_secs(30), || async {
        let mut stream = waits().await.expect("the stream exists");
        (stream.info().await.expect("the server answers").state.messages == 10).then_some(())
    })
    .await;
    assert_eq!(provider.calls().len(), 1, "nobody is asked with a key that is known to be bad");

    std::fs::write(&key, "good").expect("written");
    assert_eq!(ring.reload(Reload::All, tokio::time::Instant::now()), 1);
    let since = Instant::now();
    let results = bench.results(&ids, Duration::from_secs(60)).await;
    assert_eq!(succeeded(&results), ids.len());
    assert!(since.elapsed() < Duration::from_secs(60));
    assert_eq!(provider.calls().len(), 11);
}
