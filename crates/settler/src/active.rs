//! What the active settler does: read a batch of the log, fold it into each account it concerns, note how far it came.
//!
//! What a crash (kill -9, power, a lost server) leaves behind, step by step:
//!
//! - before the first account is swapped: nothing happened; the batch is read again.
//! - between two accounts: the first has the batch, the second does not. The next settler folds the batch again; the
//!   first account knows by its own sequence that it has it.
//! - after the last account, before the note: the same, and nothing is folded twice.
//! - after the note: the batch is done.
//!
//! Two settlers at once (a paused one that wakes) do the same work twice, and each record counts once all the same.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tollgate_policy::account::Account;
use tollgate_policy::budget::Rule;
use tollgate_queue::bucket::{BucketError, Version};
use tollgate_queue::commit_log::{LogEntry, LogError};
use tollgate_queue::ledger::{account_key, account_of};
use tollgate_queue::office::{Left, Term};
use tollgate_types::{AccountId, Scope, UnixMillis};

use crate::fold::{self, Booked};
use crate::rebuild::{Which, rebuild};
use crate::settler::{Progress, Settler};

/// Before something that failed is tried again.
const PAUSE: Duration = Duration::from_millis(250);
/// No block is dropped so soon after the server was away, or after this settler began: workers who live had no way to
/// renew their leases meanwhile, and do so within a second.
const GRACE: Duration = Duration::from_secs(5);
/// An answer that took so long came from a server that was away or did not get to it.
const LONG: Duration = Duration::from_secs(1);
/// A sweep reads every account, and rests this many times as long as it took, so that folding goes on with any number of
/// them; but not for longer than [`REST_MAX`], because what took long may have been the server's absence.
const REST: u32 = 10;
/// The longest rest: it delays the money of the dead.
const REST_MAX: Duration = Duration::from_secs(5);
/// Accounts that are kept in memory between batches; the server has them all.
const KNOWN_MAX: usize = 50_000;

/// What the active settler remembers of the accounts.
#[derive(Default)]
pub(crate) struct Known {
    accounts: HashMap<AccountId, (Account, u64)>,
}

/// Since when the server has answered without a break, as far as this settler saw.
pub(crate) struct Calm(Instant);

impl Calm {
    /// Waits for something that is one question to the server when all is well. If it takes long, the server was away.
    async fn ask<T>(&mut self, question: impl Future<Output = T>) -> T {
        let asked = Instant::now();
        let answer = question.await;
        if asked.elapsed() >= LONG {
            self.ends();
        }
        answer
    }

    /// The server did not answer.
    fn ends(&mut self) {
        self.0 = Instant::now();
    }

    fn is_long(&self) -> bool {
        self.0.elapsed() >= GRACE
    }
}

