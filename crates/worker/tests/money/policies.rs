//! Wait, reject, downgrade; caps of one job; raises.

use std::time::Duration;

use serde_json::json;
use tollgate_types::{Class, ErrorCode, NanoUsd, Status};

use crate::world::{Money, cost_of_all, line, set, usd};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_makes_jobs_wait_and_more_money_lets_them_go() {
    // Room for the bound of five calls.
    let cap = NanoUsd(Money::bound().0 * 5);
    let money = Money::start(json!([{"window": "day", "cap_usd": usd(cap)}])).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 40).await;

    // Each costs less than its bound, so more than five fit; but never all forty.
    let settled = testkit::eventually("the budget is spent", Duration::from_secs(60), || async {
        let account = money.account("team:search").await?;
        let spent = account.windows().get("day")?.settled.sum();
        (spent + Money::bound() > cap && account.held().sum() == NanoUsd::ZERO).then_some(spent)
    })
    .await;
    assert!(settled <= cap, "{settled} of {cap}");
    let first = money.ended(&producer, &ids).await;
    assert!((5..40).contains(&first.len()), "{} ended", first.len());
    assert!(first.iter().all(|result| result.tollgate.status == Status::Succeeded), "{first:?}");
    assert_eq!(cost_of_all(&first), settled, "what is settled is what the results say");

    set(&money.directory, json!([{"window": "day", "cap_usd": "10"}])).await;
    let all = money.until_ended(&producer, &ids, 40).await;
    assert!(all.iter().all(|result| result.tollgate.status == Status::Succeeded), "waiting is no end");
    let account = testkit::eventually("all is settled", Duration::from_secs(30), || async {
        let account = money.account("team:search").await?;
        (account.windows().get("day")?.settled.sum() == cost_of_all(&all)).then_some(account)
    })
    .await;
    account.check().expect("the promise holds");
    assert_eq!(account.windows()["day"].overrun.sum(), NanoUsd::ZERO);
    money.worker.drained().await;
    money.settler.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_rejects_ends_jobs_with_the_arithmetic() {
    let cap = NanoUsd(Money::bound().0 * 3);
    let money = Money::start(json!([{"window": "day", "cap_usd": usd(cap), "when_spent": "reject"}])).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 20).await;
    let all = money.until_ended(&producer, &ids, 20).await;
    let of = |status| all.iter().filter(move |result| result.tollgate.status == status);
    assert!(of(Status::Succeeded).count() >= 3);
    assert!(of(Status::Rejected).count() >= 1);
    for rejected in of(Status::Rejected) {
        let error = rejected.error.as_ref().expect("an error");
        assert_eq!(error.code, ErrorCode::OverBudget);
        for part in ["team:search", "settled", &usd(cap), &usd(Money::bound())] {
            assert!(error.message.contains(part), "{part} is missing in {}", error.message);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_switches_to_the_cheaper_model_and_the_result_names_both() {
    let cap = NanoUsd(Money::bound().0 * 3);
    let budgets = json!([{
        "window": "month", "cap_usd": usd(cap), "when_spent": "downgrade", "downgrade_to": "sim-free",
    }]);
    let money = Money::start(budgets).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 20).await;
    let all = money.until_ended(&producer, &ids, 20).await;
    assert!(all.iter().all(|result| result.tollgate.status == Status::Succeeded), "{all:?}");
    let cheaper: Vec<_> = all.iter().filter(|result| result.tollgate.downgraded_to.is_some()).collect();
    assert!(!cheaper.is_empty() && cheaper.len() < 20, "{} of 20", cheaper.len());
    for result in cheaper {
        assert_eq!(result.tollgate.model_requested.as_deref(), Some("sim-small"));
        assert_eq!(result.tollgate.model.as_deref(), Some("sim-free"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_can_never_fit_is_rejected_at_once_also_by_its_own_cap() {
    let cap = NanoUsd(Money::bound().0 - 1);
    let money = Money::start(json!([{"window": "hour", "cap_usd": usd(cap)}])).await;
    let producer = money.world.producer("search").await;
    let never = money.world.run(&producer, Class::Standard, line(0, "sim-small")).await;
    let error = never.error.expect("an error");
    assert_eq!((never.tollgate.status, error.code), (Status::Rejected, ErrorCode::OverBudget));
    assert!(error.message.contains("never") && error.message.contains(&usd(cap)), "{}", error.message);

    let mut own: serde_json::Value = serde_json::from_str(&line(1, "sim-small")).unwrap();
    own["tollgate"] = json!({ "max_cost_usd": usd(cap) });
    let own = money.world.run(&producer, Class::Standard, own.to_string()).await;
    assert_eq!(own.error.expect("an error").code, ErrorCode::CostAboveMax);

    let unpriced = money.world.run(&producer, Class::Standard, line(2, "sim-unpriced")).await;
    assert_eq!(unpriced.error.expect("an error").code, ErrorCode::UnpricedModel);
}
