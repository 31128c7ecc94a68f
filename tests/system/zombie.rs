//! A worker that was thought dead comes back: the committed result stays, and what the zombie spent is booked.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_types::event::EventKind;
use tollgate_types::{Class, JobResult, UsageEvent};

use crate::harness::{Journal, System, check, whole_log};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombies_spend_is_booked_and_its_result_is_refused() {
    let mut system = System::start("", "[worker]\nack_wait = \"2s\"").await;
    let core = system.core().await;
    let producer = system.producer("search").await;
    let journal = Journal::default();
    // Only one worker can take the job.
    system.stack.workers[1].stop().await.expect("the second worker stops");
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "slow"}],
        "metadata": {"sim": "delay=1s"}});
    let receipt =
        producer.submit(Class::Standard, json!({ "body": body }).to_string().into(), None).await.expect("accepted");
    journal.note(&receipt.id, "search");
    let log = system.stack.endpoints().sim.log;
    let called =
        || async { std::fs::read_to_string(&log).ok().filter(|text| text.contains(receipt.id.as_str())).map(|_| ()) };
    eventually("the first worker called the provider", Duration::from_secs(20), called).await;

    system.stack.workers[0].pause().expect("the first worker is stopped in its tracks");
    system.stack.workers[1].restart().expect("the second worker starts again");
    let kept = eventually("the second worker's result", Duration::from_secs(30), || async {
        producer.result(&receipt.id).await.ok().flatten()
    })
    .await;
    let result: JobResult = serde_json::from_slice(&kept).expect("readable");
    assert_eq!(result.tollgate.unknown_attempts, 1, "the first delivery may have been paid for");
    system.stack.workers[0].resume().expect("the first worker goes on");

    let extra: UsageEvent = eventually("the zombie's spend", Duration::from_secs(30), || async {
        let (_, entries) = whole_log(&core).await;
        entries.into_iter().filter_map(|entry| entry.event.ok()).find(|event| event.kind == EventKind::Extra)
    })
    .await;
    assert_eq!((extra.delivery, extra.attempts.len()), (1, 1));
    assert!(extra.cost().0 > 0);
    assert_eq!(producer.result(&receipt.id).await.expect("readable").expect("kept"), kept, "the result did not change");
    let report = check(&system, &core, &journal).await;
    assert_eq!((report.calls, report.booked, report.unknown), (2, 2, 0), "both calls are booked, none is unknown");
    system.stop().await;
}
