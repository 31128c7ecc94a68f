//! What is said and not stored: that a running job is cancelled, that jobs are forgotten, that a provider wants to be left alone, and alerts.
//!
//! Whoever is not connected at that moment does not hear it, and nothing depends on it: a cancelled job has its result
//! already, which whoever runs it finds when it commits; a provider that is called all the same says its wish again.

use std::marker::PhantomData;

use async_nats::{PublishError, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tollgate_types::{JobId, UnixMillis, subjects};

use crate::answers::Purge;
use crate::connect::Connection;

/// A job that was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cancelled {
    /// Its team.
    pub team: String,
    /// Its id.
    pub job: JobId,
}

/// Jobs that are forgotten; many are told in several messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forgotten {
    /// Their team.
    pub team: String,
    /// Their ids; no more than [`Forgotten::MAX`] at once.
    pub jobs: Vec<JobId>,
}

impl Forgotten {
    /// The most ids in one message: at their longest, a fifth of what a server takes.
    pub const MAX: usize = 1_000;
}

/// A deployment that asked to be left alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeftAlone {
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Until when, by the server's clock.
    pub until: UnixMillis,
}

/// What is heard from other workers about one thing.
pub struct Heard<T> {
    subscriber: Subscriber,
    said: PhantomData<T>,
}

/// Tells every worker that a job is cancelled, so that the one that runs it can stop paying for it.
///
/// # Errors
/// Why it could not be handed to the connection.
pub async fn announce_cancelled(connection: &Connection, team: &str, job: &JobId) -> Result<(), PublishError> {
    publish(connection, subjects::CANCELLED.to_owned(), &Cancelled { team: team.to_owned(), job: job.clone() }).await
}

/// Tells every worker that a deployment wants to be left alone.
///
/// # Errors
/// Why it could not be handed to the connection.
pub async fn announce_left_alone(connection: &Connection, wish: &LeftAlone) -> Result<(), PublishError> {
    publish(connection, subjects::LEFT_ALONE.to_owned(), wish).await
}

/// Tells every worker to forget answers that it holds in memory.
///
/// # Errors
/// Why it could not be handed to the connection.
pub async fn announce_purged(connection: &Connection, purge: &Purge) -> Result<(), PublishError> {
    publish(connection, subjects::CACHE_PURGED.to_owned(), purge).await
}

/// Listens for answers that are to be forgotten.
///
/// # Errors
/// Why it could not subscribe.
pub async fn purges(connection: &Connection) -> Result<Heard<Purge>, SubscribeError> {
    listen(connection, subjects::CACHE_PURGED).await
}

/// Tells every worker that jobs are forgotten, so that what it keeps of them in its own memory goes too.
///
/// # Errors
/// Why it could not be handed to the connection.
pub async fn announce_forgotten(connection: &Connection, forgotten: &Forgotten) -> Result<(), PublishError> {
    publish(connection, subjects::FORGOTTEN.to_owned(), forgotten).await
}

/// Listens for jobs that are forgotten.
///
/// # Errors
/// Why it could not subscribe.
pub async fn forgotten(connection: &Connection) -> Result<Heard<Forgotten>, SubscribeError> {
    listen(connection, subjects::FORGOTTEN).await
}

/// Listens for cancelled jobs.
///
/// # Errors
/// Why it could not subscribe.
pub async fn cancellations(connection: &Connection) -> Result<Heard<Cancelled>, SubscribeError> {
    listen(connection, subjects::CANCELLED).await
}

/// Listens for deployments that want to be left alone.
///
/// # Errors
/// Why it could not subscribe.
pub async fn left_alone(connection: &Connection) -> Result<Heard<LeftAlone>, SubscribeError> {
    listen(connection, subjects::LEFT_ALONE).await
}

async fn listen<T>(connection: &Connection, subject: &'static str) -> Result<Heard<T>, SubscribeError> {
    Ok(Heard { subscriber: connection.client.subscribe(subject).await?, said: PhantomData })
}

impl<T: DeserializeOwned> Heard<T> {
    /// The next one; `None` when the connection is closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            let message = self.subscriber.next().await?;
            match serde_json::from_slice(&message.payload) {
                Ok(said) => return Some(said),
                Err(error) => {
                    tracing::warn!(subject = %message.subject, %error, "what another process said cannot be read");
                }
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
