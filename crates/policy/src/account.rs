//! One scope's money: what is settled, what is held, and the only changes that keep it under its caps.
//!
//! An [`Account`] is one record, JSON in a key-value bucket, changed by compare-and-swap alone: read it, make one of
//! the changes below, swap it; whoever loses the race reads again. The changes are pure, so that the same change on the
//! same record is the same record, whoever makes it.
//!
//! - Workers [`take`](Account::take) a block of money under their lease, [`renew`](Account::renew) it,
//!   [`give_back`](Account::give_back) what is idle and [`close`](Account::close) it. Jobs within a block need no swap.
//! - The settler folds the log of results in, record by record ([`fold`](Account::fold)): what a run cost is settled,
//!   and its hold comes off the block, in the same swap. It alone drops the blocks of the dead
//!   ([`expire`](Account::expire)).
//! - Both first bring the record up to date ([`refresh`](Account::refresh)): windows that ended begin again, caps are
//!   those of now.
//!
//! **The promise**, which [`check`](Account::check) states in code: in every window and every [`Pot`], `settled + held
//! ≤ cap + overrun`. Nobody may take what does not fit under the cap alone, so `overrun` grows only when a run cost
//! more than was held for it, or a cap fell below what was spent; and then by exactly what is missing.
//!
//! **Crashes.** A record is either swapped or not. A swap whose answer was lost is recognised by the block's `turn`,
//! which only its own lease moves. A fold is known by its sequence, so that a second settler, or the same one after a
//! crash, changes nothing. What a dead worker held comes back when its lease is over *and* all that it committed before
//! is folded, never earlier.
//!
//! Not covered: what a provider billed and nobody recorded (`unknown` in the usage event), which is no cost.

mod denied;
mod fold;
mod hold;
mod refresh;
mod standing;
mod tally;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use tollgate_types::{NanoUsd, Scope, UnixMillis};

use crate::budget::Rule;

pub use denied::{Denied, DeniedKind, Next};
pub use fold::AdoptError;
pub use hold::{Ask, Closed, NoBlock, block_size};
pub use refresh::Overrun;
pub use standing::{Alert, Purse, Standing};
pub use tally::{TALLY_KEYS_MAX, TALLY_OTHER, Tallied};

/// The version of the record that this code reads and writes.
pub const VERSION: u32 = 1;

/// The most that one sum may come to, about 1.15 billion dollars: an eighth of the range, so that the four sums of a
/// window (two pots, settled and held) never overflow together. What goes beyond stays there.
const SUM_MAX: NanoUsd = NanoUsd(i64::MAX / 8);

/// The record of one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// 1; a record of another version is not read, so that old code cannot lose what new code wrote.
    #[serde(deserialize_with = "only_this_version")]
    version: u32,
    scope: Scope,
    log: String,
    folded: u64,
    as_of: UnixMillis,
    windows: BTreeMap<String, Spent>,
    blocks: BTreeMap<String, Block>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tally: BTreeMap<String, Tallied>,
}

fn only_this_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        VERSION => Ok(VERSION),
        other => {
            Err(serde::de::Error::custom(format!("the account has version {other}, and this code reads {VERSION}")))
        }
    }
}

/// The two purses of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pot {
    /// For jobs on the model that they asked for.
    Main,
    /// For jobs that a spent budget of this account moved to its cheaper model.
    Downgraded,
}

impl Pot {
    /// Both.
    pub const ALL: [Pot; 2] = [Pot::Main, Pot::Downgraded];
}

/// An amount in each pot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pots {
    /// For jobs on the model that they asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub main: NanoUsd,
    /// For jobs on the cheaper model.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub downgraded: NanoUsd,
}

fn is_zero(amount: &NanoUsd) -> bool {
    *amount == NanoUsd::ZERO
}

impl Pots {
    /// The amount in one pot.
    pub fn of(&self, pot: Pot) -> NanoUsd {
        match pot {
            Pot::Main => self.main,
            Pot::Downgraded => self.downgraded,
        }
    }

    /// Both amounts together.
    pub fn sum(&self) -> NanoUsd {
        self.main + self.downgraded
    }

    /// Adds to one pot, as far as a sum may go; `amount` is not negative.
    fn add(&mut self, pot: Pot, amount: NanoUsd) {
        let of_pot = self.of_mut(pot);
        *of_pot = (*of_pot + amount).min(SUM_MAX);
    }

    /// Takes up to `amount` out of one pot, and says how much that was.
    fn remove(&mut self, pot: Pot, amount: NanoUsd) -> NanoUsd {
        let of_pot = self.of_mut(pot);
        let removed = amount.max(NanoUsd::ZERO).min(*of_pot);
        *of_pot = *of_pot - removed;
        removed
    }

    fn of_mut(&mut self, pot: Pot) -> &mut NanoUsd {
        match pot {
            Pot::Main => &mut self.main,
            Pot::Downgraded => &mut self.downgraded,
        }
    }

    fn total<'a>(each: impl Iterator<Item = &'a Pots>) -> Pots {
        each.fold(Pots::default(), |mut total, pots| {
            Pot::ALL.into_iter().for_each(|pot| total.add(pot, pots.of(pot)));
            total
        })
    }
}

