//! What the accounts tell: alerts, totals, and that a rebuild comes to the same.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_queue::ServerClock;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::lanes::ask_the_time;
use tollgate_settler::BudgetAlert;
use tollgate_settler::rebuild::{Which, rebuild};
use tollgate_types::{NanoUsd, Status};

use crate::world::{Books, Money, cost_of_all, line, line_of, set, times, usd};

/// The next alert, which is of this threshold.
async fn next_alert(money: &mut Money, percent: u16) -> BudgetAlert {
    let alert = tokio::time::timeout(Duration::from_secs(10), money.settler.alerts.recv()).await;
    let alert = alert.unwrap_or_else(|_| panic!("no alert of {percent} %")).expect("the settler lives");
    assert_eq!((alert.scope.to_string().as_str(), alert.window.as_str()), ("team:search", "day"));
    assert_eq!(u16::from(alert.percent), percent);
    alert
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_threshold_is_alerted_once() {
    let bound = Money::bound();
    let cap = times(bound, 12);
    let budget = |cap| json!([{"window": "day", "cap_usd": usd(cap), "alert_percent": [50, 80, 100]}]);
    let mut money = Money::start(budget(cap)).await;
    let producer = money.world.producer("search").await;
    let ids = money.submit(&producer, 40).await;
    let account = money.when_spent("team:search", "day", cap, bound).await;
    assert!(account.windows()["day"].denied.is_some_and(|denied| denied <= bound));
    // A hundred although a little is left: it is too little for any job.
    for percent in [50, 80, 100] {
        let alert = next_alert(&mut money, percent).await;
        let share = i128::from(alert.spent_nanousd.0) * 100 / i128::from(alert.cap_nanousd.0);
        assert!((i128::from(percent.min(80))..100).contains(&share), "{alert:?}");
    }
    // Nothing is said twice.
    set(&money.directory, budget(times(cap, 4))).await;
    money.until_ended(&producer, &ids, 40).await;
    let again = tokio::time::timeout(Duration::from_secs(1), money.settler.alerts.recv()).await;
    assert!(again.is_err(), "{again:?}");
    money.worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_those_of_the_results_and_a_rebuild_comes_to_the_same() {
    let cap = times(Money::bound(), 10);
    let budgets = json!([
        {"window": "day", "cap_usd": usd(cap), "when_spent": "reject"},
        {"window": "hour", "cap_usd": "5", "on": "project:*"},
    ]);
    let money = Money::start(budgets).await;
    let producer = money.world.producer("search").await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let options = json!({"project": format!("p{}", n % 3)});
        let (model, directive) = match n % 8 {
            6 => ("sim-free", "tokens=100"),
            7 => ("sim-small", "context-length"),
            _ => ("sim-small", "tokens=100"),
        };
        ids.push(money.submit_line(&producer, line_of(n, model, directive, options), None).await);
    }
    ids.push(money.submit_line(&producer, line(41, "sim-nowhere"), None).await);
    let all = money.until_ended(&producer, &ids, 41).await;
    // What costs nothing is folded without a trace in the windows.
    let account = eventually("all are folded", Duration::from_secs(20), || async {
        let account = money.account("team:search").await?;
        (account.tally().values().map(|tallied| tallied.jobs).sum::<u64>() == 41).then_some(account)
    })
    .await;
    assert_eq!(account.windows()["day"].settled.sum(), cost_of_all(&all));
    for status in [Status::Succeeded, Status::Failed, Status::Rejected] {
        let of_results: Vec<_> = all.iter().filter(|result| result.tollgate.status == status).collect();
        assert!(!of_results.is_empty(), "the test has no {status}");
        let suffix = format!("|{status}");
        let tallied = account.tally().iter().filter(|(key, _)| key.ends_with(&suffix)).map(|(_, tallied)| tallied);
        let (jobs, cost) =
            tallied.fold((0, NanoUsd::ZERO), |(jobs, cost), tallied| (jobs + tallied.jobs, cost + tallied.nanousd));
        assert_eq!(jobs, of_results.len() as u64, "{status}");
        let expected: NanoUsd = of_results.iter().map(|result| result.tollgate.cost_nanousd).sum();
        assert_eq!(cost, expected, "{status}");
    }
    check_rebuild(&money).await;
    money.worker.drained().await;
    money.settler.stop.cancel();
}

/// Made anew from the log, every account is what it was.
async fn check_rebuild(books: &Books) {
    let jetstream = books.world.jetstream().await;
    let log = CommitLog::open(&jetstream).await.expect("the stream exists");
    let clock = ServerClock::new();
    ask_the_time(&jetstream.client(), &clock).await.expect("an answer");
    let parts = (&log, &books.records, &books.directory);
    let rebuilt = rebuild(parts, &Which::All, false, clock.now()).await.expect("rebuilt");
    let scopes: Vec<String> = rebuilt.iter().map(|one| one.scope().to_string()).collect();
    for scope in ["organisation", "team:search", "project:search/p0", "project:search/p1", "project:search/p2"] {
        assert!(scopes.contains(&scope.to_owned()), "{scope} is missing in {scopes:?}");
    }
    for one in rebuilt {
        assert!(one.same(), "{one:?}");
        one.after.check().expect("the promise holds");
    }
}
