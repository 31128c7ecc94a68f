//! What of a sample goes into ClickHouse: budgets and lanes over time. These are pictures for screens and no books: a
//! minute that could not be written is missing.

use std::collections::HashMap;

use tollgate_types::{Scope, UnixMillis};
use tollgate_usage::{BudgetSample, LaneSample, Store, StoreError};

use crate::sample::{BudgetState, Lane, Sample};

/// Writes samples, and remembers the last one to tell what was served since.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// Deliveries by class and team, when lanes were last recorded.
    delivered: HashMap<(String, String), u64>,
}

impl Recorder {
    /// Writes what is known of budgets and lanes.
    pub(crate) async fn write(&mut self, sample: &Sample, store: &Store) -> Result<(), StoreError> {
        let budgets: Vec<BudgetSample> =
            sample.budgets.iter().flatten().map(|state| budget(state, sample.at)).collect();
        let lanes: Vec<LaneSample> = sample.lanes.iter().flatten().map(|lane| self.lane(lane, sample.at)).collect();
        if !budgets.is_empty() {
            store.record_budgets(&budgets).await?;
        }
        if !lanes.is_empty() {
            store.record_lanes(&lanes).await?;
        }
        Ok(())
    }

    fn lane(&mut self, lane: &Lane, at: UnixMillis) -> LaneSample {
        let before = self.delivered.insert((lane.class.clone(), lane.team.clone()), lane.delivered);
        // A consumer that was made anew counts from nothing.
        let served = before.map_or(0, |before| lane.delivered.checked_sub(before).unwrap_or(lane.delivered));
        LaneSample {
            ts: at.0,
            team: lane.team.clone(),
            class: lane.class.clone(),
            waiting: lane.waiting.saturating_sub(lane.in_flight),
            parked: lane.parked,
            oldest_ms: lane.oldest.map_or(0, |oldest| u64::try_from(at.since(oldest).as_millis()).unwrap_or(u64::MAX)),
            in_flight: lane.in_flight,
            weight: lane.weight,
            served,
            state: if lane.paused.is_some() { "paused" } else { "open" }.to_owned(),
            reason: lane.paused.clone().unwrap_or_default(),
        }
    }
}

fn budget(state: &BudgetState, at: UnixMillis) -> BudgetSample {
    let (kind, name) = match &state.scope {
        Scope::Organisation => ("organisation", ""),
        Scope::Team { .. } => ("team", ""),
        Scope::Project { project, .. } => ("project", project.as_str()),
        Scope::User { user, .. } => ("user", user.as_str()),
        Scope::Key { key, .. } => ("key", key.as_str()),
    };
    BudgetSample {
        ts: at.0,
        scope: kind.to_owned(),
        name: name.to_owned(),
        team: state.team.clone().unwrap_or_default(),
        period: state.window.clone(),
        window_from: state.starts.0,
        window_to: state.ends.0,
        limit_nanousd: state.cap.0,
        spent_nanousd: state.settled.0,
        held_nanousd: state.held.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_served_is_counted_from_one_sample_to_the_next() {
        let mut recorder = Recorder::default();
        let mut served = |delivered| {
            let lane = Lane { class: "batch".into(), team: "a".into(), delivered, ..Lane::default() };
            recorder.lane(&lane, UnixMillis(0)).served
        };
        assert_eq!([served(100), served(130), served(130), served(7)], [0, 30, 0, 7]);
    }

    #[test]
    fn a_job_that_runs_does_not_wait() {
        let lane = Lane {
            waiting: 5,
            in_flight: 2,
            oldest: Some(UnixMillis(1_000)),
            paused: Some("by ann".into()),
            ..Lane::default()
        };
        let sample = Recorder::default().lane(&lane, UnixMillis(4_000));
        assert_eq!((sample.waiting, sample.in_flight, sample.oldest_ms), (3, 2, 3_000));
        assert_eq!((sample.state.as_str(), sample.reason.as_str()), ("paused", "by ann"));
    }
}
