//! What workers do with blocks of money: take, renew, give back, close; and what happens to those of the dead.

use tollgate_types::{NanoUsd, UnixMillis};

use super::denied::{Denied, DeniedKind, decisive};
use super::{Account, Block, Pot, Pots, SUM_MAX};
use crate::budget::Rule;

/// How many jobs' money a block may hold far from the cap.
const BLOCK_JOBS: i64 = 64;
/// Which part of the headroom all contenders together may take at once.
const BLOCK_PART: i64 = 4;

/// What a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Its lease, which names its block.
    pub lease: &'a str,
    /// The pot to take from.
    pub pot: Pot,
    /// How much more; below zero is zero.
    pub amount: NanoUsd,
    /// When the lease ends, by the server's clock.
    pub until: UnixMillis,
}

/// A lease has no block: it ended, and the settler dropped it. What the worker holds in memory is not held any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lease {0} has no block in the account; take a new one under a new lease")]
pub struct NoBlock(pub String);

/// What became of a block whose worker is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is gone, or there was none.
    Gone,
    /// It still holds money for results that are not folded: the fold of the last one removes it.
    AfterFolds(Pots),
}

impl Account {
    /// Adds money to the block of a lease, if every window has it.
    ///
    /// The cap alone counts, overruns do not: what was overspent has to be made up for first.
    ///
    /// # Errors
    /// Says which window has too little, and what follows; nothing is taken then.
    pub fn take(&mut self, ask: &Ask<'_>, now: UnixMillis, rules: &[Rule]) -> Result<(), Box<Denied>> {
        self.refresh(now, rules);
        let amount = ask.amount.max(NanoUsd::ZERO);
        let held = self.held();
        let denials = rules.iter().filter_map(|rule| Denied::by(rule, self, &held, (ask.pot, amount)));
        if let Some(denied) = decisive(denials) {
            return Err(Box::new(denied));
        }
        // No cap is as high as a sum may go; only where there is no cap can the sum be full.
        let amount = amount.min(SUM_MAX - held.of(ask.pot));
        self.turn_of(ask.lease, |block| {
            block.held.add(ask.pot, amount);
            block.until = block.until.max(ask.until);
            block.closing = false;
        });
        Ok(())
    }

    /// Notes the amount in each window that denies `ask`, and says whether that is news: in each window and for each cap
    /// only what is smaller than all before. It makes the alert at 100 percent.
    pub fn note_denied(&mut self, ask: &Ask<'_>, now: UnixMillis, rules: &[Rule]) -> bool {
        self.refresh(now, rules);
        let held = self.held();
        let mut news = false;
        for rule in rules {
            let denied = Denied::by(rule, self, &held, (ask.pot, ask.amount));
            let Some(spent) = self.windows.get_mut(&rule.id) else { continue };
            // The cheaper model's money is not what alerts speak of.
            let counts = spent.caps.counts_in_main(ask.pot)
                && denied.is_some_and(|denied| denied.kind != DeniedKind::Never)
                && spent.denied.is_none_or(|before| ask.amount < before);
            if counts {
                spent.denied = Some(ask.amount);
                news = true;
            }
        }
        news
    }

    /// The most that could be taken from a pot now; all there is in an `i64` if nothing caps it.
    pub fn headroom(&self, pot: Pot, now: UnixMillis, rules: &[Rule]) -> NanoUsd {
        let mut fresh = self.clone();
        fresh.refresh(now, rules);
        let held = fresh.held();
        let left =
            rules.iter().filter_map(|rule| fresh.windows.get(&rule.id)).filter_map(|spent| spent.left(&held, pot));
        left.min().unwrap_or(NanoUsd(i64::MAX)).max(NanoUsd::ZERO)
    }

    /// Takes up to `amount` out of the block of a lease, and says how much that was.
    ///
    /// Only money that no run holds may be given back: what a committed run held comes off by its fold alone, else
    /// there would be headroom before the spend that it hid.
    ///
    /// # Errors
    /// The lease has no block.
    pub fn give_back(&mut self, lease: &str, pot: Pot, amount: NanoUsd) -> Result<NanoUsd, NoBlock> {
        self.known(lease)?;
        Ok(self.turn_of(lease, |block| block.held.remove(pot, amount)))
    }

    /// Makes a lease end at `until`, if that is later.
    ///
    /// # Errors
    /// The lease has no block.
    pub fn renew(&mut self, lease: &str, until: UnixMillis) -> Result<(), NoBlock> {
        self.known(lease)?;
        self.turn_of(lease, |block| block.until = block.until.max(until));
        Ok(())
    }

    /// Says that the worker is done with its block, after it has given back all that no run holds.
    ///
    /// Only its own worker may: of another's block nobody but the settler knows when it hides no spend.
    pub fn close(&mut self, lease: &str) -> Closed {
        match self.blocks.get(lease) {
            None => Closed::Gone,
            Some(block) if block.held == Pots::default() => {
                self.blocks.remove(lease);
                Closed::Gone
            }
            Some(_) => self.turn_of(lease, |block| {
                block.closing = true;
                Closed::AfterFolds(block.held)
            }),
        }
    }

    /// Drops the blocks of leases that ended, and names them.
    ///
    /// `settled_until`: everything that was committed before that time, by the server's clock, is folded. A lease that
    /// ended later is kept although it is over: a result that its worker committed just before may not be folded yet,
    /// and without its hold there would be headroom for money that is already spent.
    pub fn expire(&mut self, now: UnixMillis, settled_until: UnixMillis) -> Vec<String> {
        let before = now.min(settled_until);
        let ended = |block: &Block| block.until < before;
        let dropped: Vec<String> =
            self.blocks.iter().filter(|(_, block)| ended(block)).map(|(lease, _)| lease.clone()).collect();
        self.blocks.retain(|_, block| !ended(block));
        dropped
    }

    fn known(&self, lease: &str) -> Result<(), NoBlock> {
        if self.blocks.contains_key(lease) { Ok(()) } else { Err(NoBlock(lease.to_owned())) }
    }

    /// A change that a lease makes to its own block.
    fn turn_of<T>(&mut self, lease: &str, change: impl FnOnce(&mut Block) -> T) -> T {
        let block = self.blocks.entry(lease.to_owned()).or_default();
        block.turn = block.turn.saturating_add(1);
        change(block)
    }
}

impl super::Spent {
    /// What a pot's cap leaves; negative after an overrun, `None` without a cap.
    pub(super) fn left(&self, held: &Pots, pot: Pot) -> Option<NanoUsd> {
        let in_use = self.caps.counted(&self.settled, pot) + self.caps.counted(held, pot);
        self.caps.cap_of(pot).map(|cap| cap - in_use)
    }
}

/// How much to take when a job needs `need`: for many jobs to come far from the cap, for this one alone near it.
///
/// A block is at most a quarter of the headroom, shared by as many as compete for it, so that one worker never holds
/// what makes the others wait. It is never less than the need: whether that fits is for [`Account::take`] to say.
pub fn block_size(headroom: NanoUsd, need: NanoUsd, contenders: u32) -> NanoUsd {
    let part = headroom.max(NanoUsd::ZERO).0 / BLOCK_PART / i64::from(contenders.max(1));
    need.max(NanoUsd(need.0.saturating_mul(BLOCK_JOBS).min(part)))
}
