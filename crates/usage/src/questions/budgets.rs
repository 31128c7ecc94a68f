//! How budgets stand, and stood.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::filter::{Filter, during};
use super::{ANSWER_ROWS_MAX, Asked, Questions, literal};
use crate::error::StoreError;

/// How one budget stood. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct BudgetBurn {
    /// When it was so.
    pub ts_ms: i64,
    /// Whose budget: `organisation`, `team`, `project`, `user` or `key`.
    pub scope: String,
    /// The name of the project, user or key; empty for the organisation and teams.
    pub name: String,
    /// The team; empty for the organisation.
    pub team: String,
    /// The window of the budget, such as `day` or `month`.
    pub period: String,
    /// When this window began.
    pub window_from_ms: i64,
    /// When it ends.
    pub window_to_ms: i64,
    /// The most that may be spent in it.
    pub limit_nanousd: i64,
    /// What was spent in it by then.
    pub spent_nanousd: i64,
    /// What was held for jobs that were running.
    pub held_nanousd: i64,
}

const COLUMNS: &str = "toInt64(toUnixTimestamp64Milli(u.ts)) AS ts_ms, toString(u.scope) AS scope, u.name AS name, \
                       toString(u.team) AS team, toString(u.period) AS period, \
                       toInt64(toUnixTimestamp64Milli(u.window_from)) AS window_from_ms, \
                       toInt64(toUnixTimestamp64Milli(u.window_to)) AS window_to_ms, u.limit_nanousd AS limit_nanousd, \
                       u.spent_nanousd AS spent_nanousd, u.held_nanousd AS held_nanousd";

impl Questions<'_> {
    /// Each budget as it was last seen in the time of the filter, of which only the team counts besides. From the
    /// samples.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn budget_burn(&self, filter: &Filter) -> Result<Asked<BudgetBurn>, StoreError> {
        let key = "u.team, u.scope, u.name, u.period";
        self.rows(format!(
            "SELECT {COLUMNS} {} ORDER BY {key}, u.ts DESC LIMIT 1 BY {key} LIMIT {ANSWER_ROWS_MAX}",
            self.budgets(filter),
        ))
        .await
    }

    /// Every sample of the time of the filter, of which only the team counts besides: the curve of each window.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn budget_burn_over_time(&self, filter: &Filter) -> Result<Asked<BudgetBurn>, StoreError> {
        let key = "u.team, u.scope, u.name, u.period, u.ts";
        self.rows(format!(
            "SELECT {COLUMNS} {} ORDER BY {key} LIMIT 1 BY {key} LIMIT {ANSWER_ROWS_MAX}",
            self.budgets(filter)
        ))
        .await
    }

    fn budgets(&self, filter: &Filter) -> String {
        let mut conditions = during(filter.range, true, "u.ts");
        conditions.extend(filter.team.as_ref().map(|team| format!("u.team = {}", literal::text(team))));
        let place = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        format!("FROM {} AS u{place}", self.table("budget_samples"))
    }
}
