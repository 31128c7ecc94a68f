//! What the caller decides: where the engine and its data are, who may ask, and how much.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

const MIB: usize = 1024 * 1024;

/// How to run one embedded ClickHouse.
#[derive(Debug, Clone)]
pub struct Config {
    /// The `libchdb` shared library.
    pub library: PathBuf,
    /// The directory of the data; created if absent. One process may hold it at a time.
    pub data: PathBuf,
    /// Where to listen. Port 0 takes a free one. An address beyond loopback is refused without a password.
    pub listen: SocketAddr,
    /// The only user.
    pub user: String,
    /// The user's password; without one, whatever password a client sends is accepted, as ClickHouse does.
    pub password: Option<SecretString>,
    /// What one request, session or statement may take.
    pub limits: Limits,
    /// Whether [`run`](crate::run) ends when standard input does: the pipe of a parent that died is closed.
    ///
    /// With it, an interrupt from the terminal is ignored, because the parent gets it too and still needs the engine
    /// while it drains.
    pub watch_stdin: bool,
    /// How long a stop waits for requests and statements under way.
    pub shutdown_grace: Duration,
}

impl Config {
    /// An engine on a free loopback port, for the user `default` without a password.
    pub fn new(library: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self {
            library: library.into(),
            data: data.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            user: "default".to_owned(),
            password: None,
            limits: Limits::default(),
            watch_stdin: false,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// The bounds of one engine.
///
/// The three that become ClickHouse settings bound what a request may set in its URL; a `SETTINGS` clause inside a
/// statement can still raise them, as on a server without constraints.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body, as sent and again after each decompression.
    pub body_bytes_max: usize,
    /// Bytes of memory of a statement: `max_memory_usage`.
    pub statement_memory_bytes_max: u64,
    /// Bytes of a result before formatting, all of which is held in memory: `max_result_bytes`.
    pub result_bytes_max: u64,
    /// Run time of a statement, in whole seconds: `max_execution_time`.
    pub statement_time_max: Duration,
    /// Statements that run at the same time; the others wait.
    pub statements_max: usize,
    /// How long a statement waits for its turn before it is refused.
    pub statement_wait_max: Duration,
    /// Sessions held at the same time; each is a connection of the engine with its temporary tables.
    pub sessions_max: usize,
    /// How long an idle session is kept when its client does not say (`session_timeout`).
    pub session_idle: Duration,
    /// The longest a client may have an idle session kept.
    pub session_idle_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A batch of 100,000 usage rows is 20 MB: ten times that, for imports by hand.
            body_bytes_max: 256 * MIB,
            statement_memory_bytes_max: 2048 * MIB as u64,
            result_bytes_max: 512 * MIB as u64,
            statement_time_max: Duration::from_secs(600),
            // More at a time only share the same few cores and multiply the memory.
            statements_max: 8,
            statement_wait_max: Duration::from_secs(30),
            // Every Python client object opens one session of its own.
            sessions_max: 256,
            // Both are the server's own defaults (`default_session_timeout`, `max_session_timeout`).
            session_idle: Duration::from_secs(60),
            session_idle_max: Duration::from_secs(3600),
        }
    }
}
