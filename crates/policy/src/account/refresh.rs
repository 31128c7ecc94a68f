//! Brings a record up to date: windows that ended begin again, caps are those of now, overruns are recorded.

use std::time::Duration;

use tollgate_types::budget::BUDGETS_MAX;
use tollgate_types::{NanoUsd, UnixMillis};

use super::{Account, Pot, Pots, Slice, Spent};
use crate::budget::Rule;
use crate::window::{Span, Window};

/// How far a process may be behind the record without the record going back: far more than any is. A record that is
/// ahead by less, because a clock was wrong, heals by itself as time catches up.
const CLOCK_BACK_MAX: Duration = Duration::from_secs(86_400);
/// How long a window without a budget is kept: workers that have not read the budgets for longer than this have lost
/// their connection, and take nothing.
const GONE_KEPT: Duration = Duration::from_secs(600);

/// An overrun that a change recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The window.
    pub window: String,
    /// The pot; where both count together, [`Pot::Main`].
    pub pot: Pot,
    /// By how much it grew.
    pub by: NanoUsd,
}

impl Account {
    /// Brings the record up to date; every other change does this first.
    ///
    /// Windows whose end has passed begin again, without what was settled in them; holds stay and count in the new
    /// ones. Windows of new budgets begin with what is held; those of removed ones lose their caps, and go after a
    /// while. Caps are those of `now`, unless they come from a budget that is newer than what this process knows. What is settled and held above a cap that fell is recorded as an overrun.
    pub fn refresh(&mut self, now: UnixMillis, rules: &[Rule]) -> Vec<Overrun> {
        // A process that lags must not bring an ended window back, so time only goes on; unless the record is far ahead
        // of it, for with windows of the future nothing that is spent today would count.
        let went_back = now.plus(CLOCK_BACK_MAX) < self.as_of;
        self.as_of = if went_back { now } else { self.as_of.max(now) };
        let now = self.as_of;
        for rule in rules {
            let caps = rule.caps_at(now);
            match self.windows.get_mut(&rule.id) {
                // This process has not read yet of the budget that the caps come from.
                Some(spent) if rule.as_of < spent.capped => spent.move_to(&rule.window, now),
                Some(spent) => {
                    spent.denied = spent.denied.filter(|_| spent.caps == caps);
                    (spent.caps, spent.capped, spent.gone) = (caps, rule.as_of, None);
                    spent.move_to(&rule.window, now);
                }
                None => drop(self.windows.insert(rule.id.clone(), Spent::new(rule, caps, now))),
            }
        }
        self.let_go(now, rules);
        self.cover(rules)
    }

    /// Windows without a budget move on too, so that one which comes back has lost nothing.
    fn let_go(&mut self, now: UnixMillis, rules: &[Rule]) {
        self.windows.retain(|id, spent| {
            if rules.iter().any(|rule| rule.id == *id) {
                return true;
            }
            let gone = *spent.gone.get_or_insert(now);
            match Window::of_id(id) {
                Ok(window) if now < gone.plus(GONE_KEPT) => spent.move_to(&window, now),
                Ok(_) | Err(_) => return false,
            }
            true
        });
        let mut gone: Vec<_> =
            self.windows.iter().filter_map(|(id, spent)| spent.gone.map(|at| (at, id.clone()))).collect();
        gone.sort();
        let too_many = gone.len().saturating_sub(BUDGETS_MAX);
        for (_, id) in gone.into_iter().take(too_many) {
            self.windows.remove(&id);
        }
    }

    /// Records what is settled and held above the caps and was not recorded before.
    pub(super) fn cover(&mut self, rules: &[Rule]) -> Vec<Overrun> {
        let (held, now) = (self.held(), self.as_of);
        let mut overruns = Vec::new();
        for rule in rules {
            let Some(spent) = self.windows.get_mut(&rule.id) else { continue };
            for pot in Pot::ALL {
                let by = spent.excess(&held, pot);
                if by > NanoUsd::ZERO {
                    spent.record(&rule.window, now, |slice| *slice.overrun.of_mut(pot) += by);
                    overruns.push(Overrun { window: rule.id.clone(), pot, by });
                }
            }
        }
        overruns
    }
}

impl Spent {
    fn new(rule: &Rule, caps: super::Caps, now: UnixMillis) -> Spent {
        let span = rule.window.span(now);
        Spent {
            start: span.start,
            end: span.end,
            since: Some(now),
            caps,
            capped: rule.as_of,
            settled: Pots::default(),
            overrun: Pots::default(),
            slices: Vec::new(),
            alerted: 0,
            alerted_at: UnixMillis::default(),
            denied: None,
            gone: None,
        }
    }

    pub(super) fn span(&self) -> Span {
        Span { start: self.start, end: self.end }
    }

    /// Goes on to the window that `now` lies in.
    fn move_to(&mut self, window: &Window, now: UnixMillis) {
        if self.span().contains(now) {
            return;
        }
        let span = window.span(now);
        match window.slice_of(now) {
            Some(_) => {
                self.slices.retain(|slice| span.contains(slice.start));
                self.add_up();
            }
            None => {
                self.settled = Pots::default();
                self.overrun = Pots::default();
            }
        }
        self.since = match self.since {
            // The clock went back: what was spent in this window was forgotten when the later one began.
            _ if span.start < self.start => Some(now),
            since => since.filter(|&since| since > span.start),
        };
        (self.start, self.end) = (span.start, span.end);
        self.denied = None;
        if self.alerted_at < self.start {
            self.alerted = 0;
        }
    }

    /// What of settled and held is above cap and overrun; zero or less if nothing is.
    pub(super) fn excess(&self, held: &Pots, pot: Pot) -> NanoUsd {
        let counted = |amounts: &Pots| i128::from(self.caps.counted(amounts, pot).0);
        let Some(cap) = self.caps.cap_of(pot) else { return NanoUsd::ZERO };
        let excess = counted(&self.settled) + counted(held) - i128::from(cap.0) - counted(&self.overrun);
        NanoUsd(i64::try_from(excess).unwrap_or(if excess > 0 { i64::MAX } else { i64::MIN }))
    }

    /// Changes the sums of the sub-window that `at` lies in, or of the one window that there is.
    pub(super) fn record(&mut self, window: &Window, at: UnixMillis, change: impl FnOnce(&mut Slice)) {
        let Some(start) = window.slice_of(at) else {
            let mut whole = Slice { start: self.start, settled: self.settled, overrun: self.overrun };
            change(&mut whole);
            (self.settled, self.overrun) = (whole.settled, whole.overrun);
            return;
        };
        let found = self.slices.binary_search_by_key(&start, |slice| slice.start);
        let index = found.unwrap_or_else(|index| {
            self.slices.insert(index, Slice { start, settled: Pots::default(), overrun: Pots::default() });
            index
        });
        change(&mut self.slices[index]);
        self.add_up();
    }

    pub(super) fn add_up(&mut self) {
        self.settled = Pots::total(self.slices.iter().map(|slice| &slice.settled));
        self.overrun = self.slices.iter().fold(Pots::default(), |sum, slice| Pots {
            main: sum.main + slice.overrun.main,
            downgraded: sum.downgraded + slice.overrun.downgraded,
        });
    }
}
