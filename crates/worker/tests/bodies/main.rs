//! Bodies that do not fit a message, both ways: entries 37 to 39 and 42 of the corpus of bad input.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;
use testkit::{Setup, WorkerHandle, World, eventually};
use tollgate_client::Producer;
use tollgate_queue::Blobs;
use tollgate_types::claim::CHUNK_BYTES;
use tollgate_types::{Class, ErrorCode, JobId, JobResult, Status, job, subjects};

const MIB: usize = 1 << 20;

struct Bench {
    world: World,
    search: Producer,
    _worker: WorkerHandle,
}

impl Bench {
    async fn start() -> Bench {
        let world = World::start(Setup::default()).await;
        let worker = world.worker("w1", |_| {}).await;
        let search = world.producer("search").await;
        Bench { world, search, _worker: worker }
    }

    fn calls(&self, id: &JobId) -> usize {
        self.world.sim.calls().iter().filter(|call| call.received.job.as_deref() == Some(id.as_str())).count()
    }

    async fn chunks(&self) -> u64 {
        let stream = self.world.jetstream().await.get_stream(subjects::BLOBS_STREAM).await.expect("it exists");
        stream.cached_info().state.messages
    }

    /// Publishes a line as it is, as a producer without our client would.
    async fn publish(&self, id: &JobId, line: Bytes) -> JobResult {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id.as_str());
        let subject = "tollgate.jobs.standard.search".to_owned();
        let request = async_nats::client::Request::new().headers(headers).payload(line);
        self.search.client().send_request(subject, request).await.expect("it is acknowledged");
        self.world.result(&self.search, id).await
    }
}

