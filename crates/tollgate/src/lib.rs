//! The `tollgate` binary as a library, so that the tests over the whole system can use its parts.
//!
//! [`cli`] is the command line and dispatches to [`commands`], one file each. [`serve`] is the one wiring place: read it
//! to see what runs and in which order it starts and stops. [`config`] is everything about configuration, and [`stack`]
//! a whole system as child processes. [`live`] is how operators change what holds on the running system.
//!
//! Deliberately absent: anything about jobs. That is `worker`, and below it `policy`, `queue` and `providers`.

mod alerts;
pub mod books;
pub mod cli;
pub mod commands;
pub mod config;
pub mod connect;
pub mod csv;
pub mod env;
pub mod keys;
pub mod live;
pub mod output;
pub mod serve;
pub mod signals;
pub mod stack;
pub mod supervisor;
pub mod telemetry;
pub mod webhook;

pub use tollgate_operate::{accounts, exit, stream, waiting};
