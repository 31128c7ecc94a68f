//! Awaiting and looking up results: what is heard on the subject is a notice, the kept result is the truth.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tollgate_types::{JobId, headers, subjects};

use crate::Producer;

/// Why a result could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The subscription could not be made.
    #[error("cannot subscribe to results: {0}")]
    Subscribe(String),
    /// The time is over; the job goes on, ask again with its id.
    #[error("no result within {0:?}; the job goes on, ask again with its id")]
    TimedOut(Duration),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The result is there, but not its answer, which did not fit a message: why.
    #[error("the answer lies beside its result and cannot be had: {0}")]
    Answer(&'static str),
    /// The result could not be looked up: no permission, or no stream.
    #[error("results cannot be looked up: {0}")]
    Lookup(String),
}

/// A subscription to one job's result, made before the job is submitted so that nothing is missed.
pub struct Waiting {
    producer: Producer,
    id: JobId,
    subscriber: Subscriber,
}

/// How often a waiting producer looks the result up, in case the notice was lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Producer {
    /// Begins to wait for a job's result.
    ///
    /// # Errors
    /// Returns why the subscription could not be made.
    pub async fn waiting(&self, id: JobId) -> Result<Waiting, WaitError> {
        let subject = subjects::result(self.team.as_str(), &id);
        let subscriber = self.client.subscribe(subject).await.map_err(|e| WaitError::Subscribe(e.to_string()))?;
        Ok(Waiting { producer: self.clone(), id, subscriber })
    }

    /// The job's result line; `None` while there is none. An answer that does not fit a message is fetched into it. Cancel
    /// safe.
    ///
    /// # Errors
    /// Returns why there is no answer.
    pub async fn result(&self, id: &JobId) -> Result<Option<Bytes>, WaitError> {
        let subject = subjects::result(self.team.as_str(), id);
        let get = format!("$JS.API.DIRECT.GET.{}.{subject}", subjects::RESULTS_STREAM);
        let request = Request::new().timeout(Some(Duration::from_secs(5)));
        match self.client.send_request(get, request).await {
            Ok(message) if message.status == Some(StatusCode::NOT_FOUND) => Ok(None),
            Ok(message) if counts(&message) => self.whole(id, message.payload).await.map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(WaitError::Lookup("nothing answers; does the account import direct gets of its results?".into()))
            }
            Err(error) => Err(WaitError::Lookup(error.to_string())),
        }
    }
}

impl Waiting {
    /// The job's result line. Cancel safe.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] after `within`; the job goes on. [`WaitError::Answer`] if only the facts are kept.
    pub async fn result(&mut self, within: Duration) -> Result<Bytes, WaitError> {
        let waiting = async {
            loop {
                // What is heard is only a notice: a run that lost the race published too. What is kept is the result.
                if let Ok(None) = tokio::time::timeout(LOOK_EVERY, self.subscriber.next()).await {
                    return Err(WaitError::Closed);
                }
                match self.producer.result(&self.id).await {
                    Ok(Some(result)) => return Ok(result),
                    Err(error @ WaitError::Answer(_)) => return Err(error),
                    // A lookup that fails now may succeed in the next round.
                    Ok(None) | Err(_) => {}
                }
            }
        };
        tokio::time::timeout(within, waiting).await.unwrap_or(Err(WaitError::TimedOut(within)))
    }
}

/// A result counts only with the broker's header: other things can land on a subject.
fn counts(message: &Message) -> bool {
    message.headers.as_ref().is_some_and(|all| all.get(headers::USAGE).is_some())
}
