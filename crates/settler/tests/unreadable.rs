//! An account whose record nobody can read, over a real server: it is made anew from the log, and nothing is forgotten.

use std::time::Duration;

use testkit::{Setup, World, eventually};
use tollgate_policy::account::Account;
use tollgate_queue::Results;
use tollgate_queue::directory::{Expected, TeamRecord};
use tollgate_queue::ledger::{Records, account_key};
use tollgate_types::{NanoUsd, Scope, UsageEvent};

/// What each record cost.
const COST: i64 = 700;

fn scope() -> Scope {
    Scope::Team { team: "search".to_owned() }
}

async fn spend(results: &Results, job: usize) {
    let event: UsageEvent = serde_json::from_value(serde_json::json!({
        "version": 1, "kind": "extra", "job": format!("j-{job}"), "team": "search", "class": "standard",
        "run": format!("r-{job}"), "worker": "w", "delivery": 1, "status": "failed", "cache": "miss", "accepted_at": 0,
        "queued_ms": 0, "run_ms": 0,
        "attempts": [{
            "provider": "p", "model": "m", "outcome": "ok", "http_status": 200, "started_at": 0, "latency_ms": 1,
            "first_byte_ms": 0, "tokens": {"input": 7, "output": 3}, "usage_source": "provider", "cost_nanousd": COST, "price_version": "1",
        }],
    }))
    .expect("an event");
    results.record(&event).await;
}

/// What is settled in the team's day, if its account can be read.
async fn settled(records: &Records) -> Option<NanoUsd> {
    let (value, _) = records.get(&account_key(&scope().account())).await.ok()??;
    let account: Account = serde_json::from_slice(&value).ok()?;
    account.check().expect("the promise holds");
    Some(account.windows().get("day")?.settled.sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_account_is_made_anew_from_the_log() {
    let world = World::start(Setup::default()).await;
    let records = world.records().await;
    let budgets = serde_json::from_str(r#"[{"window":"day","cap_usd":"1"}]"#).expect("a budget");
    let record = TeamRecord { budgets, ..TeamRecord::default() };
    world
        .directory()
        .await
        .put_team(&"search".parse().expect("a team"), &record, Expected::Any)
        .await
        .expect("it is set");
    let connection = world.broker("worker").await;
    let results = Results::open(&connection.client).await.expect("an inbox");
    let until = async |spent: i64| {
        let there = async || settled(&records).await.filter(|sum| *sum == NanoUsd(spent));
        eventually("all is settled", Duration::from_secs(30), there).await
    };

    let settler = world.settler("first").await;
    spend(&results, 1).await;
    spend(&results, 2).await;
    until(2 * COST).await;
    // The next settler knows nothing of it from before.
    settler.stop.cancel();
    let key = account_key(&scope().account());
    let (_, revision) = records.get(&key).await.expect("it answers").expect("an account");
    records.update(&key, "by hand".into(), revision).await.expect("it is written");
    let _settler = world.settler("second").await;
    spend(&results, 3).await;
    until(3 * COST).await;
}
