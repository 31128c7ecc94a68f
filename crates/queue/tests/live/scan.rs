//! Reading a backlog: everything, in order, whatever its producers wrote, and nothing is leased.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use tollgate_queue::scan::Waiting;
use tollgate_queue::{Origin, Parked, QueueKey, Scan, Until};
use tollgate_types::{Digest, Gate, headers, subjects};

use crate::jobs::{Hands, done, job, lane, submit};
use crate::world::World;

/// Reads a backlog to its end.
async fn all(scan: &mut Scan, origin: Origin, filter: &str) -> Vec<Waiting> {
    let (mut jobs, mut from) = (Vec::new(), 1);
    loop {
        let page = scan.page(origin, filter, from).await.expect("a page");
        jobs.extend(page.jobs);
        match page.next {
            Some(next) => from = next,
            None => return jobs,
        }
    }
}

fn payloads(jobs: &[Waiting]) -> Vec<String> {
    jobs.iter().map(|job| String::from_utf8_lossy(&job.payload).into_owned()).collect()
}

/// Publishes a header block that no proper client would send.
fn submit_raw(world: &World, block: &[u8], payload: &str) {
    let mut socket = TcpStream::connect(("127.0.0.1", world.server.port())).expect("the server listens");
    let hello = r#"{"verbose":false,"headers":true,"no_responders":true,"user":"broker","pass":"secret"}"#;
    let (subject, all) = (subjects::jobs(&lane()), block.len() + payload.len());
    let mut sent = format!("CONNECT {hello}\r\nHPUB {subject} {} {all}\r\n", block.len()).into_bytes();
    sent.extend_from_slice(block);
    sent.extend_from_slice(payload.as_bytes());
    sent.extend_from_slice(b"\r\nPING\r\n");
    socket.write_all(&sent).expect("it is sent");
    let mut lines = BufReader::new(socket).lines();
    assert!(lines.any(|line| line.expect("a line") == "PONG"), "the server took it");
}

