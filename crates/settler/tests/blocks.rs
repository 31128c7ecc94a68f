//! When the block of a worker that does not renew its lease comes back, over a real server.

use std::time::{Duration, Instant};

use testkit::{Setup, World, eventually};
use tokio::task::JoinSet;
use tollgate_policy::account::{Account, Ask, Pot};
use tollgate_policy::budget::rules_for;
use tollgate_queue::Results;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_queue::ledger::{Records, account_key};
use tollgate_types::{NanoUsd, Scope, UnixMillis, UsageEvent};

const LEASE: &str = "a-worker.0";

fn scope() -> Scope {
    Scope::Team { team: "search".to_owned() }
}

/// Opens the team's account with a block that is leased for so long.
async fn leased(world: &World, records: &Records, lease: Duration) {
    let budgets = serde_json::from_str(r#"[{"window":"day","cap_usd":"1"}]"#).expect("a budget");
    let record = TeamRecord { budgets, ..TeamRecord::default() };
    let team = "search".parse().expect("a team");
    world.directory().await.put_team(&team, &record, Expected::Any).await.expect("it is set");
    let rules = rules_for(&record.budgets, UnixMillis::default(), &scope()).expect("rules");
    let log = CommitLog::open(&world.jetstream().await).await.expect("the results stream");
    let now = UnixMillis::from(time::OffsetDateTime::now_utc());
    let mut account = Account::open(scope(), log.identity(), 0, now, &rules);
    let ask = Ask { lease: LEASE, pot: Pot::Main, amount: NanoUsd(1000), until: now.plus(lease) };
    account.take(&ask, now, &rules).expect("there is room");
    let value = serde_json::to_vec(&account).expect("it serialises");
    records.create(&account_key(&scope().account()), value.into()).await.expect("it is new");
}

/// Whether the block is there; `None` if the server does not say.
async fn is_there(records: &Records) -> Option<bool> {
    let (value, _) = records.get(&account_key(&scope().account())).await.ok()??;
    let account: Account = serde_json::from_slice(&value).expect("an account");
    Some(account.block(LEASE).is_some())
}

/// Spend of another team, without a pause.
async fn flood(world: &World) -> JoinSet<()> {
    let mut flood = JoinSet::new();
    for writer in 0..8 {
        let connection = world.broker("flood").await;
        let results = Results::open(&connection.client).await.expect("an inbox");
        flood.spawn(async move {
            // The lookup lives on this connection.
            let _connection = connection;
            for n in 0u64.. {
                let event: UsageEvent = serde_json::from_value(serde_json::json!({
                    "version": 1, "kind": "extra", "job": format!("j-{writer}-{n}"), "team": "marketing",
                    "class": "standard", "run": format!("r-{writer}-{n}"), "worker": "w", "delivery": 1,
                    "status": "failed", "attempts": [], "cache": "miss", "accepted_at": 0, "queued_ms": 0, "run_ms": 0,
                }))
                .expect("an event");
                results.record(&event).await;
            }
        });
    }
    flood
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_block_comes_back_although_results_never_pause() {
    let world = World::start(Setup::default()).await;
    let records = world.records().await;
    let _settler = world.settler("settler").await;
    let flood = flood(&world).await;
    leased(&world, &records, Duration::from_secs(1)).await;
    let gone = async || is_there(&records).await.filter(|there| !there);
    eventually("the dead worker's block is gone", Duration::from_secs(30), gone).await;
    drop(flood);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_block_is_dropped_because_the_server_was_away_longer_than_its_lease() {
    const LEASED: Duration = Duration::from_secs(8);
    let mut world = World::start(Setup::default()).await;
    let records = world.records().await;
    let _settler = world.settler("settler").await;
    let since = Instant::now();
    leased(&world, &records, LEASED).await;
    // By then the settler drops the blocks of the dead.
    tokio::time::sleep_until((since + Duration::from_secs(6)).into()).await;
    assert_eq!(is_there(&records).await, Some(true));
    world.nats.kill9().expect("it dies");
    tokio::time::sleep_until((since + LEASED + Duration::from_secs(1)).into()).await;
    world.nats.restart().await.expect("it starts again");
    // A live worker renews within a second of being connected; nobody does here, for two.
    eventually("the server answers", Duration::from_secs(20), async || is_there(&records).await).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(is_there(&records).await, Some(true), "it was dropped before its worker could renew it");
    let gone = async || is_there(&records).await.filter(|there| !there);
    eventually("a worker that does not come back is dead", Duration::from_secs(30), gone).await;
}
