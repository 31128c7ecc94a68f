//! What the cache saved, and how far the tables are.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::filter::{Filter, Step};
use super::{ANSWER_ROWS_MAX, Asked, Questions};
use crate::error::StoreError;

/// What the cache did for a team in one step.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct CacheSavings {
    /// The beginning of the step, seconds.
    pub at: i64,
    /// The team.
    pub team: String,
    /// Finished jobs.
    pub jobs: u64,
    /// Those answered from the cache.
    pub hits: u64,
    /// What their answers would have cost.
    pub saved_nanousd: i64,
}

/// How far the raw table is.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct SinkState {
    /// Rows of the raw table.
    pub rows: u64,
    /// When the newest record was stored by NATS, ms; 0 if there is none.
    pub newest_ms: i64,
    /// When the newest row was written here, ms; 0 if there is none.
    pub ingested_ms: i64,
    /// From the one to the other for the newest record, ms.
    pub lag_ms: i64,
}

impl Questions<'_> {
    /// What the cache saved each team over time. From the hourly rollup unless the filter names a user or a label.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cache_savings(&self, filter: &Filter, step: Step) -> Result<Asked<CacheSavings>, StoreError> {
        let facts = self.hourly(filter, &[]);
        let hits = match facts {
            Facts::Raw => "countIf(u.cache = 'hit')",
            Facts::Hourly | Facts::Users | Facts::Labels => "sum(u.cache_hits)",
        };
        self.rows(format!(
            "SELECT {} AS at, toString(u.team) AS team, {} AS jobs, {hits} AS hits, sum(u.saved_nanousd) AS saved_nanousd \
             {} GROUP BY at, u.team ORDER BY at, team LIMIT {ANSWER_ROWS_MAX}",
            step.seconds_of(facts.at()),
            facts.jobs(),
            self.from(facts, filter, &["u.kind = 'job'".to_owned()]),
        ))
        .await
    }

    /// How far the raw table is; from that table, whose two columns of time it reads.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sink_state(&self) -> Result<Asked<SinkState>, StoreError> {
        self.rows(format!(
            "SELECT count() AS rows, toInt64(toUnixTimestamp64Milli(max(u.ts))) AS newest_ms, \
                toInt64(toUnixTimestamp64Milli(max(u.ingested_at))) AS ingested_ms, \
                toInt64(toUnixTimestamp64Milli(argMax(u.ingested_at, u.ts))) - newest_ms AS lag_ms FROM {} AS u",
            self.table(Facts::Raw.table()),
        ))
        .await
    }
}
