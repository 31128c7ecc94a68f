//! The broker's own small records: typed reads and compare-and-swap writes on the bucket `TOLLGATE_STATE`.
//!
//! A write that timed out may have happened. That is an answer of its own here, [`StateError::Unknown`], because the
//! caller must read again before it believes either.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio::time::timeout;
use tollgate_types::subjects::STATE_BUCKET;

/// How long one read or write may take: a healthy server needs under a millisecond, an election a few seconds.
const CALL_MAX: Duration = Duration::from_secs(5);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Says why a record was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Somebody else wrote the key first; nothing was written by this call.
    #[error("the key was written by somebody else")]
    Conflict,
    /// No answer came: the write may or may not have happened.
    #[error("it is not known whether the write happened")]
    Unknown(#[source] Cause),
    /// Nothing was read.
    #[error("the key could not be read")]
    Unreadable(#[source] Cause),
    /// The bucket does not exist, or the server did not answer when it was opened.
    #[error("the bucket {STATE_BUCKET} could not be opened")]
    NoBucket(#[source] Cause),
    /// The key is not one: empty, or with characters that a subject does not allow.
    #[error("{0:?} is not a key")]
    BadKey(String),
}

impl StateError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            StateError::Unknown(_) | StateError::Unreadable(_) | StateError::NoBucket(_) => true,
            StateError::Conflict | StateError::BadKey(_) => false,
        }
    }
}

/// The bucket `TOLLGATE_STATE`; it must exist, it is never created here.
#[derive(Clone, Debug)]
pub struct State {
    store: Store,
}

impl State {
    /// Opens the bucket. Cancel safe.
    ///
    /// # Errors
    /// [`StateError::NoBucket`].
    pub async fn open(context: &Context) -> Result<Self, StateError> {
        let opened = timeout(CALL_MAX, context.get_key_value(STATE_BUCKET)).await;
        let store = flatten(opened).map_err(StateError::NoBucket)?;
        Ok(State { store })
    }

