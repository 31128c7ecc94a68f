//! The commit log and the state bucket against a real nats-server that is killed, paused and emptied.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use sandbox::{BROKER_USER, Locations, NatsOptions, NatsServer, Progress};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use tollgate_queue::commit_log::{Bounds, CommitLog, LogEntry, LogError, Tail};
use tollgate_queue::connect::{Connection, NatsConfig};
use tollgate_queue::state::{State, StateError};
use tollgate_queue::streams::{self, Limits};
use tollgate_types::{headers, subjects};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(30);

struct Nats {
    server: NatsServer,
    context: Context,
    _dir: TempDir,
}

impl Nats {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let locations = Locations::from_env().expect("a cache directory");
        let binary = sandbox::nats_server(&locations, &Progress::silent()).await.expect("a nats-server");
        let config = sandbox::NatsConfig::new(vec![], "broker-secret", "sys-secret");
        let options = NatsOptions { binary, work_dir: dir.path().join("nats"), store_dir: None, config, port: None };
        let server = NatsServer::start(options).await.expect("nats-server starts");
        let config = NatsConfig {
            url: server.url(),
            user: Some(BROKER_USER.to_owned()),
            password: Some("broker-secret".to_owned().into()),
            ..NatsConfig::default()
        };
        let connection = Connection::open(&config, "test").await.expect("a connection");
        Nats { server, context: jetstream::new(connection.client), _dir: dir }
    }

    async fn with_streams() -> Self {
        let nats = Nats::start().await;
        streams::ensure(&nats.context, &small()).await.expect("the streams are made");
        nats
    }

    async fn log(&self) -> CommitLog {
        CommitLog::open(&self.context).await.expect("the log opens")
    }

    /// Publishes results `from..to`; the first is job `from`.
    async fn publish(&self, from: u64, to: u64) {
        for number in from..to {
            let job = format!("job-{number}");
            let mut map = HeaderMap::new();
            map.insert(headers::USAGE, event(&job).as_str());
            let subject = subjects::result("search", &job.parse().expect("a job id"));
            let publish = self.context.publish_with_headers(subject, map, "{}".into()).await;
            publish.expect("it is sent").await.expect("it is stored");
        }
    }
}

fn small() -> Limits {
    const MIB: i64 = 1 << 20;
    Limits {
        jobs_bytes_max: 64 * MIB,
        wait_bytes_max: 64 * MIB,
        results_bytes_max: 64 * MIB,
        dead_bytes_max: 8 * MIB,
        blobs_bytes_max: 8 * MIB,
        files_bytes_max: 8 * MIB,
        ..Limits::default()
    }
}

fn event(job: &str) -> String {
    format!(
        r#"{{"version":1,"kind":"result","job":"{job}","team":"search","class":"batch","run":"r","worker":"w","delivery":1,"status":"succeeded","attempts":[],"cache":"miss","accepted_at":0,"queued_ms":0,"run_ms":0}}"#
    )
}

/// Reads until `count` entries came, or fails.
async fn read(tail: &mut Tail, count: usize) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    let until = Instant::now() + DEADLINE;
    while entries.len() < count {
        assert!(Instant::now() < until, "{} of {count} entries came", entries.len());
        let batch =
            tail.next_batch(count - entries.len(), Duration::from_millis(200)).await.expect("the stream is there");
        entries.extend(batch);
    }
    entries
}

