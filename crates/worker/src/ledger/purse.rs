//! A purse: what this worker has of one account, and what it knows of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tollgate_policy::account::{Account, Ask, Denied, Next, Pot};
use tollgate_policy::budget::Rule;
use tollgate_types::{NanoUsd, Scope, UnixMillis};

use crate::gates::Allowance;

/// What this worker has of one account.
#[derive(Debug, Default)]
pub(super) struct Purse {
    /// The newest version of the record that was seen, with its revision.
    seen: Option<(Account, u64)>,
    free_main: NanoUsd,
    free_downgraded: NanoUsd,
    /// Holds of jobs that run.
    held: NanoUsd,
    /// When our lease on the block ends, by the server's clock.
    until: UnixMillis,
    used_at: Option<Instant>,
    /// Whether a job's record was committed when the lease was over: if the block is gone, it was never covered.
    overslept: bool,
    /// The last refusal, while it still matters.
    tight: Option<Tight>,
    /// The last amount that was denied to a job's own model and moved it to a cheaper one.
    moved: Option<NanoUsd>,
    small_main: Smallest,
    small_downgraded: Smallest,
    /// One swap at a time.
    pub(super) swapping: Arc<Mutex<()>>,
}

/// Why jobs wait for this account.
#[derive(Debug)]
struct Tight {
    /// The pot that was denied last, and how much that was.
    lacks: (Pot, NanoUsd),
    /// Where the cheaper model's pot was denied: what the job's own model would have needed before.
    or_main: Option<NanoUsd>,
    /// A cheaper model that cannot serve, so that being moved to it is no way out.
    not_by: Option<String>,
    why: String,
}

impl Tight {
    /// Whether a job that is denied like this waits.
    fn makes_wait(&self, denied: &Denied) -> bool {
        match denied.next() {
            Next::Downgrade { to } => self.not_by.as_deref() == Some(to),
            Next::WaitForHolds | Next::WaitForWindow | Next::Reject => makes_wait(denied),
        }
    }
}

/// Whether a denied job waits, instead of ending or being served by a cheaper model.
pub(super) fn makes_wait(denied: &Denied) -> bool {
    match denied.next() {
        Next::WaitForHolds | Next::WaitForWindow => true,
        Next::Downgrade { .. } | Next::Reject => false,
    }
}

/// What nobody used for so long goes back.
const IDLE: Duration = Duration::from_millis(800);
/// An account with room for so many jobs of the size that it denied last is not tight any more.
const ROOMY: i64 = 64;

impl Purse {
    /// Whether there is so much, on a lease that lasts beyond `lasting`.
    pub(super) fn has(&self, pot: Pot, amount: NanoUsd, lasting: UnixMillis) -> bool {
        self.free(pot) >= amount && lasting < self.until
    }

    pub(super) fn free(&self, pot: Pot) -> NanoUsd {
        match pot {
            Pot::Main => self.free_main,
            Pot::Downgraded => self.free_downgraded,
        }
    }

    fn free_mut(&mut self, pot: Pot) -> &mut NanoUsd {
        match pot {
            Pot::Main => &mut self.free_main,
            Pot::Downgraded => &mut self.free_downgraded,
        }
    }

    /// A job asks for so much.
    pub(super) fn asked(&mut self, pot: Pot, amount: NanoUsd) {
        match pot {
            Pot::Main => self.small_main.asked(amount),
            Pot::Downgraded => self.small_downgraded.asked(amount),
        }
    }

    pub(super) fn hold(&mut self, pot: Pot, amount: NanoUsd) {
        *self.free_mut(pot) += -amount;
        self.held += amount;
        self.used_at = Some(Instant::now());
    }

    pub(super) fn release(&mut self, pot: Pot, amount: NanoUsd) {
        self.held = NanoUsd((self.held - amount).0.max(0));
        *self.free_mut(pot) += amount;
    }

