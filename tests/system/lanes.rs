//! Three hundred lanes on one stream: a hundred teams in three classes, one worker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::StreamExt;
use serde_json::json;
use tollgate_types::{Class, subjects};

use crate::harness::{Journal, System, check, drained};

const TEAMS: usize = 100;
const CLASSES: [Class; 3] = [Class::Interactive, Class::Standard, Class::Batch];
/// Jobs of each lane.
const JOBS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_lanes_are_made_on_demand_and_all_are_served() {
    let since = Instant::now();
    let system = System::start_with("[worker]\nconcurrency = 64", |options| {
        options.workers = 1;
        options.teams = (0..TEAMS).map(|n| format!("team-{n:03}")).collect();
        options.sim.profile = "instant".to_owned();
    })
    .await;
    let core = system.core().await;
    eprintln!("a system with {TEAMS} teams is up after {:?}", since.elapsed());
    assert_eq!(lanes(&core).await.len(), 0, "a lane is made when it has a job");

    let journal = Journal::default();
    let submitted = Instant::now();
    let connections = Instant::now();
    let names = system.stack.endpoints().nats.teams.into_keys();
    let producers: Vec<_> = futures_util::stream::iter(names)
        .map(|team| {
            let system = &system;
            async move { system.producer(&team).await }
        })
        .buffer_unordered(16)
        .collect()
        .await;
    eprintln!("{TEAMS} connections after {:?}", connections.elapsed());
    let jobs = producers.iter().flat_map(|producer| CLASSES.map(|class| (producer, class)));
    let accepted = &journal;
    let submit = |(producer, class): (_, Class)| async move {
        for n in 0..JOBS {
            let body =
                json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": format!("question {n}")}]});
            accepted.submit(producer, class, json!({ "body": body }).to_string().into()).await;
        }
    };
    futures_util::stream::iter(jobs).map(submit).buffer_unordered(64).collect::<Vec<_>>().await;
    eprintln!("{} jobs accepted after {:?}", journal.len(), submitted.elapsed());
    assert_eq!(journal.len(), TEAMS * CLASSES.len() * JOBS);

    drained(&core, &journal, Duration::from_secs(90)).await;
    eprintln!("all answered {:?} after the first was submitted", submitted.elapsed());
    let lanes = lanes(&core).await;
    assert_eq!(lanes.len(), TEAMS * CLASSES.len(), "{lanes:?}");
    let report = check(&system, &core, &journal).await;
    eprintln!("{report}");
    assert_eq!(report.by_status.get("succeeded"), Some(&journal.len()), "{report}");
    assert_eq!(report.calls, report.booked, "nobody died");
    system.stop().await;
}

/// What the consumers of the jobs stream filter.
async fn lanes(core: &tollgate_queue::Connection) -> BTreeSet<String> {
    let context = jetstream::new(core.client.clone());
    let jobs = context.get_stream(subjects::JOBS_STREAM).await.expect("the jobs stream");
    let consumers = jobs.consumers();
    consumers.map(|info| info.expect("the server answers").config.filter_subject).collect().await
}
