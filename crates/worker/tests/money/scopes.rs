//! Whose budget it is: everybody's, a project's, each user's, a key's; and several windows at once.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_types::{Class, JobId, NanoUsd, Status};

use crate::world::{Books, Money, bound_of, cost_of_all, line, line_of, set, set_organisation, times, usd};

/// Two of the narrow scope's jobs fit for sure, never all; the others all run, and nothing of the lane is closed.
async fn check_parks_its_own(on: &str, scope: &str, options: serde_json::Value, key: Option<&str>) {
    let narrow = |n| line_of(n, "sim-small", "tokens=100", options.clone());
    let (bound, per_scope) = (bound_of(&narrow(0)), 12);
    let cap = times(bound, 2);
    let money = Money::start(json!([{"window": "day", "cap_usd": usd(cap), "on": on}])).await;
    let producer = money.world.producer("search").await;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for n in 0..per_scope {
        own.push(money.submit_line(&producer, narrow(n), key).await);
        others.push(money.submit_line(&producer, line(n, "sim-small"), None).await);
    }
    let others = money.until_ended(&producer, &others, per_scope).await;
    assert!(others.iter().all(|result| result.tollgate.status == Status::Succeeded), "{others:?}");
    let account = money.when_spent(scope, "day", cap, bound).await;
    let ended = money.ended(&producer, &own).await;
    assert!((2..per_scope).contains(&ended.len()), "{} of {scope} ended", ended.len());
    assert_eq!(account.windows()["day"].settled.sum(), cost_of_all(&ended));
    // The team's account counts all of them, for reports, although nothing caps it.
    let all = (others.len() + ended.len()) as u64;
    eventually("the team's account counts all", Duration::from_secs(20), || async {
        let team = money.account("team:search").await?;
        (team.tally().values().map(|tallied| tallied.jobs).sum::<u64>() == all).then_some(())
    })
    .await;

    set(&money.directory, json!([])).await;
    let own = money.until_ended(&producer, &own, per_scope).await;
    assert!(own.iter().all(|result| result.tollgate.status == Status::Succeeded), "{own:?}");
    money.worker.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projects_or_a_keys_budget_parks_its_own_jobs_alone() {
    tokio::join!(
        check_parks_its_own("project:ranking", "project:search/ranking", json!({"project": "ranking"}), None),
        check_parks_its_own("key:k1", "key:search/k1", json!({}), Some("k1")),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_for_each_user_is_one_for_each_and_a_named_user_has_their_own() {
    let of = |user: &str, n| line_of(n, "sim-small", "tokens=100", json!({"user": user}));
    let bound = bound_of(&of("ann", 0));
    let each = times(bound, 2);
    let money = Money::start(json!([
        {"window": "day", "cap_usd": usd(each), "on": "user:*"},
        {"window": "day", "cap_usd": "1", "on": "user:boss"},
    ]))
    .await;
    let producer = money.world.producer("search").await;
    let mut ids: [Vec<JobId>; 3] = Default::default();
    for n in 0..10 {
        for (at, user) in ["ann", "bob", "boss"].into_iter().enumerate() {
            ids[at].push(money.submit_line(&producer, of(user, n), None).await);
        }
    }
    money.until_ended(&producer, &ids[2], 10).await;
    for (at, user) in ["ann", "bob"].into_iter().enumerate() {
        let account = money.when_spent(&format!("user:search/{user}"), "day", each, bound).await;
        let ended = money.ended(&producer, &ids[at]).await;
        assert!((2..10).contains(&ended.len()), "{} of {user} ended", ended.len());
        assert_eq!(account.windows()["day"].settled.sum(), cost_of_all(&ended));
    }
    money.worker.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_windows_the_tightest_decides_and_all_of_them_count() {
    let bound = Money::bound();
    let (tight, wide) = (times(bound, 3), times(bound, 500));
    let money = Money::start(json!([
        {"window": "month", "cap_usd": usd(wide)},
        {"window": "rolling 24h", "cap_usd": usd(tight)},
        {"window": "hour", "cap_usd": usd(wide)},
        {"window": "week", "cap_usd": usd(wide), "time_zone": "Europe/Berlin"},
    ]))
    .await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 20).await;
    let account = money.when_spent("team:search", "rolling 24h", tight, bound).await;
    let ended = money.ended(&producer, &ids).await;
    assert!((3..20).contains(&ended.len()), "{} ended", ended.len());
    account.check().expect("the promise holds");
    assert_eq!(account.windows().len(), 4);
    for (window, spent) in account.windows() {
        assert_eq!(spent.settled.sum(), cost_of_all(&ended), "{window}");
    }
    money.worker.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_too_large_for_what_is_left_waits_and_smaller_ones_go_on() {
    let bound = Money::bound();
    let cap = times(bound, 40);
    let money = Money::start(json!([{"window": "month", "cap_usd": usd(cap)}])).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 8).await;
    money.until_ended(&producer, &ids, 8).await;
    // It would fit an empty window, not this one.
    let mut large: serde_json::Value = serde_json::from_str(&line(8, "sim-small")).expect("JSON");
    large["body"]["max_tokens"] = json!((bound.0 * 37 - bound.0) / 600);
    let large = money.submit_line(&producer, large.to_string(), None).await;
    let waits = || async {
        let question = json!({"job": large, "explain": true});
        let explained = money.world.ask(&producer, "status", question).await.expect("it is known");
        (explained["state"] == "parked" && explained["gate"] == "budget").then_some(())
    };
    eventually("the large one waits", Duration::from_secs(10), waits).await;
    let more = money.submit(&producer, 12).await;
    money.until_ended(&producer, &more, 12).await;
    waits().await.expect("it still waits");

    set(&money.directory, json!([{"window": "month", "cap_usd": usd(times(cap, 2))}])).await;
    let large = money.until_ended(&producer, &[large], 1).await;
    assert_eq!(large[0].tollgate.status, Status::Succeeded);
    money.worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_organisations_budget_closes_every_lane_and_leaves_the_jobs_in_them() {
    let bound = Money::bound();
    let cap = times(bound, 4);
    let books = Books::start(json!([])).await;
    set_organisation(&books.directory, json!([{"window": "day", "cap_usd": usd(cap)}])).await;
    let (settler, worker) = (books.world.settler("settler").await, books.worker("w1").await);
    let [search, marketing] = [books.world.producer("search").await, books.world.producer("marketing").await];
    // Spent by one team, it holds for the other, and for all classes.
    let ids = books.submit(&search, 30).await;
    let account = books.when_spent("organisation", "day", cap, bound).await;
    let ended = books.ended(&search, &ids).await;
    assert_eq!(account.windows()["day"].settled.sum(), cost_of_all(&ended));
    let mut others = Vec::new();
    for n in 0..30 {
        let class = [Class::Interactive, Class::Batch][n % 2];
        let receipt = marketing.submit(class, line(n, "sim-small").into(), None).await.expect("accepted");
        others.push(receipt.id);
    }
    // The first of them hear that nothing is left and wait behind the account; the rest stays where it is.
    let stream = books.world.jetstream().await.get_stream("TOLLGATE_WAIT").await.expect("it exists");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let parked = stream.get_info().await.expect("an answer").state.messages;
    assert!(parked <= 24, "{parked} of {} were parked", 60 - ended.len());
    assert_eq!(books.ended(&marketing, &others).await.len(), 0);

    set_organisation(&books.directory, json!([{"window": "day", "cap_usd": "10"}])).await;
    let all = [books.until_ended(&search, &ids, 30).await, books.until_ended(&marketing, &others, 30).await].concat();
    assert!(all.iter().all(|result| result.tollgate.status == Status::Succeeded));
    let account = books.when_settled("organisation", "day", cost_of_all(&all)).await;
    assert_eq!(account.windows()["day"].overrun.sum(), NanoUsd::ZERO);
    eventually("nothing is left behind a gate", Duration::from_secs(10), || async {
        (stream.get_info().await.expect("an answer").state.messages == 0).then_some(())
    })
    .await;
    worker.drained().await;
    settler.stop.cancel();
}
