//! Money when workers, settlers and the server die.

use std::time::Duration;

use serde_json::json;
use testkit::{Flow, Proxy, Setup, eventually};
use tollgate_types::event::EventKind;
use tollgate_types::{NanoUsd, Status, UsageEvent};

use crate::world::{Books, LEASE, Money, bound_of, cost_of_all, line_of, now, times, usd};

fn slow(n: usize, directive: &str) -> String {
    line_of(n, "sim-small", directive, json!({}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_money_comes_back_after_its_lease_and_not_before() {
    let hanging = slow(0, "hang*1");
    let bound = bound_of(&hanging);
    // Room for one call: whoever holds it keeps all others out.
    let cap = NanoUsd(bound.0 + bound.0 / 2);
    let books = Books::start(json!([{"window": "day", "cap_usd": usd(cap)}])).await;
    let promise = books.watch_the_promise();
    let settler = books.world.settler("settler").await;
    let first = books.worker("w1").await;
    let producer = books.world.producer("search").await;
    let held = books.submit_line(&producer, hanging, None).await;
    eventually("it is called", Duration::from_secs(20), || async {
        (!books.world.sim.calls().is_empty()).then_some(())
    })
    .await;
    let lease_ends = books.account("team:search").await.expect("it is open").blocks().values().next().map(|b| b.until);
    first.crash();
    let second = books.worker("w2").await;
    // Delivered again after three seconds, the job finds no money: the dead worker still holds it.
    let result = books.world.result(&producer, &held).await;
    assert!(now() >= lease_ends.expect("a block"), "its money came back before the lease ended");
    assert_eq!((result.tollgate.status, result.tollgate.unknown_attempts), (Status::Succeeded, 1), "{result:?}");
    let account = books.when_settled("team:search", "day", result.tollgate.cost_nanousd).await;
    account.check().expect("the promise holds");
    second.drained().await;
    promise.check_kept_without_overrun();
    settler.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_settler_takes_over_and_counts_nothing_twice() {
    let books = Books::start(json!([{"window": "day", "cap_usd": "5"}])).await;
    let promise = books.watch_the_promise();
    let lease = Duration::from_secs(1);
    let first = books.world.settler_with("s1", |config| config.lease = lease).await;
    let worker = books.worker("w1").await;
    let producer = books.world.producer("search").await;
    let mut ids = books.submit(&producer, 30).await;
    eventually("the first settles", Duration::from_secs(20), || async {
        let account = books.account("team:search").await?;
        (account.windows().get("day")?.settled.sum() > NanoUsd::ZERO).then_some(())
    })
    .await;
    let second = books.world.settler_with("s2", |config| config.lease = lease).await;
    first.crash();
    ids.extend(books.submit(&producer, 30).await);
    let all = books.until_ended(&producer, &ids, 60).await;
    let account = books.when_settled("team:search", "day", cost_of_all(&all)).await;
    let jobs: u64 = account.tally().values().map(|tallied| tallied.jobs).sum();
    assert_eq!(jobs, 60);
    // A third that reads the log from where the second is finds nothing to add.
    second.crash();
    let third = books.world.settler_with("s3", |config| config.lease = lease).await;
    let more = books.submit(&producer, 5).await;
    let all = [all, books.until_ended(&producer, &more, 5).await].concat();
    books.when_settled("team:search", "day", cost_of_all(&all)).await;
    worker.drained().await;
    promise.check_kept_without_overrun();
    third.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_no_money_and_makes_none() {
    let mut books = Books::start(json!([{"window": "day", "cap_usd": "5"}])).await;
    let settler = books.world.settler("settler").await;
    let workers = [books.worker("w1").await, books.worker("w2").await];
    let producer = books.world.producer("search").await;
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(books.submit_line(&producer, slow(n, "tokens=100;delay=400ms"), None).await);
    }
    for calls in [5, 30] {
        eventually("calls are under way", Duration::from_secs(30), || async {
            (books.world.sim.calls().len() >= calls).then_some(())
        })
        .await;
        books.world.nats.kill9().expect("killed");
        books.world.nats.restart().await.expect("restarted");
    }
    let all = books.until_ended(&producer, &ids, 60).await;
    assert!(all.iter().all(|result| result.tollgate.status == Status::Succeeded), "{all:?}");
    // What was paid is in a result or beside it; calls that left no record are counted as unknown.
    let account = books.when_all_is_settled("day").await;
    assert!(account.windows()["day"].settled.sum() >= cost_of_all(&all));
    account.check().expect("the promise holds");
    assert_eq!(account.windows()["day"].overrun.sum(), NanoUsd::ZERO);
    for worker in workers {
        worker.drained().await;
    }
    let account = books.account("team:search").await.expect("it exists");
    assert_eq!(account.held().sum(), NanoUsd::ZERO);
    settler.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_comes_back_from_the_dead_goes_on_under_a_new_lease() {
    // Nobody else gets the job meanwhile.
    let setup = Setup { ack_wait: Duration::from_secs(60), ..Setup::default() };
    let budgets = json!([{"window": "day", "cap_usd": usd(times(Money::bound(), 50))}]);
    let books = Books::with(setup, budgets).await;
    let settler = books.world.settler("settler").await;
    let cable = Proxy::start(books.world.nats.port()).await;
    let connection = books.world.broker_at(cable.url(), "w1").await;
    let worker = books.world.worker_over(connection, "w1", |config| config.lease = LEASE).await;
    let producer = books.world.producer("search").await;
    // Its call goes on while it is cut off from the server, and ends after its block was dropped.
    let long = books.submit_line(&producer, slow(0, "tokens=100;delay=12s"), None).await;
    eventually("it is called", Duration::from_secs(20), || async {
        (!books.world.sim.calls().is_empty()).then_some(())
    })
    .await;
    let dropped = books.account("team:search").await.expect("it is open").blocks().keys().next().cloned();
    let dropped = dropped.expect("a block");
    cable.to_server(Flow::Held);
    cable.to_client(Flow::Held);
    eventually("its block is dropped", Duration::from_secs(30), || async {
        books.account("team:search").await?.block(&dropped).is_none().then_some(())
    })
    .await;
    cable.cut();
    cable.to_server(Flow::Pass);
    cable.to_client(Flow::Pass);
    let long = books.world.result(&producer, &long).await;
    assert_eq!(long.tollgate.status, Status::Succeeded, "{long:?}");
    let next = books.submit_line(&producer, slow(1, "tokens=100"), None).await;
    let next = books.world.result(&producer, &next).await;

    let log = books.log().await;
    let lease = |job: &tollgate_types::JobId| {
        let is_result = |event: &&UsageEvent| event.kind == EventKind::Result && event.job == *job;
        let event = log.iter().find(is_result).expect("it is in the log");
        event.hold.as_ref().expect("money was held").lease.clone()
    };
    assert_eq!(lease(&long.id), dropped);
    assert_ne!(lease(&next.id), dropped, "what was held under a dropped lease must not come off a new block");
    let account = books.when_all_is_settled("day").await;
    account.check().expect("the promise holds");
    assert!(account.block(&dropped).is_none(), "{:?}", account.blocks());
    worker.drained().await;
    settler.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_whose_answer_was_lost_is_found_and_used_once() {
    // A job that was sent into the void comes again.
    let setup = Setup { ack_wait: Duration::from_secs(12), ..Setup::default() };
    let budgets = json!([{"window": "day", "cap_usd": usd(times(Money::bound(), 50))}]);
    let books = Books::with(setup, budgets).await;
    let promise = books.watch_the_promise();
    let settler = books.world.settler("settler").await;
    let cable = Proxy::start(books.world.nats.port()).await;
    let connection = books.world.broker_at(cable.url(), "w1").await;
    let worker = books.world.worker_over(connection, "w1", |config| config.lease = Duration::from_secs(60)).await;
    let producer = books.world.producer("search").await;
    let held = || async { books.account("team:search").await.map_or(NanoUsd::ZERO, |account| account.held().sum()) };
    let mut all = Vec::new();
    for n in 0..3 {
        cable.to_client(Flow::Late(Duration::from_millis(200)));
        let id = books.submit_line(&producer, slow(n, "tokens=100"), None).await;
        // The server has the block, and its answer is under way.
        eventually("a block is taken", Duration::from_secs(20), || async {
            (held().await > NanoUsd::ZERO).then_some(())
        })
        .await;
        cable.cut();
        cable.to_client(Flow::Pass);
        all.push(books.world.result(&producer, &id).await);
        // Far sooner than its lease would end: the worker knows that it has it.
        eventually("the block goes back", Duration::from_secs(20), || async {
            (held().await == NanoUsd::ZERO).then_some(())
        })
        .await;
    }
    assert!(all.iter().all(|result| result.tollgate.status == Status::Succeeded), "{all:?}");
    assert_eq!(books.world.sim.calls().len(), 3, "each is called once");
    let account = books.when_settled("team:search", "day", cost_of_all(&all)).await;
    assert_eq!(account.blocks().len(), 1, "under one lease: {:?}", account.blocks());
    worker.drained().await;
    promise.check_kept_without_overrun();
    settler.stop.cancel();
}