/// The caps of a window at this version of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Caps {
    /// Both pots count together.
    Together(NanoUsd),
    /// The budget moves jobs to a cheaper model, whose pot counts on its own.
    Apart {
        /// For jobs on the model that they asked for.
        main: NanoUsd,
        /// For jobs on the cheaper model; `None` is no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        downgraded: Option<NanoUsd>,
    },
}

impl Caps {
    /// The cap that a job which takes from `pot` must fit; `None` is no limit.
    pub fn cap_of(&self, pot: Pot) -> Option<NanoUsd> {
        match (self, pot) {
            (Caps::Together(cap), Pot::Main | Pot::Downgraded) => Some(*cap),
            (Caps::Apart { main, .. }, Pot::Main) => Some(*main),
            (Caps::Apart { downgraded, .. }, Pot::Downgraded) => *downgraded,
        }
    }

    /// Whether what is taken from `pot` counts against the cap for the models asked for.
    fn counts_in_main(&self, pot: Pot) -> bool {
        match (self, pot) {
            (Caps::Together(_), _) | (Caps::Apart { .. }, Pot::Main) => true,
            (Caps::Apart { .. }, Pot::Downgraded) => false,
        }
    }

    /// What of `amounts` counts against that cap.
    pub fn counted(&self, amounts: &Pots, pot: Pot) -> NanoUsd {
        match self {
            Caps::Together(_) => amounts.sum(),
            Caps::Apart { .. } => amounts.of(pot),
        }
    }
}

/// What was spent in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// When the window began; of a rolling one, when the oldest sub-window did.
    pub start: UnixMillis,
    /// When it ends, or moves on by a sub-window.
    pub end: UnixMillis,
    /// From when on spend was counted, if that is later than the start: the budget is newer than its window. A rebuild
    /// counts the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMillis>,
    /// The caps, with the raises that held when the record was written.
    pub caps: Caps,
    /// When the budget that they come from was stored: whoever knows only an older one leaves them as they are.
    #[serde(default)]
    pub capped: UnixMillis,
    /// What the results in the window cost.
    pub settled: Pots,
    /// By how much the caps were exceeded: see the promise.
    #[serde(default)]
    pub overrun: Pots,
    /// The sub-windows of a rolling window in which anything happened, the oldest first; they add up to the sums.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slice>,
    /// The highest percentage that was announced in this window; 0 is none.
    #[serde(default)]
    pub alerted: u8,
    /// When that was.
    #[serde(default)]
    pub alerted_at: UnixMillis,
    /// The smallest amount that these caps denied in this window: once what is settled leaves less, the budget is spent
    /// for the jobs that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<NanoUsd>,
    /// Since when no budget has this window. It is kept for a while without a cap, because a worker that has not yet
    /// read the budgets must not make everybody forget what was spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<UnixMillis>,
}

/// One sub-window of a rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// When it began.
    pub start: UnixMillis,
    /// What the results in it cost.
    pub settled: Pots,
    /// The overruns that were recorded in it.
    #[serde(default)]
    pub overrun: Pots,
}

/// Money that a worker holds for its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// How much of each pot.
    pub held: Pots,
    /// When the lease ends, by the server's clock.
    pub until: UnixMillis,
    /// How often the lease has changed its own block: it tells whether a swap whose answer was lost has happened.
    pub turn: u64,
    /// Whether the worker is done: the fold that takes the last hold off removes the block.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closing: bool,
}

impl Account {
    /// A record without spend or holds, which continues at sequence `folded` of the log of results.
    ///
    /// `log` names that log: sequences of another one mean nothing. With `folded` 0 the whole log is going to be folded
    /// in, so its windows are complete; else they count from `now` on ([`Spent::since`]).
    pub fn open(scope: Scope, log: impl Into<String>, folded: u64, now: UnixMillis, rules: &[Rule]) -> Account {
        let mut account = Account {
            version: VERSION,
            scope,
            log: log.into(),
            folded,
            as_of: now,
            windows: BTreeMap::new(),
            blocks: BTreeMap::new(),
            tally: BTreeMap::new(),
        };
        account.refresh(now, rules);
        if folded == 0 {
            account.windows.values_mut().for_each(|spent| spent.since = None);
        }
        account
    }

    /// Whose money it is.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The identity of the log of results in which [`folded`](Self::folded) counts.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Everything of the log up to this sequence is in the record.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The latest time at which the record was changed, by the server's clock; it goes back only if that clock does.
    pub fn as_of(&self) -> UnixMillis {
        self.as_of
    }

    /// The windows, by [`Budget::window_id`](tollgate_types::Budget::window_id).
    pub fn windows(&self) -> &BTreeMap<String, Spent> {
        &self.windows
    }

    /// What each lease holds.
    pub fn blocks(&self) -> &BTreeMap<String, Block> {
        &self.blocks
    }

    /// What one lease holds, if it has a block.
    pub fn block(&self, lease: &str) -> Option<&Block> {
        self.blocks.get(lease)
    }

    /// What all leases hold.
    pub fn held(&self) -> Pots {
        Pots::total(self.blocks.values().map(|block| &block.held))
    }

    /// Totals over all that was folded, by `model|status`; kept for teams alone.
    pub fn tally(&self) -> &BTreeMap<String, Tallied> {
        &self.tally
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
