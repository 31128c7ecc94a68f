//! At low load a use is in ClickHouse within 3 s of its result.

use std::time::{Duration, Instant};

use testkit::eventually;

use crate::harness::{Journal, System, TEAMS, drained, load, store};

/// Three times what is promised.
const SLACK: Duration = Duration::from_secs(9);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_use_is_in_clickhouse_soon_after_its_result() {
    // The sink's own settings, as an operator finds them.
    let system = System::start("", "").await;
    let core = system.core().await;
    let store = store(&system);
    let (team, class) = TEAMS[0];
    let producer = system.producer(team).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let journal = Journal::default();
        load(vec![(producer.clone(), class)], 1, Duration::from_millis(1), journal.clone()).await;
        drained(&core, &journal, Duration::from_secs(60)).await;
        let since = Instant::now();
        let (team, job) = journal.accepted().remove(0);
        eventually("the job's rows are in ClickHouse", SLACK, || async {
            // The job and its call.
            (store.ask().job(&team, job.as_str()).await.expect("an answer").rows.len() >= 2).then_some(())
        })
        .await;
        slowest = slowest.max(since.elapsed());
    }
    eprintln!("the slowest of five rows came after {slowest:?}");
    system.stop().await;
}
