//! How long things took.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::facts::{Facts, bucket, coarse, exact, within};
use super::filter::{Filter, Step};
use super::{ANSWER_ROWS_MAX, Asked, Questions, read};
use crate::error::StoreError;

/// What took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// Calls to providers that ended well: from the request to the end of the answer.
    Calls,
    /// Jobs, however they ended: from the start of the run to its end.
    Jobs,
    /// Jobs: from acceptance to the start of the run.
    Waiting,
}

/// How many took about so long.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct HeatmapCell {
    /// The beginning of the step, seconds.
    pub at: i64,
    /// Which bucket: about `round(4 * log2(ms))`, so each is 19 % wide.
    pub bucket: u8,
    /// The middle of the bucket, ms.
    pub ms: f64,
    /// How many fell into it.
    pub count: u64,
}

/// How long things took in one step.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct Percentiles {
    /// The beginning of the step, seconds.
    pub at: i64,
    /// How many there were.
    pub count: u64,
    /// Half took no longer, ms; from the rollup within 2.2 %.
    #[serde(deserialize_with = "read::known")]
    pub p50_ms: Option<f64>,
    /// 95 % took no longer.
    #[serde(deserialize_with = "read::known")]
    pub p95_ms: Option<f64>,
    /// 99 % took no longer.
    #[serde(deserialize_with = "read::known")]
    pub p99_ms: Option<f64>,
    /// The longest, ms; exact.
    pub max_ms: u64,
}

impl Measured {
    /// The rows that it is about.
    fn rows(self) -> String {
        match self {
            Measured::Calls => "u.kind = 'attempt' AND u.outcome = 'ok'".to_owned(),
            Measured::Jobs | Measured::Waiting => "u.kind = 'job'".to_owned(),
        }
    }

    fn column(self) -> &'static str {
        match self {
            Measured::Calls | Measured::Jobs => "latency",
            Measured::Waiting => "queued",
        }
    }
}

impl Questions<'_> {
    /// How many took how long, step by step. From the hourly rollup unless the filter names a user or a label; exact
    /// either way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latency_heatmap(
        &self,
        filter: &Filter,
        step: Step,
        measured: Measured,
    ) -> Result<Asked<HeatmapCell>, StoreError> {
        let facts = self.hourly(filter, &[]);
        let from = self.from(facts, filter, &[measured.rows()]);
        let (at, column) = (step.seconds_of(facts.at()), measured.column());
        let sql = match facts {
            Facts::Raw => format!(
                "SELECT {at} AS at, {} AS bucket, exp2(bucket / 4) AS ms, count() AS count \
                 {from} GROUP BY at, bucket ORDER BY at, bucket LIMIT {ANSWER_ROWS_MAX}",
                coarse(&bucket(&format!("u.{column}_ms"))),
            ),
            Facts::Hourly | Facts::Users | Facts::Labels => format!(
                "SELECT at, {} AS bucket, exp2(bucket / 4) AS ms, sum(pair.2) AS count \
                 FROM (SELECT {at} AS at, sumMap(u.{column}_hist) AS histogram {from} GROUP BY at) \
                 ARRAY JOIN arrayZip(mapKeys(histogram), mapValues(histogram)) AS pair \
                 GROUP BY at, bucket ORDER BY at, bucket LIMIT {ANSWER_ROWS_MAX}",
                coarse("pair.1"),
            ),
        };
        self.rows(sql).await
    }

    /// How long most took, step by step. From the hourly rollup unless the filter names a user or a label.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latency_percentiles(
        &self,
        filter: &Filter,
        step: Step,
        measured: Measured,
    ) -> Result<Asked<Percentiles>, StoreError> {
        let facts = self.hourly(filter, &[]);
        let from = self.from(facts, filter, &[measured.rows()]);
        let (at, column) = (step.seconds_of(facts.at()), measured.column());
        let (count, [p50, p95, p99], max) = match facts {
            Facts::Raw => {
                let digest = format!("quantilesTDigest(0.5, 0.95, 0.99)(u.{column}_ms)");
                ("count()", exact(&digest), format!("max(u.{column}_ms)"))
            }
            Facts::Hourly | Facts::Users | Facts::Labels => {
                ("sum(u.events)", within(&format!("sumMap(u.{column}_hist)")), format!("max(u.{column}_max_ms)"))
            }
        };
        self.rows(format!(
            "SELECT {at} AS at, {count} AS count, {p50} AS p50_ms, {p95} AS p95_ms, {p99} AS p99_ms, {max} AS max_ms \
             {from} GROUP BY at ORDER BY at LIMIT {ANSWER_ROWS_MAX}"
        ))
        .await
    }
}
