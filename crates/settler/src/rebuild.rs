//! Makes accounts anew from the log: what is settled is folded again from its first record, what workers hold is kept.

use std::collections::BTreeMap;

use tollgate_policy::account::Account;
use tollgate_policy::budget::Rule;
use tollgate_queue::bucket::BucketError;
use tollgate_queue::commit_log::{Bounds, CommitLog, Counted, LogError};
use tollgate_queue::directory::Directory;
use tollgate_queue::ledger::{Records, account_key};
use tollgate_types::{Scope, UnixMillis};

use crate::fold::{self, Booked};

/// What became of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// How it was; `None` where it did not exist or could not be read.
    pub before: Option<Account>,
    /// How it is.
    pub after: Account,
}

impl Rebuilt {
    /// Whose it is.
    pub fn scope(&self) -> &Scope {
        self.after.scope()
    }

    /// Whether what was settled is the same as before, window by window and in the tally.
    pub fn same(&self) -> bool {
        let settled = |account: &Account| -> Vec<_> {
            account.windows().iter().map(|(id, spent)| (id.clone(), spent.start, spent.settled)).collect()
        };
        self.before
            .as_ref()
            .is_some_and(|before| settled(before) == settled(&self.after) && before.tally() == self.after.tally())
    }
}

/// Why the accounts were not made anew.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// A record cannot be read or written.
    #[error("the account of {scope} cannot be read or written")]
    Record {
        /// Whose.
        scope: Scope,
        /// Why not.
        #[source]
        source: BucketError,
    },
    /// The accounts cannot be listed.
    #[error("the accounts cannot be listed")]
    List(#[source] BucketError),
    /// The log does not reach back to the start of a window: its sum would become too small.
    #[error("{0}; a rebuild would forget what was spent before")]
    Truncated(Box<Truncated>),
}

/// A window that began before the oldest kept result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kept results begin at {oldest}, after the window {window:?} of {scope} began at {start}")]
pub struct Truncated {
    /// Whose.
    pub scope: Scope,
    /// Which window.
    pub window: String,
    /// When it began, RFC 3339.
    pub start: String,
    /// When the oldest kept result was stored, RFC 3339.
    pub oldest: String,
}

/// Which accounts are made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that exist, and all that the log speaks of.
    All,
    /// One, which is opened if it does not exist.
    One(Scope),
}

/// Swaps that others may come between.
const TRIES_MAX: usize = 50;

/// One account that is being folded anew.
struct Fresh {
    rules: Vec<Rule>,
    account: Account,
    /// How far the record was folded when it was read last: the fresh one stops there.
    through: u64,
}

impl Fresh {
    fn fold(&mut self, record: &Booked<'_>) {
        if record.late {
            self.account.fold_late(record.at, record.event, &self.rules);
        } else {
            self.account.fold(record.seq, record.at, record.event, &self.rules);
        }
    }
}

/// Makes accounts anew. Workers and the settler may run meanwhile: each account is swapped for what its log says up to
/// the sequence that it is folded through, and the settler goes on from there.
///
/// With `force`, windows that began before the oldest kept record are made anew too, from what is left.
///
/// Cancel safe: accounts are swapped one by one, each whole.
///
/// # Errors
/// Why it stopped; accounts that were done stay done, and running it again is safe.
pub async fn rebuild(
    (log, records, directory): (&CommitLog, &Records, &Directory),
    which: &Which,
    force: bool,
    now: UnixMillis,
) -> Result<Vec<Rebuilt>, RebuildError> {
    let bounds = log.bounds().await?;
    let mut fresh = wanted(log, records, directory, which, bounds, now).await?;
    let mut rest: Vec<Counted> = Vec::new();
    let has_budget = |scope: &Scope| !fold::rules_of(scope, directory).is_empty();
    let mut reader = log.whole().await?;
    while let Some(batch) = reader.next().await? {
        for record in fold::counted(&batch) {
            let scopes = match which {
                Which::All => fold::accounts_of(record.event, has_budget),
                Which::One(scope) => record.event.scopes().into_iter().filter(|of| of == scope).collect(),
            };
            for scope in scopes {
                let entry = fresh.entry(scope.clone()).or_insert_with(|| open(scope, log, directory, bounds.last, now));
                if record.seq <= entry.through {
                    entry.fold(&record);
                }
            }
        }
        let done = fresh.values().map(|fresh| fresh.through).min().unwrap_or(bounds.last);
        rest.extend(batch.into_iter().filter(|record| record.entry.seq > done));
    }
    // What was read late comes where it was.
    rest.sort_by_key(|record| record.entry.seq);
    let mut rebuilt = Vec::new();
    for (scope, mut fresh) in fresh {
        if let Some(oldest) = reader.complete_since().filter(|_| !force) {
            check_reach(&scope, &fresh.account, oldest)?;
        }
        // What was read late up to here is in it, and must not be folded once more from the rest.
        fresh.account.advance(fresh.through);
        rebuilt.push(swap(records, &scope, fresh, &rest, now).await?);
    }
    Ok(rebuilt)
}

