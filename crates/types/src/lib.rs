//! The nouns of Tollgate and their wire form: job, result, usage event, ids, money, tokens, subjects, headers, errors.
//!
//! Start with [`job`] (what a producer publishes), then [`result`] (what it gets back) and [`event`] (what the
//! analysts get). [`subjects`] and [`headers`] are every name that appears on the wire. The JSON Schemas in
//! `schemas/` are generated from these types by [`schema`].
//!
//! Deliberately absent: any I/O, clock, randomness, and any decision. Those live in the layers above.

pub mod alert;
pub mod api_key;
pub mod batch;
pub mod budget;
pub mod caching;
pub mod capture;
pub mod claim;
pub mod code;
pub mod delta;
pub mod endpoint;
pub mod event;
pub mod failure;
pub mod file;
pub mod guardrails;
pub mod headers;
pub mod ids;
pub mod instant;
pub mod job;
pub mod money;
pub mod order;
pub mod result;
pub mod schema;
pub mod scope;
pub mod spelling;
pub mod strict;
pub mod subjects;
pub mod tokens;
pub mod tombstone;

pub use alert::{Alert, AlertKind, AlertState, Severity};
pub use api_key::{Door, KeyId};
pub use batch::{BatchId, BatchSpec};
pub use budget::{Budget, Limits, Raise, Target, Usd, WhenSpent};
pub use caching::{CacheMode, CacheRules, SharedBy};
pub use capture::Captured;
pub use claim::Claim;
pub use code::{ErrorCode, Status};
pub use delta::{DeltaEvent, DeltaMessage};
pub use endpoint::Endpoint;
pub use event::{AttemptOutcome, AttemptRecord, EventError, Hold, UsageEvent, UsageSource};
pub use failure::{Billed, Failure, FailureKind};
pub use file::{FileId, FileName, FileRecord};
pub use ids::{Class, Digest, JobId, LaneKey, Team};
pub use instant::UnixMillis;
pub use job::{CacheWish, JobSpec, Options, Rejection};
pub use money::NanoUsd;
pub use order::{BatchOrder, BatchOutcome};
pub use result::{JobResult, ResultFacts};
pub use scope::{AccountId, Gate, Scope};
pub use tokens::Tokens;
pub use tombstone::Tombstone;
