//! The swaps: the only writes of a worker to an account record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tollgate_policy::account::{Account, Ask, Pot, block_size};
use tollgate_queue::bucket::{BucketError, Seen, Version};
use tollgate_queue::ledger::account_key;
use tollgate_types::{AccountId, NanoUsd, Scope};

use super::{Ledger, NoMoney, Part};

/// Swaps that lost against others in a row before the caller is told: sixteen contenders need two or three.
const TRIES_MAX: u32 = 40;
/// How often blocks are looked at: what is idle returns within a second.
const LOOK: Duration = Duration::from_millis(200);

impl Ledger {
    /// Takes a block that `amount` fits into. Whoever comes meanwhile for the same account waits, and finds it taken.
    ///
    /// `Ok` says that it is worth looking into the purse again.
    pub(super) async fn take(&self, part: &Part, amount: NanoUsd) -> Result<(), NoMoney> {
        let id = part.scope.account();
        let swapping = self.purses.lock().expect("no holder panics").entry(&id).swapping.clone();
        let _turn = swapping.lock().await;
        let (lease, has_block) = {
            let mut purses = self.purses.lock().expect("no holder panics");
            if purses.entry(&id).has(part.pot, amount, self.lasting()) {
                return Ok(());
            }
            (self.lease(&purses), purses.entry(&id).needs_its_block())
        };
        let rules = self.rules_of(&part.scope);
        let (mut denied, mut lost) = (None, false);
        let until = self.clock.now().plus(self.lease_time);
        let took = self.swap(&part.scope, &lease, |account| {
            let now = self.clock.now();
            (denied, lost) = (None, has_block && account.block(&lease).is_none());
            if lost {
                return None;
            }
            let contenders = u32::try_from(account.blocks().len()).unwrap_or(u32::MAX);
            let block = block_size(account.headroom(part.pot, now, &rules), amount, contenders);
            let ask = Ask { lease: &lease, pot: part.pot, amount: block, until };
            denied = account.take(&ask, now, &rules).err();
            match &denied {
                None => Some(block),
                // Nothing is taken; that so much was denied is written once, for the alert.
                Some(_) => account.note_denied(&Ask { amount, ..ask }, now, &rules).then_some(NanoUsd::ZERO),
            }
        });
        let took = took.await.map_err(NoMoney::Unavailable)?;
        let mut purses = self.purses.lock().expect("no holder panics");
        let ours = self.lease(&purses) == lease;
        match (took, denied) {
            // Taken under a name that is not ours any more: it comes back with its lease.
            (Some(_), _) if !ours => Ok(()),
            (Some(block), None) => {
                purses.entry(&id).took(part.pot, block, until);
                Ok(())
            }
            (None, _) if lost => {
                self.begin_anew(&mut purses, &lease);
                Ok(())
            }
            (None, None) => Ok(()),
            (_, Some(denied)) => {
                purses.entry(&id).denied(amount, &denied);
                drop(purses);
                self.changed();
                Err(NoMoney::Denied(denied))
            }
        }
    }

