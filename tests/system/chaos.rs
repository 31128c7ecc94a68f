//! Crashes under load: each accepted job has exactly one result, results never change, the books agree to the
//! nano-dollar, and every call that the provider saw is booked or counted as unknown.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{Journal, Seen, System, TEAMS, check, drained, load, whole_log};

/// Short leases, so that a killed worker's jobs come again within the test; small batches, so that the sink is always
/// in the middle of one.
const PROFILE: &str = r#"
[worker]
ack_wait = "3s"
concurrency = 24
[sink]
lease = "2s"
batch_rows_max = 200
batch_wait = "200ms"
"#;

const CRASH_POINTS: [&str; 8] = ["C1", "C2", "C3", "C4", "C5", "C6", "C9", "C10"];
/// How often each crash point must be hit, or the test proves nothing.
const HITS_MIN: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_at_every_step_and_at_random_lose_nothing_and_double_nothing() {
    let mut system = System::start("429:retry-after=1@0.01;status=503@0.02;abort-stream@0.05", PROFILE).await;
    let core = system.core().await;
    let (seen, watching) = Seen::watch(core.clone()).await;
    let journal = Journal::default();
    let mut producers = Vec::new();
    for (team, class) in TEAMS {
        producers.push((system.producer(team).await, class));
    }

    crash_at_every_point(&mut system, &producers, &journal).await;
    kill_at_random(&mut system, &producers, &journal).await;

    drained(&core, &journal, Duration::from_secs(120)).await;
    let report = check(&system, &core, &journal).await;
    eprintln!("{report}");
    assert!(report.accepted >= 2000, "{}", report.accepted);
    assert!(report.calls > report.booked, "some calls were lost in a crash, or nothing was tested");
    results_never_changed(&core, &seen).await;
    drop(watching);
    system.stop().await;
}

type Producers = [(tollgate_client::Producer, tollgate_types::Class)];

/// Arms every crash point and keeps the load on until each was hit often enough.
async fn crash_at_every_point(system: &mut System, producers: &Producers, journal: &Journal) {
    // What comes late in a life is armed higher, because few lives get there; C3 needs a redelivered job.
    let plan = "C1:0.006,C2:0.006,C3:0.06,C4:0.015,C5:0.04,C6:0.06,C9:0.12,C10:0.12";
    std::fs::write(system.crash_plan(), plan).expect("the plan is written");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
    let loading = tokio::spawn(load(producers.to_vec(), 700, Duration::from_millis(40), journal.clone()));
    let armed = tokio::time::Instant::now();
    loop {
        system.nurse();
        let hits = hits(system, &CRASH_POINTS);
        let enough = CRASH_POINTS.iter().all(|point| hits.get(point).copied().unwrap_or(0) >= HITS_MIN);
        if enough && loading.is_finished() {
            eprintln!("crash points hit: {hits:?}");
            break;
        }
        assert!(armed.elapsed() < Duration::from_secs(240), "crash points not hit often enough: {hits:?}");
        if loading.is_finished() {
            // Out of jobs before every point was hit: a little more.
            load(producers.to_vec(), 30, Duration::from_millis(20), journal.clone()).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    loading.await.expect("the load ends well");
    std::fs::remove_file(system.crash_plan()).expect("the plan is removed");
    for worker in &mut system.stack.workers {
        worker.restart().expect("the worker starts again");
    }
}

/// How often each of the crash points was hit, from the workers' logs.
pub(crate) fn hits<'a>(system: &System, points: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let mut hits = BTreeMap::new();
    for entry in std::fs::read_dir(system.stack.dir().join("logs")).expect("the logs") {
        let text = std::fs::read_to_string(entry.expect("a log").path()).unwrap_or_default();
        for line in text.lines().filter(|line| line.contains("crash point")) {
            for point in points.iter().copied() {
                let named = [format!("point=\"{point}\""), format!("\"point\":\"{point}\""), format!("point={point} ")];
                if named.iter().any(|name| format!("{line} ").contains(name)) {
                    *hits.entry(point).or_insert(0) += 1;
                }
            }
        }
    }
    hits
}

/// `kill -9` of a random worker every second, of nats-server three times, of the sink three times, under load.
async fn kill_at_random(system: &mut System, producers: &Producers, journal: &Journal) {
    const SECONDS: u64 = 32;
    let seed = rand::random();
    eprintln!("random kills with seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let jobs = 2000usize.saturating_sub(journal.len()).max(1300);
    let every = Duration::from_millis(SECONDS * 1000 / jobs as u64);
    let loading = tokio::spawn(load(producers.to_vec(), jobs, every, journal.clone()));
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut kills = 0;
    for second in 0..SECONDS {
        tick.tick().await;
        let victim = rng.random_range(0..system.stack.workers.len());
        let worker = &mut system.stack.workers[victim];
        worker.kill9().expect("the worker dies");
        worker.restart().expect("the worker starts again");
        kills += 1;
        if second % 10 == 5 {
            system.stack.nats.kill9().expect("nats-server dies");
            system.stack.nats.restart().await.expect("nats-server starts again");
        }
        if second % 10 == 8 {
            let sink = system.stack.sink.as_mut().expect("a sink of its own");
            sink.kill9().expect("the sink dies");
            sink.restart().expect("the sink starts again");
        }
    }
    assert!(kills >= 30, "{kills}");
    loading.await.expect("the load ends well");
}

/// What was seen live when a result was committed is what is kept.
async fn results_never_changed(core: &tollgate_queue::Connection, seen: &Seen) {
    let (_, entries) = whole_log(core).await;
    let compared = seen.compare(core, &entries).await;
    assert!(compared > 1000, "only {compared} results were seen live");
}