    /// The value of a key and its revision; `None` if it was never written or was deleted. Cancel safe.
    ///
    /// It asks the stream's leader: a follower's answer could be older than the write that just conflicted.
    ///
    /// # Errors
    /// [`StateError::Unreadable`], [`StateError::BadKey`].
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, u64)>, StateError> {
        check(key)?;
        let subject = format!("{}{key}", self.store.prefix);
        let read = timeout(CALL_MAX, self.store.stream.get_last_raw_message_by_subject(&subject)).await;
        match read.map_err(|elapsed| StateError::Unreadable(elapsed.into()))? {
            Ok(message) if is_tombstone(&message.headers) => Ok(None),
            Ok(message) => Ok(Some((message.payload, message.sequence))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::InvalidSubject => Err(StateError::BadKey(key.to_owned())),
                LastRawMessageErrorKind::JetStream(_) | LastRawMessageErrorKind::Other => {
                    Err(StateError::Unreadable(error.into()))
                }
            },
        }
    }

    /// Writes a key that does not exist, and returns its revision.
    ///
    /// Cancelled or timed out, the write may still happen.
    ///
    /// # Errors
    /// [`StateError::Conflict`] if the key exists, [`StateError::Unknown`] without an answer.
    pub async fn create(&self, key: &str, value: Bytes) -> Result<u64, StateError> {
        check(key)?;
        let created = timeout(CALL_MAX, self.store.create(key, value)).await;
        created.map_err(|elapsed| StateError::Unknown(elapsed.into()))?.map_err(|error| match error.kind() {
            CreateErrorKind::AlreadyExists => StateError::Conflict,
            CreateErrorKind::InvalidKey => StateError::BadKey(key.to_owned()),
            CreateErrorKind::Publish | CreateErrorKind::Ack | CreateErrorKind::Other => {
                StateError::Unknown(error.into())
            }
        })
    }

    /// Replaces the value that was read at `revision`, and returns the new revision.
    ///
    /// Cancelled or timed out, the write may still happen.
    ///
    /// # Errors
    /// [`StateError::Conflict`] if the key changed since, [`StateError::Unknown`] without an answer.
    pub async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, StateError> {
        check(key)?;
        let updated = timeout(CALL_MAX, self.store.update(key, value, revision)).await;
        updated
            .map_err(|elapsed| StateError::Unknown(elapsed.into()))?
            .map_err(|error| written(key, error.kind(), error.into()))
    }

    /// Writes a key whatever it holds, and returns its revision.
    ///
    /// Cancelled or timed out, the write may still happen.
    ///
    /// # Errors
    /// [`StateError::Unknown`] without an answer.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<u64, StateError> {
        check(key)?;
        let put = timeout(CALL_MAX, self.store.put(key, value)).await;
        flatten(put).map_err(StateError::Unknown)
    }

    /// Every key that starts with `prefix`, with its value and its age. Cancel safe.
    ///
    /// # Errors
    /// [`StateError::Unreadable`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes, Duration)>, StateError> {
        let filter = format!("{}{prefix}>", self.store.prefix);
        let unreadable = |cause: Cause| StateError::Unreadable(cause);
        let subjects = timeout(CALL_MAX, async {
            let subjects = self.store.stream.info_with_subjects(filter).await?;
            subjects.try_collect::<Vec<(String, usize)>>().await
        });
        let subjects = subjects.await.map_err(|elapsed| unreadable(elapsed.into()))?;
        let subjects = subjects.map_err(|error| unreadable(error.into()))?;
        let mut all = Vec::with_capacity(subjects.len());
        for (subject, _) in subjects {
            let read = timeout(CALL_MAX, self.store.stream.get_last_raw_message_by_subject(&subject)).await;
            let message = match read.map_err(|elapsed| unreadable(elapsed.into()))? {
                Ok(message) if is_tombstone(&message.headers) => continue,
                Ok(message) => message,
                Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => continue,
                Err(error) => return Err(unreadable(error.into())),
            };
            let key = subject.strip_prefix(&self.store.prefix).unwrap_or(&subject).to_owned();
            let age = (time::OffsetDateTime::now_utc() - message.time).try_into();
            all.push((key, message.payload, age.unwrap_or(Duration::ZERO)));
        }
        Ok(all)
    }

    /// Removes a key with its history, whatever it holds. Idempotent.
    ///
    /// # Errors
    /// [`StateError::Unknown`] without an answer.
    pub async fn remove(&self, key: &str) -> Result<(), StateError> {
        check(key)?;
        let purged = timeout(CALL_MAX, self.store.purge(key)).await;
        flatten(purged).map_err(StateError::Unknown)
    }

    /// Deletes the value that was read at `revision`.
    ///
    /// Cancelled or timed out, the deletion may still happen.
    ///
    /// # Errors
    /// [`StateError::Conflict`] if the key changed since, [`StateError::Unknown`] without an answer.
    pub async fn delete(&self, key: &str, revision: u64) -> Result<(), StateError> {
        check(key)?;
        let deleted = timeout(CALL_MAX, self.store.delete_expect_revision(key, Some(revision))).await;
        deleted
            .map_err(|elapsed| StateError::Unknown(elapsed.into()))?
            .map_err(|error| written(key, error.kind(), error.into()))
    }
}

fn written(key: &str, kind: UpdateErrorKind, cause: Cause) -> StateError {
    match kind {
        UpdateErrorKind::WrongLastRevision => StateError::Conflict,
        UpdateErrorKind::InvalidKey => StateError::BadKey(key.to_owned()),
        UpdateErrorKind::TimedOut | UpdateErrorKind::Other => StateError::Unknown(cause),
    }
}

fn flatten<T, E: Into<Cause>>(outcome: Result<Result<T, E>, tokio::time::error::Elapsed>) -> Result<T, Cause> {
    outcome.map_err(Cause::from)?.map_err(Into::into)
}

fn is_tombstone(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"))
}

/// Keys become the end of a subject.
fn check(key: &str) -> Result<(), StateError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '/' | '.');
    if key.split('.').any(str::is_empty) || !key.chars().all(allowed) {
        return Err(StateError::BadKey(key.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_break_a_subject_are_refused() {
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "ü"] {
            assert!(matches!(check(bad), Err(StateError::BadKey(_))), "{bad:?}");
        }
        for good in ["sink.manifest", "a", "suspect/x=1"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }
}
