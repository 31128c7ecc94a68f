//! Submitting: one publish that the server acknowledged is an accepted job.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use tollgate_types::{Class, JobId, LaneKey, headers, subjects};

use crate::Producer;

/// An accepted job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id that its result will carry.
    pub id: JobId,
    /// Whether the server already had a message with this id, and kept that one.
    pub duplicate: bool,
}

/// Why a job was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nobody takes jobs on this subject: the broker's streams are missing, or the account does not import it.
    #[error("nothing takes jobs on {0}; is the team registered, and does its account import the subject?")]
    NoResponders(String),
    /// No acknowledgement came although it was tried again: the job may have been accepted. Submit it again with the
    /// same id.
    #[error("no acknowledgement for job {0}; it may have been accepted: submit it again with the same id")]
    Unknown(JobId),
    /// It is larger than can be submitted: a body of more than 64 MiB, or a line that has no body and does not fit a message.
    #[error("the job has {bytes} bytes and the most is {max}")]
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
        /// How many the server takes.
        max: usize,
    },
    /// The server refused it: the queue is full, say.
    #[error("the server refused the job: {description} (error {code})")]
    Refused {
        /// JetStream's error code.
        code: u64,
        /// JetStream's words.
        description: String,
    },
}

#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    duplicate: bool,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// How long one acknowledgement may take.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one job, all with the same id.
const TRIES: u32 = 4;

impl Producer {
    /// A fresh id, `<team>:<uuid v7>`: nobody else can have guessed it.
    pub fn fresh_id(&self) -> JobId {
        let id = format!("{}:{}", self.team, uuid::Uuid::now_v7().simple());
        id.parse().expect("a team and a uuid make an id")
    }

    /// Submits one job line and awaits the server's acknowledgement; without an id it gets a fresh one.
    ///
    /// A line that does not fit a message goes without its body, whose chunks are published first, up to 64 MiB.
    ///
    /// A lost acknowledgement is asked for again under the same id, so the job is accepted once. Cancel safe in the same
    /// sense: submit again with the same id.
    ///
    /// # Errors
    /// Returns why it was not accepted, or that this is unknown.
    pub async fn submit(&self, class: Class, line: Bytes, id: Option<JobId>) -> Result<Receipt, SubmitError> {
        self.submit_with(class, line, id, HeaderMap::new()).await
    }

    /// Like [`Producer::submit`], with headers of the producer's own, such as `traceparent`.
    ///
    /// # Errors
    /// Returns why it was not accepted, or that this is unknown.
    pub async fn submit_with(
        &self,
        class: Class,
        line: Bytes,
        id: Option<JobId>,
        mut own: HeaderMap,
    ) -> Result<Receipt, SubmitError> {
        let id = id.unwrap_or_else(|| self.fresh_id());
        own.insert(headers::JOB_ID, id.as_str());
        let line = self.fitting(line, &id).await?;
        let subject = subjects::jobs(&LaneKey::new(class, &self.team));
        let duplicate = self.stored(&subject, own, line, &id).await?;
        Ok(Receipt { id, duplicate })
    }

    /// Publishes until the server acknowledged it, and says whether it had a message with this id.
    pub(crate) async fn stored(
        &self,
        subject: &str,
        own: HeaderMap,
        payload: Bytes,
        id: &JobId,
    ) -> Result<bool, SubmitError> {
        for attempt in 0..TRIES {
            let request = Request::new().headers(own.clone()).payload(payload.clone()).timeout(Some(ACK_TIMEOUT));
            match self.client.send_request(subject.to_owned(), request).await {
                Ok(answer) => match serde_json::from_slice::<PubAck>(&answer.payload) {
                    Ok(PubAck { error: Some(error), .. }) => {
                        return Err(SubmitError::Refused { code: error.err_code, description: error.description });
                    }
                    Ok(PubAck { duplicate, .. }) => return Ok(duplicate),
                    Err(_) => {}
                },
                Err(error) => match error.kind() {
                    // A server that just restarted knows its streams a moment later.
                    RequestErrorKind::NoResponders if attempt + 1 == TRIES => {
                        return Err(SubmitError::NoResponders(subject.to_owned()));
                    }
                    RequestErrorKind::MaxPayloadExceeded => {
                        let max = self.client.max_payload();
                        return Err(SubmitError::TooLarge { bytes: payload.len(), max });
                    }
                    RequestErrorKind::NoResponders
                    | RequestErrorKind::TimedOut
                    | RequestErrorKind::InvalidSubject
                    | RequestErrorKind::Other => {}
                },
            }
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
        Err(SubmitError::Unknown(id.clone()))
    }
}
