//! ClickHouse away for a minute under load: jobs go on, nothing is lost, the books catch up.

use std::time::Duration;

use crate::harness::{Journal, System, TEAMS, check, drained, load};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_clickhouse_loses_nothing() {
    let mut system = System::start("", "[sink]\nlease = \"2s\"\nbatch_wait = \"200ms\"").await;
    let core = system.core().await;
    let journal = Journal::default();
    let mut producers = Vec::new();
    for (team, class) in TEAMS {
        producers.push((system.producer(team).await, class));
    }
    let loading = tokio::spawn(load(producers, 700, Duration::from_millis(100), journal.clone()));

    system.stack.clickhouse.kill9().expect("clickhouse dies");
    let down_since = tokio::time::Instant::now();
    // The outage is the point here, so its length is waited for, not a condition.
    tokio::time::sleep_until(down_since + MINUTE).await;
    let during = journal.len();
    assert!(during > 300, "jobs were accepted all the time: {during}");
    system.stack.clickhouse.restart().await.expect("clickhouse starts again");

    loading.await.expect("the load ends well");
    drained(&core, &journal, Duration::from_secs(60)).await;
    let report = check(&system, &core, &journal).await;
    eprintln!("{report}");
    assert_eq!(report.calls, report.booked, "nobody crashed who could have lost a call");
    system.stop().await;
}
