//! The sink between a real nats-server and the real ClickHouse engine, killed at every step.
//!
//! A process can run one engine, so all cases share it, each with a database and a nats-server of its own. Between
//! sink and engine stands a proxy that refuses connections or loses the answers to inserts. A sink that is aborted
//! stores and releases nothing more: it is what a kill leaves.

#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod proxy;
mod world;

use std::time::Duration;

use embedded_clickhouse::{Config, Server};
use sandbox::{Locations, Progress};
use tokio::time::Instant;
use tollgate_queue::streams;
use tollgate_sink::SinkProgress;
use tollgate_types::subjects::RESULTS_STREAM;

use proxy::Mode;
use world::{DEADLINE, KEY, World, limits, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn every_record_counts_once_whatever_dies() {
    let locations = Locations::from_env().expect("a cache directory");
    let library = sandbox::clickhouse_engine(&locations, &Progress::silent()).await.expect("the engine");
    let data = tempfile::tempdir().expect("a directory");
    let engine = Server::start(Config::new(library, data.path().join("data"))).await.expect("the engine starts");
    let addr = engine.addr();

    records_arrive_and_what_is_no_record_does_not(&World::new(addr, "arrive").await).await;
    killed_between_manifest_and_insert(&World::new(addr, "before_insert").await).await;
    killed_between_insert_and_commit(&World::new(addr, "after_insert").await).await;
    a_stop_hands_over_at_once(&World::new(addr, "stop").await).await;
    who_loses_the_record_stands_by(&World::new(addr, "fenced").await).await;
    one_of_two_is_active_and_the_other_takes_over(&World::new(addr, "standby").await).await;
    a_lost_record_is_made_up_for_from_the_tables(&World::new(addr, "lost_record").await).await;
    a_stream_made_anew_is_counted_on_top(&World::new(addr, "anew").await).await;
    removed_records_are_passed_over(&World::new(addr, "removed").await).await;
    a_record_and_its_tombstone_from_before_the_first_sink_count_as_one(&World::new(addr, "both").await).await;
    a_tombstone_of_somebody_who_saw_no_sink_yet_counts_nothing(&World::new(addr, "unseen").await).await;
    killed_anywhere_again_and_again(&mut World::new(addr, "anywhere").await).await;
    engine.shutdown().await;
}

async fn records_arrive_and_what_is_no_record_does_not(world: &World) {
    world.publish(100).await;
    let stray = world.context.publish("tollgate.results.search.stray", "{}".into()).await;
    stray.expect("it is sent").await.expect("it is stored");
    let sink = world.sink("a");
    world.check_exact().await;
    world.publish(50).await;
    world.check_exact().await;
    let progress = SinkProgress::read(&world.state).await.expect("an answer").expect("there is a sink");
    assert_eq!((progress.owner.as_deref(), progress.term), (Some("a"), 1));
    let books = world.store.books().await.expect("the books");
    assert!(books.raw.jobs > 0 && books.raw.cost.0 > 0);
    sink.kill().await;
}

async fn killed_between_manifest_and_insert(world: &World) {
    let sink = world.sink("a");
    wait_until("the sink is in office", || async { world.progress().await.is_some() }).await;
    world.proxy.set(Mode::Refuse);
    world.publish(100).await;
    let pending = || async { world.progress().await.is_some_and(|p| p.pending_last.is_some()) };
    wait_until("the manifest of the first batch is stored", pending).await;
    sink.kill().await;
    assert_eq!(world.store.books().await.expect("the books").rows, 0);
    world.proxy.set(Mode::Forward);
    let _next = world.sink("b");
    world.check_exact().await;
    assert_eq!(world.progress().await.map(|p| (p.owner, p.term)), Some((Some("b".to_owned()), 2)));
}

async fn killed_between_insert_and_commit(world: &World) {
    world.publish(100).await;
    world.proxy.set(Mode::LoseInsertAnswers);
    let sink = world.sink("a");
    let inserted = || async { world.store.books().await.expect("the books").rows > 0 };
    wait_until("the first batch is in the table", inserted).await;
    // It goes on inserting the same batch, because it cannot know that it is in.
    let lost = world.proxy.lost();
    wait_until("the batch is sent again", || async { world.proxy.lost() > lost }).await;
    sink.kill().await;
    let (books, progress) = (world.store.books().await.expect("the books"), world.progress().await);
    assert_eq!((books.repeated_rows, books.raw), (0, books.rollup));
    assert!(progress.is_some_and(|p| p.committed_seq == 0 && p.pending_last.is_some()));
    world.proxy.set(Mode::Forward);
    let _next = world.sink("b");
    world.check_exact().await;
}

async fn a_stop_hands_over_at_once(world: &World) {
    world.publish(200).await;
    let sink = world.sink("a");
    let begun = || async { world.progress().await.is_some_and(|p| p.committed_seq > 0) };
    wait_until("the first batch is committed", begun).await;
    sink.stop().await;
    let progress = world.progress().await.expect("there was a sink");
    assert_eq!(progress.owner, None);
    // With a lease of minutes, only a release lets another one in within the deadline.
    let _next = world.sink_with("b", |config| config.lease = Duration::from_secs(600));
    world.check_exact().await;

    let stuck = world.proxy.clone();
    stuck.set(Mode::Refuse);
    world.publish(20).await;
    let pending = || async { world.progress().await.is_some_and(|p| p.pending_last.is_some()) };
    wait_until("a batch is stuck", pending).await;
    _next.stop().await;
    assert!(world.progress().await.is_some_and(|p| p.owner.is_none() && p.pending_last.is_some()));
    stuck.set(Mode::Forward);
    let _last = world.sink("c");
    world.check_exact().await;
}

async fn who_loses_the_record_stands_by(world: &World) {
    world.publish(30).await;
    let _sink = world.sink("a");
    world.check_exact().await;
    let until = Instant::now() + DEADLINE;
    loop {
        let (bytes, revision) = world.state.get(KEY).await.expect("an answer").expect("a record");
        let text = String::from_utf8(bytes.to_vec()).expect("JSON");
        let taken = text.replace("\"owner\":\"a\",\"term\":1", "\"owner\":\"other\",\"term\":2");
        assert_ne!(taken, text);
        if world.state.update(KEY, taken.into(), revision).await.is_ok() {
            break;
        }
        assert!(Instant::now() < until, "the record could not be taken");
    }
    world.publish(30).await;
    // The other never gives a sign of life, so the first one takes over again: in its third term, after its patience.
    world.check_exact().await;
    assert_eq!(world.progress().await.map(|p| (p.owner, p.term)), Some((Some("a".to_owned()), 3)));
}

async fn one_of_two_is_active_and_the_other_takes_over(world: &World) {
    let (first, second) = (world.sink("a"), world.sink("b"));
    world.publish(60).await;
    world.check_exact().await;
    let active = world.progress().await.and_then(|p| p.owner).expect("one is active");
    let (active, _standby) = if active == "a" { (first, second) } else { (second, first) };
    active.kill().await;
    world.publish(60).await;
    world.check_exact().await;
    assert_eq!(world.progress().await.map(|p| p.term), Some(2));
}

async fn a_lost_record_is_made_up_for_from_the_tables(world: &World) {
    world.publish(40).await;
    let sink = world.sink("a");
    world.check_exact().await;
    sink.kill().await;
    let (_, revision) = world.state.get(KEY).await.expect("an answer").expect("a record");
    world.state.delete(KEY, revision).await.expect("it is deleted");
    world.publish(40).await;
    let _next = world.sink("b");
    world.check_exact().await;
}

async fn a_stream_made_anew_is_counted_on_top(world: &World) {
    world.publish(40).await;
    let _sink = world.sink("a");
    world.check_exact().await;
    let before = world.store.books().await.expect("the books");
    world.context.delete_stream(RESULTS_STREAM).await.expect("it is deleted");
    streams::ensure(&world.context, &limits()).await.expect("it is made anew");
    world.publish(40).await;
    world.check_caught_up().await;
    let after = world.store.books().await.expect("the books");
    let anew = tollgate_usage::reconcile::sum(&world.read_log().await);
    assert_eq!(after.raw.cost, before.raw.cost + anew.cost);
    assert_eq!((after.raw.jobs, after.raw), (before.raw.jobs + anew.jobs, after.rollup));
    assert_eq!(after.repeated_rows, 0);
}

async fn removed_records_are_passed_over(world: &World) {
    world.publish(100).await;
    let stream = world.context.get_stream(RESULTS_STREAM).await.expect("the stream");
    stream.purge().sequence(41).await.expect("it is purged");
    let _sink = world.sink("a");
    world.check_exact().await;
    // Also when everything that is needed goes, and nothing follows.
    world.proxy.set(Mode::Refuse);
    world.publish(20).await;
    stream.purge().await.expect("it is purged");
    world.proxy.set(Mode::Forward);
    world.check_caught_up().await;
}

/// Whoever made the tombstones was killed before he removed all that they stand for, and then came the first sink; it is
/// killed with each batch half in.
async fn a_record_and_its_tombstone_from_before_the_first_sink_count_as_one(world: &World) {
    world.publish(60).await;
    for sequence in [1, 2, 5, 31, 32, 60] {
        world.entomb(sequence).await;
    }
    for sequence in [2, 31] {
        world.remove(sequence).await;
    }
    world.publish(20).await;
    world.proxy.set(Mode::LoseInsertAnswers);
    for name in ["a", "b", "c"] {
        let (sink, lost) = (world.sink(name), world.proxy.lost());
        wait_until("a batch is sent", || async { world.proxy.lost() > lost }).await;
        sink.kill().await;
    }
    // Another finishes the removal while there is a sink that has not come to the record.
    world.remove(32).await;
    world.proxy.set(Mode::Forward);
    let _last = world.sink("d");
    world.check_exact().await;
}

/// Whoever makes it looked for a sink before there was one: it met the record, which goes now.
async fn a_tombstone_of_somebody_who_saw_no_sink_yet_counts_nothing(world: &World) {
    world.publish(40).await;
    let first = world.sink("a");
    world.check_exact().await;
    for sequence in [1, 40] {
        world.entomb(sequence).await;
    }
    world.check_exact().await;
    world.remove(1).await;
    first.kill().await;
    world.entomb(22).await;
    world.publish(10).await;
    let _second = world.sink("b");
    world.check_exact().await;
}

async fn killed_anywhere_again_and_again(world: &mut World) {
    let modes = [Mode::Forward, Mode::LoseInsertAnswers, Mode::Forward, Mode::Refuse];
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    for round in 0..24u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
        world.publish(20 + seed % 30).await;
        world.proxy.set(modes[(seed >> 32) as usize % modes.len()]);
        // The same name again, so that no round waits for a lease.
        let sink = world.sink("a");
        let life = Duration::from_millis(20 + (seed >> 16) % 300);
        if round % 8 == 5 {
            world.nats.kill9().expect("it is killed");
            world.nats.restart().await.expect("it starts again");
        }
        // A kill at a time of its own is the case here, not a wait for something.
        let _ = tokio::time::timeout(life, std::future::pending::<()>()).await;
        sink.kill().await;
    }
    world.proxy.set(Mode::Forward);
    let _last = world.sink("a");
    world.check_exact().await;
    let books = world.store.books().await.expect("the books");
    assert!(books.raw.jobs > 300, "{books:?}");
}
