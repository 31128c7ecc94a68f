//! How providers did.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::facts::{Facts, exact, within};
use super::filter::{Dimension, Filter, Step, during};
use super::{ANSWER_ROWS_MAX, Asked, Questions, literal, read};
use crate::error::StoreError;

/// How a provider did with a model.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct ProviderUse {
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// All calls.
    pub calls: u64,
    /// Those that ended well.
    pub ok: u64,
    /// Those refused for their rate.
    pub rate_limited: u64,
    /// Those without an answer in time.
    pub timeout: u64,
    /// Those that were given up because the job ended.
    pub cancelled: u64,
    /// Those that failed otherwise.
    pub error: u64,
    /// Calls that were not the first of their run.
    pub retries: u64,
    /// Half of the calls that ended well took no longer, ms; from the rollup within 2.2 %.
    #[serde(deserialize_with = "read::known")]
    pub p50_ms: Option<f64>,
    /// 95 % took no longer.
    #[serde(deserialize_with = "read::known")]
    pub p95_ms: Option<f64>,
    /// 99 % took no longer.
    #[serde(deserialize_with = "read::known")]
    pub p99_ms: Option<f64>,
    /// Half of the calls with an answer had its first byte by then, ms.
    #[serde(deserialize_with = "read::known")]
    pub first_byte_p50_ms: Option<f64>,
    /// 95 % had it by then.
    #[serde(deserialize_with = "read::known")]
    pub first_byte_p95_ms: Option<f64>,
    /// What the calls cost.
    pub cost_nanousd: i64,
}

/// How a provider did in one step.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct ProviderStep {
    /// The beginning of the step, seconds.
    pub at: i64,
    /// The provider.
    pub provider: String,
    /// All calls.
    pub calls: u64,
    /// Those that ended well.
    pub ok: u64,
    /// Those refused for their rate.
    pub rate_limited: u64,
    /// Those that ended neither well nor by being refused for their rate or given up.
    pub failed: u64,
    /// Half of the calls that ended well took no longer, ms; from the rollup within 2.2 %.
    #[serde(deserialize_with = "read::known")]
    pub p50_ms: Option<f64>,
    /// 95 % took no longer.
    #[serde(deserialize_with = "read::known")]
    pub p95_ms: Option<f64>,
    /// What the calls cost.
    pub cost_nanousd: i64,
}

/// Why calls did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct ProviderError {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// How the calls ended: `rate_limited`, `timeout`, `cancelled` or `error`.
    pub outcome: String,
    /// Short stable reason.
    pub error: String,
    /// The HTTP status; 0 if there was none.
    pub http_status: u16,
    /// How many.
    pub calls: u64,
    /// When the last of them was stored, ms.
    pub last_ms: i64,
}

/// How calls are counted in a table that holds them.
fn calls(facts: Facts, of: &str) -> String {
    match (facts, of) {
        (Facts::Raw, "") => "count()".to_owned(),
        (Facts::Raw, of) => format!("countIf({of})"),
        (_, "") => "sum(u.events)".to_owned(),
        (_, of) => format!("sumIf(u.events, {of})"),
    }
}

impl Questions<'_> {
    /// How each provider did with each model, the most calls first. From the hourly rollup unless the filter names a user
    /// or a label.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn providers(&self, filter: &Filter) -> Result<Asked<ProviderUse>, StoreError> {
        let facts = self.hourly(filter, &[]);
        let (retries, [first_byte_p50, first_byte_p95, _]) = match facts {
            Facts::Raw => {
                let digest = "quantilesTDigestIf(0.5, 0.95, 0.99)(u.first_byte_ms, u.first_byte_ms > 0)";
                ("countIf(u.attempt > 1)", exact(digest))
            }
            Facts::Hourly | Facts::Users | Facts::Labels => ("sum(u.retries)", within("sumMap(u.first_byte_hist)")),
        };
        let ended: Vec<String> = ["ok", "rate_limited", "timeout", "cancelled", "error"]
            .iter()
            .map(|end| format!("{} AS {end}", calls(facts, &format!("u.outcome = '{end}'"))))
            .collect();
        let [p50, p95, p99] = facts.quantiles();
        self.rows(format!(
            "SELECT toString(u.provider) AS provider, toString(u.model) AS model, {} AS calls, {}, {retries} AS retries, \
                {p50} AS p50_ms, {p95} AS p95_ms, {p99} AS p99_ms, {first_byte_p50} AS first_byte_p50_ms, \
                {first_byte_p95} AS first_byte_p95_ms, sum(u.cost_nanousd) AS cost_nanousd \
             {} GROUP BY u.provider, u.model ORDER BY calls DESC, provider, model LIMIT {ANSWER_ROWS_MAX}",
            calls(facts, ""),
            ended.join(", "),
            self.from(facts, filter, &["u.kind = 'attempt'".to_owned()]),
        ))
        .await
    }

    /// How each provider did over time. From the hourly rollup unless the filter names a user or a label.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn providers_over_time(&self, filter: &Filter, step: Step) -> Result<Asked<ProviderStep>, StoreError> {
        let facts = self.hourly(filter, &[]);
        let [p50, p95, _] = facts.quantiles();
        self.rows(format!(
            "SELECT {} AS at, toString(u.provider) AS provider, {} AS calls, {} AS ok, {} AS rate_limited, {} AS failed, \
                {p50} AS p50_ms, {p95} AS p95_ms, sum(u.cost_nanousd) AS cost_nanousd \
             {} GROUP BY at, u.provider ORDER BY at, provider LIMIT {ANSWER_ROWS_MAX}",
            step.seconds_of(facts.at()),
            calls(facts, ""),
            calls(facts, "u.outcome = 'ok'"),
            calls(facts, "u.outcome = 'rate_limited'"),
            calls(facts, "u.outcome IN ('timeout', 'error')"),
            self.from(facts, filter, &["u.kind = 'attempt'".to_owned()]),
        ))
        .await
    }

    /// Why calls did not end well, the most first. From the rollup of errors if the filter names nothing but team, model
    /// and provider.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn provider_errors(&self, filter: &Filter) -> Result<Asked<ProviderError>, StoreError> {
        let (count, last, from) = if self.only(filter, &[Dimension::Team, Dimension::Model, Dimension::Provider]) {
            let mut conditions = during(filter.range, false, "u.hour");
            for (column, wanted) in [("team", &filter.team), ("model", &filter.model), ("provider", &filter.provider)] {
                conditions.extend(wanted.as_ref().map(|value| format!("u.{column} = {}", literal::text(value))));
            }
            conditions.push("u.outcome != 'ok'".to_owned());
            let from = format!("FROM {} AS u WHERE {}", self.table("errors_hourly"), conditions.join(" AND "));
            ("sum(u.calls)", "max(u.last)", from)
        } else {
            let failed = "u.kind = 'attempt' AND u.outcome != 'ok'".to_owned();
            ("count()", "max(u.ts)", self.from(Facts::Raw, filter, &[failed]))
        };
        self.rows(format!(
            "SELECT toString(u.provider) AS provider, toString(u.model) AS model, toString(u.outcome) AS outcome, \
                toString(u.error) AS error, u.http_status AS http_status, {count} AS calls, \
                toInt64(toUnixTimestamp64Milli({last})) AS last_ms \
             {from} GROUP BY u.provider, u.model, u.outcome, u.error, u.http_status \
             ORDER BY calls DESC, provider, model, outcome, error, http_status LIMIT {ANSWER_ROWS_MAX}"
        ))
        .await
    }
}
