//! What is answered again, what is not, and what it costs.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;
use tollgate_client::{Piece, text_of};
use tollgate_queue::answers::Purge;
use tollgate_queue::control;
use tollgate_types::event::CacheUse;
use tollgate_types::{Class, ErrorCode, JobResult, NanoUsd, Status};

use crate::bench::{Bench, answer, answers_after, asking, check_hit, line};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_given_before_is_given_again_for_nothing() {
    let bench = Bench::start(answers_after(5.0)).await;
    let worker = bench.worker("w0").await;
    let first = bench.run_kept(asking("use", "a")).await;
    assert_eq!((first.tollgate.cache, first.tollgate.saved_nanousd), (CacheUse::Miss, NanoUsd::ZERO));
    let again = bench.run(asking("use", "a")).await;
    check_hit(&again, &first);
    assert_ne!(again.id, first.id);
    // Also by a worker that never saw it.
    worker.drained().await;
    let _other = bench.worker("w1").await;
    check_hit(&bench.run(asking("use", "a")).await, &first);
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_what_it_asks_of_the_cache() {
    let bench = Bench::start(answers_after(5.0)).await;
    let _workers = [bench.worker("w0").await, bench.worker("w1").await];
    // Nobody asked: nothing is kept, nothing is used.
    for cache in [json!({}), json!({ "cache": "bypass" })] {
        let result = bench.run(line(json!({}), "a", cache)).await;
        assert_eq!(result.tollgate.cache, CacheUse::Bypass);
    }
    assert_eq!(bench.answers().contents().await.expect("counted").answers, 0);
    let first = bench.run_kept(asking("refresh", "a")).await;
    assert_eq!((bench.calls(), first.tollgate.cache), (3, CacheUse::Miss));
    for _ in 0..20 {
        check_hit(&bench.run(asking("use", "a")).await, &first);
    }
    // A refresh takes the place of what was kept, everywhere.
    let fresh = bench.run(asking("refresh", "a")).await;
    assert_ne!(answer(&fresh), answer(&first), "the provider's ids differ");
    eventually("the fresh one is used by both", Duration::from_secs(10), || async {
        let ids = bench.submit_all((0..20).map(|_| asking("use", "a"))).await;
        let again = bench.results(&ids, Duration::from_secs(10)).await;
        again.iter().all(|again| answer(again) == answer(&fresh)).then_some(())
    })
    .await;
    assert_eq!((bench.calls(), bench.answers().contents().await.expect("counted").answers), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_may_change_the_answer_is_another_request() {
    let bench = Bench::start(answers_after(2.0)).await;
    let _worker = bench.worker("w0").await;
    let first = bench.run_kept(asking("use", "a")).await;
    let ask = json!({ "cache": "use" });
    let others = [
        line(json!({}), "b", ask.clone()),
        line(json!({ "model": "other" }), "a", ask.clone()),
        line(json!({ "max_tokens": 5 }), "a", ask.clone()),
        line(json!({ "seed": 5 }), "a", ask.clone()),
        line(json!({ "temperature": 0.5 }), "a", ask.clone()),
        line(json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }), "a", ask.clone()),
    ];
    for (before, other) in others.into_iter().enumerate() {
        assert_eq!(bench.run(other.clone()).await.tollgate.cache, CacheUse::Miss, "{other}");
        assert_eq!(bench.calls(), 2 + before, "{other}");
    }
    // Another team's is never used.
    let marketing = bench.world.producer("marketing").await;
    let theirs = bench.world.run(&marketing, Class::Standard, asking("use", "a")).await;
    assert_eq!((theirs.tollgate.cache, bench.calls()), (CacheUse::Miss, 8));
    // Who asks, how it is written and how it travels changes nothing.
    let written = r#"{"tollgate":{"cache":"use"},"body":{ "user":"ann", "messages":[{"content":"\u0061","role":"user"}],
        "store":false,"metadata":{"x":"y"},"model":"fast"}}"#;
    check_hit(&bench.run(written.replace('\n', " ")).await, &first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_rules_hold_where_its_jobs_say_nothing_and_change_at_once() {
    let bench = Bench::start(answers_after(2.0)).await;
    bench.rules("search", json!({ "mode": "use", "shared_by": "user" })).await;
    let _worker = bench.worker("w0").await;
    let of = |user: &str| line(json!({}), "a", json!({ "user": user }));
    let first = bench.run_kept(of("ann")).await;
    check_hit(&bench.run(of("ann")).await, &first);
    assert_eq!(bench.run(of("bob")).await.tollgate.cache, CacheUse::Miss, "another user's");
    let nobody = bench.run(line(json!({}), "a", json!({}))).await;
    assert_eq!(nobody.tollgate.cache, CacheUse::Bypass, "nobody to share with");
    let warm = bench.run(line(json!({ "temperature": 0.7 }), "a", json!({ "user": "ann" }))).await;
    assert_eq!(warm.tollgate.cache, CacheUse::Bypass, "it wants answers that differ");
    bench.rules("search", json!({ "mode": "off" })).await;
    eventually("the cache is off", Duration::from_secs(10), || async {
        let result = bench.run(asking("use", "a")).await;
        (result.tollgate.cache == CacheUse::Bypass).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_forgotten_after_its_time() {
    let bench = Bench::start(answers_after(2.0)).await;
    bench.rules("search", json!({ "ttl_seconds": 2 })).await;
    let _worker = bench.worker("w0").await;
    let first = bench.run_kept(asking("use", "a")).await;
    check_hit(&bench.run(asking("use", "a")).await, &first);
    eventually("the server forgets it", Duration::from_secs(20), || async {
        (bench.answers().contents().await.expect("counted").answers == 0).then_some(())
    })
    .await;
    assert_eq!(bench.run(asking("use", "a")).await.tollgate.cache, CacheUse::Miss, "also in memory");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_reaches_the_memory_of_workers() {
    let bench = Bench::start(answers_after(2.0)).await;
    let _worker = bench.worker("w0").await;
    let operator = bench.world.broker("operator").await;
    for (purge, reached) in
        [(Purge { team: Some("marketing".into()), ..Purge::default() }, false), (Purge::default(), true)]
    {
        let first = bench.run_kept(asking("refresh", &format!("{reached}"))).await;
        check_hit(&bench.run(asking("use", &format!("{reached}"))).await, &first);
        let calls = bench.calls();
        let purged = bench.answers().purge(&purge).await.expect("purged");
        assert_eq!(purged > 0, reached);
        control::announce_purged(&operator, &purge).await.expect("told");
        operator.client.flush().await.expect("sent");
        // Jobs and purges come by two connections.
        let mut results = Vec::new();
        for _ in 0..20 {
            results.push(bench.run(asking("use", &format!("{reached}"))).await.tollgate.cache);
        }
        assert_eq!(results.contains(&CacheUse::Miss), reached);
        assert_eq!(bench.calls(), calls + usize::from(reached));
    }
}

async fn read_along(bench: &Bench, line: String) -> (String, usize, JobResult) {
    let id = bench.search.fresh_id();
    let mut deltas = bench.search.deltas(&id).await.expect("subscribed");
    bench.search.client().flush().await.expect("the server has the subscription");
    bench.search.submit(Class::Standard, line.into(), Some(id.clone())).await.expect("accepted");
    let (mut text, mut pieces) = (String::new(), 0);
    loop {
        let piece = tokio::time::timeout(Duration::from_secs(30), deltas.next()).await;
        match piece.expect("a piece in time").expect("the connection stands") {
            Piece::Chunk(chunk) => {
                text.push_str(text_of(&chunk));
                pieces += 1;
            }
            Piece::StartOver | Piece::Lost => panic!("it was broken off"),
            Piece::End => break,
        }
    }
    (text, pieces, bench.result(&id, Duration::from_secs(10)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_streams_to_who_asks_for_a_stream() {
    let bench = Bench::start(answers_after(2.0)).await;
    let _worker = bench.worker("w0").await;
    let first = bench.run_kept(asking("use", "a")).await;
    let (text, pieces, result) =
        read_along(&bench, line(json!({ "stream": true }), "a", json!({ "cache": "use" }))).await;
    check_hit(&result, &first);
    let body: Value = serde_json::from_str(&answer(&first)).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], json!(text));
    assert!(pieces >= 3, "{pieces}");
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_team_may_not_have_it_gets_from_no_cache_and_a_spent_budget_stops_no_hit() {
    let bench = Bench::start(answers_after(2.0)).await;
    let _worker = bench.worker("w0").await;
    let first = bench.run_kept(asking("use", "a")).await;
    let directory = bench.world.directory().await;
    let team = "search".parse().expect("a team");
    let put = |json: &str| {
        let record = serde_json::from_str(json).expect("a record");
        let (directory, team) = (directory.clone(), &team);
        async move {
            let put = directory.put_team(team, &record, tollgate_queue::directory::Expected::Any).await;
            put.expect("stored");
        }
    };
    let until_refused = |prompt: &'static str, code: ErrorCode| {
        let bench = &bench;
        eventually("the record is known", Duration::from_secs(20), move || async move {
            let result = bench.run(asking("use", prompt)).await;
            result.error.is_some_and(|error| error.code == code).then_some(())
        })
    };
    // On a project of its own, so that the lane stays open.
    put(r#"{"weight":1,"budgets":[{"on":"project:p","window":"day","cap_usd":"0.000000001","when_spent":"reject"}]}"#)
        .await;
    let of_project = |prompt: &str| line(json!({}), prompt, json!({ "cache": "use", "project": "p" }));
    eventually("the budget is known", Duration::from_secs(20), || async {
        let result = bench.run(of_project("fresh")).await;
        (result.tollgate.status == Status::Rejected).then_some(())
    })
    .await;
    check_hit(&bench.run(of_project("a")).await, &first);
    put(r#"{"weight":1,"access":{"models":["other"]}}"#).await;
    until_refused("a", ErrorCode::UnknownModel).await;
}
