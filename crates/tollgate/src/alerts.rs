//! Passes alerts on: to whoever listens on `tollgate.alert.<team>.<kind>`, and to the operator's webhook.

use serde::Serialize;
use tokio::sync::mpsc;
use tollgate_queue::{Connection, control};
use tollgate_settler::BudgetAlert;
use tollgate_types::alert::{NO_TEAM, VERSION};
use tollgate_types::{Alert, AlertKind, AlertState, Digest, Severity, UnixMillis};

use crate::webhook::Webhook;

/// Alerts that wait to be passed on; they are few, once a threshold and window.
pub(crate) const WAITING_MAX: usize = 256;

/// Passes on what comes, until nobody sends any more.
pub(crate) async fn pass_on(
    mut alerts: mpsc::Receiver<BudgetAlert>,
    connection: &Connection,
    webhook: Option<Webhook>,
) {
    while let Some(budget) = alerts.recv().await {
        let alert = Announced::new(budget);
        let team = alert.budget.scope.team().unwrap_or(NO_TEAM);
        if let Err(error) = control::alert(connection, team, AlertKind::Budget.as_str(), &alert).await {
            tracing::error!(%error, scope = %alert.budget.scope, "an alert was not published");
        }
        if let Some(webhook) = &webhook {
            webhook.tell(&alert);
        }
    }
}

/// An alert about a budget: what every alert says, and the exact sums beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Announced {
    #[serde(flatten)]
    alert: Alert,
    #[serde(flatten)]
    budget: BudgetAlert,
}

impl Announced {
    fn new(budget: BudgetAlert) -> Announced {
        let BudgetAlert { scope, window, starts, percent, spent_nanousd, cap_nanousd } = &budget;
        let about = format!("{scope} {window}");
        let digest = Digest::of(&[about.as_bytes()]).short();
        let alert = Alert {
            version: VERSION,
            id: format!("{}.{digest}.{}.{percent}", AlertKind::Budget.as_str(), starts.0),
            kind: AlertKind::Budget,
            state: AlertState::Firing,
            severity: if *percent >= 100 { Severity::Critical } else { Severity::Warning },
            team: scope.team().map(str::to_owned),
            what: format!("{percent} % of the {window} budget of {scope} are spent: {spent_nanousd} of {cap_nanousd}"),
            value: share(spent_nanousd.0, cap_nanousd.0),
            threshold: f64::from(*percent),
            unit: "percent".to_owned(),
            since: *starts,
            at: UnixMillis::from(time::OffsetDateTime::now_utc()),
            runbook: AlertKind::Budget.runbook(),
            about,
        };
        Announced { alert, budget }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a percentage for people; the exact sums stand beside it")]
fn share(part: i64, whole: i64) -> f64 {
    if whole > 0 { (part as f64 / whole as f64 * 1000.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use tollgate_types::NanoUsd;

    use super::*;

    #[test]
    fn a_budgets_alert_says_what_all_do_and_its_exact_sums() {
        let budget = BudgetAlert {
            scope: "team:search".parse().expect("a scope"),
            window: "day".into(),
            starts: UnixMillis(7),
            percent: 80,
            spent_nanousd: NanoUsd(81),
            cap_nanousd: NanoUsd(100),
        };
        let said = serde_json::to_value(Announced::new(budget)).expect("JSON");
        assert_eq!(
            (&said["kind"], &said["state"], &said["team"]),
            (&"budget".into(), &"firing".into(), &"search".into())
        );
        assert_eq!((&said["value"], &said["percent"], &said["spent_nanousd"]), (&81.0.into(), &80.into(), &81.into()));
        assert_eq!(said["runbook"], "docs/runbook.md#budget");
        assert_eq!(serde_json::from_value::<Alert>(said).expect("every alert reads").threshold, 80.0);
    }
}
