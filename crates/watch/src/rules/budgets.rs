//! Budgets that will be spent before their window ends.

use tollgate_types::{AlertKind, Severity, UnixMillis};

use super::in_words;
use crate::finding::Finding;
use crate::sample::BudgetState;

/// Early in a window a rate is chance: so much of it must have passed.
const PASSED_PERCENT_MIN: i64 = 10;

/// Caps that spending will reach before the window's end, if it goes on as it went.
pub(super) fn soon_spent(budgets: &[BudgetState], now: UnixMillis) -> Vec<Finding> {
    let find = |budget: &BudgetState| {
        let spent_at = budget.spent_at.filter(|at| *at < budget.ends)?;
        let (length, passed) = (budget.ends.0 - budget.starts.0, now.0 - budget.starts.0);
        if length <= 0 || passed.saturating_mul(100) < length.saturating_mul(PASSED_PERCENT_MIN) {
            return None;
        }
        let left = in_words(spent_at.since(now));
        let too_early = in_words(budget.ends.since(spent_at));
        Some(Finding {
            kind: AlertKind::BudgetProjection,
            severity: Severity::Warning,
            team: budget.team.clone(),
            about: format!("{} {}", budget.scope, budget.window),
            what: format!(
                "at this rate the {} budget of {} ({} of {}) is spent in {left}, {too_early} before its window ends",
                budget.window, budget.scope, budget.settled, budget.cap,
            ),
            value: percent(budget.at_end.map_or(budget.settled.0, |at_end| at_end.0), budget.cap.0),
            threshold: 100.0,
            unit: "percent".to_owned(),
        })
    };
    budgets.iter().filter_map(find).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(part: i64, whole: i64) -> f64 {
    if whole > 0 { (part as f64 / whole as f64 * 1000.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use tollgate_types::NanoUsd;

    use super::*;

    #[test]
    fn a_cap_that_will_be_reached_is_told_once_enough_of_the_window_has_passed() {
        let check = |now: i64, spent_at: Option<i64>, expected: Option<f64>| {
            let budget = BudgetState {
                scope: "team:search".parse().expect("a scope"),
                team: Some("search".into()),
                window: "day".into(),
                starts: UnixMillis(0),
                ends: UnixMillis(100_000),
                cap: NanoUsd(1_000),
                settled: NanoUsd(400),
                held: NanoUsd(0),
                at_end: Some(NanoUsd(2_000)),
                spent_at: spent_at.map(UnixMillis),
            };
            let found = soon_spent(&[budget], UnixMillis(now));
            assert_eq!(found.first().map(|f| f.value), expected, "{now} {spent_at:?}");
        };
        check(20_000, Some(50_000), Some(200.0));
        check(9_999, Some(50_000), None);
        check(20_000, None, None);
        check(20_000, Some(100_000), None);
    }
}
