//! A world with budgets.

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use serde_json::{Value, json};
use testkit::{SettlerHandle, Setup, WorkerHandle, World, eventually};
use tokio::task::JoinSet;
use tollgate_client::Producer;
use tollgate_policy::account::Account;
use tollgate_queue::bucket::Seen;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::directory::{Directory, Expected, Organisation, TeamRecord};
use tollgate_queue::ledger::{ACCOUNTS, Records, account_key};
use tollgate_types::budget::Usd;
use tollgate_types::{Budget, Class, JobId, JobResult, NanoUsd, Scope, UnixMillis, UsageEvent, headers};

/// Servers, and what a test asks of them.
pub(crate) struct Books {
    pub(crate) world: World,
    pub(crate) directory: Directory,
    pub(crate) records: Records,
}

/// The same with a worker and a settler.
pub(crate) struct Money {
    pub(crate) books: Books,
    pub(crate) worker: WorkerHandle,
    pub(crate) settler: SettlerHandle,
}

impl Deref for Money {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

/// What one call of [`line`] can cost at most and what it does cost, for the price of `sim-small`: the body's bytes and
/// 100 tokens of answer.
pub(crate) fn line(n: usize, model: &str) -> String {
    line_of(n, model, "tokens=100", json!({}))
}

/// The same with another directive for the provider, and options of the job.
pub(crate) fn line_of(n: usize, model: &str, directive: &str, options: Value) -> String {
    json!({
        "custom_id": format!("q-{n}"),
        "body": {
            "model": model,
            "messages": [{"role": "user", "content": "a question of some length"}],
            "max_tokens": 100,
            "metadata": {"sim": directive},
        },
        "tollgate": options,
    })
    .to_string()
}

/// What one call of a line for `sim-small` can cost: taken from a refusal's arithmetic would be circular, so it is
/// computed as the router does, with prompt tokens bounded by bytes.
pub(crate) fn bound_of(line: &str) -> NanoUsd {
    let body = serde_json::from_str::<Value>(line).expect("JSON")["body"].to_string();
    // 0.15 and 0.60 dollars per million tokens.
    let nanos = tollgate_providers::tokens::prompt_bound(body.len()) * 150 + 100 * 600;
    NanoUsd(i64::try_from(nanos).expect("it is small"))
}

impl Money {
    /// Starts everything, with a team `search` that has these budgets (JSON of [`Budget`]).
    pub(crate) async fn start(budgets: Value) -> Money {
        let books = Books::start(budgets).await;
        let settler = books.world.settler("settler").await;
        let worker = books.world.worker("w1", |config| config.concurrency = 16).await;
        Money { books, worker, settler }
    }

    /// What one call of [`line`] can cost.
    pub(crate) fn bound() -> NanoUsd {
        bound_of(&line(0, "sim-small"))
    }
}

impl Books {
    /// Starts the servers, with a team `search` that has these budgets.
    pub(crate) async fn start(budgets: Value) -> Books {
        Books::with(Setup::default(), budgets).await
    }

    /// The same, with servers of another setup.
    pub(crate) async fn with(setup: Setup, budgets: Value) -> Books {
        let world = World::start(setup).await;
        let (directory, records) = (world.directory().await, world.records().await);
        set(&directory, budgets).await;
        Books { world, directory, records }
    }

    /// Starts a worker whose blocks are leased so briefly that a test can see their end.
    pub(crate) async fn worker(&self, name: &str) -> WorkerHandle {
        let change = |config: &mut tollgate_worker::Config| {
            (config.concurrency, config.lease) = (16, LEASE);
        };
        self.world.worker(name, change).await
    }

    /// Submits so many jobs and returns their ids.
    pub(crate) async fn submit(&self, producer: &Producer, jobs: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for n in 0..jobs {
            ids.push(self.submit_line(producer, line(n, "sim-small"), None).await);
        }
        ids
    }

    /// Submits one job, with the id of an API key.
    pub(crate) async fn submit_line(&self, producer: &Producer, line: String, key: Option<&str>) -> JobId {
        let mut own = HeaderMap::new();
        if let Some(key) = key {
            own.insert(headers::KEY, key);
        }
        producer.submit_with(Class::Standard, line.into(), None, own).await.expect("accepted").id
    }

    /// The account of a scope, if it is there.
    pub(crate) async fn account(&self, scope: &str) -> Option<Account> {
        let scope: Scope = scope.parse().expect("a scope");
        let found = self.records.get(&account_key(&scope.account())).await.expect("the bucket answers");
        found.map(|(value, _)| serde_json::from_slice(&value).expect("an account"))
    }

    /// The account of a scope once nothing of it is held and the next job's `bound` does not fit its one window.
    pub(crate) async fn when_spent(&self, scope: &str, window: &str, cap: NanoUsd, bound: NanoUsd) -> Account {
        eventually(&format!("{scope} is spent"), Duration::from_secs(60), || async {
            let account = self.account(scope).await?;
            let settled = account.windows().get(window)?.settled.sum();
            (settled + bound > cap && account.held().sum() == NanoUsd::ZERO).then_some(account)
        })
        .await
    }

