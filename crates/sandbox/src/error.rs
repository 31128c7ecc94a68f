//! What can go wrong, as the person who has to act on it reads it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// One place that was looked at, or one way to fetch that was attempted, in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The place or the way, such as "`nats-server` on PATH".
    pub place: String,
    /// Why it did not do.
    pub why: String,
    /// What the user can do about it, where there is something.
    pub remedy: Option<String>,
}

impl Tried {
    pub(crate) fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into(), remedy: None }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)?;
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

fn list(tried: &[Tried]) -> String {
    tried.iter().map(|tried| format!("\n  - {tried}")).collect()
}

/// Why a server could not be found, fetched, started or signalled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable `nats-server` was found, and none could be fetched.
    #[error(
        "no nats-server {minimum} or newer; tried:{}\nput one on PATH, or set TOLLGATE_NATS_SERVER to its path",
        list(tried)
    )]
    NoNatsServer {
        /// The oldest release that would do.
        minimum: crate::Version,
        /// What was tried, in order.
        tried: Vec<Tried>,
    },
    /// No usable ClickHouse was found, and the embedded engine could not be fetched.
    #[error("no ClickHouse {minimum} or newer; tried:{}\nset CLICKHOUSE_URL, or put `clickhouse` on PATH", list(tried))]
    NoClickHouse {
        /// The oldest release that would do.
        minimum: crate::Version,
        /// What was tried, in order.
        tried: Vec<Tried>,
    },
    /// A file or directory of the sandbox could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The verb: "write", "create", …
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process held the cache's lock for the whole time we were willing to wait.
    #[error("{} is still locked after {waited:?}: another process is fetching, or hangs", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// The operating system refused to start a program.
    #[error("cannot start {what} ({})", program.display())]
    Spawn {
        /// The server's name.
        what: &'static str,
        /// The program that was to run.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A server ended before it was ready.
    #[error("{what} ended with {status} before it was ready; the end of its log:\n{log_tail}")]
    Exited {
        /// The server's name.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log_tail: String,
    },
    /// A server ran, but did not answer in time.
    #[error("{what} did not answer within {within:?}; the end of its log:\n{log_tail}")]
    NotReady {
        /// The server's name.
        what: &'static str,
        /// How long it was given.
        within: Duration,
        /// The last lines of its log.
        log_tail: String,
    },
    /// A running `nats-server` found fault with a new configuration, and keeps the old one.
    #[error("nats-server refuses its new configuration:\n{log_tail}")]
    ReloadRefused {
        /// What it said.
        log_tail: String,
    },
    /// A signal was to be sent to a process that has ended.
    #[error("{what} is not running")]
    NotRunning {
        /// The server's name.
        what: &'static str,
    },
    /// A signal could not be sent, or the end of a process not be awaited.
    #[error("cannot {doing} {what}")]
    Signal {
        /// The verb: "kill", "pause", …
        doing: &'static str,
        /// The server's name.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The server was not started here, so it can be neither killed nor paused nor restarted.
    #[error("cannot {doing} a ClickHouse that was given by URL: it is not ours")]
    Unsupported {
        /// The verb: "kill", "pause", …
        doing: &'static str,
    },
    /// The embedded engine was chosen, but the caller did not say how to run it.
    #[error("the embedded ClickHouse engine needs an `EmbeddedCommand` to run it")]
    NoEmbeddedCommand,
    /// `CLICKHOUSE_URL` is not an HTTP URL.
    #[error("not an http:// or https:// URL of a ClickHouse: {why}")]
    ClickHouseUrl {
        /// What is wrong with it, without the URL itself, which may hold a password.
        why: String,
    },
    /// A team's name cannot be a token of a NATS subject and the name of an account.
    #[error("`{name}` cannot be a team's name: 1 to 64 of A-Z a-z 0-9 _ and -, and neither `broker` nor `sys`")]
    TeamName {
        /// The name as given.
        name: String,
    },
}
