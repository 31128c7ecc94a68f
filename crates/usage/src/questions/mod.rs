//! The questions that screens and commands ask. Each answer brings the statement that it came from, with the values in
//! it, so that an analyst can ask the same of any client.
//!
//! A question is answered from a rollup where the filter names only what that rollup is kept by, else from
//! `usage_events`; [`facts`] decides. Start reading at [`Filter`] and [`usage`].

mod budgets;
mod cache;
mod drift;
mod facts;
mod filter;
mod guardrails;
mod jobs;
mod lanes;
mod latency;
mod literal;
mod providers;
mod read;
mod usage;

pub use budgets::BudgetBurn;
pub use cache::{CacheSavings, SinkState};
pub use drift::Drift;
pub use filter::{Dimension, Filter, Step};
pub use guardrails::{GuardrailHits, GuardrailStep, RiskBucket};
pub use jobs::{Cursor, JobFilter, JobLine, JobRow};
pub use lanes::LaneState;
pub use latency::{HeatmapCell, Measured, Percentiles};
pub use providers::{ProviderError, ProviderStep, ProviderUse};
pub use usage::{SpendStep, TokenParts, Usage};

use crate::error::StoreError;
use crate::store::Store;
use facts::Facts;

/// The most rows of an answer: what a screen or a report can still show. More are cut off at the end of the order.
pub const ANSWER_ROWS_MAX: usize = 100_000;

/// An answer, and how it was come by.
#[derive(Clone, Debug)]
pub struct Asked<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The statement, complete: it can be pasted into any client of the same server.
    pub sql: String,
}

/// Asks one database. Every question is one statement, and cancel safe.
///
/// Times are seconds or milliseconds since the epoch, as the fields say; days and hours are those of UTC; money is whole
/// nano-dollars.
#[derive(Clone, Copy, Debug)]
pub struct Questions<'a> {
    store: &'a Store,
    raw_only: bool,
}

impl Store {
    /// What screens and commands ask.
    pub fn ask(&self) -> Questions<'_> {
        Questions { store: self, raw_only: false }
    }

    /// The same questions, answered from `usage_events` alone: to check the rollups, and to measure what they gain.
    pub fn ask_raw(&self) -> Questions<'_> {
        Questions { store: self, raw_only: true }
    }
}

impl Questions<'_> {
    async fn rows<T>(&self, sql: String) -> Result<Asked<T>, StoreError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let rows = self.store.fetch_text(&sql).await?;
        Ok(Asked { rows, sql })
    }

    /// The table for what is asked.
    fn facts(&self, filter: &Filter, by: &[Dimension]) -> Facts {
        if self.raw_only { Facts::Raw } else { Facts::of(filter, by) }
    }

    /// The hourly sums if they know what is asked, else the raw table.
    fn hourly(&self, filter: &Filter, by: &[Dimension]) -> Facts {
        match self.facts(filter, by) {
            Facts::Hourly => Facts::Hourly,
            Facts::Raw | Facts::Users | Facts::Labels => Facts::Raw,
        }
    }

    /// Whether a rollup that is kept by those alone can answer.
    fn only(&self, filter: &Filter, kept: &[Dimension]) -> bool {
        !self.raw_only && filter.names().iter().all(|named| kept.contains(named))
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.store.database())
    }

    /// `FROM … WHERE …` for what is asked, with more conditions.
    fn from(&self, facts: Facts, filter: &Filter, more: &[String]) -> String {
        let mut conditions = filter.conditions(facts);
        conditions.extend_from_slice(more);
        let place = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        format!("FROM {} AS u{place}", self.table(facts.table()))
    }
}
