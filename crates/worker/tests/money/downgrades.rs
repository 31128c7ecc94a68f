//! The cheaper model: where it cannot serve either, and where both are spent.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_queue::directory::{Pause, Paused};
use tollgate_types::{ErrorCode, Gate, NanoUsd, Scope, Status};

use crate::world::{Money, bound_of, line, now, set, times, usd};

/// Deliveries out of a queue of parked jobs.
async fn deliveries(money: &Money, gate: &Gate) -> u64 {
    let stream = money.world.jetstream().await.get_stream("TOLLGATE_WAIT").await.expect("it exists");
    let consumer = stream.consumer_info(format!("wait-{gate}-standard-search")).await.expect("it exists");
    consumer.delivered.consumer_sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cheaper_model_that_cannot_serve_makes_jobs_wait_without_a_loop() {
    let (bound, cap) = (Money::bound(), times(Money::bound(), 3));
    let with =
        |to: &str| json!([{"window": "day", "cap_usd": usd(cap), "when_spent": "downgrade", "downgrade_to": to}]);
    // It has no price, so it may not serve.
    let money = Money::start(with("sim-unpriced")).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 20).await;
    money.when_spent("team:search", "day", cap, bound).await;
    let first = money.ended(&producer, &ids).await;
    assert!((3..20).contains(&first.len()), "{} ended", first.len());
    assert!(first.iter().all(|result| result.tollgate.downgraded_to.is_none()), "{first:?}");
    let gate = Gate::Account("team:search".parse::<Scope>().expect("a scope").account());
    let before = deliveries(&money, &gate).await;
    // That little happens has no condition to wait for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = deliveries(&money, &gate).await;
    assert!(after - before <= 2, "{} deliveries in a second", after - before);
    let open = ids.iter().find(|id| first.iter().all(|result| result.id != **id)).expect("one waits");
    let question = json!({"job": open, "explain": true});
    let explained = money.world.ask(&producer, "status", question).await.expect("it is known");
    assert_eq!(explained["gate"], "budget", "{explained}");
    assert!(explained["reason"].as_str().unwrap_or_default().contains("sim-unpriced"), "{explained}");

    // Another cheaper model is found at once.
    set(&money.directory, with("sim-free")).await;
    let all = money.until_ended(&producer, &ids, 20).await;
    let cheaper = all.iter().filter(|result| result.tollgate.downgraded_to.as_deref() == Some("sim-free")).count();
    assert_eq!(cheaper, 20 - first.len());
    money.worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cheaper_model_that_cannot_serve_or_pay_ends_jobs_where_the_budget_says_so() {
    let check = async |to: &str, downgrade_cap: Option<&str>| {
        let cap = times(Money::bound(), 2);
        let mut budget = json!({
            "window": "day", "cap_usd": usd(cap), "when_spent": "downgrade", "downgrade_to": to, "then": "reject",
        });
        if let Some(downgrade_cap) = downgrade_cap {
            budget["downgrade_cap_usd"] = json!(downgrade_cap);
        }
        let money = Money::start(json!([budget])).await;
        let producer = money.world.producer("search").await;
        let ids = money.submit(&producer, 12).await;
        let all = money.until_ended(&producer, &ids, 12).await;
        let rejected: Vec<_> = all.iter().filter(|result| result.tollgate.status == Status::Rejected).collect();
        assert!((1..=10).contains(&rejected.len()), "{to}: {} were rejected", rejected.len());
        for result in rejected {
            assert_eq!(result.error.as_ref().map(|error| error.code), Some(ErrorCode::OverBudget), "{to}: {result:?}");
        }
        money.worker.stop.cancel();
    };
    tokio::join!(check("sim-unpriced", None), check("sim-nowhere", None), check("sim-small", Some("0")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_both_are_spent_jobs_wait_and_more_money_for_either_lets_them_go() {
    let (bound, cap) = (Money::bound(), times(Money::bound(), 2));
    let with = |main: NanoUsd, cheaper: NanoUsd| {
        json!([{
            "window": "day", "cap_usd": usd(main), "when_spent": "downgrade", "downgrade_to": "sim-small",
            "downgrade_cap_usd": usd(cheaper),
        }])
    };
    let money = Money::start(with(cap, cap)).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 40).await;
    let spent = |main: NanoUsd, cheaper: NanoUsd| {
        let money = &money;
        async move {
            eventually("both pots are spent", Duration::from_secs(60), || async {
                let account = money.account("team:search").await?;
                let settled = account.windows().get("day")?.settled;
                let full = settled.main + bound > main && settled.downgraded + bound > cheaper;
                (full && account.held().sum() == NanoUsd::ZERO).then_some(())
            })
            .await;
        }
    };
    spent(cap, cap).await;
    let first = money.ended(&producer, &ids).await.len();
    set(&money.directory, with(times(cap, 2), cap)).await;
    spent(times(cap, 2), cap).await;
    let second = money.ended(&producer, &ids).await.len();
    assert!(second > first, "more money for their own model");
    set(&money.directory, with(times(cap, 2), times(cap, 2))).await;
    spent(times(cap, 2), times(cap, 2)).await;
    let third = money.ended(&producer, &ids).await.len();
    assert!(third > second, "more money for the cheaper model");
    assert!(third < 40, "the test saw no waiting");
    money.account("team:search").await.expect("it exists").check().expect("the promise holds");
    money.worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_cheaper_model_is_waited_for() {
    let (bound, cap) = (Money::bound(), times(Money::bound(), 2));
    let budget = json!([{"window": "day", "cap_usd": usd(cap), "when_spent": "downgrade", "downgrade_to": "sim-free"}]);
    let money = Money::start(budget).await;
    let producer = money.world.producer("search").await;
    let pause = Pause { what: "sim-free".into(), author: "ann".into(), at: now(), reason: String::new() };
    money.directory.pause(&Paused::model("sim-free"), &pause).await.expect("paused");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ids = money.submit(&producer, 10).await;
    money.when_spent("team:search", "day", cap, bound).await;
    let first = money.ended(&producer, &ids).await.len();
    assert!(first < 10);
    assert!(bound_of(&line(0, "sim-small")) == bound);
    let gate = Gate::of_model("sim-free");
    eventually("the others wait for the cheaper model", Duration::from_secs(10), || async {
        let stream = money.world.jetstream().await.get_stream("TOLLGATE_WAIT").await.ok()?;
        let consumer = stream.consumer_info(format!("wait-{gate}-standard-search")).await.ok()?;
        (consumer.num_pending == 10 - first as u64).then_some(())
    })
    .await;
    money.directory.resume(&Paused::model("sim-free")).await.expect("resumed");
    let all = money.until_ended(&producer, &ids, 10).await;
    assert!(all.iter().all(|result| result.tollgate.status == Status::Succeeded));
    assert_eq!(all.iter().filter(|result| result.tollgate.downgraded_to.is_some()).count(), 10 - first);
    money.worker.drained().await;
}
