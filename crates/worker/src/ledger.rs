//! The worker's side of the money: blocks taken from account records, holds within them.
//!
//! An account record says what is settled and which worker holds how much ([`tollgate_policy::account`]). A worker takes
//! a *block* by one compare-and-swap and then holds and releases money for single jobs within it, in memory. What a job
//! held goes into its record in the commit log; whoever folds that record takes it off the block. So this file only ever
//! adds to a block (take) or gives back what nobody holds.
//!
//! What a `kill -9` leaves behind: a block in the record, which ends with its lease; never money that was spent and not
//! held.

mod money;
mod purse;
mod swap;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tollgate_policy::account::{Account, Ask, Denied, DeniedKind, Next, Pot};
use tollgate_policy::budget::{Rule, rules_for};
use tollgate_queue::Directory;
use tollgate_queue::ServerClock;
use tollgate_queue::bucket::BucketError;
use tollgate_queue::ledger::Records;
use tollgate_types::{AccountId, NanoUsd, Scope, UnixMillis};

use crate::gates::Allowance;
pub(crate) use money::Money;
use purse::Purse;

/// How long a block is leased. A dead worker's money is back after this and a sweep of the settler.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// No money is held for a new job on a lease that ends this soon: its renewal must have failed. Of a short lease, a
/// quarter.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// Holds money for jobs.
pub(crate) struct Ledger {
    records: Records,
    directory: Directory,
    clock: ServerClock,
    /// The identity of the results stream, for accounts that are opened here.
    log: String,
    /// Names this process; with [`Purses::epoch`], its blocks.
    process: String,
    lease_time: Duration,
    crash: crate::CrashPlan,
    purses: Mutex<Purses>,
    rules: RwLock<HashMap<Scope, Arc<[Rule]>>>,
    /// Counts what could open or close a door.
    changes: watch::Sender<u64>,
}

/// Every purse of this worker.
#[derive(Debug, Default)]
struct Purses {
    by_account: HashMap<AccountId, Purse>,
    /// Goes up when a lease ended without renewal: what was held under the old name is not ours any more, and must not
    /// be taken off a block that is taken later.
    epoch: u32,
}

impl Purses {
    fn entry(&mut self, id: &AccountId) -> &mut Purse {
        if !self.by_account.contains_key(id) {
            self.by_account.insert(id.clone(), Purse::default());
        }
        self.by_account.get_mut(id).expect("it was just entered")
    }
}

/// Why there is no money for a job.
#[derive(Debug)]
pub(crate) enum NoMoney {
    /// A budget says no, with the arithmetic and what follows.
    Denied(Box<Denied>),
    /// The account could not be read or written.
    Unavailable(BucketError),
}

/// What is asked of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whose money.
    pub(crate) scope: Scope,
    /// Ordinary money, or that for the cheaper model.
    pub(crate) pot: Pot,
}

/// What a ledger is made of.
pub(crate) struct Setup {
    pub(crate) records: Records,
    pub(crate) directory: Directory,
    pub(crate) clock: ServerClock,
    pub(crate) log: String,
    pub(crate) process: String,
    pub(crate) lease_time: Duration,
    pub(crate) crash: crate::CrashPlan,
}

impl Ledger {
    pub(crate) fn new(setup: Setup) -> Arc<Ledger> {
        let Setup { records, directory, clock, log, process, lease_time, crash } = setup;
        let (changes, _) = watch::channel(0);
        Arc::new(Ledger {
            records,
            directory,
            clock,
            log,
            process,
            lease_time,
            crash,
            purses: Mutex::default(),
            rules: RwLock::default(),
            changes,
        })
    }

    /// Told whenever a door may have moved.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The scopes among `scopes` that have a budget, each with its ordinary pot.
    pub(crate) fn parts(&self, scopes: Vec<Scope>) -> Vec<Part> {
        let budgeted = scopes.into_iter().filter(|scope| !self.rules_of(scope).is_empty());
        budgeted.map(|scope| Part { scope, pot: Pot::Main }).collect()
    }