    pub(super) fn settled(&mut self, amount: NanoUsd, now: UnixMillis) {
        self.held = NanoUsd((self.held - amount).0.max(0));
        self.overslept |= self.until <= now;
    }

    /// A swap of ours took `amount` more.
    pub(super) fn took(&mut self, pot: Pot, amount: NanoUsd, until: UnixMillis) {
        *self.free_mut(pot) += amount;
        (self.until, self.overslept) = (until, false);
        self.used_at = Some(Instant::now());
    }

    pub(super) fn renewed(&mut self, until: UnixMillis) {
        (self.until, self.overslept) = (until, false);
    }

    /// Whether something relies on the block that was taken: if it is gone, its lease must not be used again.
    pub(super) fn needs_its_block(&self) -> bool {
        self.kept() > NanoUsd::ZERO || self.overslept
    }

    /// What of the block is not known to have become spend.
    fn kept(&self) -> NanoUsd {
        self.held + self.free_main + self.free_downgraded
    }

    /// Everything under the old lease is gone; jobs in flight go on, and their records name it.
    pub(super) fn lost(&mut self) {
        (self.free_main, self.free_downgraded, self.held) = (NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO);
        (self.until, self.overslept) = (UnixMillis::default(), false);
    }

    /// Whether something may go back: nobody used it for a while, or `all` goes.
    pub(super) fn has_idle(&self, all: bool) -> bool {
        let used = self.used_at.is_some_and(|at| at.elapsed() < IDLE);
        (!used || all) && self.free_main + self.free_downgraded > NanoUsd::ZERO
    }

    /// Takes out what may go back, from either pot, so that nobody holds it meanwhile.
    pub(super) fn put_aside_idle(&mut self, all: bool) -> (NanoUsd, NanoUsd) {
        if !self.has_idle(all) {
            return (NanoUsd::ZERO, NanoUsd::ZERO);
        }
        (std::mem::take(&mut self.free_main), std::mem::take(&mut self.free_downgraded))
    }

    /// Whether the lease has to be renewed: something is held or free, and a third of it is over.
    pub(super) fn needs_renewal(&self, now: UnixMillis, lease: Duration) -> bool {
        self.needs_its_block() && self.until.since(now) < lease * 2 / 3
    }

    pub(super) fn seen(&self) -> Option<&Account> {
        self.seen.as_ref().map(|(account, _)| account)
    }

    pub(super) fn version(&self) -> Option<(Account, u64)> {
        self.seen.clone()
    }

    /// Takes in a version of the record; an older one than is known is ignored. Says whether it was news.
    pub(super) fn saw(&mut self, account: Account, revision: u64) -> bool {
        let news = self.seen.as_ref().is_none_or(|(_, known)| *known < revision);
        if news {
            self.seen = Some((account, revision));
        }
        news
    }

    pub(super) fn vanished(&mut self) {
        self.seen = None;
        self.tight = None;
    }

    /// Notes a refusal that makes jobs wait; what is refused for good or served by a cheaper model closes nothing.
    pub(super) fn denied(&mut self, need: NanoUsd, denied: &Denied) {
        self.tight = match denied.next() {
            Next::WaitForHolds | Next::WaitForWindow => Some(Tight {
                lacks: (denied.pot, need),
                or_main: self.moved.filter(|_| denied.pot == Pot::Downgraded),
                not_by: None,
                why: denied.to_string(),
            }),
            Next::Downgrade { .. } => {
                self.moved = Some(need);
                None
            }
            Next::Reject => None,
        };
    }

    /// Notes that the cheaper model of a refusal cannot serve, so that its jobs wait.
    pub(super) fn cannot_downgrade(&mut self, denied: &Denied, why: String) {
        let not_by = denied.downgrade_to.clone();
        self.tight = Some(Tight { lacks: (denied.pot, denied.asked), or_main: None, not_by, why });
    }

    pub(super) fn tight_scope(&self) -> Option<Scope> {
        self.tight.as_ref()?;
        self.seen().map(|account| account.scope().clone())
    }

