//! What is opened over a connection.

use async_nats::jetstream;
use tollgate_policy::budget::check_budgets;
use tollgate_queue::directory::{Checks, DirectoryError, RESULTS_KEEP_SECS_MIN};
use tollgate_queue::{Backlog, Connection, Directory, LaneConfig, Lanes, ServerClock};

use crate::exit::{Code, Failure};

/// JetStream over a connection.
pub fn jetstream(connection: &Connection) -> jetstream::Context {
    jetstream::new(connection.client.clone())
}

/// The live configuration.
///
/// # Errors
/// Why it could not be read.
pub async fn directory(context: &jetstream::Context) -> Result<Directory, DirectoryError> {
    Directory::open(context, CHECKS).await
}

/// What the live configuration is judged by.
pub const CHECKS: Checks = Checks {
    budgets: |budgets| check_budgets(budgets).map_err(|error| error.to_string()),
    guardrails: |policy| tollgate_guard::check(policy).map_err(|error| error.to_string()),
    results_keep_secs_min: RESULTS_KEEP_SECS_MIN,
};

/// The server's clock: people's clocks differ, windows and raises follow that one.
///
/// # Errors
/// A failure with [`Code::Nats`].
pub async fn server_clock(connection: &Connection) -> Result<ServerClock, Failure> {
    Ok(backlog(connection).await?.0)
}

/// The server's clock, and which lanes have jobs.
///
/// # Errors
/// A failure with [`Code::Nats`].
pub async fn backlog(connection: &Connection) -> Result<(ServerClock, Backlog), Failure> {
    let clock = ServerClock::new();
    let unread = |error| {
        Failure::new(Code::Nats, "the jobs stream cannot be read").because(&error).try_this("run `tollgate init`")
    };
    let lanes = Lanes::open(&connection.client, LaneConfig::default(), clock.clone()).await.map_err(unread)?;
    let backlog = lanes.backlog().await.map_err(unread)?;
    Ok((clock, backlog))
}