    /// The account of a scope once it has settled so much and holds nothing.
    pub(crate) async fn when_settled(&self, scope: &str, window: &str, settled: NanoUsd) -> Account {
        let what = format!("{settled} are settled in {window} of {scope}");
        eventually(&what, Duration::from_secs(40), || async {
            let account = self.account(scope).await?;
            let is = account.windows().get(window)?.settled.sum();
            (is == settled && account.held().sum() == NanoUsd::ZERO).then_some(account)
        })
        .await
    }

    /// The account of the team once nothing of it is held and it has settled all that the log says; also of runs that
    /// were beaten by others and book what they spent when they end.
    pub(crate) async fn when_all_is_settled(&self, window: &str) -> Account {
        eventually("all that was paid is settled", Duration::from_secs(40), || async {
            let account = self.account("team:search").await?;
            let paid: NanoUsd = self.log().await.iter().map(UsageEvent::cost).sum();
            let is = account.windows().get(window)?.settled.sum();
            (is == paid && account.held().sum() == NanoUsd::ZERO).then_some(account)
        })
        .await
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
        eventually(&what, Duration::from_secs(60), || async {
            let ended = self.ended(producer, ids).await;
            (ended.len() >= jobs).then_some(ended)
        })
        .await
    }

    /// Everything that the log says was spent, whether with a result or beside it.
    pub(crate) async fn log(&self) -> Vec<UsageEvent> {
        let log = CommitLog::open(&self.world.jetstream().await).await.expect("the stream exists");
        let (bounds, mut events) = (log.bounds().await.expect("the log answers"), Vec::new());
        let mut tail = log.tail(1);
        let mut through = 0;
        while through < bounds.last {
            for entry in tail.next_batch(1_000, Duration::from_millis(200)).await.expect("the log can be read") {
                through = entry.seq;
                events.extend(entry.event.ok());
            }
        }
        events
    }

    /// Watches every version of every account from now on, and whether the promise holds in it.
    pub(crate) fn watch_the_promise(&self) -> Promise {
        let promise = Promise { seen: Arc::default(), task: JoinSet::new() };
        let (mut watch, seen) = (self.records.watch(ACCOUNTS), promise.seen.clone());
        let mut task = promise.task;
        task.spawn(async move {
            loop {
                if let Seen::Put(version) = watch.next().await {
                    let account: Account = serde_json::from_slice(&version.value).expect("an account");
                    let held = account.check().map_err(|why| format!("{} at {}: {why}", version.key, version.revision));
                    seen.lock().expect("no holder panics").push(held.map(|()| account));
                }
            }
        });
        Promise { seen: promise.seen, task }
    }
}

/// How long a block is leased to a worker of [`Books::worker`].
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// The versions of the accounts as they were written.
pub(crate) struct Promise {
    seen: Arc<Mutex<Vec<Result<Account, String>>>>,
    task: JoinSet<()>,
}

impl Promise {
    /// At every version settled and held were at most the cap and recorded overruns; and nothing was overrun.
    pub(crate) fn check_kept_without_overrun(mut self) {
        self.task.abort_all();
        let seen = std::mem::take(&mut *self.seen.lock().expect("no holder panics"));
        assert!(!seen.is_empty(), "no version was seen");
        for account in seen {
            let account = account.expect("the promise holds");
            for (window, spent) in account.windows() {
                assert_eq!(spent.overrun.sum(), NanoUsd::ZERO, "{window} of {}", account.scope());
            }
        }
    }
}

/// Gives the team `search` these budgets.
pub(crate) async fn set(directory: &Directory, budgets: Value) {
    let budgets: Vec<Budget> = serde_json::from_value(budgets).expect("budgets");
    let record = TeamRecord { budgets, ..TeamRecord::default() };
    let team = "search".parse().expect("a team");
    directory.put_team(&team, &record, Expected::Any).await.expect("the team is changed");
}

/// Gives everybody together these budgets.
pub(crate) async fn set_organisation(directory: &Directory, budgets: Value) {
    let budgets: Vec<Budget> = serde_json::from_value(budgets).expect("budgets");
    let record = Organisation { budgets, ..Organisation::default() };
    directory.put_organisation(&record, Expected::Any).await.expect("the organisation is changed");
}

/// An amount as budgets write it.
pub(crate) fn usd(amount: NanoUsd) -> String {
    Usd(amount).to_string()
}

/// So many times an amount.
pub(crate) fn times(amount: NanoUsd, times: i64) -> NanoUsd {
    NanoUsd(amount.0 * times)
}

pub(crate) fn cost_of_all(results: &[JobResult]) -> NanoUsd {
    results.iter().map(|result| result.tollgate.cost_nanousd).sum()
}

/// This machine's time; the servers of a test run on it.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixMillis(i64::try_from(since.as_millis()).expect("it fits"))
}
