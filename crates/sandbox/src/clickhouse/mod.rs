//! ClickHouse: a URL, a server of the machine, or the embedded engine.

mod config;
mod find;
mod npm;
mod server;

pub use find::{ClickHouseSource, clickhouse, clickhouse_engine};
pub use server::{ClickHouse, ClickHouseOptions, EmbeddedCommand};
