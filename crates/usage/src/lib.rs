//! Schema, rows and questions of ClickHouse; the only crate that knows the `clickhouse` crate.
//!
//! [`rows`] turns one record of the commit log into rows, purely. [`Schema`] brings a database to what this code
//! needs, [`Store`] inserts batches, [`questions`] are what screens and commands ask of it, and [`reconcile`] compares what the log, the raw table and
//! the rollup say. The tables themselves, with a comment on every column, are in `schemas/clickhouse/`.
//!
//! Deliberately absent: NATS, and the loop that moves the log into the tables. That is the `sink`.

mod billed;
mod books;
mod cluster;
mod error;
pub mod questions;
mod range;
mod recent;
pub mod reconcile;
mod rollups;
mod row;
mod rows;
mod samples;
mod schema;
mod store;
mod tls;

pub use billed::BilledCall;
pub use books::{Books, Source};
pub use error::{Fault, StoreError};
pub use range::HourRange;
pub use recent::{RecentCalls, RecentUse};
pub use rollups::{Rebuilt, RollupDifference};
pub use row::{CacheColumn, Kind, OutcomeColumn, Record, Row, SourceColumn, StatusColumn};
pub use rows::{ROWS_PER_EVENT_MAX, Stamp, rows};
pub use samples::{BudgetSample, LaneSample, RepricedCost};
pub use schema::{Schema, SchemaError, script};
pub use store::{ClickHouseConfig, ConfigError, Store, Timeouts};
