//! What a record says to people and to tests: where each window stands, what to alert, whether the promise holds.

use serde::Serialize;
use tollgate_types::{NanoUsd, UnixMillis, WhenSpent};

use super::{Account, Pot, Pots, SUM_MAX, Spent};
use crate::budget::Rule;
use crate::window::SLICES;

/// Where one window stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The window.
    pub window: String,
    /// When it began.
    pub starts: UnixMillis,
    /// When it ends; of a rolling one, when it next moves on.
    pub ends: UnixMillis,
    /// From when on spend was counted, if the budget is newer than the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMillis>,
    /// What happens when it is spent.
    pub when_spent: WhenSpent,
    /// Its money; without a downgrade all of it, else that for the models asked for.
    pub main: Purse,
    /// With a downgrade: the money for the cheaper model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downgraded: Option<Purse>,
}

/// One cap, and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Purse {
    /// The cap now; `None` is no limit.
    pub cap: Option<NanoUsd>,
    /// What results cost.
    pub settled: NanoUsd,
    /// What workers hold.
    pub held: NanoUsd,
    /// What is left to take; `None` is no limit.
    pub left: Option<NanoUsd>,
    /// By how much the cap was exceeded in this window.
    pub overrun: NanoUsd,
}

/// A threshold that was crossed and not yet announced in this window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// The window.
    pub window: String,
    /// When the window began: with scope, window and percentage it names the alert.
    pub starts: UnixMillis,
    /// The percentage of the cap.
    pub percent: u8,
    /// What is settled.
    pub spent: NanoUsd,
    /// The cap.
    pub cap: NanoUsd,
}

impl Account {
    /// Where each window stands at `now`, in the order of the rules.
    pub fn standing(&self, now: UnixMillis, rules: &[Rule]) -> Vec<Standing> {
        let mut fresh = self.clone();
        fresh.refresh(now, rules);
        let held = fresh.held();
        let standing = |rule: &Rule| {
            let spent = fresh.windows.get(&rule.id)?;
            let downgrades = rule.budget.when_spent == WhenSpent::Downgrade;
            Some(Standing {
                window: rule.id.clone(),
                starts: spent.start,
                ends: spent.end,
                since: spent.since,
                when_spent: rule.budget.when_spent,
                main: spent.purse(&held, Pot::Main),
                downgraded: downgrades.then(|| spent.purse(&held, Pot::Downgraded)),
            })
        };
        rules.iter().filter_map(standing).collect()
    }

    /// The thresholds that are crossed and not announced, the lowest of each window first.
    ///
    /// What is settled counts, for the models asked for where the budget downgrades; holds are upper bounds. The last
    /// cents before a cap are seldom spent, because no job's bound fits into them: so 100 percent is also crossed when
    /// what is settled leaves less than the cap denied before ([`Account::note_denied`]).
    pub fn alerts(&self, rules: &[Rule]) -> Vec<Alert> {
        let of_rule = |rule: &Rule| -> Vec<Alert> {
            let Some(spent) = self.windows.get(&rule.id) else { return Vec::new() };
            let settled = spent.caps.counted(&spent.settled, Pot::Main);
            let cap = spent.caps.cap_of(Pot::Main).unwrap_or(NanoUsd::ZERO);
            let is_crossed = |percent: u8| {
                let reached = i128::from(settled.0) * 100 >= i128::from(cap.0) * i128::from(percent);
                let spent_for_jobs = || spent.denied.is_some_and(|denied| settled + denied > cap);
                settled > NanoUsd::ZERO && (reached || percent == 100 && spent_for_jobs())
            };
            let crossed =
                rule.budget.alert_percent.iter().filter(|&&percent| percent > spent.alerted && is_crossed(percent));
            let alert =
                |&percent: &u8| Alert { window: rule.id.clone(), starts: spent.start, percent, spent: settled, cap };
            crossed.map(alert).collect()
        };
        rules.iter().flat_map(of_rule).collect()
    }

    /// Marks the alerts of this same version of the record as announced: once in a window each.
    ///
    /// Send them after the swap: whoever sends before it repeats them when the swap loses, and whoever dies in between
    /// leaves the threshold in the record, where reports show it.
    pub fn announced(&mut self, alerts: &[Alert]) {
        for alert in alerts {
            if let Some(spent) = self.windows.get_mut(&alert.window) {
                spent.alerted = spent.alerted.max(alert.percent);
                spent.alerted_at = self.as_of;
            }
        }
    }

    /// Whether the promise holds: in every window with a budget, settled and held are at most cap and overrun.
    ///
    /// # Errors
    /// Says where it does not, or which sum cannot be.
    pub fn check(&self) -> Result<(), String> {
        let held = self.held();
        let is_sum = |pots: &Pots| Pot::ALL.iter().all(|&pot| (NanoUsd::ZERO..=SUM_MAX).contains(&pots.of(pot)));
        if let Some((lease, block)) = self.blocks.iter().find(|(_, block)| !is_sum(&block.held)) {
            return Err(format!("block of {lease}: {:?} is no sum", block.held));
        }
        for (id, spent) in &self.windows {
            spent.check_sums().map_err(|problem| format!("window {id:?}: {problem}"))?;
            for pot in Pot::ALL {
                let excess = spent.excess(&held, pot);
                if spent.gone.is_none() && excess > NanoUsd::ZERO {
                    return Err(format!(
                        "window {id:?}, {pot:?}: {excess} above cap and overrun: {spent:?}, held {held:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Spent {
    fn purse(&self, held: &Pots, pot: Pot) -> Purse {
        let of = |amounts: &Pots| self.caps.counted(amounts, pot);
        Purse {
            cap: self.caps.cap_of(pot),
            settled: of(&self.settled),
            held: of(held),
            left: self.left(held, pot).map(|left| left.max(NanoUsd::ZERO)),
            overrun: of(&self.overrun),
        }
    }

    fn check_sums(&self) -> Result<(), String> {
        let slices = self.slices.iter().flat_map(|slice| [&slice.settled, &slice.overrun]);
        for pots in slices.chain([&self.settled, &self.overrun]) {
            if pots.main < NanoUsd::ZERO || pots.downgraded < NanoUsd::ZERO {
                return Err(format!("{pots:?} is negative"));
            }
        }
        if self.slices.len() > usize::try_from(SLICES + 1).expect("there are few") {
            return Err(format!("{} sub-windows", self.slices.len()));
        }
        if !self.slices.is_sorted_by(|a, b| a.start < b.start) {
            return Err("sub-windows out of order".to_owned());
        }
        let mut added = self.clone();
        added.add_up();
        if !self.slices.is_empty() && (added.settled, added.overrun) != (self.settled, self.overrun) {
            return Err(format!("sub-windows do not add up: {self:?}"));
        }
        Ok(())
    }
}
