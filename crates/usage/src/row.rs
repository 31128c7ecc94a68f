//! One row of `usage_events`, in the table's own types. What each column means stands in the table's comments.

use clickhouse::Row as ClickHouseRow;
use serde::{Serialize, Serializer};
use tollgate_types::event::{AttemptOutcome, CacheUse, EventKind};
use tollgate_types::{Status, UsageSource};
use uuid::Uuid;

/// An enumeration of the table: its numbers are in the DDL, and a test holds them against a real engine.
macro_rules! column {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number,)* }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i8(*self as i8)
            }
        }
    };
}

column! {
    /// What a row is about.
    Kind {
        /// One call to a provider: tokens and money.
        Attempt = 1,
        /// One finished job: its end.
        Job = 2,
        /// Spend that left no record, outside a job row.
        Unknown = 3,
    }
}

column! {
    /// The record that a row came from.
    Record {
        /// The job's one result.
        Result = 1,
        /// Spend of a run that lost the race for the result.
        Extra = 2,
        /// The notice that a redelivered job is about to pay.
        Started = 3,
    }
}

column! {
    /// How the run ended.
    StatusColumn {
        /// [`Status::Succeeded`].
        Succeeded = 1,
        /// [`Status::Failed`].
        Failed = 2,
        /// [`Status::Rejected`].
        Rejected = 3,
        /// [`Status::Blocked`].
        Blocked = 4,
        /// [`Status::Expired`].
        Expired = 5,
        /// [`Status::Cancelled`].
        Cancelled = 6,
    }
}

column! {
    /// How a call ended.
    OutcomeColumn {
        /// The row is not about a call.
        None = 0,
        /// [`AttemptOutcome::Ok`].
        Ok = 1,
        /// [`AttemptOutcome::RateLimited`].
        RateLimited = 2,
        /// [`AttemptOutcome::Timeout`].
        Timeout = 3,
        /// [`AttemptOutcome::Cancelled`].
        Cancelled = 4,
        /// [`AttemptOutcome::Error`].
        Error = 5,
    }
}

column! {
    /// Whether a kept answer was used.
    CacheColumn {
        /// [`CacheUse::Miss`].
        Miss = 0,
        /// [`CacheUse::Hit`].
        Hit = 1,
        /// [`CacheUse::Bypass`].
        Bypass = 2,
    }
}

column! {
    /// Who counted the tokens.
    SourceColumn {
        /// Nobody: there was nothing to count.
        None = 0,
        /// [`UsageSource::Provider`].
        Provider = 1,
        /// [`UsageSource::Estimated`].
        Estimated = 2,
    }
}

impl From<EventKind> for Record {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Result => Record::Result,
            EventKind::Extra => Record::Extra,
            EventKind::Started => Record::Started,
        }
    }
}

impl From<Status> for StatusColumn {
    fn from(status: Status) -> Self {
        match status {
            Status::Succeeded => StatusColumn::Succeeded,
            Status::Failed => StatusColumn::Failed,
            Status::Rejected => StatusColumn::Rejected,
            Status::Blocked => StatusColumn::Blocked,
            Status::Expired => StatusColumn::Expired,
            Status::Cancelled => StatusColumn::Cancelled,
        }
    }
}

impl From<AttemptOutcome> for OutcomeColumn {
    fn from(outcome: AttemptOutcome) -> Self {
        match outcome {
            AttemptOutcome::Ok => OutcomeColumn::Ok,
            AttemptOutcome::RateLimited => OutcomeColumn::RateLimited,
            AttemptOutcome::Timeout => OutcomeColumn::Timeout,
            AttemptOutcome::Cancelled => OutcomeColumn::Cancelled,
            AttemptOutcome::Error => OutcomeColumn::Error,
        }
    }
}

impl From<CacheUse> for CacheColumn {
    fn from(cache: CacheUse) -> Self {
        match cache {
            CacheUse::Miss => CacheColumn::Miss,
            CacheUse::Hit => CacheColumn::Hit,
            CacheUse::Bypass => CacheColumn::Bypass,
        }
    }
}

impl From<UsageSource> for SourceColumn {
    fn from(source: UsageSource) -> Self {
        match source {
            UsageSource::Provider => SourceColumn::Provider,
            UsageSource::Estimated => SourceColumn::Estimated,
            UsageSource::None => SourceColumn::None,
        }
    }
}

/// One row of `usage_events`; times are milliseconds since the epoch by the server's clock.
#[derive(Clone, Debug, PartialEq, Eq, ClickHouseRow, Serialize)]
#[expect(missing_docs, reason = "each column is documented where analysts read it, in schemas/clickhouse")]
pub struct Row {
    #[serde(with = "clickhouse::serde::uuid")]
    pub event_id: Uuid,
    pub kind: Kind,
    pub record: Record,
    pub ts: i64,
    pub accepted_at: i64,
    pub started_at: i64,
    pub stream: String,
    pub stream_seq: u64,
    pub job_id: String,
    pub run: String,
    pub worker: String,
    pub delivery: u64,
    pub attempt: u16,
    pub team: String,
    pub class: String,
    pub project: String,
    pub api_key_id: String,
    pub end_user: String,
    pub labels: Vec<(String, String)>,
    pub model_requested: String,
    pub provider: String,
    pub model: String,
    pub region: String,
    pub status: StatusColumn,
    pub error_code: String,
    pub outcome: OutcomeColumn,
    pub error: String,
    pub http_status: u16,
    pub cache: CacheColumn,
    pub streamed: bool,
    pub guardrails: Vec<String>,
    pub risk: u8,
    pub guardrail_rules: Vec<String>,
    pub guardrail_sides: Vec<String>,
    pub guardrail_actions: Vec<String>,
    pub guardrail_counts: Vec<u32>,
    pub usage_source: SourceColumn,
    pub tokens_in: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_write: u64,
    pub tokens_out: u64,
    pub tokens_reasoning: u64,
    pub cost_nanousd: i64,
    pub job_cost_nanousd: i64,
    pub saved_nanousd: i64,
    pub unknown_attempts: i64,
    pub unknown_nanousd: i64,
    pub queued_ms: u64,
    pub first_byte_ms: u64,
    pub latency_ms: u64,
    pub price_version: String,
    pub request_id: String,
    pub raw_usage: String,
}
