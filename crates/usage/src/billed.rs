//! The calls as they were booked, in pages, for whoever prices them again.

use clickhouse::Row;
use serde::Deserialize;
use tollgate_types::Tokens;
use uuid::Uuid;

use crate::error::StoreError;
use crate::range::HourRange;
use crate::store::{Bound, Store};

/// The most calls of one page.
const PAGE: usize = 20_000;

/// One call, with what it used and what was booked for it.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct BilledCall {
    /// The `event_id` of its row.
    #[serde(with = "clickhouse::serde::uuid")]
    pub event_id: Uuid,
    /// When its record was stored, milliseconds.
    pub at: i64,
    /// The team.
    pub team: String,
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
    /// What was booked, nano-dollars.
    pub cost_nanousd: i64,
}

impl BilledCall {
    /// What it used.
    pub fn tokens(&self) -> Tokens {
        let BilledCall { input, cache_read, cache_write, output, reasoning, .. } = *self;
        Tokens { input, cache_read, cache_write, output, reasoning }
    }
}

impl Store {
    /// A page of the calls of some hours, in the order of their records, each once; those after `after`, the last one of
    /// the page before. An empty page is the end. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn billed_calls(
        &self,
        range: HourRange,
        after: Option<&BilledCall>,
    ) -> Result<Vec<BilledCall>, StoreError> {
        let event = after.map_or(Uuid::nil(), |call| call.event_id).to_string();
        let sql = format!(
            "SELECT u.event_id AS event_id, toUnixTimestamp64Milli(u.ts) AS at, u.team AS team, u.provider AS provider, \
                u.model AS model, u.tokens_in AS input, u.tokens_cache_read AS cache_read, \
                u.tokens_cache_write AS cache_write, u.tokens_out AS output, u.tokens_reasoning AS reasoning, \
                u.cost_nanousd AS cost_nanousd \
             FROM usage_events AS u \
             WHERE u.kind = 'attempt' AND u.ts >= toDateTime64(?, 3, 'UTC') AND u.ts < toDateTime64(?, 3, 'UTC') \
                AND (toUnixTimestamp64Milli(u.ts), u.event_id) > (?, toUUID(?)) \
             ORDER BY u.ts, u.event_id LIMIT 1 BY u.event_id LIMIT {PAGE}"
        );
        let bound = [
            Bound::Integer(range.from_seconds()),
            Bound::Integer(range.to_seconds()),
            Bound::Integer(after.map_or(-1, |call| call.at)),
            Bound::Text(&event),
        ];
        self.fetch(&sql, &bound).await
    }
}