fn check_jobs(entries: &[LogEntry], first_job: u64) {
    for (entry, number) in entries.iter().zip(first_job..) {
        let job = entry.event.as_ref().map(|event| event.job.to_string());
        assert_eq!(job, Ok(format!("job-{number}")), "at sequence {}", entry.seq);
    }
    assert!(entries.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}

#[tokio::test]
async fn entries_come_in_order_with_their_event_or_the_reason_why_they_do_not_count() {
    let nats = Nats::with_streams().await;
    nats.publish(1, 4).await;
    let stray = nats.context.publish("tollgate.results.search.stray", r#"{"stream":"X","seq":1}"#.into()).await;
    stray.expect("it is sent").await.expect("it is stored");
    nats.publish(5, 6).await;
    let log = nats.log().await;
    assert_eq!(log.bounds().await.expect("bounds"), Bounds { first: 1, last: 5 });
    assert_eq!(log.identity(), nats.log().await.identity());

    let mut tail = log.tail(1);
    let entries = read(&mut tail, 5).await;
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    check_jobs(&entries[..3], 1);
    assert!(
        entries[3].event.as_ref().is_err_and(|why| why.to_string().contains("no usage header")),
        "{:?}",
        entries[3]
    );
    assert_eq!(entries[3].subject, "tollgate.results.search.stray");
    check_jobs(&entries[4..], 5);
    let age = time::OffsetDateTime::now_utc().unix_timestamp() - entries[0].at.0 / 1000;
    assert!((0..60).contains(&age), "the server's timestamp is {age} s old");
    assert_eq!(tail.pending(), Some(0));
    assert!(tail.next_batch(10, Duration::from_millis(50)).await.expect("the stream is there").is_empty());

    check_jobs(&read(&mut log.tail(3), 1).await, 3);
}

#[tokio::test]
async fn a_batch_is_at_most_as_large_as_asked_and_the_rest_stays() {
    let nats = Nats::with_streams().await;
    nats.publish(1, 31).await;
    let mut tail = nats.log().await.tail(1);
    let mut entries = Vec::new();
    while entries.len() < 30 {
        let batch = tail.next_batch(7, Duration::from_secs(2)).await.expect("the stream is there");
        assert!(!batch.is_empty() && batch.len() <= 7, "{}", batch.len());
        entries.extend(batch);
    }
    check_jobs(&entries, 1);
}

#[tokio::test]
async fn a_range_is_read_again_exactly_and_what_was_removed_is_missing() {
    let nats = Nats::with_streams().await;
    nats.publish(1, 1201).await;
    let log = nats.log().await;
    let sequences = |entries: &[LogEntry]| entries.iter().map(|e| e.seq).collect::<Vec<_>>();
    let whole = log.read_range(101, 1150, DEADLINE).await.expect("the range");
    assert_eq!(sequences(&whole), (101..=1150).collect::<Vec<_>>());
    let stream = nats.context.get_stream(subjects::RESULTS_STREAM).await.expect("the stream");
    for sequence in [105, 1199, 1200] {
        stream.delete_message(sequence).await.expect("it is deleted");
    }
    assert_eq!(sequences(&log.read_range(104, 106, DEADLINE).await.expect("the range")), [104, 106]);
    assert_eq!(sequences(&log.read_range(1198, 1200, DEADLINE).await.expect("the range")), [1198]);
}

#[tokio::test]
async fn a_reader_follows_through_a_server_that_is_killed_and_one_that_stops_answering() {
    let mut nats = Nats::with_streams().await;
    nats.publish(1, 51).await;
    let mut tail = nats.log().await.tail(1);
    check_jobs(&read(&mut tail, 30).await, 1);
    nats.server.kill9().expect("it is killed");
    let away = tail.next_batch(100, Duration::from_millis(300)).await.expect("a server that is away is no error");
    nats.server.restart().await.expect("it starts again");
    nats.publish(51, 101).await;
    check_jobs(&away, 31);
    let next = 31 + away.len() as u64;
    check_jobs(&read(&mut tail, usize::try_from(101 - next).expect("few")).await, next);

    nats.server.pause().expect("it is paused");
    assert!(tail.next_batch(10, Duration::from_millis(300)).await.expect("no error").is_empty());
    nats.server.resume().expect("it goes on");
    nats.publish(101, 111).await;
    check_jobs(&read(&mut tail, 10).await, 101);
}

#[tokio::test]
async fn a_reader_whose_consumer_was_deleted_makes_another() {
    let nats = Nats::with_streams().await;
    nats.publish(1, 11).await;
    let mut tail = nats.log().await.tail(1);
    check_jobs(&read(&mut tail, 5).await, 1);
    let stream = nats.context.get_stream(subjects::RESULTS_STREAM).await.expect("the stream");
    let mut names = Vec::new();
    let mut listed = Box::pin(stream.consumer_names());
    while let Some(name) = futures_util::StreamExt::next(&mut listed).await {
        names.push(name.expect("a name"));
    }
    assert_eq!(names.len(), 1, "{names:?}");
    stream.delete_consumer(&names[0]).await.expect("it is deleted");
    nats.publish(11, 21).await;
    check_jobs(&read(&mut tail, 15).await, 6);
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let nats = Nats::with_streams().await;
    nats.publish(1, 301).await;
    let mut tail = nats.log().await.tail(1);
    // A read that is given up before its consumer is made only begins again, so the consumer is made first.
    let mut entries = read(&mut tail, 1).await;
    let (mut cancelled, until) = (0, Instant::now() + DEADLINE);
    while entries.len() < 300 {
        assert!(Instant::now() < until, "{} entries after {cancelled} cancelled reads", entries.len());
        // Given up at a different point each time: asking, waiting, or with half a batch received.
        let patience = async {
            for _ in 0..cancelled % 50 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            batch = tail.next_batch(3.min(300 - entries.len()), Duration::from_secs(1)) => entries.extend(batch.expect("the stream is there")),
            () = patience => cancelled += 1,
        }
    }
    assert!(cancelled > 10, "only {cancelled} reads were cancelled");
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_made_anew_is_another_log_and_none_is_none() {
    let nats = Nats::start().await;
    assert!(matches!(CommitLog::open(&nats.context).await, Err(LogError::Missing)));
    streams::ensure(&nats.context, &small()).await.expect("the streams are made");
    let log = nats.log().await;
    nats.publish(1, 4).await;
    let mut tail = log.tail(1);
    read(&mut tail, 3).await;
    nats.context.delete_stream(subjects::RESULTS_STREAM).await.expect("it is deleted");
    streams::ensure(&nats.context, &small()).await.expect("it is made anew");
    nats.publish(7, 9).await;
    assert!(matches!(log.bounds().await, Err(LogError::Recreated { .. })));
    let told = timeout(DEADLINE, async {
        loop {
            match tail.next_batch(10, Duration::from_millis(200)).await {
                Ok(batch) => assert!(batch.is_empty(), "sequences of another log were taken for ours: {batch:?}"),
                Err(error) => return error,
            }
        }
    });
    assert!(matches!(told.await, Ok(LogError::Recreated { .. })));
    let anew = log.reopen().await.expect("it opens");
    assert_ne!(anew.identity(), log.identity());
    check_jobs(&read(&mut anew.tail(1), 2).await, 7);
}

#[tokio::test]
async fn a_swap_succeeds_once_and_an_unanswered_one_is_not_a_conflict() {
    let mut nats = Nats::with_streams().await;
    let state = State::open(&nats.context).await.expect("the bucket opens");
    assert_eq!(state.get("a.key").await.expect("an answer"), None);
    let first = state.create("a.key", "1".into()).await.expect("it is created");
    assert!(matches!(state.create("a.key", "2".into()).await, Err(StateError::Conflict)));
    let second = state.update("a.key", "2".into(), first).await.expect("it is swapped");
    assert!(matches!(state.update("a.key", "3".into(), first).await, Err(StateError::Conflict)));
    assert_eq!(state.get("a.key").await.expect("an answer"), Some(("2".into(), second)));
    assert!(matches!(state.delete("a.key", first).await, Err(StateError::Conflict)));
    state.delete("a.key", second).await.expect("it is deleted");
    assert_eq!(state.get("a.key").await.expect("an answer"), None);
    let again = state.create("a.key", "4".into()).await.expect("a deleted key is created again");
    let put = state.put("a.key", "5".into()).await.expect("it is put");
    assert!(put > again && matches!(state.get("bad key").await, Err(StateError::BadKey(_))));

    nats.server.pause().expect("it is paused");
    let unanswered = state.update("a.key", "6".into(), put).await;
    assert!(matches!(unanswered, Err(StateError::Unknown(_))), "{unanswered:?}");
    assert!(matches!(state.get("a.key").await, Err(StateError::Unreadable(_))));
    nats.server.resume().expect("it goes on");
    let until = Instant::now() + DEADLINE;
    // It may have been stored, which is why it is no conflict: only reading tells.
    let (value, _) = loop {
        match state.get("a.key").await {
            Ok(found) => break found.expect("the key exists"),
            Err(error) => assert!(error.is_transient() && Instant::now() < until, "{error:?}"),
        }
    };
    assert!(value == "5" || value == "6", "{value:?}");
}
