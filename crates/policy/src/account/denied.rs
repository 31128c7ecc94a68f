//! Why a block cannot be taken, with the arithmetic, and what follows from it.

use std::cmp::Reverse;
use std::fmt;

use tollgate_types::budget::Then;
use tollgate_types::{NanoUsd, Scope, UnixMillis, Usd, WhenSpent};

use super::{Account, Pot, Pots, Spent};
use crate::budget::Rule;

/// A window has no money for what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denied {
    /// Whose budget it is.
    pub scope: Scope,
    /// Its window.
    pub window: String,
    /// The pot that was asked.
    pub pot: Pot,
    /// What stands in the way.
    pub kind: DeniedKind,
    /// The cap now.
    pub cap: NanoUsd,
    /// What is settled of it.
    pub settled: NanoUsd,
    /// What is held of it.
    pub held: NanoUsd,
    /// What was asked.
    pub asked: NanoUsd,
    /// When it may fit at the earliest, if nobody gives back or overspends: when the window ends, enough of a rolling
    /// one has fallen off, or a raise begins. `None` if that depends on others' holds, or will never be.
    pub opens: Option<UnixMillis>,
    /// What the budget says happens then.
    pub when_spent: WhenSpent,
    /// The cheaper model that it names.
    pub downgrade_to: Option<String>,
    /// What the budget says happens when the cheaper model may not serve either.
    pub then: Then,
}

/// What stands in the way of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeniedKind {
    /// It would not fit even if nobody held anything.
    Spent,
    /// Only what others hold: some of it will come back.
    Pending,
    /// It is more than the cap of an empty window, with all the raises that are known to come.
    Never,
}

/// What is to be done with a job that was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Try again soon: holds come back within seconds.
    WaitForHolds,
    /// Wait until there is more money: [`Denied::opens`], or a change of the budget.
    WaitForWindow,
    /// Let the cheaper model serve it.
    Downgrade {
        /// The model.
        to: &'a str,
    },
    /// End it as `over_budget`.
    Reject,
}

impl Denied {
    /// Whether `rule` denies an amount of a pot, of a record that is up to date.
    pub(super) fn by(rule: &Rule, account: &Account, held: &Pots, (pot, asked): (Pot, NanoUsd)) -> Option<Denied> {
        let spent = account.windows.get(&rule.id)?;
        let cap = spent.caps.cap_of(pot)?;
        let settled = spent.caps.counted(&spent.settled, pot);
        let in_holds = spent.caps.counted(held, pot);
        if asked == NanoUsd::ZERO || settled + in_holds + asked <= cap {
            // What costs nothing fits even where more was spent than there was.
            return None;
        }
        let highest = rule.highest_cap(pot, account.as_of).unwrap_or(cap);
        let kind = match () {
            () if asked > highest => DeniedKind::Never,
            () if settled + asked > cap => DeniedKind::Spent,
            () => DeniedKind::Pending,
        };
        let opens = match kind {
            DeniedKind::Spent => Some(opens(rule, spent, (pot, asked, cap), account.as_of)),
            DeniedKind::Pending | DeniedKind::Never => None,
        };
        Some(Denied {
            scope: account.scope.clone(),
            window: rule.id.clone(),
            pot,
            kind,
            cap,
            settled,
            held: in_holds,
            asked,
            opens,
            when_spent: rule.budget.when_spent,
            downgrade_to: rule.budget.downgrade_to.clone(),
            then: rule.budget.then,
        })
    }

    /// What is to be done with the job.
    ///
    /// While only holds are in the way nothing is decided: they are upper bounds, and most of each comes back. A job
    /// that can never fit is rejected, whatever the budget says, unless the budget names a cheaper model, with which it
    /// may.
    pub fn next(&self) -> Next<'_> {
        let cheaper = match (self.when_spent, self.pot) {
            (WhenSpent::Downgrade, Pot::Main) => self.downgrade_to.as_deref(),
            (WhenSpent::Downgrade | WhenSpent::Wait | WhenSpent::Reject, _) => None,
        };
        match (self.kind, cheaper) {
            (DeniedKind::Pending, _) => Next::WaitForHolds,
            (DeniedKind::Spent | DeniedKind::Never, Some(to)) => Next::Downgrade { to },
            (DeniedKind::Never, None) => Next::Reject,
            (DeniedKind::Spent, None) => match (self.when_spent, self.then) {
                (WhenSpent::Reject, _) | (WhenSpent::Downgrade, Then::Reject) => Next::Reject,
                (WhenSpent::Wait, _) | (WhenSpent::Downgrade, Then::Wait) => Next::WaitForWindow,
            },
        }
    }

    /// How decisive it is among several: what ends a job, then what moves it to another model, then what makes it wait
    /// for a window, the latest first, then what makes it wait for holds.
    fn rank(&self) -> (u8, Option<UnixMillis>) {
        let step = match (self.next(), self.kind) {
            (Next::Reject, DeniedKind::Never) => 4,
            (Next::Reject, DeniedKind::Spent | DeniedKind::Pending) => 3,
            (Next::Downgrade { .. }, _) => 2,
            (Next::WaitForWindow, _) => 1,
            (Next::WaitForHolds, _) => 0,
        };
        (step, self.opens)
    }
}

/// The denial that decides; of equal ones the first.
pub(super) fn decisive(denials: impl Iterator<Item = Denied>) -> Option<Denied> {
    denials.min_by_key(|denied| Reverse(denied.rank()))
}

/// When the window gives enough back, or a raise that may do begins.
fn opens(rule: &Rule, spent: &Spent, (pot, asked, cap): (Pot, NanoUsd, NanoUsd), now: UnixMillis) -> UnixMillis {
    let mut settled = spent.caps.counted(&spent.settled, pot);
    let mut ends = spent.end;
    for slice in &spent.slices {
        if settled + asked <= cap {
            break;
        }
        settled = settled - spent.caps.counted(&slice.settled, pot);
        ends = rule.window.falls_off(slice.start).unwrap_or(ends);
    }
    let raises = rule.budget.raises.iter().map(|raise| raise.from).filter(|&from| from > now);
    // Above the cap alone, only a raise helps.
    raises.chain((asked <= cap).then_some(ends)).min().unwrap_or(ends)
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { scope, window, cap, settled, held, asked, .. } = self;
        let [cap, settled, held, asked] = [cap, settled, held, asked].map(|amount| Usd(*amount));
        let of = match self.pot {
            Pot::Main => "",
            Pot::Downgraded => "of the cheaper model ",
        };
        let cap = format!("the cap of ${cap} {of}for {window:?} of {scope}");
        match self.kind {
            DeniedKind::Never => write!(f, "${asked} can never fit {cap}"),
            DeniedKind::Spent => write!(f, "${asked} does not fit {cap}: ${settled} settled, ${held} held"),
            DeniedKind::Pending => {
                write!(f, "${asked} does not fit {cap} until holds come back: ${settled} settled, ${held} held")
            }
        }
    }
}
