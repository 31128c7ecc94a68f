//! Jobs whose deadline passes while they wait, wherever that is.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_queue::directory::Paused;
use tollgate_types::{Class, ErrorCode, JobId, JobResult, Status, UnixMillis};

use crate::bench::{A_SECOND, Bench, after, line, now, quick};

/// The promise is two seconds; a busy machine gets three times as long.
const WITHIN: Duration = Duration::from_secs(6);

/// Submits a job with a deadline and a reply, and returns its id and the deadline.
async fn with_deadline(bench: &Bench, wait: Duration) -> (JobId, UnixMillis) {
    let (at, text) = after(wait);
    let options = json!({ "deadline": text, "reply_to": "reply.search.late" });
    (bench.submit(line("in vain", "sim-small", "tokens=10", options)).await, at)
}

/// The job ends as expired, soon after its deadline and not before, is answered, and cost nothing.
async fn check_expires(bench: &Bench, replies: &mut async_nats::Subscriber, (id, at): &(JobId, UnixMillis)) {
    let result = bench.result(id, at.since(now()) + WITHIN).await;
    assert!(now() >= *at, "it ended before its deadline");
    assert_eq!(result.tollgate.status, Status::Expired, "{result:?}");
    assert_eq!(result.error.as_ref().map(|error| error.code), Some(ErrorCode::DeadlineExceeded));
    assert_eq!((result.tollgate.cost_nanousd.0, result.tollgate.unknown_attempts), (0, 0), "{result:?}");
    let reply = tokio::time::timeout(WITHIN, replies.next()).await.expect("in time").expect("a reply");
    let reply: JobResult = serde_json::from_slice(&reply.payload).expect("a result");
    assert_eq!((&reply.id, reply.tollgate.status), (id, Status::Expired));
}

async fn replies(bench: &Bench) -> async_nats::Subscriber {
    let replies = bench.search.client().subscribe("reply.search.late").await.expect("allowed");
    // A round trip, so that the server knows of the subscription.
    let _ = bench.search.result(&bench.search.fresh_id()).await;
    replies
}

/// Records of a job in the log: its result and what was spent beside it.
async fn records(bench: &Bench, id: &JobId) -> Vec<String> {
    let stream = bench.world.jetstream().await.get_stream("TOLLGATE_RESULTS").await.expect("it exists");
    let mut subjects = stream.info_with_subjects(">").await.expect("the server answers");
    let mut found = Vec::new();
    while let Some(Ok((subject, messages))) = subjects.next().await {
        if subject.contains(id.as_str()) {
            found.push(format!("{messages} on {subject}"));
        }
    }
    found
}

