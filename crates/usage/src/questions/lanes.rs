//! How lanes stood over time.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::filter::{Filter, during};
use super::{ANSWER_ROWS_MAX, Asked, Questions, literal};
use crate::error::StoreError;

/// How one lane stood in one step.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct LaneState {
    /// The beginning of the step, seconds.
    pub at: i64,
    /// The team.
    pub team: String,
    /// The class.
    pub class: String,
    /// The most jobs in the lane that nobody ran.
    pub waiting: u64,
    /// The most jobs that waited until something changes or their time comes.
    pub parked: u64,
    /// The longest that the oldest of those that waited had waited, ms.
    pub oldest_ms: u64,
    /// The most jobs that were running.
    pub in_flight: u64,
    /// The weight of the lane, at the end of the step.
    pub weight: u32,
    /// Jobs taken from the lane.
    pub served: u64,
    /// `open`, or what kept jobs from being taken, at the end of the step.
    pub state: String,
    /// Why it was not open.
    pub reason: String,
}

impl Questions<'_> {
    /// How lanes stood, in steps of so many seconds. From the samples; of the filter time, team and class count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lanes(&self, filter: &Filter, step_seconds: u32) -> Result<Asked<LaneState>, StoreError> {
        let mut conditions = during(filter.range, true, "u.ts");
        for (column, wanted) in [("team", &filter.team), ("class", &filter.class)] {
            conditions.extend(wanted.as_ref().map(|value| format!("u.{column} = {}", literal::text(value))));
        }
        let place = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let (table, step) = (self.table("lane_samples"), step_seconds.max(1));
        self.rows(format!(
            "SELECT toInt64(intDiv(toUnixTimestamp(u.ts), {step})) * {step} AS at, toString(u.team) AS team, \
                toString(u.class) AS class, max(u.waiting) AS waiting, max(u.parked) AS parked, max(u.oldest_ms) AS oldest_ms, \
                max(u.in_flight) AS in_flight, argMax(u.weight, u.ts) AS weight, sum(u.served) AS served, \
                toString(argMax(u.state, u.ts)) AS state, toString(argMax(u.reason, u.ts)) AS reason \
             FROM (SELECT * FROM {table} AS u{place} ORDER BY u.team, u.class, u.ts LIMIT 1 BY u.team, u.class, u.ts) AS u \
             GROUP BY at, u.team, u.class ORDER BY at, team, class LIMIT {ANSWER_ROWS_MAX}"
        ))
        .await
    }
}
