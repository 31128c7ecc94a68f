//! Which answers are kept.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;
use tollgate_policy::routing::Strategy;
use tollgate_queue::answers::Purge;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_queue::lanes::ask_the_time;
use tollgate_queue::state::State;
use tollgate_queue::{ServerClock, control, purged};
use tollgate_types::event::CacheUse;
use tollgate_types::{Gate, Status};
use tollgate_worker::{Routes, StandIns};

use crate::bench::{Bench, answers_after, asking, check_hit, cut_short, line};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_chat_finds_in_the_web_is_not_kept() {
    let bench = Bench::start(answers_after(2.0)).await;
    let _worker = bench.worker("w0").await;
    assert_eq!(calls_of_the_second(&bench, json!({ "web_search_options": {} })).await, 1);
    let result = bench.run(line(json!({ "web_search_options": {} }), "a", json!({ "cache": "use" }))).await;
    assert_eq!(result.tollgate.cache, CacheUse::Bypass);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_whose_answer_is_not_kept_leaves_no_old_one() {
    let bench = Bench::start(answers_after(2.0)).await;
    let _worker = bench.worker("w0").await;
    let first = bench.run_kept(asking("use", "a")).await;
    check_hit(&bench.run(asking("use", "a")).await, &first);
    // The same request: its directive is no part of the key.
    let filtered = json!({ "metadata": { "sim": "content-filter" } });
    let fresh = bench.run(line(filtered, "a", json!({ "cache": "refresh" }))).await;
    assert_eq!(fresh.tollgate.cache, CacheUse::Miss);
    eventually("the old one is gone", Duration::from_secs(10), || async {
        (bench.answers().contents().await.expect("counted").answers == 0).then_some(())
    })
    .await;
    eventually("also in memory", Duration::from_secs(10), || async {
        (bench.run(asking("use", "a")).await.tollgate.cache == CacheUse::Miss).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_team_that_is_gone_is_not_kept() {
    let bench = Bench::start(answers_after(3000.0)).await;
    let worker = bench.worker("w0").await;
    let id = bench.submit(asking("use", "a")).await;
    bench.until_called(1).await;
    let directory = bench.world.directory().await;
    assert!(directory.remove_team(&"search".parse().expect("a team")).await.expect("removed"));
    bench.result(&id, Duration::from_secs(30)).await;
    worker.drained().await;
    assert_eq!(bench.answers().contents().await.expect("counted").answers, 0);
}

/// As `cache purge` and `team remove` do it.
async fn purge(bench: &Bench, purge: &Purge) {
    let operator = bench.world.broker("operator").await;
    let state = State::open(&bench.world.jetstream().await).await.expect("the bucket exists");
    let clock = ServerClock::new();
    ask_the_time(&operator.client, &clock).await.expect("the server tells its time");
    purged::note(&state, purge, clock.now()).await.expect("noted");
    bench.answers().purge(purge).await.expect("purged");
    control::announce_purged(&operator, purge).await.expect("told");
    operator.client.flush().await.expect("sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_call_was_under_way_when_it_was_purged_is_not_kept() {
    let all = Purge::default();
    let of = |team: &str| Purge { team: Some(team.to_owned()), ..Purge::default() };
    let model = |team: Option<&str>, model: &str| Purge {
        team: team.map(str::to_owned),
        model: Some(Gate::digest_of_model(model)),
        ..Purge::default()
    };
    let bench = Bench::start(answers_after(600.0)).await;
    for (n, (which, reached)) in [
        (all, true),
        (of("search"), true),
        (model(None, "fast"), true),
        (model(Some("search"), "fast"), true),
        (of("marketing"), false),
        (model(Some("search"), "other"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let worker = bench.worker(&format!("w{n}")).await;
        let before = bench.answers().contents().await.expect("counted").answers;
        let calls = bench.calls();
        let id = bench.submit(asking("use", &format!("question {n}"))).await;
        bench.until_called(calls + 1).await;
        purge(&bench, &which).await;
        bench.result(&id, Duration::from_secs(30)).await;
        // What a worker has to do for the cache is done when it has drained.
        worker.drained().await;
        let kept = bench.answers().contents().await.expect("counted").answers;
        assert_eq!(kept, before + u64::from(!reached), "{which:?}");
    }
    let _worker = bench.worker("after").await;
    let first = bench.run_kept(asking("use", "after all of them")).await;
    check_hit(&bench.run(asking("use", "after all of them")).await, &first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_is_made_again_at_once_gets_no_answer_of_the_old_one() {
    let bench = Bench::start(answers_after(600.0)).await;
    let worker = bench.worker("w0").await;
    let kept = bench.run_kept(asking("use", "kept before")).await;
    check_hit(&bench.run(asking("use", "kept before")).await, &kept);
    let calls = bench.calls();
    let under_way = bench.submit(asking("use", "under way")).await;
    bench.until_called(calls + 1).await;
    let (directory, team) = (bench.world.directory().await, "search".parse().expect("a team"));
    assert!(directory.remove_team(&team).await.expect("removed"));
    purge(&bench, &Purge { team: Some("search".to_owned()), ..Purge::default() }).await;
    directory.put_team(&team, &TeamRecord::default(), Expected::Any).await.expect("made again");
    bench.result(&under_way, Duration::from_secs(30)).await;
    worker.drained().await;
    let _worker = bench.worker("w1").await;
    for question in ["kept before", "under way"] {
        let again = bench.run(asking("use", question)).await;
        assert_eq!((again.tollgate.status, again.tollgate.cache), (Status::Succeeded, CacheUse::Miss), "{question}");
    }
}