fn open(scope: Scope, log: &CommitLog, directory: &Directory, through: u64, now: UnixMillis) -> Fresh {
    let rules = fold::rules_of(&scope, directory);
    let account = Account::open(scope, log.identity(), 0, now, &rules);
    Fresh { rules, account, through }
}

/// The accounts to begin with, each with how far it is folded now.
async fn wanted(
    log: &CommitLog,
    records: &Records,
    directory: &Directory,
    which: &Which,
    bounds: Bounds,
    now: UnixMillis,
) -> Result<BTreeMap<Scope, Fresh>, RebuildError> {
    let mut fresh = BTreeMap::new();
    for version in records.read_all("account.").await.map_err(RebuildError::List)? {
        let Ok(account) = serde_json::from_slice::<Account>(&version.value) else { continue };
        let through = if account.log() == log.identity() { account.folded() } else { bounds.last };
        fresh.insert(account.scope().clone(), open(account.scope().clone(), log, directory, through, now));
    }
    if let Which::One(scope) = which {
        fresh.retain(|of, _| of == scope);
        fresh.entry(scope.clone()).or_insert_with(|| open(scope.clone(), log, directory, bounds.last, now));
    }
    Ok(fresh)
}

fn check_reach(scope: &Scope, account: &Account, oldest: UnixMillis) -> Result<(), RebuildError> {
    match account.windows().iter().find(|(_, spent)| spent.start < oldest) {
        None => Ok(()),
        Some((window, spent)) => Err(RebuildError::Truncated(Box::new(Truncated {
            scope: scope.clone(),
            window: window.clone(),
            start: spent.start.to_rfc3339(),
            oldest: oldest.to_rfc3339(),
        }))),
    }
}

/// Swaps a record for its fresh sums; when others come between, folds on to where they are.
async fn swap(
    records: &Records,
    scope: &Scope,
    mut fresh: Fresh,
    rest: &[Counted],
    now: UnixMillis,
) -> Result<Rebuilt, RebuildError> {
    let key = account_key(&scope.account());
    let failed = |source| RebuildError::Record { scope: scope.clone(), source };
    for _ in 0..TRIES_MAX {
        let found = records.get(&key).await.map_err(failed)?;
        let before: Option<Account> = found.as_ref().and_then(|(value, _)| serde_json::from_slice(value).ok());
        let through = before.as_ref().filter(|before| before.log() == fresh.account.log()).map(Account::folded);
        for record in fold::counted(rest).filter(|record| record.seq <= through.unwrap_or(fresh.through)) {
            fresh.account.fold(record.seq, record.at, record.event, &fresh.rules);
        }
        fresh.account.advance(through.unwrap_or(fresh.through));
        let after = match &before {
            None => fresh.account.clone(),
            Some(before) => {
                let mut after = before.clone();
                if let Err(error) = after.adopt(&fresh.account, now, &fresh.rules) {
                    // The record moved beyond what was read; another rebuild will find it there.
                    tracing::warn!(%error, "an account moved on while it was made anew");
                    return Err(failed(BucketError::Conflict));
                }
                after
            }
        };
        let value = serde_json::to_vec(&after).expect("a record of texts and numbers always serialises").into();
        let written = match found {
            None => records.create(&key, value).await,
            Some((_, revision)) => records.update(&key, value, revision).await,
        };
        match written {
            Ok(_) => return Ok(Rebuilt { before, after }),
            Err(BucketError::Conflict) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(BucketError::Conflict))
}
