//! What is watched, and where alerts go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_types::Class;
use tollgate_watch::Lines;

use crate::config::values::{Period, Secret};

/// What is watched, and where alerts go beside their subject. Zero means: this is not watched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// The address that each alert is posted to as JSON. Such addresses often carry a key, so it is shown as a secret.
    pub webhook: Option<Secret>,
    /// How often the broker is looked at.
    pub every: Period,
    /// How often budgets and lanes are recorded in ClickHouse.
    pub record_every: Period,
    /// After how long something that lasts is announced again.
    pub again_after: Period,
    /// How old the oldest job of a lane may be, by class.
    pub lane_age: BTreeMap<Class, Period>,
    /// So many dead letters of one team are too many.
    pub dead_letters: u64,
    /// How old the oldest record may be that is not in ClickHouse.
    pub sink_lag: Period,
    /// How full the room for bodies that do not fit a message may be, in percent.
    pub blobs_full: u8,
    /// The share of the calls of the last minutes to one deployment that may not fail, in percent.
    pub provider_failures: u8,
    /// Fewer calls than this say nothing about a deployment.
    pub provider_calls_min: u64,
    /// How many times the tokens of the week before a job may use.
    pub drift: f64,
    /// Fewer jobs than this say nothing about drift.
    pub drift_jobs_min: u64,
    /// Whether a budget that will be spent before its window ends is announced.
    pub budget_projection: bool,
    /// Whether books that disagree are announced.
    pub reconciliation: bool,
}

impl Default for Alerts {
    fn default() -> Self {
        let (lines, watch) = (Lines::default(), tollgate_watch::WatchConfig::new(""));
        Alerts {
            webhook: None,
            every: Period(watch.every),
            record_every: Period(watch.record_every),
            again_after: Period(watch.again_after),
            lane_age: lines.lane_age.into_iter().map(|(class, age)| (class, Period(age))).collect(),
            dead_letters: lines.dead_letters.unwrap_or(0),
            sink_lag: Period(lines.sink_lag.unwrap_or_default()),
            blobs_full: lines.blobs_full.unwrap_or(0),
            provider_failures: lines.provider_failures.unwrap_or(0),
            provider_calls_min: lines.provider_calls_min,
            drift: lines.drift.unwrap_or(0.0),
            drift_jobs_min: lines.drift_jobs_min,
            budget_projection: lines.budget_projection,
            reconciliation: lines.reconciliation,
        }
    }
}

impl Alerts {
    /// Where the lines are.
    pub fn lines(&self) -> Lines {
        let watched = |period: &Period| (!period.0.is_zero()).then_some(period.0);
        Lines {
            lane_age: self.lane_age.iter().filter_map(|(class, age)| Some((*class, watched(age)?))).collect(),
            dead_letters: (self.dead_letters > 0).then_some(self.dead_letters),
            sink_lag: watched(&self.sink_lag),
            blobs_full: (self.blobs_full > 0).then_some(self.blobs_full),
            provider_failures: (self.provider_failures > 0).then_some(self.provider_failures),
            provider_calls_min: self.provider_calls_min,
            drift: (self.drift > 0.0).then_some(self.drift),
            drift_jobs_min: self.drift_jobs_min,
            budget_projection: self.budget_projection,
            reconciliation: self.reconciliation,
        }
    }
}