impl Settler {
    /// Folds until the office ends.
    pub(crate) async fn serve(&mut self, term: &mut Term, stop: &CancellationToken) -> Left {
        loop {
            match self.log.reopen().await {
                Ok(log) => self.log = log,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the log cannot be opened yet");
                    if let Err(left) = pause(term, stop).await {
                        return left;
                    }
                    continue;
                }
            }
            match self.serve_incarnation(term, stop).await {
                Ok(()) => {}
                Err(left) => return left,
            }
        }
    }

    /// Folds the stream as it is now; returns when it was made anew.
    async fn serve_incarnation(&self, term: &mut Term, stop: &CancellationToken) -> Result<(), Left> {
        let mut progress: Progress = serde_json::from_value(term.value().clone()).unwrap_or_default();
        if progress.log != self.log.identity() {
            progress = Progress { log: self.log.identity().to_owned(), through: 0 };
        }
        let mut tail = self.log.tail(progress.through + 1);
        let mut known = Known::default();
        let mut sweep_at = Instant::now();
        let mut touched = Instant::now();
        let mut calm = Calm(Instant::now());
        // Everything that the server stored before this time is folded.
        let mut settled_until = UnixMillis::default();
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                batch = tail.next_batch(self.config.batch_records_max, self.config.batch_wait) => batch,
            };
            match batch {
                Ok(batch) if !batch.is_empty() => {
                    self.config.crash.point("S0");
                    self.fold_batch(&batch, &mut known, (&mut *term, &mut calm), stop).await?;
                    if let Some(last) = batch.last() {
                        (progress.through, settled_until) = (last.seq, settled_until.max(last.at));
                    }
                    self.config.crash.point("S1");
                    calm.ask(term.advance(json!(progress), stop)).await?;
                    touched = Instant::now();
                    metrics::gauge!("tollgate_settler_sequence").set(progress.through as f64);
                }
                Ok(_) if touched.elapsed() >= self.config.lease / 3 => {
                    calm.ask(term.touch(stop)).await?;
                    touched = Instant::now();
                }
                Ok(_) => {}
                Err(error @ LogError::Recreated { .. }) => {
                    tracing::warn!(%error, "the settler starts over with the new stream");
                    return Ok(());
                }
                Err(error) => tracing::warn!(%error, "log not read"),
            }
            if let Some(pending) = tail.pending() {
                metrics::gauge!("tollgate_settler_lag_records").set(pending as f64);
            }
            let begun = Instant::now();
            if begun >= sweep_at {
                match calm.ask(self.caught_up(&progress)).await {
                    Ok(at) => settled_until = settled_until.max(at.unwrap_or_default()),
                    Err(_) => calm.ends(),
                }
                // Without calm nothing counts as settled: leases could not be renewed.
                let until = if calm.is_long() { settled_until } else { UnixMillis::default() };
                self.sweep(until, &mut known).await;
                sweep_at = Instant::now() + self.config.sweep.max((begun.elapsed() * REST).min(REST_MAX));
            }
        }
    }

    async fn fold_batch(
        &self,
        batch: &[LogEntry],
        known: &mut Known,
        (term, calm): (&mut Term, &mut Calm),
        stop: &CancellationToken,
    ) -> Result<(), Left> {
        let through = batch.last().map_or(0, |entry| entry.seq);
        let has_budget = |scope: &Scope| !fold::rules_of(scope, &self.directory).is_empty();
        for (scope, records) in fold::by_account(fold::booked(batch), has_budget) {
            let rules = fold::rules_of(&scope, &self.directory);
            while let Err(error) = self.fold_account(&scope, &records, &rules, through, known).await {
                tracing::warn!(account = %scope, error = &error as &dyn std::error::Error, "account not swapped; again");
                calm.ends();
                pause(term, stop).await?;
            }
        }
        Ok(())
    }

    /// Folds into one account, trying until no other swap comes between.
    async fn fold_account(
        &self,
        scope: &Scope,
        records: &[Booked<'_>],
        rules: &[Rule],
        through: u64,
        known: &mut Known,
    ) -> Result<(), BucketError> {
        let id = scope.account();
        loop {
            let (mut account, revision) = self.version(scope, rules, known).await?;
            if !fold::fold_into(&mut account, records, rules, through) {
                return Ok(());
            }
            let due = account.alerts(rules);
            account.announced(&due);
            match self.write(&id, &account, revision, known).await {
                Ok(()) => {
                    self.announce(scope, &due);
                    return Ok(());
                }
                Err(BucketError::Conflict) => known.forget(&id),
                Err(error) => {
                    known.forget(&id);
                    return Err(error);
                }
            }
        }
    }

    /// The newest version that is known, else the server's, else a fresh account with revision 0.
    async fn version(&self, scope: &Scope, rules: &[Rule], known: &Known) -> Result<(Account, u64), BucketError> {
        let id = scope.account();
        if let Some(version) = known.accounts.get(&id) {
            return Ok(version.clone());
        }
        let now = self.clock.now();
        let open = || Account::open(scope.clone(), self.log.identity(), 0, now, rules);
        let Some((value, revision)) = self.records.get(&account_key(&id)).await? else { return Ok((open(), 0)) };
        match serde_json::from_slice::<Account>(&value) {
            Ok(mut account) => {
                // The stream was made anew: sequences start again, what was spent stays spent.
                if account.log() != self.log.identity() {
                    account.continue_in(self.log.identity());
                }
                Ok((account, revision))
            }
            // A fresh one would forget what is spent; its blocks are lost either way. No worker spends from it meanwhile.
            Err(error) => {
                tracing::error!(account = %scope, %error, "the account's record cannot be read; making it anew from the log");
                self.make_anew(scope).await?;
                let found = self.records.get(&account_key(&id)).await?;
                let readable = found.and_then(|(value, at)| Some((serde_json::from_slice(&value).ok()?, at)));
                readable.ok_or_else(|| BucketError::Unreadable(error.into()))
            }
        }
    }

    /// Makes an account anew as `tollgate ledger rebuild --force` does: what is left of the log is more than nothing.
    async fn make_anew(&self, scope: &Scope) -> Result<(), BucketError> {
        let parts = (&self.log, &self.records, &self.directory);
        let rebuilt = rebuild(parts, &Which::One(scope.clone()), true, self.clock.now()).await;
        rebuilt.map(drop).map_err(|error| BucketError::Unreadable(error.into()))
    }

    async fn write(
        &self,
        id: &AccountId,
        account: &Account,
        revision: u64,
        known: &mut Known,
    ) -> Result<(), BucketError> {
        let value = serde_json::to_vec(account).expect("a record of texts and numbers always serialises").into();
        let key = account_key(id);
        let written = match revision {
            0 => self.records.create(&key, value).await?,
            revision => self.records.update(&key, value, revision).await?,
        };
        if known.accounts.len() >= KNOWN_MAX {
            known.accounts.clear();
        }
        known.accounts.insert(id.clone(), (account.clone(), written));
        Ok(())
    }

    /// The time before which everything is folded, if nothing is left to fold; `None` if something is.
    async fn caught_up(&self, progress: &Progress) -> Result<Option<UnixMillis>, LogError> {
        // Before the question: what is committed meanwhile may be missing from the answer.
        let now = self.clock.now();
        let bounds = self.log.bounds().await?;
        Ok((bounds.last <= progress.through).then_some(now))
    }

    /// Drops the blocks of leases that ended before `settled_until`: before that time everything is folded that their
    /// workers committed. Sooner, headroom would appear before the spend that it hid.
    async fn sweep(&self, settled_until: UnixMillis, known: &mut Known) {
        let now = self.clock.now();
        let versions = match self.records.read_all("account.").await {
            Ok(versions) => versions,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "accounts not swept");
                return;
            }
        };
        for Version { key, value, revision, .. } in versions {
            let Some(id) = account_of(&key) else { continue };
            let Ok(account) = serde_json::from_slice::<Account>(&value) else { continue };
            if let Err(error) = self.sweep_one(&id, (account, revision), now, settled_until, known).await {
                tracing::debug!(key, error = &error as &dyn std::error::Error, "swept next time");
                known.forget(&id);
            }
        }
    }

    async fn sweep_one(
        &self,
        id: &AccountId,
        (mut account, revision): (Account, u64),
        now: UnixMillis,
        settled_until: UnixMillis,
        known: &mut Known,
    ) -> Result<(), BucketError> {
        let rules = fold::rules_of(account.scope(), &self.directory);
        let before = account.clone();
        // Windows that ended and caps that changed show, whether or not anybody spends.
        account.refresh(now, &rules);
        let dropped = account.expire(now, settled_until);
        // Caps that fell and amounts that were denied cross thresholds too, which nothing that is folded tells.
        let due = account.alerts(&rules);
        account.announced(&due);
        if dropped.is_empty() && account.windows() == before.windows() {
            return Ok(());
        }
        for lease in &dropped {
            tracing::info!(account = %account.scope(), lease, "a dead worker's block is back");
            metrics::counter!("tollgate_blocks_expired_total").increment(1);
        }
        self.write(id, &account, revision, known).await?;
        self.announce(account.scope(), &due);
        Ok(())
    }
}

impl Known {
    fn forget(&mut self, id: &AccountId) {
        self.accounts.remove(id);
    }
}

/// Waits before something is tried again, with a sign of life.
async fn pause(term: &mut Term, stop: &CancellationToken) -> Result<(), Left> {
    tokio::select! {
        () = stop.cancelled() => return Err(Left::Stopped),
        () = sleep(PAUSE) => {}
    }
    term.touch(stop).await
}
