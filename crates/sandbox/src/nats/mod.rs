//! NATS: found or fetched, configured, run.

mod config;
mod debian;
mod find;
mod release;
mod server;
mod sources;
mod team;

pub use config::{BROKER_USER, NatsConfig, Placement, SYS_USER};
pub use find::nats_server;
pub use server::{NatsOptions, NatsServer};
pub use team::{Password, TeamAccount, team_account_block};