    /// Swaps an account's record for what `change` makes of it, until that succeeds, and returns what `change` did;
    /// `None` from it says that there is nothing to write. An account without a record is opened.
    ///
    /// Killed before the write: nothing happened. Killed after it: the block ends with its lease.
    async fn swap<T: Copy + Ord>(
        &self,
        scope: &Scope,
        lease: &str,
        mut change: impl FnMut(&mut Account) -> Option<T>,
    ) -> Result<Option<T>, BucketError> {
        let id = scope.account();
        let key = account_key(&id);
        let mut known = self.purses.lock().expect("no holder panics").entry(&id).version();
        // A write that was not answered, by our turn before it; it may still happen, until another one of ours does.
        let mut doubt: Option<(u64, T)> = None;
        for tries in 0..TRIES_MAX {
            let (mut account, revision) = match (known.take(), doubt) {
                (Some(known), _) => known,
                (None, None) => self.read(scope).await?,
                (None, Some(_)) => self.read_in_doubt(scope, lease).await?,
            };
            let turn = turn_of(&account, lease);
            if let Some((_, done)) = doubt.filter(|(before, _)| turn > *before) {
                self.saw(&id, account, revision);
                return Ok(Some(done));
            }
            let Some(done) = change(&mut account) else {
                self.saw(&id, account, revision);
                return Ok(None);
            };
            self.crash.point("L1");
            let value = serde_json::to_vec(&account).expect("a record of texts and numbers always serialises");
            let written = match revision {
                0 => self.records.create(&key, value.into()).await,
                revision => self.records.update(&key, value.into(), revision).await,
            };
            match written {
                Ok(revision) => {
                    self.crash.point("L2");
                    self.saw(&id, account, revision);
                    return Ok(Some(done));
                }
                Err(BucketError::Conflict) => {}
                // It may have been written: the record's count of our own swaps tells. If it is not known which of two
                // was, the smaller one counts: what is in the block and not in the purse is spent by nobody.
                Err(BucketError::Unknown(cause)) => {
                    tracing::warn!(account = %scope, error = &*cause as &dyn std::error::Error, "swap not answered");
                    doubt = Some((turn, doubt.map_or(done, |(_, before)| before.min(done))));
                }
                Err(error) => return Err(error),
            }
            // Jittered, because those who collided once come back together.
            let ceiling = 1u64 << tries.min(5);
            sleep(Duration::from_micros(rand::random_range(200..=ceiling * 1000))).await;
        }
        Err(BucketError::Conflict)
    }