async fn stored(world: &World, messages: u64) {
    crate::world::eventually("the jobs", async || {
        let stream = world.context.get_stream(subjects::JOBS_STREAM).await.ok()?;
        (stream.cached_info().state.messages == messages).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_backlog_is_read_whole_in_order_and_only_as_filtered() {
    let world = World::start().await;
    let mut scan = Scan::open(&world.connection, "test").await.expect("a connection");
    let filter = subjects::jobs(&lane());
    assert!(all(&mut scan, Origin::Jobs, &filter).await.is_empty());
    let mut acks = Vec::new();
    for n in 0..5_000 {
        let other = subjects::jobs(&tollgate_types::LaneKey { class: "standard".into(), team: "search".into() });
        let subject = if n % 5 == 0 { other } else { filter.clone() };
        let mut sent = HeaderMap::new();
        sent.insert(headers::JOB_ID, format!("search:{n}"));
        acks.push(world.context.publish_with_headers(subject, sent, n.to_string().into()).await.expect("sent"));
    }
    for ack in acks {
        ack.await.expect("it is stored");
    }
    let since = Instant::now();
    let jobs = all(&mut scan, Origin::Jobs, &filter).await;
    println!("{} jobs in {:?}", jobs.len(), since.elapsed());
    let expected: Vec<String> = (0..5_000).filter(|n| n % 5 != 0).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&jobs), expected);
    assert!(jobs.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(
        (jobs[0].sequence, jobs[0].subject.as_str(), jobs[0].header(headers::JOB_ID)),
        (2, filter.as_str(), Some("search:1"))
    );
    let age = time::OffsetDateTime::now_utc().unix_timestamp() - jobs[0].at.0 / 1000;
    assert!((0..60).contains(&age), "{age} s old");
    assert_eq!(all(&mut scan, Origin::Jobs, "tollgate.jobs.*.search").await.len(), 5_000);
    assert!(all(&mut scan, Origin::Jobs, "tollgate.jobs.*.marketing").await.is_empty());

    // Given up at any point, it loses nothing: the same page is read again.
    for yields in 0..30 {
        let patience = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            page = scan.page(Origin::Jobs, &filter, 1) => drop(page),
            () = patience => {}
        }
    }
    assert_eq!(scan.page(Origin::Jobs, &filter, 1).await.expect("a page").jobs[0].sequence, 2);
}

#[tokio::test]
async fn large_jobs_come_in_more_pages() {
    let world = World::start().await;
    let payload = "x".repeat(900_000);
    for _ in 0..20 {
        submit(&world, HeaderMap::new(), &payload).await;
    }
    let mut scan = Scan::open(&world.connection, "test").await.expect("a connection");
    let first = scan.page(Origin::Jobs, &subjects::jobs(&lane()), 1).await.expect("a page");
    assert!((1..=10).contains(&first.jobs.len()), "{} jobs of 900 kB in one page", first.jobs.len());
    assert_eq!(all(&mut scan, Origin::Jobs, &subjects::jobs(&lane())).await.len(), 20);
}

#[tokio::test]
async fn jobs_that_would_end_the_client_are_read_around() {
    let world = World::start().await;
    let forged = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-Sequence: 1\r\nNats-Subject: x\r\n\r\n";
    submit(&world, HeaderMap::new(), "first").await;
    submit_raw(&world, forged, "forged");
    submit_raw(&world, b"NATS/1.0\r\nA: \xff\r\n\r\n", "not utf-8");
    submit(&world, HeaderMap::new(), "second").await;
    submit_raw(&world, b"NATS/1.0\r\nA: b\rc\r\n\r\n", "bare carriage return");
    for _ in 0..20 {
        submit_raw(&world, b"NATS/1.0\r\nno colon\r\n\r\n", "no colon");
    }
    submit(&world, HeaderMap::new(), "third").await;
    stored(&world, 26).await;
    let mut scan = Scan::open(&world.connection, "test").await.expect("a connection");
    let since = Instant::now();
    let jobs = all(&mut scan, Origin::Jobs, &subjects::jobs(&lane())).await;
    assert_eq!(payloads(&jobs), ["first", "forged", "second", "third"]);
    assert_eq!(jobs.iter().map(|job| job.sequence).collect::<Vec<_>>(), [1, 2, 4, 26]);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    let health = *world.connection.health().borrow();
    assert_eq!(health.losses, 0, "nobody else's connection suffers");
}

#[tokio::test]
async fn a_scan_fails_while_the_server_is_away_and_goes_on_after() {
    let mut world = World::start().await;
    submit(&world, HeaderMap::new(), "first").await;
    let mut scan = Scan::open(&world.connection, "test").await.expect("a connection");
    world.server.kill9().expect("it is killed");
    let failed = scan.page(Origin::Jobs, &subjects::jobs(&lane()), 1).await;
    assert!(failed.is_err(), "{failed:?}");
    world.server.restart().await.expect("it starts again");
    let page = crate::world::eventually("a page", async || scan.page(Origin::Jobs, "tollgate.jobs.*.*", 1).await.ok());
    assert_eq!(payloads(&page.await.jobs), ["first"]);
}

#[tokio::test]
async fn a_jobs_place_is_what_was_stored_before_it() {
    let world = World::start().await;
    let mut hands = Hands::open(&world).await;
    let scan = Scan::open(&world.connection, "test").await.expect("a connection");
    let queue = QueueKey::of_lane(lane());
    assert_eq!(scan.count_before(&queue, 1).await, Ok(0));
    for n in 0..10 {
        submit(&world, HeaderMap::new(), &n.to_string()).await;
        let other = world.context.publish("tollgate.jobs.standard.search", "other".into()).await.expect("sent");
        other.await.expect("it is stored");
    }
    // The lane's jobs are at 1, 3, 5, …, 19.
    for (sequence, before) in [(0, 0), (1, 0), (2, 1), (3, 1), (19, 9), (20, 10), (1000, 10)] {
        assert_eq!(scan.count_before(&queue, sequence).await, Ok(before), "before {sequence}");
    }
    hands.lanes.ensure(&lane()).await.expect("a consumer");
    let first = hands.take(&queue).await;
    assert_eq!(scan.count_before(&queue, 19).await, Ok(9), "one that runs is still there");
    assert_eq!(scan.still_there(Origin::Jobs, 1).await, Ok(true));
    done(first).await;
    assert_eq!((scan.count_before(&queue, 19).await, scan.still_there(Origin::Jobs, 1).await), (Ok(8), Ok(false)));

    let until = Until::Gate(Gate::Due);
    for n in 0..3 {
        let delivery = hands.take(&queue).await;
        let (id, digest) = (job(&format!("search:{n}")), Digest::of(&[]));
        let parked = Parked {
            delivery: &delivery,
            job: &id,
            digest,
            until: &until,
            accepted_at: delivery.place.accepted_at,
            deliveries: 0,
            why: "",
        };
        hands.wait.park(parked).await.expect("it is parked");
        done(delivery).await;
    }
    let due = QueueKey::behind(Gate::Due, lane());
    for (sequence, before) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        assert_eq!(scan.count_before(&due, sequence).await, Ok(before), "before {sequence}");
    }
}
