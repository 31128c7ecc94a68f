//! A world with budgets.

use std::time::Duration;

use testkit::{SettlerHandle, Setup, WorkerHandle, World};
use tollgate_client::Producer;
use tollgate_policy::account::Account;
use tollgate_queue::directory::{Directory, Expected, TeamRecord};
use tollgate_queue::ledger::{Records, account_key};
use tollgate_types::{Budget, Class, JobId, JobResult, NanoUsd, Scope};

/// Servers, a worker, a settler, and what a test asks of them.
pub(crate) struct Money {
    pub(crate) world: World,
    pub(crate) worker: WorkerHandle,
    pub(crate) settler: SettlerHandle,
    pub(crate) directory: Directory,
    pub(crate) records: Records,
}

/// What one call of [`line`] can cost at most and what it does cost, for the price of `sim-small`: the body's bytes and
/// 100 tokens of answer.
pub(crate) fn line(n: usize, model: &str) -> String {
    serde_json::json!({
        "custom_id": format!("q-{n}"),
        "body": {
            "model": model,
            "messages": [{"role": "user", "content": "a question of some length"}],
            "max_tokens": 100,
            "metadata": {"sim": "tokens=100"},
        },
    })
    .to_string()
}

impl Money {
    /// Starts everything, with a team `search` that has these budgets (JSON of [`Budget`]).
    pub(crate) async fn start(budgets: serde_json::Value) -> Money {
        let world = World::start(Setup::default()).await;
        let (directory, records) = (world.directory().await, world.records().await);
        set(&directory, budgets).await;
        let settler = world.settler("settler").await;
        let worker = world.worker("w1", |config| config.concurrency = 16).await;
        Money { world, worker, settler, directory, records }
    }

    /// Submits so many jobs and returns their ids.
    pub(crate) async fn submit(&self, producer: &Producer, jobs: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for n in 0..jobs {
            let receipt = producer.submit(Class::Standard, line(n, "sim-small").into(), None).await;
            ids.push(receipt.expect("accepted").id);
        }
        ids
    }

    /// The account of a scope, if it is there.
    pub(crate) async fn account(&self, scope: &str) -> Option<Account> {
        let scope: Scope = scope.parse().expect("a scope");
        let found = self.records.get(&account_key(&scope.account())).await.expect("the bucket answers");
        found.map(|(value, _)| serde_json::from_slice(&value).expect("an account"))
    }

    /// Those of the jobs that have a result.
    pub(crate) async fn ended(&self, producer: &Producer, ids: &[JobId]) -> Vec<JobResult> {
        let mut ended = Vec::new();
        for id in ids {
            if let Ok(Some(line)) = producer.result(id).await {
                ended.push(serde_json::from_slice(&line).expect("a result"));
            }
        }
        ended
    }

    /// Waits until so many of the jobs have a result.
    pub(crate) async fn until_ended(&self, producer: &Producer, ids: &[JobId], jobs: usize) -> Vec<JobResult> {
        let what = format!("{jobs} of {} results", ids.len());
        testkit::eventually(&what, Duration::from_secs(60), || async {
            let ended = self.ended(producer, ids).await;
            (ended.len() >= jobs).then_some(ended)
        })
        .await
    }

    /// What one call can cost: taken from a refusal's arithmetic would be circular, so it is computed as the router does.
    pub(crate) fn bound() -> NanoUsd {
        let body = serde_json::from_str::<serde_json::Value>(&line(0, "sim-small")).expect("JSON")["body"].to_string();
        // 0.15 and 0.60 dollars per million tokens.
        NanoUsd((tollgate_providers_bound(body.len()) * 150 + 100 * 600) as i64)
    }
}

/// Prompt tokens at most: one a byte, as the router bounds them.
fn tollgate_providers_bound(bytes: usize) -> u64 {
    tollgate_providers::tokens::prompt_bound(bytes)
}

/// Gives the team `search` these budgets.
pub(crate) async fn set(directory: &Directory, budgets: serde_json::Value) {
    let budgets: Vec<Budget> = serde_json::from_value(budgets).expect("budgets");
    let record = TeamRecord { budgets, ..TeamRecord::default() };
    let team = "search".parse().expect("a team");
    directory.put_team(&team, &record, Expected::Any).await.expect("the team is changed");
}