    /// The budgets of a scope.
    pub(crate) fn rules_of(&self, scope: &Scope) -> Arc<[Rule]> {
        if let Some(rules) = self.rules.read().expect("no holder panics").get(scope) {
            return rules.clone();
        }
        // The directory refused records that are no rules.
        let (budgets, as_of) = self.directory.budgets_of(scope);
        let rules: Arc<[Rule]> = rules_for(&budgets, as_of, scope).unwrap_or_default().into();
        let mut cached = self.rules.write().expect("no holder panics");
        if cached.len() >= RULES_MAX {
            cached.clear();
        }
        cached.insert(scope.clone(), rules.clone());
        rules
    }

    /// Forgets which budgets hold: after a change of the directory.
    pub(crate) fn forget_rules(&self) {
        self.rules.write().expect("no holder panics").clear();
        self.changed();
    }

    /// Holds `amount` in every account of `parts`, or in none.
    ///
    /// Cancel safe: what was taken from a record and not held stays free in the purse.
    ///
    /// # Errors
    /// The first account that has no money, or that could not be asked.
    pub(crate) async fn hold(self: &Arc<Self>, parts: Vec<Part>, amount: NanoUsd) -> Result<Money, NoMoney> {
        {
            let mut purses = self.purses.lock().expect("no holder panics");
            parts.iter().for_each(|part| purses.entry(&part.scope.account()).asked(part.pot, amount));
        }
        loop {
            match self.hold_in_memory(&parts, amount) {
                Ok(lease) => return Ok(Money::new(self.clone(), lease, parts, amount)),
                Err(lacking) => self.take(&lacking, amount).await?,
            }
        }
    }

    /// Holds without asking anybody, and returns the name of the lease; else the first part whose purse has too little.
    fn hold_in_memory(&self, parts: &[Part], amount: NanoUsd) -> Result<String, Part> {
        let lasting = self.lasting();
        let mut purses = self.purses.lock().expect("no holder panics");
        let lacking = parts.iter().find(|part| {
            let purse = purses.by_account.get(&part.scope.account());
            !purse.is_some_and(|purse| purse.has(part.pot, amount, lasting))
        });
        if let Some(part) = lacking {
            return Err(part.clone());
        }
        for part in parts {
            purses.entry(&part.scope.account()).hold(part.pot, amount);
        }
        Ok(self.lease(&purses))
    }

    /// Until when a lease must last at least for something to be held on it.
    fn lasting(&self) -> UnixMillis {
        self.clock.now().plus(LEASE_MARGIN.min(self.lease_time / 4))
    }

    /// The name of our blocks now.
    fn lease(&self, purses: &Purses) -> String {
        format!("{}.{}", self.process, purses.epoch)
    }

    /// Gives held money back to the purses: its job came to no record that says so.
    fn release(&self, lease: &str, parts: &[Part], amount: NanoUsd) {
        let mut purses = self.purses.lock().expect("no holder panics");
        let ours = self.lease(&purses) == lease;
        for part in parts.iter().filter(|_| ours) {
            purses.entry(&part.scope.account()).release(part.pot, amount);
        }
    }

    /// Held money went into a record: whoever folds it takes it off our block.
    fn settled(&self, lease: &str, parts: &[Part], amount: NanoUsd) {
        let now = self.clock.now();
        let mut purses = self.purses.lock().expect("no holder panics");
        let ours = self.lease(&purses) == lease;
        for part in parts.iter().filter(|_| ours) {
            purses.entry(&part.scope.account()).settled(amount, now);
        }
    }

    /// How many jobs that wait behind this account's gate may begin, as far as is known. An account that never denied
    /// anything is open; one that did has as much room as the last denied amount fits into its headroom.
    pub(crate) fn allowance(&self, account: &AccountId) -> Allowance {
        self.allowance_by(account, Purse::allowance)
    }

