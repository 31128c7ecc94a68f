//! A killed nats-server can forget that it delivered a job. The call that was made for it is not forgotten.

use std::time::Duration;

use serde_json::json;
use testkit::eventually;
use tollgate_types::{Class, JobResult, Status};

use crate::harness::{Journal, System, check};

/// Whether the server forgets depends on a moment; every time the call must be accounted for.
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_counts_though_the_server_forgot_the_delivery_and_the_worker_died() {
    let mut system = System::start("", "[worker]\nack_wait = \"2s\"").await;
    let producer = system.producer("search").await;
    let journal = Journal::default();
    let log = system.stack.endpoints().sim.log;
    for round in 0..ROUNDS {
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": format!("round {round}")}],
            "metadata": {"sim": "hang*1"}});
        let line = json!({ "body": body }).to_string();
        let receipt = producer.submit(Class::Standard, line.into(), None).await.expect("accepted");
        journal.note(&receipt.id, "search");
        let called = || async {
            std::fs::read_to_string(&log).ok().filter(|text| text.contains(receipt.id.as_str())).map(|_| ())
        };
        eventually("the provider was called", Duration::from_secs(20), called).await;

        system.stack.nats.kill9().expect("nats-server dies");
        for worker in &mut system.stack.workers {
            worker.kill9().expect("the worker dies");
        }
        system.stack.nats.restart().await.expect("nats-server starts again");
        for worker in &mut system.stack.workers {
            worker.restart().expect("the worker starts again");
        }

        let kept = eventually("a result", Duration::from_secs(40), || async {
            producer.result(&receipt.id).await.ok().flatten()
        })
        .await;
        let result: JobResult = serde_json::from_slice(&kept).expect("readable");
        assert_eq!(result.tollgate.status, Status::Succeeded);
        assert_eq!(result.tollgate.unknown_attempts, 1, "round {round}: the first call is gone, and counted");
    }
    let core = system.core().await;
    let report = check(&system, &core, &journal).await;
    assert_eq!((report.calls, report.booked, report.unknown), (2 * ROUNDS, ROUNDS, ROUNDS as i64), "{report}");
    system.stop().await;
}
