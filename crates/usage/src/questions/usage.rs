//! Who used what, and what it cost.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use tollgate_types::Tokens;

use super::facts::{ALL_TOKENS, TOKENS};
use super::filter::{Dimension, Filter, Step};
use super::{ANSWER_ROWS_MAX, Asked, Questions, read};
use crate::error::StoreError;

/// What was used, by some keys.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct Usage {
    /// What it is of, in the order that was asked for.
    pub keys: Vec<String>,
    /// Finished jobs.
    pub jobs: u64,
    /// The same by how they ended, in the order of [`Status::ALL`](tollgate_types::Status::ALL).
    #[serde(deserialize_with = "read::six")]
    pub jobs_by_status: [u64; 6],
    /// Calls to providers.
    pub attempts: u64,
    /// Tokens of those calls.
    #[serde(deserialize_with = "read::tokens")]
    pub tokens: Tokens,
    /// What those calls cost.
    pub cost_nanousd: i64,
    /// What answers from the cache would have cost.
    pub saved_nanousd: i64,
    /// Deliveries that may have been paid for and left no record.
    pub unknown_attempts: i64,
    /// The most that those may have cost; no part of the cost.
    pub unknown_nanousd: i64,
    /// Jobs on which a guardrail rule fired.
    pub guardrail_jobs: u64,
    /// Jobs answered from the cache.
    pub cache_hit_jobs: u64,
    /// Mean latency of the calls that ended well, ms; exact. `None` if none did.
    #[serde(deserialize_with = "read::known")]
    pub avg_ms: Option<f64>,
    /// Half of those calls took no longer, ms; from the rollup within 2.2 %. `None` by user and by label, whose rollups keep none.
    #[serde(deserialize_with = "read::known")]
    pub p50_ms: Option<f64>,
    /// 95 % took no longer.
    #[serde(deserialize_with = "read::known")]
    pub p95_ms: Option<f64>,
    /// 99 % took no longer.
    #[serde(deserialize_with = "read::known")]
    pub p99_ms: Option<f64>,
}

/// What was spent in one step by one key.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct SpendStep {
    /// The beginning of the step, seconds.
    pub at: i64,
    /// The key; empty for the rest.
    pub key: String,
    /// Whether this is the rest: all keys that are not among those that cost most.
    pub other: bool,
    /// What calls cost.
    pub cost_nanousd: i64,
    /// Finished jobs.
    pub jobs: u64,
    /// All tokens.
    pub tokens: u64,
}

/// Where tokens went, by one key.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct TokenParts {
    /// The key.
    pub key: String,
    /// Five parts that do not overlap.
    #[serde(deserialize_with = "read::tokens")]
    pub tokens: Tokens,
    /// What they cost.
    pub cost_nanousd: i64,
}

impl Questions<'_> {
    /// Everything together: one row without keys, also if nothing was used.
    ///
    /// From the rollups unless the filter mixes what no rollup knows together.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn totals(&self, filter: &Filter) -> Result<Asked<Usage>, StoreError> {
        self.usage(filter, &[]).await
    }

    /// What was used by some keys, the costliest first. From a rollup if one knows filter and keys.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage(&self, filter: &Filter, by: &[Dimension]) -> Result<Asked<Usage>, StoreError> {
        let facts = self.facts(filter, by);
        let keys: Vec<String> = by.iter().map(|by| facts.key(by)).collect();
        let texts: Vec<String> = keys.iter().map(|key| format!("toString({key})")).collect();
        let grouped = if keys.is_empty() {
            String::new()
        } else {
            format!(" GROUP BY {} ORDER BY cost_nanousd DESC, keys LIMIT {ANSWER_ROWS_MAX}", keys.join(", "))
        };
        self.rows(format!(
            "SELECT CAST([{}], 'Array(String)') AS keys, {} {}{grouped}",
            texts.join(", "),
            facts.measures(),
            self.from(facts, filter, &facts.about(by)),
        ))
        .await
    }

    /// What was spent over time by the `top` keys that cost most, and by the rest together.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spend_over_time(
        &self,
        filter: &Filter,
        step: Step,
        by: &Dimension,
        top: usize,
    ) -> Result<Asked<SpendStep>, StoreError> {
        let facts = self.facts(filter, std::slice::from_ref(by));
        let (key, from) = (facts.key(by), self.from(facts, filter, &facts.about(std::slice::from_ref(by))));
        self.rows(format!(
            "WITH top AS (SELECT toString({key}) AS k {from} GROUP BY k ORDER BY sum(u.cost_nanousd) DESC, k LIMIT {top}) \
             SELECT {} AS at, if(other, '', toString({key})) AS key, toString({key}) NOT IN (SELECT k FROM top) AS other, \
                sum(u.cost_nanousd) AS cost_nanousd, {} AS jobs, {ALL_TOKENS} AS tokens \
             {from} GROUP BY at, key, other ORDER BY at, other, cost_nanousd DESC, key LIMIT {ANSWER_ROWS_MAX}",
            step.seconds_of(facts.at()),
            facts.jobs(),
        ))
        .await
    }

    /// Where tokens went, by one key, the most first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_waterfall(&self, filter: &Filter, by: &Dimension) -> Result<Asked<TokenParts>, StoreError> {
        let facts = self.facts(filter, std::slice::from_ref(by));
        let key = facts.key(by);
        self.rows(format!(
            "SELECT toString({key}) AS key, {TOKENS} AS tokens, sum(u.cost_nanousd) AS cost_nanousd \
             {} GROUP BY {key} HAVING {ALL_TOKENS} > 0 ORDER BY {ALL_TOKENS} DESC, key LIMIT {ANSWER_ROWS_MAX}",
            self.from(facts, filter, &facts.about(std::slice::from_ref(by))),
        ))
        .await
    }
}
