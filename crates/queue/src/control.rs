//! What is said and not stored: that a running job is cancelled, that jobs are forgotten, that a provider wants to be left
//! alone, how workers are doing, and alerts.
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

/// How a worker and the deployments that it calls are doing, as it says every few seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker's name.
    pub worker: String,
    /// Jobs in flight.
    pub running: u64,
    /// Lanes that it knows.
    pub lanes: u64,
    /// Why no jobs are pulled, if none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<String>,
    /// The deployments that it has called.
    pub deployments: Vec<DeploymentReport>,
}

/// How a deployment is doing, as one worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentReport {
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// What may be asked of it: `ready`, `slow`, `probe`, `full` or `shut`.
    pub standing: String,
    /// For how long it is shut at least, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shut_for_ms: Option<u64>,
    /// Calls that run.
    pub running: u64,
    /// The most calls at once that it is given, if there is a limit now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The time to the first token lately, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent_ms: Option<u64>,
    /// The same as it usually is, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_ms: Option<u64>,
    /// Retries and fallbacks that may be made now.
    pub retries_left: f64,
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

/// Says how a worker is doing, to whoever listens.
///
/// # Errors
/// Why it could not be handed to the connection.
pub async fn report(connection: &Connection, report: &WorkerReport) -> Result<(), PublishError> {
    publish(connection, subjects::REPORTS.to_owned(), report).await
}

/// Listens for how workers are doing.
///
/// # Errors
/// Why it could not subscribe.
pub async fn reports(connection: &Connection) -> Result<Heard<WorkerReport>, SubscribeError> {
    listen(connection, subjects::REPORTS).await
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