    /// Reads the record although the server does not answer, for as long as a lease lasts: what is not found out by
    /// then is given up with all our blocks.
    async fn read_in_doubt(&self, scope: &Scope, lease: &str) -> Result<(Account, u64), BucketError> {
        let since = Instant::now();
        loop {
            match self.read(scope).await {
                Ok(found) => return Ok(found),
                Err(error) if since.elapsed() >= self.lease_time => {
                    self.begin_anew(&mut self.purses.lock().expect("no holder panics"), lease);
                    return Err(error);
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    /// The record as the server has it, or a fresh one with revision 0.
    pub(super) async fn read(&self, scope: &Scope) -> Result<(Account, u64), BucketError> {
        let found = self.records.get(&account_key(&scope.account())).await?;
        let rules = self.rules_of(scope);
        let fresh = || Account::open(scope.clone(), self.log.clone(), 0, self.clock.now(), &rules);
        let Some((value, revision)) = found else { return Ok((fresh(), 0)) };
        match serde_json::from_slice(&value) {
            Ok(account) => Ok((account, revision)),
            // Nobody may spend from a record that cannot be read.
            Err(error) => {
                tracing::error!(account = %scope, %error, "an account cannot be read; run `tollgate ledger rebuild`");
                Err(BucketError::Unreadable(error.into()))
            }
        }
    }

    fn saw(&self, id: &AccountId, account: Account, revision: u64) {
        if revision > 0 {
            self.purses.lock().expect("no holder panics").entry(id).saw(account, revision);
        }
    }

    /// Keeps leases and gives back what is idle, for ever. Cancel safe: a lease that is not renewed ends.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            sleep(LOOK).await;
            self.look_after(false).await;
        }
    }

    /// Gives everything back that no job holds: at an orderly end.
    pub(crate) async fn leave(&self) {
        self.look_after(true).await;
    }

    /// A block that was dropped takes all our blocks under its lease with it: what was held under that name must not
    /// come off a block that is taken later. Their jobs go on, and their records name the old lease.
    fn begin_anew(&self, purses: &mut super::Purses, lease: &str) {
        if self.lease(purses) == lease {
            tracing::warn!(lease, "a block of money ended while it was held; starting with new blocks");
            metrics::counter!("tollgate_blocks_lost_total").increment(1);
            purses.epoch += 1;
            purses.by_account.values_mut().for_each(super::Purse::lost);
        }
    }

    async fn look_after(&self, leaving: bool) {
        let now = self.clock.now();
        let due: Vec<Scope> = {
            let purses = self.purses.lock().expect("no holder panics");
            let lease = self.lease(&purses);
            // Who leaves also says so where nothing is left to give back: the last fold then takes the block away.
            let due = |purse: &&super::Purse| {
                purse.has_idle(leaving)
                    || purse.needs_renewal(now, self.lease_time)
                    || leaving && purse.seen().is_some_and(|account| account.block(&lease).is_some())
            };
            let due = purses.by_account.values().filter(due).filter_map(super::Purse::seen);
            due.map(|account| account.scope().clone()).collect()
        };
        for scope in due {
            if let Err(error) = self.renew_or_return(&scope, leaving).await {
                tracing::warn!(account = %scope, error = &error as &dyn std::error::Error, "block not renewed or returned");
            }
        }
    }

    async fn renew_or_return(&self, scope: &Scope, leaving: bool) -> Result<(), BucketError> {
        let id = scope.account();
        let swapping = self.purses.lock().expect("no holder panics").entry(&id).swapping.clone();
        let _turn = swapping.lock().await;
        // Out of the purse first, so that nobody holds it while it goes back. If the write is never confirmed it stays
        // out: the block is then larger than the purse until its lease ends, which is the safe side.
        let (lease, main, downgraded) = {
            let mut purses = self.purses.lock().expect("no holder panics");
            let lease = self.lease(&purses);
            let (main, downgraded) = purses.entry(&id).put_aside_idle(leaving);
            (lease, main, downgraded)
        };
        let until = self.clock.now().plus(self.lease_time);
        // A lease that is over is renewed like any other: as long as nobody dropped the block, it still hides what its
        // jobs are about to spend.
        let swapped = self.swap(scope, &lease, |account| {
            account.renew(&lease, until).ok()?;
            for (pot, amount) in [(Pot::Main, main), (Pot::Downgraded, downgraded)] {
                account.give_back(&lease, pot, amount).ok()?;
            }
            if leaving {
                account.close(&lease);
            }
            Some(())
        });
        let swapped = swapped.await?;
        let mut purses = self.purses.lock().expect("no holder panics");
        match swapped {
            Some(()) if self.lease(&purses) == lease => purses.entry(&id).renewed(until),
            Some(()) => {}
            None => self.begin_anew(&mut purses, &lease),
        }
        Ok(())
    }

    /// Follows every account record and every change of the budgets, for ever. Cancel safe.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut budgets = self.directory.changes();
        let mut watch = self.records.watch("account.");
        loop {
            tokio::select! {
                seen = watch.next() => match seen {
                    Seen::Put(version) => self.came(version),
                    Seen::Gone { key, .. } => self.vanished(&key),
                    Seen::Anew | Seen::Complete => {}
                },
                changed = budgets.changed() => match changed {
                    Ok(()) => self.forget_rules(),
                    // The directory ends with the process.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    fn came(&self, Version { key, value, revision, .. }: Version) {
        let (Some(id), Ok(account)) = (account_of(&key), serde_json::from_slice::<Account>(&value)) else { return };
        let news = self.purses.lock().expect("no holder panics").entry(&id).saw(account, revision);
        if news {
            self.changed();
        }
    }

    fn vanished(&self, key: &str) {
        if let Some(id) = account_of(key) {
            self.purses.lock().expect("no holder panics").entry(&id).vanished();
            self.changed();
        }
    }
}

fn account_of(key: &str) -> Option<AccountId> {
    key.strip_prefix("account.")?.parse().ok()
}

fn turn_of(account: &Account, lease: &str) -> u64 {
    account.block(lease).map_or(0, |block| block.turn)
}
