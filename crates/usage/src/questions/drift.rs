//! Whether prompts have grown: tokens per job against the past week of the same.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::facts::{ALL_TOKENS, Facts};
use super::filter::Filter;
use super::{ANSWER_ROWS_MAX, Asked, Questions, read};
use crate::error::StoreError;
use crate::range::HourRange;

/// Tokens per job of one group, now and before.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct Drift {
    /// The team.
    pub team: String,
    /// `label` or `model`.
    pub dimension: String,
    /// The name of the label; empty for a model.
    pub label: String,
    /// The value of the label, or the model.
    pub value: String,
    /// Finished jobs in the time that was asked for.
    pub jobs: u64,
    /// Finished jobs in the seven days before it.
    pub jobs_before: u64,
    /// All tokens of the calls, per finished job.
    #[serde(deserialize_with = "read::known")]
    pub tokens_per_job: Option<f64>,
    /// The same in the seven days before.
    #[serde(deserialize_with = "read::known")]
    pub tokens_per_job_before: Option<f64>,
    /// The one over the other; 1 is no change. `None` without a week before.
    #[serde(deserialize_with = "read::known")]
    pub ratio: Option<f64>,
    /// What the calls cost in the time that was asked for.
    pub cost_nanousd: i64,
}

const WEEK_SECONDS: i64 = 7 * 24 * 3600;

impl Questions<'_> {
    /// Tokens per job by label and by model, against the seven days before the time of the filter; what costs most first.
    /// Of the filter time and team count, and the label or the model if it names one. From the rollups.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drift(&self, filter: &Filter) -> Result<Asked<Drift>, StoreError> {
        let begins = filter.range.from_seconds();
        let both = Filter {
            range: HourRange::of_seconds(begins - WEEK_SECONDS, filter.range.to_seconds()),
            provider: None,
            project: None,
            class: None,
            user: None,
            ..filter.clone()
        };
        let labels = Filter { model: None, ..both.clone() };
        let models = Filter { label: None, ..both };
        let recent = format!("u.hour >= {} AS recent", super::literal::second(begins));
        let of_labels = format!(
            "SELECT toString(u.team) AS team, 'label' AS dimension, toString(u.label) AS label, u.value AS value, {recent}, \
                {} AS counted, {ALL_TOKENS} AS tokens, sum(u.cost_nanousd) AS nanousd \
             {} GROUP BY u.team, u.label, u.value, recent",
            Facts::Labels.jobs(),
            self.from(Facts::Labels, &labels, &[]),
        );
        let of_models = format!(
            "SELECT toString(u.team) AS team, 'model' AS dimension, '' AS label, toString(u.model) AS value, {recent}, \
                {} AS counted, {ALL_TOKENS} AS tokens, sum(u.cost_nanousd) AS nanousd \
             {} GROUP BY u.team, u.model, recent",
            Facts::Hourly.jobs(),
            self.from(Facts::Hourly, &models, &[]),
        );
        self.rows(format!(
            "SELECT team, dimension, label, value, sumIf(counted, recent) AS jobs, sumIf(counted, NOT recent) AS jobs_before, \
                sumIf(tokens, recent) / jobs AS tokens_per_job, sumIf(tokens, NOT recent) / jobs_before AS tokens_per_job_before, \
                tokens_per_job / tokens_per_job_before AS ratio, sumIf(nanousd, recent) AS cost_nanousd \
             FROM ({of_labels} UNION ALL {of_models}) \
             GROUP BY team, dimension, label, value HAVING jobs > 0 \
             ORDER BY cost_nanousd DESC, team, dimension, label, value LIMIT {ANSWER_ROWS_MAX}"
        ))
        .await
    }
}
