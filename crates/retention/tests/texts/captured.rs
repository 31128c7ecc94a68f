//! Captures: what was asked and answered, of teams that want it.

use serde_json::json;
use testkit::{World, eventually};
use tollgate_queue::texts;
use tollgate_types::{Captured, JobId, JobResult};

use crate::bench::{Bench, CANARY, LIMIT, quick};

async fn captured(bench: &Bench, id: &JobId) -> Option<Captured> {
    let connection = bench.world.broker("reader").await;
    let payload = texts::captured(&connection, "search", id).await.expect("captures can be read")?;
    Some(serde_json::from_slice(&payload).expect("a capture"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompts_and_answers_are_captured_where_a_team_wants_it_and_only_there() {
    let bench = Bench::start().await;
    let worker = bench.worker().await;
    let without = bench.submit(quick(CANARY), None).await;
    bench.result(&without).await;
    bench.until_empty().await;
    assert!(captured(&bench, &without).await.is_none(), "nothing is captured unless it is wanted");

    bench.capture(true).await;
    // The change reaches the worker; from then on each job is captured.
    let id = eventually("a job is captured", LIMIT, || async {
        let id = bench.submit(quick(CANARY), None).await;
        bench.result(&id).await;
        bench.until_empty().await;
        captured(&bench, &id).await.map(|_| id)
    })
    .await;
    let kept = captured(&bench, &id).await.expect("it is captured");
    assert_eq!((kept.team.as_str(), &kept.job), ("search", &id));
    assert!(kept.request.get().contains(CANARY), "{}", kept.request);
    let result: JobResult = serde_json::from_str(kept.result.get()).expect("a result line");
    let delivered = bench.result(&id).await;
    assert_eq!(
        result.response.map(|response| response.body.to_string()),
        delivered.response.map(|response| response.body.to_string()),
    );

    // What was never sent to a provider is no capture.
    let unsent = World::line(CANARY, None, json!({ "deadline": "2020-01-01T00:00:00Z" }));
    let unsent = bench.submit(unsent, None).await;
    bench.result(&unsent).await;
    bench.until_empty().await;
    assert!(captured(&bench, &unsent).await.is_none());

    // Nobody but the broker reads them.
    let subject = "$JS.API.DIRECT.GET.TOLLGATE_CAPTURE.tollgate.capture.search.x";
    let asked = bench.search.client().request(subject, "".into()).await;
    assert!(asked.is_err(), "{asked:?}");
    worker.drained().await;
}
