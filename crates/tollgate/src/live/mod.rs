//! How operators on the command line change the live configuration: who acts, and the way there.

mod who;

use tollgate_queue::Connection;

use crate::commands::Cx;
use crate::config::{Config, Loaded};
use crate::connect;
use crate::exit::Failure;

pub use tollgate_operate::live::{Changed, Everybody, Operator, Owner, audit, diff, unread};
pub use who::By;

/// Connects, reads the live configuration and the server's clock, and finds out who acts.
///
/// # Errors
/// What cannot be reached, or that the author is no name.
pub async fn open(cx: &Cx, by: &By, command: &str) -> Result<(Operator, Loaded), Failure> {
    let loaded = cx.load()?;
    let operator = connected(&loaded.config, cx, by, command).await?;
    Ok((operator, loaded))
}

/// As [`open`], with a configuration that is already loaded.
///
/// # Errors
/// As [`open`].
pub async fn connected(config: &Config, cx: &Cx, by: &By, command: &str) -> Result<Operator, Failure> {
    let author = by.author(&cx.env)?;
    let connection: Connection = connect::nats(config, command).await?;
    Operator::new(connection, author, by.reason().to_owned()).await
}
