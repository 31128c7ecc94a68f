//! The worker's side of limits on speed: permits taken in blocks from limit records, spent by single jobs in memory.
//!
//! Each limited thing (a team, a key, a provider's deployment) has a record that all workers swap
//! ([`tollgate_policy::limit`]), and here a *counter*: what this worker has in hand, who waits for more, and a task that
//! asks for it. Jobs wait at the counter in the order in which they came, and only a few, and not for long: the others are
//! parked.

mod counter;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tollgate_queue::ledger::{Records, limit_key, limit_of_scope};
use tollgate_queue::{Directory, ServerClock, TeamRecord};
use tollgate_types::{AccountId, Digest, Limits, Scope};

use crate::gates::Allowance;
use crate::routes::Priced;
pub(crate) use counter::Pass;
use counter::{Counter, Patience};

/// Something that is limited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Limited {
    /// A team, or one of its keys.
    Scope(Scope),
    /// A model at a provider.
    Deployment {
        /// The operator's name of the provider.
        provider: String,
        /// The provider's name of the model.
        model: String,
        /// How fast it may be called, as configured.
        limits: Limits,
    },
}

impl Limited {
    /// A deployment.
    pub(crate) fn of(priced: &Priced) -> Limited {
        let deployment = &priced.deployment;
        Limited::Deployment {
            provider: deployment.provider.clone(),
            model: deployment.model.clone(),
            limits: priced.limits,
        }
    }

    /// The name of its record.
    fn key(&self) -> String {
        match self {
            Limited::Scope(scope) => limit_of_scope(scope),
            Limited::Deployment { provider, model, .. } => {
                limit_key(&Digest::of(&[b"deployment", provider.as_bytes(), model.as_bytes()]).short())
            }
        }
    }
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limited::Scope(scope) => scope.fmt(f),
            Limited::Deployment { provider, model, .. } => write!(f, "{model} at {provider}"),
        }
    }
}

/// What a job needs of each limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Prompt and expected answer.
    pub(crate) tokens: u64,
}

/// Why a job may not go now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// It needs more than a whole minute allows.
    Never {
        /// The arithmetic.
        message: String,
    },
    /// It has to wait.
    Wait {
        /// For what.
        message: String,
    },
}

/// Holds permits for jobs.
pub(crate) struct Limiter {
    records: Records,
    directory: Directory,
    clock: ServerClock,
    /// Names this process in every record.
    process: String,
    lease_time: Duration,
    counters: Mutex<HashMap<Limited, Arc<Counter>>>,
    /// Which scopes have a limit, by the ids that stand in gates.
    scopes: RwLock<HashMap<AccountId, Scope>>,
    opening: mpsc::Sender<Arc<Counter>>,
    opened: Mutex<Option<mpsc::Receiver<Arc<Counter>>>>,
    /// Counts what could open or close a door.
    changes: watch::Sender<u64>,
}

/// What a limiter is made of.
pub(crate) struct Setup {
    pub(crate) records: Records,
    pub(crate) directory: Directory,
    pub(crate) clock: ServerClock,
    pub(crate) process: String,
    pub(crate) lease_time: Duration,
}

/// In place of a key's id: what holds for each key that is not named.
const EACH: &str = "*";
/// Counters that wait for their task.
const OPENING_MAX: usize = 1024;

impl Limiter {
    pub(crate) fn new(setup: Setup) -> Arc<Limiter> {
        let Setup { records, directory, clock, process, lease_time } = setup;
        let (opening, opened) = mpsc::channel(OPENING_MAX);
        let (changes, _) = watch::channel(0);
        let limiter = Limiter {
            records,
            directory,
            clock,
            process,
            lease_time,
            counters: Mutex::default(),
            scopes: RwLock::default(),
            opening,
            opened: Mutex::new(Some(opened)),
            changes,
        };
        limiter.read_directory();
        Arc::new(limiter)
    }

    /// Whether it is limited at all.
    pub(crate) fn limits(&self, limited: &Limited) -> bool {
        !self.limits_of(limited).is_none()
    }

    /// Told whenever a door may have moved.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A permit, or at once why there is none; `None` where nothing is limited. It asks the record at most once.
    ///
    /// # Errors
    /// Why the job may not go now.
    pub(crate) async fn pass(&self, limited: &Limited, need: Need) -> Result<Option<Pass>, Short> {
        self.ask(limited, need, Patience::None).await
    }

    /// A permit, waited for at most `within`; `None` where nothing is limited. Cancel safe.
    ///
    /// # Errors
    /// Why the job may not go yet; at once if too many wait already.
    pub(crate) async fn pass_within(
        &self,
        limited: &Limited,
        need: Need,
        within: Duration,
    ) -> Result<Option<Pass>, Short> {
        self.ask(limited, need, Patience::Within(within)).await
    }

    async fn ask(&self, limited: &Limited, need: Need, patience: Patience) -> Result<Option<Pass>, Short> {
        match self.counter(limited) {
            None => Ok(None),
            Some(counter) => counter.ask(need, patience, &self.clock).await.map(Some),
        }
    }

