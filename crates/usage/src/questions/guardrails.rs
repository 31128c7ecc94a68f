//! What guardrails found, and how risky prompts were.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::filter::{Dimension, Filter, Step, during};
use super::{ANSWER_ROWS_MAX, Asked, Questions, literal};
use crate::error::StoreError;

/// How often a rule fired.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct GuardrailHits {
    /// The rule.
    pub rule: String,
    /// What it looked at: `request` or `answer`.
    pub side: String,
    /// What followed: `passed`, `flag`, `redact` or `block`.
    pub action: String,
    /// On how many jobs.
    pub jobs: u64,
    /// How often, at least.
    pub hits: u64,
}

/// How often a rule fired in one step.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct GuardrailStep {
    /// The beginning of the step, seconds.
    pub at: i64,
    /// The rule.
    pub rule: String,
    /// What followed.
    pub action: String,
    /// On how many jobs, a job that was hit in its request and its answer counting twice.
    pub jobs: u64,
    /// How often, at least.
    pub hits: u64,
}

/// How many jobs had about that risk.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct RiskBucket {
    /// 0 for no risk at all, 10 for 1 to 10, and so on to 100.
    pub bucket: u8,
    /// Finished jobs.
    pub jobs: u64,
}

impl Questions<'_> {
    /// Which rules fired how often, the most jobs first. From the rollup if the filter names nothing but team and model.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn guardrail_hits(&self, filter: &Filter) -> Result<Asked<GuardrailHits>, StoreError> {
        let fired = self.fired(filter);
        self.rows(format!(
            "SELECT toString({of}rule) AS rule, toString({of}side) AS side, toString({of}action) AS action, \
                {} AS jobs, {} AS hits \
             {} GROUP BY {of}rule, {of}side, {of}action ORDER BY jobs DESC, rule, side, action LIMIT {ANSWER_ROWS_MAX}",
            fired.jobs,
            fired.hits,
            fired.from,
            of = fired.of,
        ))
        .await
    }

    /// The same over time. From the rollup if the filter names nothing but team and model.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn guardrails_over_time(&self, filter: &Filter, step: Step) -> Result<Asked<GuardrailStep>, StoreError> {
        let fired = self.fired(filter);
        self.rows(format!(
            "SELECT {} AS at, toString({of}rule) AS rule, toString({of}action) AS action, {} AS jobs, {} AS hits \
             {} GROUP BY at, {of}rule, {of}action ORDER BY at, rule, action LIMIT {ANSWER_ROWS_MAX}",
            step.seconds_of(fired.at),
            fired.jobs,
            fired.hits,
            fired.from,
            of = fired.of,
        ))
        .await
    }

    /// How risky prompts were. From the hourly rollup unless the filter names a user or a label.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn risk_histogram(&self, filter: &Filter) -> Result<Asked<RiskBucket>, StoreError> {
        let facts = self.hourly(filter, &[]);
        let from = self.from(facts, filter, &["u.kind = 'job'".to_owned()]);
        let sql = match facts {
            Facts::Raw => format!(
                "SELECT toUInt8(intDiv(least(u.risk, 100) + 9, 10) * 10) AS bucket, count() AS jobs \
                 {from} GROUP BY bucket ORDER BY bucket"
            ),
            Facts::Hourly | Facts::Users | Facts::Labels => format!(
                "SELECT pair.1 AS bucket, pair.2 AS jobs FROM (SELECT sumMap(u.risk_hist) AS histogram {from}) \
                 ARRAY JOIN arrayZip(mapKeys(histogram), mapValues(histogram)) AS pair ORDER BY bucket"
            ),
        };
        self.rows(sql).await
    }

    fn fired(&self, filter: &Filter) -> Fired {
        if !self.only(filter, &[Dimension::Team, Dimension::Model]) {
            let arrays = "ARRAY JOIN u.guardrail_rules AS hit_rule, u.guardrail_sides AS hit_side, \
                          u.guardrail_actions AS hit_action, u.guardrail_counts AS hit_count";
            let from = self.from(Facts::Raw, filter, &["u.kind = 'job'".to_owned()]);
            // The arrays are joined before the conditions are looked at.
            let from = from.replacen(" AS u WHERE ", &format!(" AS u {arrays} WHERE "), 1);
            return Fired { of: "hit_", at: "u.ts", jobs: "count()", hits: "sum(toUInt64(hit_count))", from };
        }
        let mut conditions = during(filter.range, false, "u.hour");
        for (column, wanted) in [("team", &filter.team), ("model", &filter.model)] {
            conditions.extend(wanted.as_ref().map(|value| format!("u.{column} = {}", literal::text(value))));
        }
        let place = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let from = format!("FROM {} AS u{place}", self.table("guardrails_hourly"));
        Fired { of: "u.", at: "u.hour", jobs: "sum(u.jobs)", hits: "sum(u.hits)", from }
    }
}

/// Where hits are counted, and how.
struct Fired {
    /// What stands before the names of rule, side and action.
    of: &'static str,
    at: &'static str,
    jobs: &'static str,
    hits: &'static str,
    from: String,
}
