//! One world, and what the tests here ask of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::consumer::pull::Config as PullConsumer;
use async_nats::jetstream::{Context, consumer};
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use testkit::{Setup, World, eventually};
use tollgate_client::Producer;
use tollgate_queue::Directory;
use tollgate_queue::directory::{Pause, Paused};
use tollgate_types::subjects::{JOBS_STREAM, WAIT_STREAM};
use tollgate_types::{Class, JobId, JobResult, Status, UnixMillis};

/// A world and a producer of the team `search`.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) directory: Directory,
    pub(crate) search: Producer,
    jetstream: Context,
}

/// What was delivered of a queue so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Deliveries since the consumer was made.
    pub(crate) deliveries: u64,
    /// Delivered and not acknowledged.
    pub(crate) in_flight: usize,
}

/// What the promise gives a change to reach all workers.
pub(crate) const A_SECOND: Duration = Duration::from_secs(1);

impl Bench {
    pub(crate) async fn start() -> Bench {
        Bench::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Bench {
        let world = World::start(setup).await;
        let (directory, search) = (world.directory().await, world.producer("search").await);
        let jetstream = world.jetstream().await;
        Bench { world, directory, search, jetstream }
    }

    /// Pauses something; the test then waits for what it expects.
    pub(crate) async fn pause(&self, paused: &Paused) {
        let pause = Pause { what: paused.to_string(), author: "ann".into(), at: now(), reason: "a test".into() };
        self.directory.pause(paused, &pause).await.expect("paused");
    }

    pub(crate) async fn resume(&self, paused: &Paused) {
        self.directory.resume(paused).await.expect("resumed").expect("it was paused");
    }

    /// Submits one job of the class `standard`.
    pub(crate) async fn submit(&self, line: impl Into<bytes::Bytes>) -> JobId {
        let receipt = self.search.submit(Class::Standard, line.into(), None).await;
        receipt.expect("accepted").id
    }

    /// The result of a job, waited for at most so long.
    pub(crate) async fn result(&self, id: &JobId, within: Duration) -> JobResult {
        let look = || async { self.found(id).await };
        eventually(&format!("a result of {id}"), within, look).await
    }

    /// The result of a job, if it has one.
    pub(crate) async fn found(&self, id: &JobId) -> Option<JobResult> {
        let line = self.search.result(id).await.expect("results can be read")?;
        Some(serde_json::from_slice(&line).expect("a result"))
    }

    /// What was delivered of a queue, by its consumer's name.
    pub(crate) async fn touched(&self, stream: &str, consumer: &str) -> Touched {
        let stream = self.jetstream.get_stream(stream).await.expect("the stream exists");
        let mut consumer: consumer::Consumer<PullConsumer> =
            stream.get_consumer(consumer).await.expect("the consumer exists");
        let info = consumer.info().await.expect("the server answers");
        Touched { deliveries: info.delivered.consumer_sequence, in_flight: info.num_ack_pending }
    }

    /// What was delivered of the lane `standard.search`.
    pub(crate) async fn touched_lane(&self) -> Touched {
        self.touched(JOBS_STREAM, "lane-standard-search").await
    }

    /// The subjects in the stream of waiting jobs, in no order.
    pub(crate) async fn waiting(&self) -> Vec<String> {
        self.subjects(WAIT_STREAM).await
    }

    /// How many jobs were ever parked.
    pub(crate) async fn ever_parked(&self) -> u64 {
        let stream = self.jetstream.get_stream(WAIT_STREAM).await.expect("the stream exists");
        stream.get_info().await.expect("the server answers").state.last_sequence
    }

    /// The subjects in the stream of jobs.
    pub(crate) async fn jobs(&self) -> Vec<String> {
        self.subjects(JOBS_STREAM).await
    }

    async fn subjects(&self, stream: &str) -> Vec<String> {
        let stream = self.jetstream.get_stream(stream).await.expect("the stream exists");
        let subjects = stream.info_with_subjects(">").await.expect("the server answers");
        subjects.map_ok(|(subject, _)| subject).try_collect().await.expect("the server answers")
    }

    /// Waits until every accepted job has left the queues.
    pub(crate) async fn until_empty(&self) {
        eventually("the queues are empty", Duration::from_secs(20), || async {
            (self.jobs().await.is_empty() && self.waiting().await.is_empty()).then_some(())
        })
        .await;
    }

    /// The jobs that the provider was called for, in order.
    pub(crate) fn called(&self) -> Vec<String> {
        let calls = self.world.sim.calls();
        calls.iter().map(|call| call.received.job.as_deref().unwrap_or_default().to_owned()).collect()
    }

    /// How often the provider was called for a job.
    pub(crate) fn calls_of(&self, id: &JobId) -> usize {
        self.called().iter().filter(|job| *job == id.as_str()).count()
    }

    /// What the service says of a job.
    pub(crate) async fn status(&self, id: &JobId) -> Value {
        self.world.ask(&self.search, "status", json!({ "job": id })).await.expect("it is known")
    }

    /// The same, with the reason and the place.
    pub(crate) async fn explain(&self, id: &JobId) -> Value {
        let question = json!({ "job": id, "explain": true });
        self.world.ask(&self.search, "status", question).await.expect("it is known")
    }
}

/// A line for a model, with a directive for the simulated provider and options of the job.
pub(crate) fn line(prompt: &str, model: &str, directive: &str, options: Value) -> String {
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 50,
        "metadata": {"sim": directive},
    });
    // An id of the request has a limit of its own.
    let custom_id: String = prompt.chars().take(40).collect();
    json!({ "custom_id": custom_id, "body": body, "tollgate": options }).to_string()
}

/// A line that is answered at once.
pub(crate) fn quick(prompt: &str) -> String {
    line(prompt, "sim-small", "tokens=10", json!({}))
}

/// This machine's time; the servers of a test run on it.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixMillis(i64::try_from(since.as_millis()).expect("it fits"))
}

/// A point in time so far from now, as jobs write it.
pub(crate) fn after(wait: Duration) -> (UnixMillis, String) {
    let at = now().plus(wait);
    (at, at.to_rfc3339())
}

/// The job was called once, and nothing about it is unknown.
pub(crate) fn check_ran_once(result: &JobResult) {
    let facts = &result.tollgate;
    assert_eq!(facts.status, Status::Succeeded, "{result:?}");
    assert_eq!((facts.attempts.len(), facts.unknown_attempts), (1, 0), "{result:?}");
}
