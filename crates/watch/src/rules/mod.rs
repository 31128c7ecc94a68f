//! The lines that may be crossed. Every rule is a pure function of a sample.

mod blobs;
mod books;
mod budgets;
mod drift;
mod providers;
mod queues;
mod sink;

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate_operate::Period;
use tollgate_types::{AlertKind, Class};

use crate::finding::Judged;
use crate::sample::Sample;

/// Where the lines are. What is `None` is not watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// The age of the oldest job of a lane, by class.
    pub lane_age: BTreeMap<Class, Duration>,
    /// How many dead letters of one team are too many.
    pub dead_letters: Option<u64>,
    /// The age of the oldest record that is not in ClickHouse.
    pub sink_lag: Option<Duration>,
    /// How full the room for bodies that do not fit a message may be, in percent.
    pub blobs_full: Option<u8>,
    /// The share of failed calls of a deployment, in percent, from [`Lines::provider_calls_min`] calls on.
    pub provider_failures: Option<u8>,
    /// Fewer calls than this say nothing about a deployment.
    pub provider_calls_min: u64,
    /// How often the tokens of a job before it may use now.
    pub drift: Option<f64>,
    /// Fewer jobs than this, now or before, say nothing about drift.
    pub drift_jobs_min: u64,
    /// Whether a budget that will be spent before its window ends is announced.
    pub budget_projection: bool,
    /// Whether books that disagree are announced.
    pub reconciliation: bool,
}

impl Default for Lines {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Lines {
            lane_age: [(Class::Interactive, minutes(5)), (Class::Standard, minutes(60)), (Class::Batch, minutes(1440))]
                .into(),
            dead_letters: Some(1),
            sink_lag: Some(minutes(5)),
            blobs_full: Some(80),
            provider_failures: Some(50),
            provider_calls_min: 5,
            drift: Some(2.0),
            drift_jobs_min: 20,
            budget_projection: true,
            reconciliation: true,
        }
    }
}

/// Which lines a sample crosses.
pub fn judge(sample: &Sample, lines: &Lines) -> Judged {
    let mut judged = Judged::default();
    let lanes = sample.lanes.as_deref();
    judged.add(AlertKind::LaneAge, lanes.map(|lanes| queues::too_old(lanes, sample.at, &lines.lane_age)));
    judged.add(AlertKind::DeadLetters, sample.dead.as_deref().map(|dead| queues::dead(dead, lines.dead_letters)));
    judged.add(AlertKind::SinkLag, sample.sink.map(|sink| sink::behind(sink, sample.at, lines.sink_lag)));
    judged.add(AlertKind::BlobsFull, sample.blobs.as_ref().map(|blobs| blobs::full(blobs, lines.blobs_full)));
    let budgets = sample.budgets.as_deref().filter(|_| lines.budget_projection);
    judged.add(AlertKind::BudgetProjection, budgets.map(|budgets| budgets::soon_spent(budgets, sample.at)));
    judged.add(AlertKind::ProviderDown, sample.providers.as_deref().map(|all| providers::down(all, lines)));
    judged.add(AlertKind::Drift, sample.drift.as_deref().map(|drift| drift::ballooned(drift, lines)));
    let books = sample.books.as_ref().filter(|_| lines.reconciliation);
    judged.add(AlertKind::Reconciliation, books.map(books::disagree));
    judged
}

/// A length of time for people, to the second.
fn in_words(length: Duration) -> String {
    Period(Duration::from_secs(length.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_not_judged() {
        assert_eq!(judge(&Sample::default(), &Lines::default()), Judged::default());
        let sample = Sample { lanes: Some(Vec::new()), books: Some(crate::Books::default()), ..Sample::default() };
        let judged = judge(&sample, &Lines::default());
        assert_eq!(judged.known, [AlertKind::LaneAge, AlertKind::Reconciliation]);
        assert!(judged.findings.is_empty());
    }
}
