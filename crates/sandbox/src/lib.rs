//! Finds or fetches the real servers that demo, dev and tests run on, and starts them.
//!
//! Three things, in the order a caller meets them:
//!
//! 1. [`Locations`] says where to look: the cache, the `PATH`, what the user pointed at.
//! 2. [`nats_server`] and [`clickhouse`] answer with something that can be started. What is missing is fetched
//!    through the machine's own package clients, checked, and kept in the cache; whoever comes second waits on a
//!    lock and finds it there.
//! 3. [`NatsServer`] and [`ClickHouse`] run it as a child process on a free port of the loopback interface, and can
//!    kill, pause and restart it, because that is what the tests of a crash need.
//!
//! [`NatsConfig`] is the one place that knows what a team may reach: the sample in `deploy/nats` is its output.
//!
//! Deliberately absent: production. Nothing here supervises, clusters or upgrades a server; a child that dies stays
//! dead until its owner restarts it. Unix only.
//!
//! Start reading at `nats/find.rs`, then `process.rs`.

mod cache;
mod clickhouse;
mod command;
mod error;
mod locations;
mod nats;
mod port;
mod process;
mod progress;
mod version;

pub use clickhouse::{ClickHouse, ClickHouseOptions, ClickHouseSource, EmbeddedCommand, clickhouse, clickhouse_engine};
pub use error::{Error, Tried};
pub use locations::{Locations, NoCacheDir};
pub use nats::{
    BROKER_USER, NatsConfig, NatsOptions, NatsServer, Password, Placement, SYS_USER, TeamAccount, nats_server,
    team_account_block,
};
pub use process::{Lifeline, Process, ProcessSpec};
pub use progress::{Event, Progress};
pub use version::Version;