    /// The counter of a limited thing, made where it was not known; `None` if nothing is limited.
    fn counter(&self, limited: &Limited) -> Option<Arc<Counter>> {
        let limits = self.limits_of(limited);
        let mut counters = self.counters.lock().expect("no holder panics");
        if let Some(counter) = counters.get(limited) {
            counter.with_limits(limits);
            return (!limits.is_none()).then(|| counter.clone());
        }
        if limits.is_none() {
            return None;
        }
        let counter = Arc::new(Counter::new(limited.clone(), limits));
        // A full channel is asked again with the next job; without its task a counter only says "wait".
        if self.opening.try_send(counter.clone()).is_ok() {
            counters.insert(limited.clone(), counter.clone());
            if let Limited::Scope(scope) = limited {
                // A key that only `*` names is known from now on, so that its gate can be told apart.
                self.scopes.write().expect("no holder panics").insert(scope.account(), scope.clone());
            }
        }
        Some(counter)
    }

    fn limits_of(&self, limited: &Limited) -> Limits {
        match limited {
            Limited::Deployment { limits, .. } => *limits,
            Limited::Scope(Scope::Team { team }) => {
                self.directory.team(team).map(|record| record.limits).unwrap_or_default()
            }
            Limited::Scope(Scope::Key { team, key }) => {
                let record = self.directory.team(team);
                let of_key = |record: &TeamRecord| record.key_limits.get(key).or(record.key_limits.get(EACH)).copied();
                record.and_then(|record| of_key(&record)).unwrap_or_default()
            }
            Limited::Scope(Scope::Organisation | Scope::Project { .. } | Scope::User { .. }) => Limits::default(),
        }
    }

    /// The scope of an account's id, as far as it is limited or was asked about.
    fn scope_of(&self, id: &AccountId) -> Option<Scope> {
        self.scopes.read().expect("no holder panics").get(id).cloned()
    }

    /// How many jobs may begin by what is in hand. With `busy`, more is asked for if that is little.
    pub(crate) fn allowance(&self, limited: &Limited, busy: bool) -> Allowance {
        match self.counter(limited) {
            None => Allowance::Free,
            Some(counter) => Allowance::UpTo(counter.in_hand(busy, &self.clock)),
        }
    }

    /// How many jobs parked behind this account's gate may begin, as far as limits go.
    pub(crate) fn allowance_of_account(&self, id: &AccountId) -> Allowance {
        self.scope_of(id).map_or(Allowance::Free, |scope| self.allowance(&Limited::Scope(scope), true))
    }

    /// Why an account's gate is closed, in words.
    pub(crate) fn why_closed_account(&self, id: &AccountId) -> String {
        self.scope_of(id).map(|scope| self.why_closed(&Limited::Scope(scope))).unwrap_or_default()
    }

    /// Why a limited thing is closed, in words.
    pub(crate) fn why_closed(&self, limited: &Limited) -> String {
        format!("the limits of {limited} leave nothing at the moment: {}", shown(&self.limits_of(limited)))
    }

    /// Takes in which scopes are limited.
    fn read_directory(&self) {
        let mut scopes = HashMap::new();
        for (team, record) in self.directory.teams() {
            let keys = record.key_limits.keys().map(|key| Scope::Key { team: team.clone(), key: key.clone() });
            let own = (!record.limits.is_none()).then(|| Scope::Team { team: team.clone() });
            scopes.extend(keys.chain(own).map(|scope| (scope.account(), scope)));
        }
        let counters = self.counters.lock().expect("no holder panics");
        scopes.extend(counters.keys().filter_map(|limited| match limited {
            Limited::Scope(scope) => Some((scope.account(), scope.clone())),
            Limited::Deployment { .. } => None,
        }));
        drop(counters);
        *self.scopes.write().expect("no holder panics") = scopes;
        self.changed();
    }

    /// Asks for permits wherever jobs want them, for ever. Cancel safe: what is in hand runs out by itself.
    pub(crate) async fn keep(self: Arc<Self>) {
        let opened = self.opened.lock().expect("no holder panics").take();
        let mut opened = opened.expect("a limiter is kept once");
        let mut changes = self.directory.changes();
        let mut counters: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                Some(counter) = opened.recv() => {
                    let limiter = self.clone();
                    counters.spawn(async move { counter.keep(&limiter).await });
                }
                changed = changes.changed() => match changed {
                    Ok(()) => self.read_directory(),
                    // The directory ends with the process.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    /// Hands everything in that nobody uses: at an orderly end.
    pub(crate) async fn leave(&self) {
        let counters: Vec<_> = self.counters.lock().expect("no holder panics").values().cloned().collect();
        for counter in counters {
            counter.hand_in(self).await;
        }
    }
}

fn shown(limits: &Limits) -> String {
    let parts = [
        limits.requests_per_minute.map(|n| format!("{n} requests a minute")),
        limits.tokens_per_minute.map(|n| format!("{n} tokens a minute")),
        limits.concurrency.map(|n| format!("{n} at once")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
