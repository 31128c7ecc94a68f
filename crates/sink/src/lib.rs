//! Moves the commit log into ClickHouse, each record counted once, in the raw table and in every rollup.
//!
//! One sink is active; any number stand by. Before each insert the active one stores which stretch of the log it is
//! about to insert and under which token; whatever dies then, the stretch is read again and inserted again under the
//! same token, and ClickHouse counts a token once. Start reading at `active.rs`, whose comments say what a crash at
//! each step leaves behind; `ahead.rs` reads and makes the next batch meanwhile; `manifest.rs` is the record and its permitted changes, pure; `lease.rs` is who may write;
//! `entombed.rs` is why a record whose texts are removed counts once.
//!
//! Deliberately absent: what a row is (`usage`), how the log is read (`queue`), and any dropping of records: while
//! ClickHouse is away the sink waits, and the log keeps them.

mod active;
mod ahead;
mod backoff;
mod entombed;
mod lease;
mod manifest;
mod progress;
mod sink;

pub use progress::{ProgressError, SinkProgress};
pub use sink::{Sink, SinkConfig};
