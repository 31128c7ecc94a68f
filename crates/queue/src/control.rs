//! What is said and not stored: that a running job is cancelled, and alerts.
//!
//! Whoever is not connected at that moment does not hear it, and nothing depends on it: a cancelled job has its result
//! already, which whoever runs it finds when it commits.

use async_nats::{PublishError, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tollgate_types::{JobId, subjects};

use crate::connect::Connection;

/// A job that was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cancelled {
    /// Its team.
    pub team: String,
    /// Its id.
    pub job: JobId,
}

/// What is heard of cancelled jobs.
pub struct Cancellations {
    subscriber: Subscriber,
}

/// Tells every worker that a job is cancelled, so that the one that runs it can stop paying for it.
///
/// # Errors
/// Why it could not be handed to the connection.
pub async fn announce_cancelled(connection: &Connection, team: &str, job: &JobId) -> Result<(), PublishError> {
    publish(connection, subjects::CANCELLED.to_owned(), &Cancelled { team: team.to_owned(), job: job.clone() }).await
}

/// Listens for cancelled jobs.
///
/// # Errors
/// Why it could not subscribe.
pub async fn cancellations(connection: &Connection) -> Result<Cancellations, SubscribeError> {
    Ok(Cancellations { subscriber: connection.client.subscribe(subjects::CANCELLED).await? })
}

impl Cancellations {
    /// The next one; `None` when the connection is closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<Cancelled> {
        loop {
            let message = self.subscriber.next().await?;
            match serde_json::from_slice(&message.payload) {
                Ok(cancelled) => return Some(cancelled),
                Err(error) => tracing::warn!(%error, "a cancellation cannot be read"),
            }
        }
    }
}

/// Sends an alert about a team, or about `organisation`, to whoever listens. `kind` is a word.
///
/// # Errors
/// Why it could not be handed to the connection.
pub async fn alert(connection: &Connection, team: &str, kind: &str, body: &impl Serialize) -> Result<(), PublishError> {
    publish(connection, subjects::alert(team, kind), body).await
}

async fn publish(connection: &Connection, subject: String, body: &impl Serialize) -> Result<(), PublishError> {
    let payload = serde_json::to_vec(body).expect("what we say always serialises");
    connection.client.publish(subject, Bytes::from(payload)).await
}