    /// How many jobs of a lane may begin with this account's money: as many of the smallest ones lately as fit.
    pub(crate) fn allowance_of_lane(&self, account: &AccountId) -> Allowance {
        self.allowance_by(account, Purse::allowance_of_lane)
    }

    fn allowance_by(
        &self,
        account: &AccountId,
        of: impl Fn(&mut Purse, &[Rule], UnixMillis) -> Allowance,
    ) -> Allowance {
        let now = self.clock.now();
        let mut purses = self.purses.lock().expect("no holder panics");
        let Some(purse) = purses.by_account.get_mut(account) else { return Allowance::Free };
        let Some(scope) = purse.tight_scope() else { return Allowance::Free };
        let rules = self.rules_of(&scope);
        of(purse, &rules, now)
    }

    /// Notes that the cheaper model of a refusal cannot serve: its account makes jobs wait.
    pub(crate) fn cannot_downgrade(&self, denied: &Denied, why: String) {
        let mut purses = self.purses.lock().expect("no holder panics");
        purses.entry(&denied.scope.account()).cannot_downgrade(denied, why);
        drop(purses);
        self.changed();
    }

    /// Why no window of these scopes could ever fit `amount`, whatever was spent; `None` if all could, or if a cheaper
    /// model might serve.
    pub(crate) fn never_fits(&self, scopes: &[Scope], amount: NanoUsd) -> Option<String> {
        let now = self.clock.now();
        scopes.iter().find_map(|scope| {
            let rules = self.rules_of(scope);
            let mut empty = Account::open(scope.clone(), self.log.clone(), 0, now, &rules);
            let ask = Ask { lease: "", pot: Pot::Main, amount, until: now };
            let denied = empty.take(&ask, now, &rules).err()?;
            (denied.next() == Next::Reject && denied.kind == DeniedKind::Never).then(|| denied.to_string())
        })
    }

    /// What would make a job wait that needs `amount` of each of these accounts, as the server has them now; `None` if
    /// nothing would.
    ///
    /// # Errors
    /// An account could not be read.
    pub(crate) async fn would_make_wait(
        &self,
        scopes: Vec<Scope>,
        amount: NanoUsd,
    ) -> Result<Option<Box<Denied>>, BucketError> {
        for part in self.parts(scopes) {
            let Some(mut account) = self.current(&part.scope).await? else { continue };
            let now = self.clock.now();
            let ask = Ask { lease: "", pot: part.pot, amount, until: now };
            let denied = account.take(&ask, now, &self.rules_of(&part.scope)).err();
            if let Some(denied) = denied.filter(|denied| purse::makes_wait(denied)) {
                return Ok(Some(denied));
            }
        }
        Ok(None)
    }

    /// The arithmetic of a closed account, for people.
    pub(crate) fn why_closed(&self, account: &AccountId) -> String {
        let purses = self.purses.lock().expect("no holder panics");
        purses.by_account.get(account).and_then(Purse::why_tight).unwrap_or_default()
    }

    /// The account of a scope as the server has it; `None` if it was never opened.
    ///
    /// # Errors
    /// It could not be read.
    pub(crate) async fn current(&self, scope: &Scope) -> Result<Option<Account>, BucketError> {
        let (account, revision) = self.read(scope).await?;
        Ok((revision > 0).then_some(account))
    }

    /// The accounts of a team that are known here, its own first.
    pub(crate) fn accounts_of(&self, team: &str) -> Vec<Account> {
        let purses = self.purses.lock().expect("no holder panics");
        let seen = purses.by_account.values().filter_map(Purse::seen);
        let mut accounts: Vec<Account> = seen.filter(|account| account.scope().team() == Some(team)).cloned().collect();
        accounts.sort_by(|a, b| a.scope().cmp(b.scope()));
        accounts
    }
}

/// More scopes than this are not remembered; they are cheap to find again.
const RULES_MAX: usize = 50_000;
