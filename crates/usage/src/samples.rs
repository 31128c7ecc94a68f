//! What is written beside the log: how budgets and lanes stood, and what calls would cost at other prices.
//!
//! Each table keeps one row per key, so a sample that is written again counts once.

use clickhouse::Row;
use serde::Serialize;
use uuid::Uuid;

use crate::error::StoreError;
use crate::store::Store;

/// How one budget stood at one time. Times are milliseconds since the epoch, money is nano-dollars.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize)]
pub struct BudgetSample {
    /// When it was so; one sample per budget and time counts.
    pub ts: i64,
    /// Whose budget: `organisation`, `team`, `project`, `user` or `key`.
    pub scope: String,
    /// The name of the project, user or key; empty for the organisation and teams.
    pub name: String,
    /// The team; empty for the organisation.
    pub team: String,
    /// The window of the budget, such as `day` or `month`.
    pub period: String,
    /// When this window began.
    pub window_from: i64,
    /// When it ends.
    pub window_to: i64,
    /// The most that may be spent in it.
    pub limit_nanousd: i64,
    /// What was spent in it so far.
    pub spent_nanousd: i64,
    /// What was held for jobs that were running.
    pub held_nanousd: i64,
}

/// How one lane stood at one time.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize)]
pub struct LaneSample {
    /// When it was so, milliseconds since the epoch; one sample per lane and time counts.
    pub ts: i64,
    /// The team.
    pub team: String,
    /// The class.
    pub class: String,
    /// Jobs in the lane that nobody runs.
    pub waiting: u64,
    /// Jobs that wait until something changes or their time comes.
    pub parked: u64,
    /// How long the oldest of those that wait has waited, ms; 0 if none does.
    pub oldest_ms: u64,
    /// Jobs that were running.
    pub in_flight: u64,
    /// The weight of the lane against the others.
    pub weight: u32,
    /// Jobs taken from the lane since the sample before.
    pub served: u64,
    /// `open`, or what keeps jobs from being taken.
    pub state: String,
    /// Why it is not open; empty if it is.
    pub reason: String,
}

/// What one call costs at other prices than it was booked at. Times are milliseconds, money is nano-dollars.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize)]
pub struct RepricedCost {
    /// The call: `event_id` of its row.
    #[serde(with = "clickhouse::serde::uuid")]
    pub event_id: Uuid,
    /// `ts` of its row.
    pub ts: i64,
    /// The team.
    pub team: String,
    /// The provider called.
    pub provider: String,
    /// The model called.
    pub model: String,
    /// The version of the price that was applied again.
    pub price_version: String,
    /// What it costs at that price.
    pub cost_nanousd: i64,
    /// What was booked for it.
    pub booked_nanousd: i64,
    /// When it was priced again; of two for one call and version the later one counts.
    pub at: i64,
}

impl Store {
    /// Writes how budgets stood. After an error the same samples may be written again. Not cancel safe: some may be in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_budgets(&self, samples: &[BudgetSample]) -> Result<(), StoreError> {
        self.replace("budget_samples", samples).await
    }

    /// Writes how lanes stood. After an error the same samples may be written again. Not cancel safe: some may be in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_lanes(&self, samples: &[LaneSample]) -> Result<(), StoreError> {
        self.replace("lane_samples", samples).await
    }

    /// Writes what calls would cost. After an error the same rows may be written again. Not cancel safe: some may be in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_repriced(&self, costs: &[RepricedCost]) -> Result<(), StoreError> {
        self.replace("repriced_costs", costs).await
    }
}
