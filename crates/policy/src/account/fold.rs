//! What the settler does: folds the log of results in, and takes over what a fresh fold of it came to.

use tollgate_types::event::EventKind;
use tollgate_types::{NanoUsd, Scope, UnixMillis, UsageEvent};

use super::{Account, Overrun, Pot, Pots, Slice, Spent, tally};
use crate::budget::Rule;
use crate::window::Window;

/// Why sums cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// They are another scope's.
    #[error("the sums are those of {found}, the account is that of {expected}")]
    Scope {
        /// Whose account it is.
        expected: Scope,
        /// Whose sums they are.
        found: Scope,
    },
    /// They end at another place of the log.
    #[error(
        "the sums are folded through {found}, the account through {expected}; fold the log through the same record"
    )]
    Folded {
        /// Through where the account is folded.
        expected: u64,
        /// Through where the sums are folded.
        found: u64,
    },
}

impl Account {
    /// Folds one record of the log in; records come in the order of their sequence.
    ///
    /// What the run cost is settled in the window that `at` lies in, the server's timestamp of the record; what ended
    /// before the current windows began is in none of them. What was held for the run comes off its lease's block. A
    /// record at or below [`folded`](Self::folded) changes nothing, so it may come again; so does one of another scope,
    /// beyond moving on in the log. Says which overruns it recorded.
    pub fn fold(&mut self, seq: u64, at: UnixMillis, event: &UsageEvent, rules: &[Rule]) -> Vec<Overrun> {
        if seq <= self.folded {
            return Vec::new();
        }
        self.folded = seq;
        self.fold_late(at, event, rules)
    }

    /// Folds a record in whose place only its tombstone is left, at whatever place of the log that was read: records
    /// that came after it may be folded already. Whoever calls sees to it that it was not.
    pub fn fold_late(&mut self, at: UnixMillis, event: &UsageEvent, rules: &[Rule]) -> Vec<Overrun> {
        if !event.scopes().contains(&self.scope) {
            return Vec::new();
        }
        // Old records do not turn the clock back; new ones tell the server's time, whatever this process believes.
        let mut overruns = self.refresh(self.as_of.max(at), rules);
        let pot = self.release(event);
        self.settle(at, pot, event.cost(), rules);
        if matches!(self.scope, Scope::Team { .. }) {
            tally::count(&mut self.tally, event);
        }
        overruns.extend(self.cover(rules));
        overruns
    }

    /// Notes that nothing in the log up to `seq` is for this account beyond what was folded.
    pub fn advance(&mut self, seq: u64) {
        self.folded = self.folded.max(seq);
    }

    /// Goes on in another log, whose first record is still to be folded: the old one is gone, what was spent stays spent.
    pub fn continue_in(&mut self, log: impl Into<String>) {
        (self.log, self.folded) = (log.into(), 0);
    }

    /// Takes what was held for the run off its block, and says which pot it spent from.
    fn release(&mut self, event: &UsageEvent) -> Pot {
        let Some(hold) = &event.hold else { return Pot::Main };
        let account = self.scope.account();
        let named = |accounts: &[_]| accounts.contains(&account);
        let pot = if named(&hold.downgraded) { Pot::Downgraded } else { Pot::Main };
        let is_over = match event.kind {
            EventKind::Result | EventKind::Extra => true,
            // The run is only about to pay.
            EventKind::Started => false,
        };
        if is_over
            && (named(&hold.accounts) || pot == Pot::Downgraded)
            && let Some(block) = self.blocks.get_mut(&hold.lease)
        {
            block.held.remove(pot, hold.nanousd);
            if block.closing && block.held == Pots::default() {
                self.blocks.remove(&hold.lease);
            }
        }
        pot
    }

    fn settle(&mut self, at: UnixMillis, pot: Pot, cost: NanoUsd, rules: &[Rule]) {
        // No price is negative; should a record say so all the same, it must not make room for others.
        let cost = cost.max(NanoUsd::ZERO);
        for (id, spent) in &mut self.windows {
            if cost == NanoUsd::ZERO || !spent.span().contains(at) {
                continue;
            }
            let add = |slice: &mut Slice| slice.settled.add(pot, cost);
            match rules.iter().find(|rule| rule.id == *id) {
                Some(rule) => spent.record(&rule.window, at, add),
                // Its budget was removed a moment ago, or this process has not read of it yet.
                None => {
                    if let Ok(window) = Window::of_id(id) {
                        spent.record(&window, at, add);
                    }
                }
            }
        }
    }

    /// Takes over the sums of `fresh`, which began empty and folded the whole log through the same record: for a
    /// rebuild.
    ///
    /// Blocks stay, for the holds of all records up to there have come off them already. Overruns that were recorded
    /// and alerts that were announced in the same windows stay; what is above the caps beyond that is recorded on top.
    /// `now` is taken as it is, should the record be ahead of it. If the account counts in another log, one that is
    /// gone, it goes on in that of `fresh`. On losing the swap, read the account again, fold `fresh` on to where that
    /// is, and adopt again.
    ///
    /// # Errors
    /// The two are of different scopes, or end at different places of one log; nothing changes then.
    pub fn adopt(&mut self, fresh: &Account, now: UnixMillis, rules: &[Rule]) -> Result<Vec<Overrun>, AdoptError> {
        if self.scope != fresh.scope {
            return Err(AdoptError::Scope { expected: self.scope.clone(), found: fresh.scope.clone() });
        }
        if self.log == fresh.log && self.folded != fresh.folded {
            return Err(AdoptError::Folded { expected: self.folded, found: fresh.folded });
        }
        let mut adopted = fresh.clone();
        adopted.refresh(now, rules);
        adopted.blocks = std::mem::take(&mut self.blocks);
        for rule in rules {
            if let (Some(spent), Some(before)) = (adopted.windows.get_mut(&rule.id), self.windows.get(&rule.id)) {
                spent.keep_history(before, &rule.window);
            }
        }
        *self = adopted;
        Ok(self.cover(rules))
    }
}

impl Spent {
    /// Keeps what no log tells: the overruns and the alerts of the same window as it was counted before.
    fn keep_history(&mut self, before: &Spent, window: &Window) {
        if before.alerted_at >= self.start {
            (self.alerted, self.alerted_at) = (before.alerted, before.alerted_at);
        }
        self.denied = before.denied.filter(|_| before.start == self.start);
        if window.slice_of(self.start).is_none() {
            self.overrun = if before.start == self.start { before.overrun } else { Pots::default() };
            return;
        }
        self.slices.iter_mut().for_each(|slice| slice.overrun = Pots::default());
        let span = self.span();
        for slice in &before.slices {
            if span.contains(slice.start) && slice.overrun != Pots::default() {
                self.record(window, slice.start, |own| own.overrun = slice.overrun);
            }
        }
        self.slices.retain(|slice| slice.settled != Pots::default() || slice.overrun != Pots::default());
        self.add_up();
    }
}
