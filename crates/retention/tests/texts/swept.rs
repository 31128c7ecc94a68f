//! Results that are older than their team keeps them.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_client::Producer;
use tollgate_retention::{Entomb, Entombed, Passed};
use tollgate_types::{Class, ErrorCode, JobId, Status};

use crate::bench::{Bench, CANARY, LIMIT, quick};

/// Says that ClickHouse has every record up to a sequence, as a sink does that stands still since.
async fn sink_stands_at(bench: &Bench, committed: u64) {
    let stream = bench.log().await.identity().to_owned();
    let manifest =
        json!({"version": 1, "stream": stream, "committed_seq": committed, "pending": null, "owner": "", "term": 1});
    bench.state.put("sink.manifest", manifest.to_string().into()).await.expect("it is written");
}

async fn run(bench: &Bench, producer: &Producer, prompt: &str) -> JobId {
    let id = producer.submit(Class::Standard, quick(prompt), None).await.expect("accepted").id;
    bench.world.result(producer, &id).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_teams_results_go_when_their_own_time_is_over_and_stay_answered() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let marketing = bench.world.producer("marketing").await;
    let batchers = bench.world.producer("batchers").await;
    bench.keep("search", Some(1)).await;
    bench.keep("marketing", Some(3600)).await;
    let swept = run(&bench, &bench.search, CANARY).await;
    let kept = run(&bench, &marketing, "kept for an hour").await;
    let unsaid = run(&bench, &batchers, "of a team that says nothing").await;
    let _sweeper = bench.sweeper("sweeper").await;

    let result = bench.gone(&bench.search, &swept, ErrorCode::NotKept).await;
    assert_eq!(result.tollgate.status, Status::Succeeded);
    assert_eq!(bench.places_of(CANARY).await, Vec::<String>::new());
    // A copy that comes late is answered.
    tokio::time::sleep(testkit::small_limits().duplicate_window + Duration::from_millis(200)).await;
    bench.submit(quick(CANARY), Some(&swept)).await;
    bench.until_empty().await;
    assert_eq!(bench.calls_of(&swept), 1);
    for (producer, id) in [(&marketing, &kept), (&batchers, &unsaid)] {
        assert!(bench.world.result(producer, id).await.response.is_some(), "{id}");
    }

    // What holds for everybody holds for who says nothing, and not for who says more.
    bench.keep_of_all(Some(1)).await;
    bench.gone(&batchers, &unsaid, ErrorCode::NotKept).await;
    assert!(bench.world.result(&marketing, &kept).await.response.is_some());
    // Who says nothing any more is one of everybody, also with what was passed over before.
    bench.keep("marketing", None).await;
    bench.gone(&marketing, &kept, ErrorCode::NotKept).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sink_has_not_read_is_not_touched_however_old_it_is() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    bench.keep("search", Some(1)).await;
    let first = run(&bench, &bench.search, "first").await;
    let second = run(&bench, &bench.search, "second").await;
    let tombs = bench.tombs().await;
    let at = tombs.find("search", &first).await.expect("an answer").expect("a result").sequence;
    sink_stands_at(&bench, at).await;
    let _sweeper = bench.sweeper("sweeper").await;
    bench.gone(&bench.search, &first, ErrorCode::NotKept).await;
    let third = run(&bench, &bench.search, "third").await;
    // Older than a second by now, and looked at many times.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for id in [&second, &third] {
        assert!(bench.result(id).await.response.is_some(), "{id} was not read by the sink");
    }
    sink_stands_at(&bench, at + 100).await;
    for id in [&second, &third] {
        bench.gone(&bench.search, id, ErrorCode::NotKept).await;
    }
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_comes_while_tombstones_are_made_meets_their_records_first() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(run(&bench, &bench.search, &format!("{CANARY} {n}")).await);
    }
    let (tombs, log) = (bench.tombs().await, bench.log().await);
    let mut at = Vec::new();
    for id in &ids {
        at.push(tombs.find("search", id).await.expect("an answer").expect("a result").sequence);
    }
    // Whoever entombs looked before there was a sink, and now there is one, at the first of them.
    let looked = Passed { settled: u64::MAX, sunk: None };
    sink_stands_at(&bench, at[0]).await;
    let entomb = Entomb::new(&tombs, &bench.state, &log, looked);
    for (id, expected) in ids.iter().zip([Entombed::Now, Entombed::NotPassed, Entombed::NotPassed]) {
        let entombed = entomb.job("search", id, ErrorCode::NotKept).await.expect("an answer");
        assert_eq!(entombed, expected, "{id}");
    }
    // Nor does anybody who finds their tombstones remove them, be it the sweeper.
    let again = entomb.job("search", &ids[1], ErrorCode::NotKept).await.expect("an answer");
    assert_eq!(again, Entombed::NotPassed);
    bench.keep("search", Some(1)).await;
    let _sweeper = bench.sweeper("sweeper").await;
    bench.gone(&bench.search, &ids[2], ErrorCode::NotKept).await;
    // It has been through all of them once it sweeps one that the sink has passed.
    sink_stands_at(&bench, at[1]).await;
    eventually("the second goes", LIMIT, || async { (bench.places_of(CANARY).await.len() == 1).then_some(()) }).await;
    sink_stands_at(&bench, at[2]).await;
    eventually("no text is left", LIMIT, || async { bench.places_of(CANARY).await.is_empty().then_some(()) }).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_settler_has_not_folded_is_not_touched_either() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    bench.keep("search", Some(1)).await;
    let first = run(&bench, &bench.search, "first").await;
    let _sweeper = bench.sweeper("sweeper").await;
    bench.gone(&bench.search, &first, ErrorCode::NotKept).await;
    let Bench { world, search, directory, context, state, settler } = bench;
    settler.crash();
    let second = search.submit(Class::Standard, quick("second"), None).await.expect("accepted").id;
    assert!(world.result(&search, &second).await.response.is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.result(&search, &second).await.response.is_some(), "nobody folded it");
    let settler = world.settler("another").await;
    let bench = Bench { world, search, directory, context, state, settler };
    bench.gone(&bench.search, &second, ErrorCode::NotKept).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweeper_that_died_anywhere_is_followed_by_one_that_finishes() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(bench.submit(quick(&format!("{CANARY} {n}")), None).await);
    }
    for id in &ids {
        bench.result(id).await;
    }
    // Where kills leave them: some with a tombstone beside the result, some with nothing done.
    let tombs = bench.tombs().await;
    for id in ids.iter().step_by(3) {
        let lying = tombs.find("search", id).await.expect("an answer").expect("a result");
        assert!(tombs.raise(&lying, ErrorCode::NotKept, false).await.expect("an answer"));
    }
    bench.keep("search", Some(1)).await;
    for name in ["a", "b", "c"] {
        let sweeper = bench.sweeper(name).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        drop(sweeper);
    }
    let _sweeper = bench.sweeper("d").await;
    for id in &ids {
        bench.gone(&bench.search, id, ErrorCode::NotKept).await;
    }
    eventually("no text is left", LIMIT, || async { bench.places_of(CANARY).await.is_empty().then_some(()) }).await;
    worker.drained().await;
}
