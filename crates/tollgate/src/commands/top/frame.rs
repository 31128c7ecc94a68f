//! One look, as it is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tollgate_queue::control::WorkerReport;
use tollgate_types::{Alert, NanoUsd, UnixMillis};
use tollgate_usage::RecentUse;

use crate::config::values::Period;
use crate::output::Output;

/// The lanes that fit a screen.
const LANES_SHOWN: usize = 20;

/// What happens now.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    at: String,
    workers: usize,
    running: u64,
    /// Why workers pull nothing, by worker.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    holding: BTreeMap<String, String>,
    lanes: Vec<Lane>,
    providers: Vec<Provider>,
    /// The last minute; nothing if ClickHouse did not say.
    last_minute: Option<Minute>,
    alerts: Vec<Alert>,
}

/// One lane.
#[derive(Debug, Serialize)]
pub(super) struct Lane {
    pub(super) class: String,
    pub(super) team: String,
    pub(super) weight: Option<u32>,
    pub(super) waiting: u64,
    pub(super) running: u64,
    pub(super) parked: u64,
    pub(super) oldest_seconds: Option<u64>,
    /// Jobs taken a second since the look before.
    pub(super) per_second: Option<f64>,
}

/// A deployment, as all workers see it together.
#[derive(Debug, Default, Serialize)]
struct Provider {
    provider: String,
    model: String,
    /// The worst that any worker says.
    standing: String,
    calls: u64,
    /// The slowest recent time to the first token that any worker saw, ms.
    recent_ms: Option<u64>,
}

impl Provider {
    fn says_something(&self) -> bool {
        self.calls > 0 || self.recent_ms.is_some() || self.standing != STANDINGS[0]
    }
}

/// What ended in the last minute.
#[derive(Debug, Serialize)]
pub(super) struct Minute {
    jobs: u64,
    calls: u64,
    tokens: u64,
    cost_nanousd: i64,
}

impl From<RecentUse> for Minute {
    fn from(recent: RecentUse) -> Self {
        let RecentUse { jobs, calls, tokens, cost_nanousd } = recent;
        Minute { jobs, calls, tokens, cost_nanousd }
    }
}

/// How many a second; a counter that began anew counts from nothing.
#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
pub(super) fn rate(is: u64, was: u64, took: Duration) -> f64 {
    let more = is.checked_sub(was).unwrap_or(is);
    if took.is_zero() { 0.0 } else { (more as f64 / took.as_secs_f64() * 10.0).round() / 10.0 }
}

/// From the best to the worst.
const STANDINGS: [&str; 5] = ["ready", "probe", "slow", "full", "shut"];

fn together(workers: &[WorkerReport]) -> Vec<Provider> {
    let mut all: BTreeMap<(&str, &str), Provider> = BTreeMap::new();
    for deployment in workers.iter().flat_map(|worker| &worker.deployments) {
        let one = all.entry((&deployment.provider, &deployment.model)).or_insert_with(|| Provider {
            provider: deployment.provider.clone(),
            model: deployment.model.clone(),
            ..Provider::default()
        });
        let badness = |standing: &str| STANDINGS.iter().position(|known| *known == standing);
        if one.standing.is_empty() || badness(&deployment.standing) > badness(&one.standing) {
            one.standing.clone_from(&deployment.standing);
        }
        one.calls += deployment.running;
        one.recent_ms = one.recent_ms.max(deployment.recent_ms);
    }
    all.into_values().collect()
}

impl Frame {
    pub(super) fn new(
        now: UnixMillis,
        mut lanes: Vec<Lane>,
        workers: Vec<WorkerReport>,
        last_minute: Option<Minute>,
        alerts: Vec<Alert>,
    ) -> Frame {
        lanes.sort_by_key(|lane| std::cmp::Reverse(lane.waiting + lane.running + lane.parked));
        let holding = workers.iter().filter_map(|worker| Some((worker.worker.clone(), worker.holding.clone()?)));
        Frame {
            at: now.to_rfc3339(),
            workers: workers.len(),
            running: workers.iter().map(|worker| worker.running).sum(),
            holding: holding.collect(),
            providers: together(&workers),
            lanes,
            last_minute,
            alerts,
        }
    }

    pub(super) fn in_words(&self, output: &Output) -> String {
        let none = || "–".to_owned();
        let minute = self.last_minute.as_ref().map_or_else(
            || "ClickHouse does not say what ended in the last minute".to_owned(),
            |minute| {
                let Minute { jobs, calls, tokens, cost_nanousd } = minute;
                format!("last minute: {jobs} jobs, {calls} calls, {tokens} tokens, {}", NanoUsd(*cost_nanousd))
            },
        );
        let mut parts =
            vec![format!("{}   {} worker(s), {} job(s) running   {minute}", self.at, self.workers, self.running)];
        parts.extend(self.holding.iter().map(|(worker, why)| format!("{worker} pulls nothing: {why}")));
        parts.extend(self.alerts.iter().map(|alert| format!("{:?}: {}", alert.severity, alert.what)));
        let mut lanes = output.table(&["team", "class", "weight", "waiting", "running", "parked", "oldest", "jobs/s"]);
        for lane in self.lanes.iter().take(LANES_SHOWN) {
            lanes.add_row([
                lane.team.clone(),
                lane.class.clone(),
                lane.weight.map_or_else(none, |weight| weight.to_string()),
                lane.waiting.to_string(),
                lane.running.to_string(),
                lane.parked.to_string(),
                lane.oldest_seconds.map_or_else(none, |seconds| Period::secs(seconds).to_string()),
                lane.per_second.map_or_else(none, |rate| format!("{rate:.1}")),
            ]);
        }
        parts.push(format!("\n{}", lanes.trim_fmt()));
        if self.lanes.len() > LANES_SHOWN {
            parts.push(format!("{} more lane(s): `tollgate queue list`", self.lanes.len() - LANES_SHOWN));
        }
        let mut providers = output.table(&["provider", "model", "standing", "calls", "first token ms"]);
        let (busy, idle): (Vec<&Provider>, Vec<&Provider>) =
            self.providers.iter().partition(|one| one.says_something());
        for one in busy {
            let ms = one.recent_ms.map_or_else(none, |ms| ms.to_string());
            providers.add_row([&one.provider, &one.model, &one.standing, &one.calls.to_string(), &ms]);
        }
        parts.push(format!("\n{}", providers.trim_fmt()));
        if !idle.is_empty() {
            parts.push(format!("{} more deployment(s) are ready and were not called lately", idle.len()));
        }
        parts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, standing: &str, running: u64) -> WorkerReport {
        serde_json::from_value(serde_json::json!({
            "worker": name, "running": running, "lanes": 1,
            "deployments": [{"provider": "p", "model": "m", "standing": standing, "running": running,
                "recent_ms": running * 10, "retries_left": 1.0}],
        }))
        .expect("a report")
    }

    #[test]
    fn what_several_workers_say_of_a_provider_is_the_worst_and_the_sum() {
        let all = together(&[worker("a", "ready", 3), worker("b", "shut", 1), worker("c", "slow", 2)]);
        let [one] = &all[..] else { panic!("{all:?}") };
        assert_eq!((one.standing.as_str(), one.calls, one.recent_ms), ("shut", 6, Some(30)));
    }

    #[test]
    fn rates_are_of_what_came_since() {
        let two = Duration::from_secs(2);
        assert_eq!([rate(30, 10, two), rate(10, 10, two), rate(4, 10, two)], [10.0, 0.0, 2.0]);
        assert_eq!(rate(5, 0, Duration::ZERO), 0.0);
    }
}
