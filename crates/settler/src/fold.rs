//! From records of the log to changes of accounts.

use std::collections::BTreeMap;

use tollgate_policy::account::Account;
use tollgate_policy::budget::{Rule, rules_for};
use tollgate_queue::commit_log::{Counted, LogEntry};
use tollgate_queue::directory::Directory;
use tollgate_types::{AccountId, Scope, UnixMillis, UsageEvent};

/// A record of the log that carries a usage event.
#[derive(Clone, Copy, Debug)]
pub struct Booked<'a> {
    /// Its sequence.
    pub seq: u64,
    /// When the server stored it: the windows count by this.
    pub at: UnixMillis,
    /// What it says.
    pub event: &'a UsageEvent,
    /// Whether it was read from its tombstone, behind records that came after it.
    pub late: bool,
}

/// The records of `entries` that say something. A tombstone does not: the record that it stands for was folded before it
/// was removed.
pub fn booked(entries: &[LogEntry]) -> impl Iterator<Item = Booked<'_>> {
    entries.iter().filter_map(|entry| {
        let event = entry.event.as_ref().ok()?;
        Some(Booked { seq: entry.seq, at: entry.at, event, late: false })
    })
}

/// The same of a log that is read whole.
pub fn counted(records: &[Counted]) -> impl Iterator<Item = Booked<'_>> {
    records.iter().filter_map(|Counted { entry, late }| {
        let event = entry.event.as_ref().ok()?;
        Some(Booked { seq: entry.seq, at: entry.at, event, late: *late })
    })
}

/// The budgets of a scope, as configured now.
pub fn rules_of(scope: &Scope, directory: &Directory) -> Vec<Rule> {
    // The directory refuses records that are no rules.
    let (budgets, as_of) = directory.budgets_of(scope);
    rules_for(&budgets, as_of, scope).unwrap_or_default()
}

/// Which accounts a record counts in: everybody's and the team's always, because reports and later budgets want them;
/// a narrower scope's where it has a budget, or where money was held for it.
pub fn accounts_of(event: &UsageEvent, has_budget: impl Fn(&Scope) -> bool) -> Vec<Scope> {
    let held = |id: &AccountId| {
        event.hold.as_ref().is_some_and(|hold| hold.accounts.contains(id) || hold.downgraded.contains(id))
    };
    let mut scopes = event.scopes();
    scopes.retain(|scope| scope.is_lane_wide() || has_budget(scope) || held(&scope.account()));
    scopes
}

/// What a batch of records means for each account, in the order of the log.
pub fn by_account<'a>(
    records: impl Iterator<Item = Booked<'a>>,
    has_budget: impl Fn(&Scope) -> bool,
) -> BTreeMap<Scope, Vec<Booked<'a>>> {
    let mut by_account: BTreeMap<Scope, Vec<Booked<'a>>> = BTreeMap::new();
    for record in records {
        for scope in accounts_of(record.event, &has_budget) {
            by_account.entry(scope).or_default().push(record);
        }
    }
    by_account
}

/// Folds records into an account, each once, and notes that everything up to `through` is in it. Says whether anything
/// changed that is worth a write.
pub fn fold_into(account: &mut Account, records: &[Booked<'_>], rules: &[Rule], through: u64) -> bool {
    let fresh = records.iter().any(|record| record.seq > account.folded());
    for record in records {
        for overrun in account.fold(record.seq, record.at, record.event, rules) {
            tracing::warn!(
                account = %account.scope(),
                window = overrun.window,
                by = %overrun.by,
                job = %record.event.job,
                "more was spent than was held"
            );
            metrics::counter!("tollgate_budget_overruns_total").increment(1);
        }
    }
    account.advance(through);
    fresh
}
