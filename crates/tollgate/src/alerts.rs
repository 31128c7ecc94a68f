//! Passes alerts on: to whoever listens on `tollgate.alert.<team>.<kind>`, and to the operator's webhook.

use tokio::sync::mpsc;
use tollgate_queue::{Connection, control};
use tollgate_settler::BudgetAlert;

use crate::webhook::Webhook;

/// Alerts that wait to be passed on; they are few, once a threshold and window.
pub(crate) const WAITING_MAX: usize = 256;

/// Passes on what comes, until nobody sends any more.
pub(crate) async fn pass_on(
    mut alerts: mpsc::Receiver<BudgetAlert>,
    connection: &Connection,
    webhook: Option<Webhook>,
) {
    while let Some(alert) = alerts.recv().await {
        let team = alert.scope.team().unwrap_or("organisation");
        if let Err(error) = control::alert(connection, team, "budget", &alert).await {
            tracing::error!(%error, scope = %alert.scope, "an alert was not published");
        }
        if let Some(webhook) = &webhook {
            webhook.tell(&alert);
        }
    }
}
