//! Alerts: a budget passed a threshold that its owner wants to hear of.

use serde::Serialize;
use tollgate_policy::account::Alert;
use tollgate_types::{NanoUsd, Scope, UnixMillis};

use crate::settler::Settler;

/// What is announced on `tollgate.alert.<team>.budget` and to the operator's webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetAlert {
    /// Whose budget.
    pub scope: Scope,
    /// Which of its windows.
    pub window: String,
    /// When that window began: with scope, window and percentage it names the alert, should it come twice.
    pub starts: UnixMillis,
    /// The threshold that was passed, in percent of the cap.
    pub percent: u8,
    /// What is spent.
    pub spent_nanousd: NanoUsd,
    /// The cap.
    pub cap_nanousd: NanoUsd,
}

impl Settler {
    /// Hands alerts over. Killed between the account's swap and this: the alert is not repeated; the threshold shows in
    /// the account and in `budget show`.
    pub(crate) fn announce(&self, scope: &Scope, due: &[Alert]) {
        for alert in due {
            tracing::warn!(scope = %scope, window = alert.window, percent = alert.percent, "budget threshold passed");
            metrics::counter!("tollgate_budget_alerts_total").increment(1);
            let alert = BudgetAlert {
                scope: scope.clone(),
                window: alert.window.clone(),
                starts: alert.starts,
                percent: alert.percent,
                spent_nanousd: alert.spent,
                cap_nanousd: alert.cap,
            };
            if self.alerts.try_send(alert).is_err() {
                tracing::error!(scope = %scope, "an alert could not be handed over");
            }
        }
    }
}
