//! How providers do right now: from the raw table, because hours are too coarse for an alert.

use clickhouse::Row;
use serde::Deserialize;
use tollgate_types::UnixMillis;

use crate::error::StoreError;
use crate::store::{Bound, Store};

/// The calls to one deployment since some time.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct RecentCalls {
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Calls that ended.
    pub calls: u64,
    /// Those that the provider is to blame for: refused for their rate, timed out, or failed in another way than by a
    /// request that it could not accept.
    pub failed: u64,
}

/// What ended since some time, of everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Row, Deserialize)]
pub struct RecentUse {
    /// Finished jobs.
    pub jobs: u64,
    /// Calls to providers.
    pub calls: u64,
    /// All their tokens.
    pub tokens: u64,
    /// What they cost.
    pub cost_nanousd: i64,
}

impl Store {
    /// What results say that the server stored since then, of everybody. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recent_use(&self, since: UnixMillis) -> Result<RecentUse, StoreError> {
        let sql = "SELECT countIf(u.kind = 'job') AS jobs, countIf(u.kind = 'attempt') AS calls, \
                sum(u.tokens_in + u.tokens_cache_read + u.tokens_cache_write + u.tokens_out + u.tokens_reasoning) AS tokens, \
                sum(u.cost_nanousd) AS cost_nanousd \
             FROM usage_events AS u WHERE u.ts >= fromUnixTimestamp64Milli(?, 'UTC')";
        let found: Vec<RecentUse> = self.fetch(sql, &[Bound::Integer(since.0)]).await?;
        Ok(found.first().copied().unwrap_or_default())
    }

    /// The calls of results that the server stored since then, by deployment. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recent_calls(&self, since: UnixMillis) -> Result<Vec<RecentCalls>, StoreError> {
        let sql = "SELECT u.provider AS provider, u.model AS model, count() AS calls, \
                countIf(u.outcome IN ('rate_limited', 'timeout') \
                    OR (u.outcome = 'error' AND u.http_status NOT IN (400, 413, 422))) AS failed \
             FROM usage_events AS u \
             WHERE u.kind = 'attempt' AND u.outcome != 'cancelled' AND u.ts >= fromUnixTimestamp64Milli(?, 'UTC') \
             GROUP BY provider, model ORDER BY provider, model";
        self.fetch(sql, &[Bound::Integer(since.0)]).await
    }
}
