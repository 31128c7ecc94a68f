//! Says every few seconds how this worker and the deployments that it calls are doing, and at once when one of them is
//! shut or takes calls again: for screens, and kept nowhere.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tollgate_policy::health::{Report, Standing};
use tollgate_queue::control::{self, DeploymentReport, WorkerReport};

use crate::context::Context;
use crate::worker::WorkerStatus;

/// As often as a screen is looked at anew.
const EVERY: Duration = Duration::from_secs(3);
/// The least time between two reports, however often doors move.
const PAUSE: Duration = Duration::from_millis(250);

/// Reports for ever. Cancel safe.
pub(crate) async fn keep(cx: &Context, status: watch::Receiver<WorkerStatus>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut doors = cx.fleet.changes();
    let mut told = BTreeSet::new();
    loop {
        let due = tokio::select! {
            _ = ticks.tick() => true,
            Ok(()) = doors.changed() => false,
        };
        let report = report(cx, &status.borrow().clone());
        let shut = shut(&report);
        if !due && shut == told {
            continue;
        }
        told = shut;
        if let Err(error) = control::report(&cx.connection, &report).await {
            tracing::debug!(%error, "nobody is told how this worker does");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Which deployments take no calls.
fn shut(report: &WorkerReport) -> BTreeSet<(String, String)> {
    let those = report.deployments.iter().filter(|deployment| deployment.shut_for_ms.is_some());
    those.map(|deployment| (deployment.provider.clone(), deployment.model.clone())).collect()
}

fn report(cx: &Context, status: &WorkerStatus) -> WorkerReport {
    let now = cx.fleet.point();
    let deployments = cx.fleet.reports().into_iter();
    WorkerReport {
        worker: cx.config.name.clone(),
        running: status.running as u64,
        lanes: status.lanes as u64,
        holding: status.holding.map(str::to_owned),
        deployments: deployments.map(|((provider, model), report)| of(provider, model, &report, now)).collect(),
    }
}

fn of(provider: String, model: String, report: &Report, now: Duration) -> DeploymentReport {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (standing, shut_for_ms) = match report.standing {
        Standing::Ready => ("ready", None),
        Standing::Slow => ("slow", None),
        Standing::Probe => ("probe", None),
        Standing::Full => ("full", None),
        Standing::Shut { until } => ("shut", Some(millis(until.saturating_sub(now)))),
    };
    DeploymentReport {
        provider,
        model,
        standing: standing.to_owned(),
        shut_for_ms,
        running: report.running as u64,
        limit: report.limit.map(|limit| limit as u64),
        recent_ms: report.recent.map(millis),
        usual_ms: report.usual.map(millis),
        retries_left: report.retries_left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_that_is_shut_says_for_how_long() {
        let standing = Standing::Shut { until: Duration::from_secs(9) };
        let report = Report { standing, running: 2, limit: Some(7), recent: None, usual: None, retries_left: 1.5 };
        let told = of("p".into(), "m".into(), &report, Duration::from_secs(4));
        assert_eq!((told.standing.as_str(), told.shut_for_ms, told.limit), ("shut", Some(5000), Some(7)));
    }
}
