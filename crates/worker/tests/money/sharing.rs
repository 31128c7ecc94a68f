//! One budget, several workers; and money that is raised for a while.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_types::{NanoUsd, Status};

use crate::world::{Books, Money, cost_of_all, now, set, times, usd};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_share_one_budget_use_it_up_and_never_overrun_it() {
    let bound = Money::bound();
    let cap = times(bound, 30);
    let books = Books::start(json!([{"window": "day", "cap_usd": usd(cap)}])).await;
    let promise = books.watch_the_promise();
    let settler = books.world.settler("settler").await;
    let mut workers = Vec::new();
    for name in ["w1", "w2", "w3"] {
        workers.push(books.worker(name).await);
    }
    let producer = books.world.producer("search").await;
    let ids = books.submit(&producer, 90).await;
    // All of it, up to one bound.
    let account = books.when_spent("team:search", "day", cap, bound).await;
    let ended = books.ended(&producer, &ids).await;
    assert!((30..90).contains(&ended.len()), "{} ended", ended.len());
    assert_eq!(account.windows()["day"].settled.sum(), cost_of_all(&ended));
    for worker in workers {
        worker.drained().await;
    }
    let account = books.account("team:search").await.expect("it exists");
    assert_eq!(account.blocks().len(), 0, "whoever leaves in good order leaves no block: {:?}", account.blocks());
    promise.check_kept_without_overrun();
    settler.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raise_opens_at_once_and_closes_again_when_it_ends() {
    let bound = Money::bound();
    let cap = times(bound, 2);
    let money = Money::start(json!([{"window": "day", "cap_usd": usd(cap)}])).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 60).await;
    money.when_spent("team:search", "day", cap, bound).await;
    let before = money.ended(&producer, &ids).await.len();

    let (from, until) = (now(), now().plus(Duration::from_secs(4)));
    let raise = json!({"amount_usd": usd(times(bound, 4)), "from": from, "until": until, "author": "ann"});
    set(&money.directory, json!([{"window": "day", "cap_usd": usd(cap), "raises": [raise]}])).await;
    // At once: well before it ends.
    let raised = times(bound, 6);
    let account = money.when_spent("team:search", "day", raised, bound).await;
    assert!(now() < until, "the raise was not used in time");
    assert!(account.windows()["day"].settled.sum() > cap);
    let with_raise = money.ended(&producer, &ids).await.len();
    assert!(with_raise > before);

    eventually("the raise is over", Duration::from_secs(20), || async { (now() > until).then_some(()) }).await;
    let more = money.submit(&producer, 5).await;
    // That nothing happens has no condition to wait for.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(money.ended(&producer, &ids).await.len(), with_raise);
    assert_eq!(money.ended(&producer, &more).await.len(), 0);
    let account = money.account("team:search").await.expect("it exists");
    account.check().expect("the promise holds, with what was raised as an overrun");
    let spent = &account.windows()["day"];
    assert_eq!(spent.overrun.sum(), NanoUsd(spent.settled.sum().0 - cap.0));

    set(&money.directory, json!([])).await;
    let all = money.until_ended(&producer, &ids, 60).await;
    assert!(all.iter().all(|result| result.tollgate.status == Status::Succeeded));
    money.worker.drained().await;
    money.settler.stop.cancel();
}