/// A request whose prompt has so many bytes.
fn line(bytes: usize, directive: &str) -> Bytes {
    let prompt = "many words ".repeat(bytes / 11);
    let body = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": prompt }],
        "metadata": { "sim": directive } });
    json!({ "custom_id": "large", "body": body, "tollgate": { "project": "books" } }).to_string().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_many_megabytes_runs_and_leaves_nothing_behind() {
    let bench = Bench::start().await;
    for mebibytes in [1, 20] {
        let result = bench.world.run(&bench.search, Class::Standard, line(mebibytes * MIB, "ok")).await;
        assert_eq!(result.tollgate.status, Status::Succeeded, "38: {result:?}");
        assert_eq!(result.custom_id.as_deref(), Some("large"));
        assert_eq!(bench.calls(&result.id), 1);
        assert!(
            result.tollgate.tokens.prompt() > (mebibytes * MIB) as u64 / 20,
            "the whole prompt arrived: {result:?}"
        );
        // A prompt belongs to its job alone, and goes with it.
        eventually("no chunk is left", Duration::from_secs(20), || async { (bench.chunks().await == 0).then_some(()) })
            .await;
    }
    // The same id again: the same answer, and no call.
    let id: JobId = "search:again".parse().expect("an id");
    for _ in 0..2 {
        bench.search.submit(Class::Standard, line(2 * MIB, "ok"), Some(id.clone())).await.expect("it is accepted");
        assert_eq!(bench.world.result(&bench.search, &id).await.tollgate.status, Status::Succeeded);
    }
    assert_eq!(bench.calls(&id), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_many_megabytes_comes_whole() {
    let bench = Bench::start().await;
    let result =
        bench.world.run(&bench.search, Class::Standard, World::line("long", Some("tokens=600000"), json!({}))).await;
    assert_eq!(result.tollgate.status, Status::Succeeded, "42: {:?}", result.error);
    let body = result.response.as_ref().expect("an answer").body.get().to_owned();
    assert!(body.len() > 2 * MIB, "{} bytes", body.len());
    assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "and is what the provider sent");
    assert_eq!(result.tollgate.body, None, "the producer sees a line like any other");
    assert_eq!(bench.calls(&result.id), 1);
    // What is kept is small; somebody without our client reads where the rest lies.
    let subject = subjects::result("search", &result.id);
    let context = bench.world.jetstream().await;
    let stream = context.get_stream(subjects::RESULTS_STREAM).await.expect("it exists");
    let kept = stream.direct_get_last_for_subject(subject).await.expect("it is kept").payload;
    assert!(kept.len() < 4096, "{} bytes", kept.len());
    let claim = JobResult::elsewhere(&kept).expect("it says where");
    assert!(claim.is_of(body.as_bytes()));
    assert_eq!(bench.chunks().await, claim.chunks() as u64);
    // Its end is the end of its chunks.
    let blobs = Blobs::new(&bench.world.broker("operator").await.client);
    assert_eq!(blobs.remove_all("search", &result.id).await.expect("they go"), claim.chunks() as u64);
    let gone = bench.search.result(&result.id).await.expect_err("the answer is gone");
    assert!(gone.to_string().contains("not kept any more"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_its_body_is_refused_once_and_costs_nothing() {
    let bench = Bench::start().await;
    let (small, body) = job::checked_in(&line(2 * MIB, "ok")).expect("it has a body");
    let chunk = |n: usize| body.slice(n * CHUNK_BYTES..body.len().min((n + 1) * CHUNK_BYTES));
    let claim = tollgate_types::Claim::of(&body);
    let put = |id: JobId, n: usize, bytes: Bytes| {
        let subject = claim.subject("search", &id, n);
        let client = bench.search.client().clone();
        async move { client.request(subject, bytes).await.expect("a team may put its own") }
    };
    let id = |name: &str| -> JobId { format!("search:{name}").parse().expect("an id") };
    let (none, part, other, longer) = (id("none"), id("part"), id("other"), id("longer"));
    put(part.clone(), 0, chunk(0)).await;
    for n in 0..claim.chunks() {
        put(other.clone(), n, chunk(0)).await;
        put(longer.clone(), n, [chunk(n), chunk(n)].concat().into()).await;
        // Under another job's id it belongs to that.
        put(id("stranger"), n, chunk(n)).await;
    }
    for (id, code) in [
        (none, ErrorCode::PayloadMissing),
        (part, ErrorCode::PayloadMissing),
        (other, ErrorCode::PayloadDigest),
        (longer, ErrorCode::PayloadDigest),
    ] {
        let result = bench.publish(&id, small.clone()).await;
        assert_eq!(result.error.as_ref().map(|error| error.code), Some(code), "39: {id} {result:?}");
        assert_eq!((result.tollgate.status, bench.calls(&id)), (Status::Rejected, 0), "{id}");
        assert_eq!(result.tollgate.cost_nanousd.0, 0);
    }
    let result = bench.publish(&id("stranger"), small.clone()).await;
    assert_eq!(result.tollgate.status, Status::Succeeded, "chunks by hand are as good: {result:?}");

    // Another team can neither put nor read what is not its own.
    let marketing = bench.world.producer("marketing").await;
    let subject = claim.subject("search", &id("none"), 0);
    let within = Duration::from_millis(500);
    let foreign = tokio::time::timeout(within, marketing.client().request(subject.clone(), chunk(0))).await;
    assert!(!matches!(foreign, Ok(Ok(_))), "it may not put");
    let get = format!("$JS.API.DIRECT.GET.{}.{subject}", subjects::BLOBS_STREAM);
    let foreign = tokio::time::timeout(within, marketing.client().request(get, Bytes::new())).await;
    assert!(!matches!(foreign, Ok(Ok(_))), "it may not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_client_could_send_is_refused_before_anything_is_sent() {
    let bench = Bench::start().await;
    let huge = bench.search.submit(Class::Standard, line(65 * MIB, "ok"), None).await.expect_err("it is too large");
    assert!(huge.to_string().contains("67108864"), "37: {huge}");
    assert_eq!(bench.chunks().await, 0, "nothing was put");
    let no_line = bench.search.submit(Class::Standard, Bytes::from(vec![b'x'; 2 * MIB]), None).await;
    assert!(no_line.is_err(), "37: what has no body cannot be made smaller");
    let result = bench.world.run(&bench.search, Class::Standard, line(100, "ok")).await;
    assert_eq!(result.tollgate.status, Status::Succeeded, "the connection is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_its_body_for_whoever_replays_it() {
    let bench = Bench::start().await;
    let ghost = bench.world.producer("ghost").await;
    let result = bench.world.run(&ghost, Class::Standard, line(2 * MIB, "ok")).await;
    assert_eq!(result.error.map(|error| error.code), Some(ErrorCode::UnknownTeam));
    // A prompt is removed before its job is acknowledged.
    eventually("the job is acknowledged", Duration::from_secs(20), || async {
        let stream = bench.world.jetstream().await.get_stream(subjects::JOBS_STREAM).await.expect("it exists");
        (stream.cached_info().state.messages == 0).then_some(())
    })
    .await;
    let (_, body) = job::checked_in(&line(2 * MIB, "ok")).expect("it has a body");
    let claim = tollgate_types::Claim::of(&body);
    let blobs = Blobs::new(&bench.world.broker("operator").await.client);
    let found = blobs.fetch("ghost", &result.id, &claim).await.expect("the server says");
    assert_eq!(found, tollgate_queue::blobs::Fetched::Body(body));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_teams_large_prompts_hold_up_nobody_elses() {
    const LARGE: usize = 3;
    let world = World::start(Setup::default()).await;
    // Room for two of them, and as many slots as there are.
    let change = |config: &mut tollgate_worker::Config| (config.concurrency, config.bodies_bytes_max) = (4, 16 << 20);
    let _worker = world.worker("w1", change).await;
    let (marketing, search) = (world.producer("marketing").await, world.producer("search").await);
    let mut large = Vec::new();
    for _ in 0..LARGE {
        let receipt = marketing.submit(Class::Standard, line(6 * MIB, "delay=8s"), None).await.expect("accepted");
        large.push(receipt.id);
    }
    let called = |id: &JobId| world.sim.calls().iter().any(|call| call.received.job.as_deref() == Some(id.as_str()));
    let all_called = || large.iter().filter(|id| called(id)).count();
    eventually("one is called", Duration::from_secs(30), || async { (all_called() > 0).then_some(()) }).await;
    let begun = std::time::Instant::now();
    for bytes in [100, 5 * MIB] {
        let result = world.run(&search, Class::Standard, line(bytes, "ok")).await;
        assert_eq!(result.tollgate.status, Status::Succeeded, "{result:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(7), "they waited for the large ones: {:?}", begun.elapsed());
    assert_eq!(all_called(), 1, "a team alone has half of the room");
    for id in &large {
        let look = || async { marketing.result(id).await.ok().flatten() };
        let result = eventually("a large one has its turn", Duration::from_secs(90), look).await;
        let result: JobResult = serde_json::from_slice(&result).expect("readable");
        assert_eq!((result.tollgate.status, result.tollgate.attempts.len()), (Status::Succeeded, 1), "{result:?}");
    }
}

/// Makes the stream of large bodies so small.
async fn small_stream(world: &World, mebibytes: usize) {
    let context = world.jetstream().await;
    let stream = context.get_stream(subjects::BLOBS_STREAM).await.expect("it exists");
    let mut config = stream.cached_info().config.clone();
    config.max_bytes = i64::try_from(mebibytes * MIB).expect("small");
    context.update_stream(config).await.expect("it is changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_fills_the_stream_leaves_room_for_the_answers_of_others() {
    let bench = Bench::start().await;
    small_stream(&bench.world, 16).await;
    let blobs = Blobs::new(&bench.world.broker("operator").await.client);
    let body = Bytes::from(vec![b'x'; 2 * MIB]);
    let id = |n: usize| -> JobId { format!("marketing:{n}").parse().expect("an id") };
    // As long as it is half empty, whoever comes may; then no more than is left free.
    let mut put = 0;
    let refused = loop {
        match blobs.put_within_share("marketing", &id(put), &body).await {
            Ok(_) => put += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refused, put), (tollgate_queue::blobs::NotPut::OverShare, 3), "and a fourth is more than half");
    for n in put..6 {
        blobs.put("marketing", &id(n), &body).await.expect("a team itself is held back by the end of the stream alone");
    }
    let space = blobs.space().await.expect("the server says").expect("there is a stream");
    assert_eq!((space.teams.get("marketing"), space.bytes_max), (Some(&(12 << 20)), Some(16 << 20)));

    let marketing = bench.world.producer("marketing").await;
    let long = || World::line("long", Some("tokens=300000"), json!({}));
    let result = bench.world.run(&bench.search, Class::Standard, long()).await;
    assert_eq!(result.tollgate.status, Status::Succeeded, "{:?}", result.error);
    let result = bench.world.run(&marketing, Class::Standard, long()).await;
    assert_eq!(result.error.map(|error| error.code), Some(ErrorCode::ResultTooLarge));
    assert!(result.tollgate.cost_nanousd.0 > 0, "what was paid is booked");
}
