//! What a producer can rely on, against a real server and worker: an outbox through deaths, and questions about jobs.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use testkit::{Setup, World, eventually};
use tollgate_client::outbox::{Outbox, OutboxError, Resumed};
use tollgate_client::{AskError, Producer};
use tollgate_types::{Class, JobId, JobResult, Status};

fn calls(world: &World, id: &JobId) -> usize {
    world.sim.calls().iter().filter(|call| call.received.job.as_deref() == Some(id.as_str())).count()
}

fn line(directive: Option<&str>) -> Bytes {
    World::line("a question", directive, json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_an_outbox_is_done_once_whenever_its_producer_dies() {
    let world = World::start(Setup::default()).await;
    let producer = world.producer("search").await;
    let dir = tempfile::tempdir().expect("a directory");

    // Died before it was published: the job is on disk alone.
    let outbox = Outbox::open(dir.path()).expect("it opens");
    let accepted = outbox.submit(&producer, Class::Batch, line(None)).await.expect("it is accepted").id;
    let unsent: JobId = "search:never-sent".parse().expect("an id");
    let kept = std::fs::read(dir.path().join(format!("{}.job", accepted.as_str().replace(':', "@")))).expect("a file");
    std::fs::write(dir.path().join("search@never-sent.job"), kept).expect("a file");
    // Died while it was written: it was never submitted.
    std::fs::write(dir.path().join("search@half.job.part"), b"batch\n{").expect("a file");
    assert!(matches!(Outbox::open(dir.path()), Err(OutboxError::Locked(_))), "one process at a time");
    drop(outbox);

    let outbox = Outbox::open(dir.path()).expect("its owner is gone");
    let resumed = outbox.resume(&producer).await.expect("it goes on");
    let mut expected = vec![Resumed::Submitted(accepted.clone()), Resumed::Submitted(unsent.clone())];
    expected.sort_by_key(|one| format!("{one:?}"));
    let mut found = resumed;
    found.sort_by_key(|one| format!("{one:?}"));
    assert_eq!(found, expected);

    let _worker = world.worker("w1", |_| {}).await;
    for id in [&accepted, &unsent] {
        assert_eq!(world.result(&producer, id).await.tollgate.status, Status::Succeeded);
    }
    // Died before it said that it was done: the result is there again, and nothing runs again.
    let ended = outbox.resume(&producer).await.expect("it goes on");
    assert!(ended.iter().all(|one| matches!(one, Resumed::Ended(..))) && ended.len() == 2, "{ended:?}");
    for id in [&accepted, &unsent] {
        assert_eq!(calls(&world, id), 1);
        assert!(outbox.done(id).expect("it goes") && !outbox.done(id).expect("it is gone"));
    }
    assert_eq!(outbox.jobs().expect("it is read"), []);
    std::fs::write(dir.path().join("notes.txt"), b"mine").expect("a file");
    assert!(matches!(outbox.jobs(), Err(OutboxError::Foreign(path)) if path.ends_with("notes.txt")));
}

/// Asks until the job is in this state.
async fn until(producer: &Producer, job: &JobId, state: &str) {
    let what = format!("{job} is {state}");
    eventually(&what, Duration::from_secs(30), || async {
        producer.status(job).await.ok().filter(|status| status.state == state)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_asks_where_its_job_is_and_cancels_it() {
    let world = World::start(Setup::default()).await;
    let producer = world.producer("search").await;
    let job = producer.submit(Class::Standard, line(Some("hang")), None).await.expect("it is accepted").id;
    assert_eq!(producer.status(&job).await, Err(AskError::NoResponders), "nobody is there");
    let _worker = world.worker("w1", |_| {}).await;
    until(&producer, &job, "running").await;
    assert!(producer.cancel(&job).await.expect("it is cancelled").cancelled);
    let result: JobResult = world.result(&producer, &job).await;
    assert_eq!(result.tollgate.status, Status::Cancelled);
    let status = producer.status(&job).await.expect("it is known");
    assert_eq!((status.state.as_str(), status.status.as_deref()), ("ended", Some("cancelled")));
    let again = producer.cancel(&job).await.expect("it may be repeated");
    assert!(!again.cancelled && again.status.as_deref() == Some("cancelled"), "{again:?}");
    let unknown = producer.status(&"search:nobody".parse().expect("an id")).await;
    assert!(matches!(&unknown, Err(AskError::Refused { code: 404, .. })), "{unknown:?}");
}
