//! Real fetches into an empty cache. They download, so they run only when asked for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its fixtures too")]

use std::sync::{Arc, Mutex};

use sandbox::{ClickHouseSource, Event, Locations, Progress, clickhouse, nats_server};

fn empty_cache(dir: &std::path::Path) -> Locations {
    let mut locations = Locations::from_env().unwrap();
    locations.cache_dir = dir.join("cache");
    locations.nats_server = None;
    locations.clickhouse_url = None;
    locations
}

fn recording() -> (Progress, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    (Progress::new(move |event| seen.lock().unwrap().push(event)), events)
}

fn fetches(events: &Mutex<Vec<Event>>) -> usize {
    events.lock().unwrap().iter().filter(|event| matches!(event, Event::Fetching { .. })).count()
}

fn is_done(events: &Mutex<Vec<Event>>) -> bool {
    matches!(events.lock().unwrap().last(), Some(Event::Done { .. }))
}

#[tokio::test]
#[ignore = "downloads 20 MB, on a machine whose PATH has no nats-server that is new enough"]
async fn two_who_need_a_nats_server_fetch_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let locations = empty_cache(dir.path());
    let (progress, events) = recording();
    let (one, other) = tokio::join!(nats_server(&locations, &progress), nats_server(&locations, &progress));
    let one = one.unwrap();
    assert_eq!(one, other.unwrap());
    assert!(one.starts_with(&locations.cache_dir));
    assert_eq!(fetches(&events), 1, "{events:?}");
    assert!(is_done(&events), "{events:?}");
    // Only the server and the lock are left.
    assert_eq!(std::fs::read_dir(&locations.cache_dir).unwrap().count(), 2);
}

#[tokio::test]
#[ignore = "downloads 180 MB"]
async fn the_embedded_engine_is_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let locations = empty_cache(dir.path());
    let (progress, events) = recording();
    let ClickHouseSource::Embedded { library } = clickhouse(&locations, &progress).await.unwrap() else {
        panic!("this machine has a ClickHouse server, which comes first")
    };
    assert!(library.metadata().unwrap().len() > 100 << 20);
    assert_eq!(fetches(&events), 1);
    assert!(is_done(&events));
    clickhouse(&locations, &progress).await.unwrap();
    assert_eq!(fetches(&events), 1);
    assert_eq!(std::fs::read_dir(&locations.cache_dir).unwrap().count(), 2);
}