/// The queued copy is taken out when it is reached, and there is no second result.
async fn check_taken_out(bench: &Bench, id: &JobId) {
    bench.until_empty().await;
    assert_eq!(records(bench, id).await, [format!("1 on tollgate.results.search.{id}")]);
    assert_eq!(bench.calls_of(id), 0, "nothing was paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_passes_behind_a_closed_lane() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let paused = Paused::Lane { class: None, team: "search".parse().expect("a team") };
    bench.pause(&paused).await;
    tokio::time::sleep(A_SECOND).await;
    let mut replies = replies(&bench).await;
    let late = with_deadline(&bench, Duration::from_secs(2)).await;
    let other = bench.submit(quick("without a deadline")).await;

    check_expires(&bench, &mut replies, &late).await;
    assert_eq!(bench.jobs().await.len(), 1, "the queued copies stay until they are reached");
    assert!(bench.found(&other).await.is_none());
    bench.resume(&paused).await;
    assert_eq!(bench.result(&other, Duration::from_secs(20)).await.tollgate.status, Status::Succeeded);
    check_taken_out(&bench, &late.0).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_passes_while_a_job_is_parked_or_waits_for_its_time() {
    let bench = Bench::start().await;
    let worker = bench.world.worker("w1", |_| {}).await;
    let paused = Paused::model("sim-small");
    bench.pause(&paused).await;
    tokio::time::sleep(A_SECOND).await;
    let mut replies = replies(&bench).await;
    let late = with_deadline(&bench, Duration::from_secs(2)).await;
    check_expires(&bench, &mut replies, &late).await;
    assert_eq!(bench.waiting().await.len(), 1, "its copy stays until it is reached");

    bench.resume(&paused).await;
    check_taken_out(&bench, &late.0).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_passes_deep_in_a_backlog() {
    let bench = Bench::start().await;
    let submitted = (0..1_200).map(|n| {
        let (search, line) = (&bench.search, line(&format!("q{n}"), "sim-small", "tokens=10;delay=20ms", json!({})));
        async move { search.submit(Class::Standard, line.into(), None).await.expect("accepted") }
    });
    futures_util::stream::iter(submitted).buffer_unordered(64).collect::<Vec<_>>().await;
    let mut replies = replies(&bench).await;
    let late = with_deadline(&bench, Duration::from_secs(3)).await;
    let worker = bench.world.worker("w1", |config| config.concurrency = 4).await;

    check_expires(&bench, &mut replies, &late).await;
    let ahead = bench.world.ask(&bench.search, "status", json!({ "job": late.0 })).await.expect("known");
    assert_eq!(ahead["state"], "ended");
    assert!(bench.called().len() < 1_200, "the test saw no backlog");
    // Many hands for the rest.
    let second = bench.world.worker("w2", |config| config.concurrency = 64).await;
    check_taken_out(&bench, &late.0).await;
    worker.drained().await;
    second.drained().await;
}

/// Submits so many jobs without a deadline.
async fn backlog(bench: &Bench, jobs: usize) {
    let submitted = (0..jobs).map(|n| {
        let (search, line) = (&bench.search, quick(&format!("q{n}")));
        async move { search.submit(Class::Standard, line.into(), None).await.expect("accepted") }
    });
    futures_util::stream::iter(submitted).buffer_unordered(256).for_each(|_| async {}).await;
}

/// So many jobs with a deadline, submitted at once, and the deadline.
async fn burst(bench: &Bench, jobs: usize, wait: Duration) -> Vec<(JobId, UnixMillis)> {
    let submitted = (0..jobs).map(|_| with_deadline(bench, wait));
    futures_util::stream::iter(submitted).buffer_unordered(256).collect().await
}

/// Every one of them expires; returns by how much the last was late, by the results' own words.
async fn latest(bench: &Bench, jobs: &[(JobId, UnixMillis)]) -> Duration {
    let mut latest = Duration::ZERO;
    for (id, at) in jobs {
        let result = bench.result(id, at.since(now()) + WITHIN).await;
        assert_eq!(result.tollgate.status, Status::Expired, "{result:?}");
        let accepted = OffsetDateTime::parse(&result.tollgate.accepted_at, &Rfc3339).expect("a time");
        let accepted = UnixMillis(i64::try_from(accepted.unix_timestamp_nanos() / 1_000_000).expect("it is near"));
        let ended = accepted.plus(Duration::from_millis(result.tollgate.queued_ms));
        latest = latest.max(ended.since(*at));
    }
    latest
}

/// Deadlines pass at the front and at the end of a backlog, many at once, and under a scout that begins from nothing
/// because the one before it was killed.
#[expect(clippy::print_stderr, reason = "it says what it measured")]
async fn check_deadlines_behind(jobs: usize, at_once: usize) {
    let bench = Bench::start().await;
    let paused = Paused::Lane { class: None, team: "search".parse().expect("a team") };
    bench.pause(&paused).await;
    let first = bench.world.worker("w1", |_| {}).await;
    backlog(&bench, jobs).await;
    let back = burst(&bench, at_once, Duration::from_secs(5)).await;
    let late = latest(&bench, &back).await;
    assert!(late < WITHIN, "{at_once} at once behind {jobs}: {late:?}");
    eprintln!("{at_once} at once behind {jobs}: the last was {late:?} late");
    first.crash();
    let second = bench.world.worker("w2", |_| {}).await;
    // Another scout takes over after its patience.
    let late = latest(&bench, &burst(&bench, 10, Duration::from_secs(20)).await).await;
    assert!(late < WITHIN, "under another scout: {late:?}");
    eprintln!("under another scout: {late:?}");
    second.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_pass_in_a_backlog_whoever_is_the_scout() {
    check_deadlines_behind(10_000, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a backlog of 100,000 needs a release build: cargo test --release -p tollgate-worker -- --ignored"]
async fn deadlines_pass_in_a_backlog_of_a_hundred_thousand() {
    check_deadlines_behind(100_000, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_scout_takes_over_at_once_when_a_worker_leaves_in_good_order() {
    let bench = Bench::start().await;
    let first = bench.world.worker("w1", |_| {}).await;
    // The first is in office: it ends a job.
    let paused = Paused::Lane { class: None, team: "search".parse().expect("a team") };
    bench.pause(&paused).await;
    tokio::time::sleep(A_SECOND).await;
    let mut replies = replies(&bench).await;
    let early = with_deadline(&bench, Duration::from_secs(1)).await;
    check_expires(&bench, &mut replies, &early).await;
    let second = bench.world.worker("w2", |_| {}).await;
    first.drained().await;

    let late = with_deadline(&bench, Duration::from_secs(1)).await;
    check_expires(&bench, &mut replies, &late).await;
    second.drained().await;
}
