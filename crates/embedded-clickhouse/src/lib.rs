//! The ClickHouse engine behind ClickHouse's HTTP interface, in a process of its own.
//!
//! The engine is `libchdb`, opened at run time, so that the workspace builds and runs without it. A crash of the
//! engine takes its process along, therefore the binary runs this crate in a child process: [`run`] is the whole life
//! of that child. [`Server`] is the same thing for a process that wants to hold it.
//!
//! ClickHouse's clients work unchanged: queries and inserts in every format, settings and parameters, sessions,
//! passwords, both kinds of compression. Deliberately absent:
//!
//! - the native protocol, external tables, `KILL QUERY`, progress headers: the engine offers no way to them;
//! - streamed answers: a whole result is held in memory, bounded by [`Limits::result_bytes_max`], because the engine's
//!   streams repeat a format's header in every chunk;
//! - `INSERT … SELECT … FROM input(…)`: the engine reports success and stores nothing, so it is refused.
//!
//! Unix only, as the library is. Start reading at `http.rs`, the path of one request; `engine.rs` is what happens to its statement, `ffi.rs` the only
//! file that touches the library.

mod auth;
mod body;
mod call;
mod config;
mod encoding;
mod engine;
mod errors;
mod ffi;
mod framing;
mod http;
mod params;
mod server;
mod sessions;
mod statement;

pub use config::{Config, Limits};
pub use errors::{Error, Exception};
pub use server::{Server, run};
