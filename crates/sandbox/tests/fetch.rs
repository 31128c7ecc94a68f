//! Real fetches into an empty cache. A download that is too large for every run is made with `TOLLGATE_TEST_FETCH=1`;
//! without, the test says so and looks at what earlier runs fetched.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its fixtures too")]

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use sandbox::{Event, Locations, Progress, Version, clickhouse_engine, nats_server};

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

/// The machine's own path without the directories that have a server, which would come first.
fn without_a_server(locations: &mut Locations) {
    let dirs = std::env::split_paths(&locations.path).filter(|dir| !dir.join("nats-server").exists());
    locations.path = std::env::join_paths(dirs.collect::<Vec<_>>()).unwrap();
}

fn has(locations: &Locations, program: &str) -> bool {
    std::env::split_paths(&locations.path).any(|dir| dir.join(program).exists())
}

fn version(binary: &Path) -> Version {
    let said = Command::new(binary).arg("--version").output().unwrap();
    assert!(said.status.success(), "{said:?}");
    Version::find_in(&String::from_utf8(said.stdout).unwrap()).unwrap()
}

/// Through apt the server has 5 MB. Without apt it would come from a release of its project, of 20 MB and counted
/// downloads; then what the other tests run on is looked at instead.
#[tokio::test]
async fn two_who_need_a_nats_server_fetch_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut locations = empty_cache(dir.path());
    without_a_server(&mut locations);
    if !has(&locations, "apt-get") || !has(&locations, "dpkg-deb") {
        eprintln!("no nats-server was fetched: this machine has no apt, or a server beside it");
        let found = nats_server(&Locations::from_env().unwrap(), &Progress::silent()).await.unwrap();
        assert!(version(&found) >= Version::new(2, 12, 0), "{}", found.display());
        return;
    }
    let (progress, events) = recording();
    let (one, other) = tokio::join!(nats_server(&locations, &progress), nats_server(&locations, &progress));
    let one = one.unwrap();
    assert_eq!(one, other.unwrap());
    assert!(one.starts_with(&locations.cache_dir));
    assert!(version(&one) >= Version::new(2, 12, 0));
    assert_eq!(fetches(&events), 1, "{events:?}");
    assert!(is_done(&events), "{events:?}");
    // Only the server and the lock are left.
    assert_eq!(std::fs::read_dir(&locations.cache_dir).unwrap().count(), 2);
}

/// The archive has 180 MB.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "nobody hands a test what it may download")]
async fn the_embedded_engine_is_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let anew = std::env::var_os("TOLLGATE_TEST_FETCH").is_some_and(|fetch| fetch == "1");
    let locations = if anew {
        empty_cache(dir.path())
    } else {
        eprintln!("no engine was fetched anew: the cached one is looked at; set TOLLGATE_TEST_FETCH=1 to fetch");
        Locations::from_env().unwrap()
    };
    let (progress, events) = recording();
    let library = clickhouse_engine(&locations, &progress).await.unwrap();
    assert!(library.starts_with(&locations.cache_dir));
    assert!(library.metadata().unwrap().len() > 100 << 20);
    assert!(is_a_library(&library), "{} is no shared library", library.display());
    if anew {
        assert_eq!(fetches(&events), 1);
        assert!(is_done(&events));
        assert_eq!(std::fs::read_dir(&locations.cache_dir).unwrap().count(), 2);
    }
    let before = fetches(&events);
    assert_eq!(clickhouse_engine(&locations, &progress).await.unwrap(), library);
    assert_eq!(fetches(&events), before, "what is there is not fetched");
}

fn is_a_library(file: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    std::fs::File::open(file).unwrap().read_exact(&mut magic).unwrap();
    // ELF, and 64-bit Mach-O of a machine that counts from the little end.
    magic == *b"\x7fELF" || magic == [0xcf, 0xfa, 0xed, 0xfe]
}