    pub(super) fn why_tight(&self) -> Option<String> {
        self.tight.as_ref().map(|tight| tight.why.clone())
    }

    /// How many jobs of the size that was denied last fit now: those that wait behind the account's gate are of that
    /// size, as far as is known. When what makes them wait turned into what ends them or moves them to a cheaper model,
    /// they may come to hear it.
    pub(super) fn allowance(&mut self, rules: &[Rule], now: UnixMillis) -> Allowance {
        self.fitting(rules, now, |_, denied| denied)
    }

    /// How many of the smallest jobs fit now that came lately: a lane is open for them although others are too large for
    /// what is left, and find their place behind the gate.
    pub(super) fn allowance_of_lane(&mut self, rules: &[Rule], now: UnixMillis) -> Allowance {
        let (main, downgraded) = (self.small_main.least(), self.small_downgraded.least());
        self.fitting(rules, now, |pot, denied| match pot {
            Pot::Main => main.min(denied),
            Pot::Downgraded => downgraded.min(denied),
        })
    }

    fn fitting(&mut self, rules: &[Rule], now: UnixMillis, need_of: impl Fn(Pot, NanoUsd) -> NanoUsd) -> Allowance {
        let (Some(tight), Some((account, _))) = (&self.tight, &self.seen) else { return Allowance::Free };
        let fitting = |(pot, denied): (Pot, NanoUsd)| {
            let room = account.headroom(pot, now, rules) + self.free(pot);
            (room.0 / need_of(pot, denied).0.max(1), room.0 / denied.0.max(1))
        };
        let either = [Some(tight.lacks), tight.or_main.map(|need| (Pot::Main, need))];
        let (fits, as_denied) = either
            .into_iter()
            .flatten()
            .map(fitting)
            .reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
            .expect("something was denied");
        if as_denied >= ROOMY || rules.is_empty() {
            self.tight = None;
            return Allowance::Free;
        }
        if fits > 0 {
            return Allowance::UpTo(usize::try_from(fits).unwrap_or(usize::MAX));
        }
        let (pot, amount) = tight.lacks;
        let denied = account.clone().take(&Ask { lease: "", pot, amount, until: now }, now, rules).err();
        match denied.filter(|denied| tight.makes_wait(denied)) {
            Some(denied) => {
                if let Some(tight) = self.tight.as_mut().filter(|tight| tight.not_by.is_none()) {
                    tight.why = denied.to_string();
                }
                Allowance::Closed
            }
            None => {
                self.tight = None;
                Allowance::Free
            }
        }
    }
}

/// The smallest amount that was asked for lately: of the last two rounds of asking.
#[derive(Debug)]
struct Smallest {
    now: NanoUsd,
    before: NanoUsd,
    asked: u32,
}

impl Default for Smallest {
    fn default() -> Self {
        Smallest { now: NanoUsd(i64::MAX), before: NanoUsd(i64::MAX), asked: 0 }
    }
}

impl Smallest {
    /// After so many amounts a new round begins.
    const ROUND: u32 = 64;

    fn asked(&mut self, amount: NanoUsd) {
        // What costs nothing says nothing of what fits.
        if amount <= NanoUsd::ZERO {
            return;
        }
        self.now = self.now.min(amount);
        self.asked += 1;
        if self.asked == Smallest::ROUND {
            *self = Smallest { now: NanoUsd(i64::MAX), before: self.now, asked: 0 };
        }
    }

    fn least(&self) -> NanoUsd {
        self.now.min(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_amount_is_forgotten_after_two_rounds() {
        let mut smallest = Smallest::default();
        smallest.asked(NanoUsd(3));
        smallest.asked(NanoUsd(0));
        (0..Smallest::ROUND).for_each(|_| smallest.asked(NanoUsd(9)));
        assert_eq!(smallest.least(), NanoUsd(3));
        (0..Smallest::ROUND).for_each(|_| smallest.asked(NanoUsd(9)));
        assert_eq!(smallest.least(), NanoUsd(9));
    }
}
