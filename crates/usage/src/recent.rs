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

impl Store {
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
