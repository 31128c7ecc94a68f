//! One worker's clock off by five minutes changes nothing: windows, leases and deadlines go by the server's.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::eventually;
use tollgate_queue::commit_log::LogEntry;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_types::{Class, ErrorCode, JobId, Status, UnixMillis, UsageEvent};

use crate::harness::{CLOCK, Journal, System, check, whole_log};
use crate::ledger;

/// How wrong the first worker's clock is.
const AHEAD: Duration = Duration::from_secs(300);
const LEASE: Duration = Duration::from_secs(6);
/// Between a worker's thought and the server's stamp, on a busy machine.
const SLACK: Duration = Duration::from_secs(3);
/// The window of the budget: the shortest that there is.
const WINDOW: Duration = Duration::from_secs(60);
/// How much later than its last spend a rolling window of a minute may give money back: a sub-window, and the looks of
/// all who wait for it.
const ROLL: Duration = Duration::from_secs(8);

fn after(wait: Duration) -> String {
    UnixMillis::from(time::OffsetDateTime::now_utc()).plus(wait).to_rfc3339()
}

fn line(n: usize, options: Value) -> Bytes {
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": format!("question {n}")}],
        "max_tokens": 40, "metadata": {"sim": "tokens=40"}});
    json!({"body": body, "tollgate": options}).to_string().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_clock_is_five_minutes_ahead_changes_nothing() {
    let profile = format!("[worker]\nack_wait = \"3s\"\nconcurrency = 4\nlease = \"{}s\"", LEASE.as_secs());
    // The wrong one is there first: it settles, and it is the scout.
    let mut system = System::start_with(&profile, |options| {
        options.workers = 1;
        std::fs::write(options.dir.join(CLOCK), AHEAD.as_millis().to_string()).expect("its clock is set");
    })
    .await;
    std::fs::remove_file(system.stack.dir().join(CLOCK)).expect("the other one's clock is right");
    system.stack.add_worker().await.expect("the second worker starts");
    let core = system.core().await;
    ledger::keep_every_version(&core).await;
    let journal = Journal::default();
    let producer = system.producer("search").await;

    // About twenty jobs spend the budget of a minute, on both workers; the others wait.
    let budget = json!([{"window": "rolling 1m", "cap_usd": "0.0006"}]);
    let record = TeamRecord { budgets: serde_json::from_value(budget).expect("a budget"), ..TeamRecord::default() };
    let team = "search".parse().expect("a team");
    ledger::directory(&core).await.put_team(&team, &record, Expected::Any).await.expect("the budget is set");
    journal.submit_all(&producer, Class::Standard, (0..36).map(|n| line(n, json!({})))).await;
    eventually("the budget is spent", Duration::from_secs(40), || async {
        let account = ledger::account(&core, "team:search").await?;
        let settled = account.windows().get("rolling 1m")?.settled.sum();
        // None has a bound as large as what is left.
        (settled.0 > 540_000 && account.held().sum().0 == 0).then_some(())
    })
    .await;
    let spent = Instant::now();
    // Deadlines on either side of the five minutes, and of the minute that the others wait.
    let submit = async |within: Duration| {
        let options = json!({ "deadline": after(within) });
        journal.submit(&producer, Class::Standard, line(100, options)).await
    };
    let (dies, lives) = (submit(Duration::from_secs(10)).await, submit(AHEAD - Duration::from_secs(100)).await);

    let (_, entries) = eventually("everything ends", WINDOW + ROLL * 3, || async {
        let (log, entries) = whole_log(&core).await;
        (events(&entries).count() >= journal.len()).then_some((log, entries))
    })
    .await;
    eprintln!("all done {:?} after the budget was spent", spent.elapsed());
    let of = |job: &JobId| entries.iter().find(|entry| entry.event.as_ref().is_ok_and(|event| event.job == *job));
    let (dies, lives) = (of(&dies).expect("it ended"), of(&lives).expect("it ended"));
    let event = dies.event.as_ref().expect("an event");
    assert_eq!((event.status, event.error_code), (Status::Expired, Some(ErrorCode::DeadlineExceeded)));
    let waited = dies.at.since(event.accepted_at);
    assert!(
        waited >= Duration::from_secs(9) && waited < Duration::from_secs(12) + SLACK,
        "it expired after {waited:?}"
    );
    assert_eq!(lives.event.as_ref().expect("an event").status, Status::Succeeded);
    money_came_back_when_the_window_moved(&entries);
    times_are_the_servers(&entries);
    leases_and_windows_are_the_servers(&core).await;
    check(&system, &core, &journal).await;
    system.stop().await;
}

fn events(entries: &[LogEntry]) -> impl Iterator<Item = &UsageEvent> {
    entries.iter().filter_map(|entry| entry.event.as_ref().ok())
}

fn started_at(event: &UsageEvent) -> UnixMillis {
    event.accepted_at.plus(Duration::from_millis(event.queued_ms))
}

/// Nobody is served between the end of the money and the end of the minute, and then the others are.
fn money_came_back_when_the_window_moved(entries: &[LogEntry]) {
    let mut starts: Vec<UnixMillis> =
        events(entries).filter(|event| event.status == Status::Succeeded).map(started_at).collect();
    starts.sort();
    let gaps = starts.windows(2).map(|pair| (pair[1].since(pair[0]), pair[0]));
    let (gap, before) = gaps.max().expect("there are several");
    let first = starts[0];
    eprintln!("nobody was served for {gap:?}, from {:?} after the first on", before.since(first));
    // The window moves on when what was spent first is a minute old, by whole sub-windows.
    let moved = before.plus(gap).since(first);
    assert!(moved >= WINDOW - Duration::from_millis(2_500) && moved <= WINDOW + ROLL, "money was back after {moved:?}");
}

/// Every time that a worker wrote into a result fits the server's own stamp on it.
fn times_are_the_servers(entries: &[LogEntry]) {
    let mut workers = std::collections::BTreeMap::<&str, usize>::new();
    for entry in entries {
        let Ok(event) = &entry.event else { continue };
        *workers.entry(&event.worker).or_default() += event.attempts.len();
        for attempt in &event.attempts {
            let ahead = attempt.started_at.since(entry.at);
            let behind = entry.at.since(attempt.started_at);
            assert!(ahead <= SLACK && behind <= SLACK + Duration::from_secs(10), "{ahead:?} {behind:?} {event:?}");
        }
        assert!(started_at(event).since(entry.at) <= SLACK, "{event:?}");
    }
    eprintln!("calls by worker: {workers:?}");
    assert!(
        ["worker-1", "worker-2"].iter().all(|name| workers.get(name).is_some_and(|calls| *calls > 0)),
        "{workers:?}"
    );
}

/// In every version of every account, its own time, its leases and its windows fit the server's stamp on it.
async fn leases_and_windows_are_the_servers(core: &tollgate_queue::Connection) {
    ledger::promise_holds(core).await;
    for ledger::Version { account, at } in ledger::every_version(core).await {
        let ahead = account.as_of().since(at);
        assert!(ahead <= SLACK, "{} is ahead by {ahead:?}", account.scope());
        for (lease, block) in account.blocks() {
            assert!(block.until <= at.plus(LEASE + SLACK), "{lease} ends {:?} from then", block.until.since(at));
        }
        for (window, spent) in account.windows() {
            assert!(spent.start <= at.plus(SLACK), "{window} begins {:?} from then", spent.start.since(at));
        }
    }
}
