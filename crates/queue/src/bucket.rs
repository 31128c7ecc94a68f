//! One bucket: typed reads and compare-and-swap writes on its keys, and a watch that never ends.
//!
//! A write that timed out may have happened. That is an answer of its own here, [`BucketError::Unknown`], because the
//! caller must read again before it believes either.

mod watch;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use tokio::time::timeout;
use tollgate_types::UnixMillis;

use crate::direct;

pub use watch::{Seen, Watch};

/// How long one read or write may take: a healthy server needs under a millisecond, an election a few seconds.
const CALL_MAX: Duration = Duration::from_secs(5);

/// What the headers of a write take at most.
const HEADER_BYTES: usize = 128;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Says why a record was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
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
    #[error("the bucket {bucket} could not be opened; does it exist? run `tollgate init`")]
    NoBucket {
        /// Its name.
        bucket: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// The key is not one: empty, or with characters that a subject does not allow.
    #[error("{0:?} is not a key")]
    BadKey(String),
    /// The value is larger than the bucket takes; nothing was written.
    #[error("the value has {bytes} bytes and may have {max}")]
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
}

impl BucketError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            BucketError::Unknown(_) | BucketError::Unreadable(_) | BucketError::NoBucket { .. } => true,
            BucketError::Conflict | BucketError::BadKey(_) | BucketError::TooLarge { .. } => false,
        }
    }
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// Its revision: larger than every earlier one of the whole bucket.
    pub revision: u64,
    /// When the server stored it.
    pub at: UnixMillis,
}

/// A bucket; it must exist, it is never created here. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Store,
    context: Context,
}

impl Bucket {
    /// Opens a bucket. Cancel safe.
    ///
    /// # Errors
    /// [`BucketError::NoBucket`].
    pub async fn open(context: &Context, bucket: &str) -> Result<Self, BucketError> {
        let opened = timeout(CALL_MAX, context.get_key_value(bucket)).await;
        let store = flatten(opened).map_err(|source| BucketError::NoBucket { bucket: bucket.to_owned(), source })?;
        Ok(Bucket { store, context: context.clone() })
    }

    /// Follows every key under `prefix`, which is empty for all, else ends in a dot. Nothing is asked yet.
    pub fn watch(&self, prefix: &str) -> Watch {
        Watch::new(&self.context, self.store.clone(), prefix)
    }

    /// The last version of every key under `prefix`, which is empty for all, else ends in a dot. Cancel safe.
    ///
    /// # Errors
    /// [`BucketError::Unreadable`].
    pub async fn read_all(&self, prefix: &str) -> Result<Vec<Version>, BucketError> {
        let mut watch = self.watch(prefix);
        let all = timeout(CALL_MAX, async {
            let mut all = Vec::new();
            loop {
                match watch.next().await {
                    Seen::Anew => all.clear(),
                    Seen::Put(version) => all.push(version),
                    Seen::Gone { .. } => {}
                    Seen::Complete => return all,
                }
            }
        });
        all.await.map_err(|elapsed| BucketError::Unreadable(elapsed.into()))
    }

    /// The same as [`read_all`](Self::read_all) in one question and without a consumer, for up to 1,024 keys. A replica
    /// that is behind may answer: the newest writes may be missing. Cancel safe.
    ///
    /// # Errors
    /// [`BucketError::Unreadable`].
    pub async fn last_of_each(&self, prefix: &str) -> Result<Vec<Version>, BucketError> {
        let question = serde_json::json!({ "multi_last": [format!("{}{prefix}>", self.store.prefix)] });
        let answer = direct::batch(&self.context.client(), &self.store.stream_name, &question).await;
        let stored = answer.map_err(|error| BucketError::Unreadable(error.into()))?.messages;
        let live = stored.into_iter().filter(|stored| !is_tombstone(&stored.headers));
        let version = |stored: direct::Stored| {
            let key = stored.subject.strip_prefix(&self.store.prefix)?.to_owned();
            Some(Version { key, value: stored.payload, revision: stored.sequence, at: stored.at })
        };
        Ok(live.filter_map(version).collect())
    }

    /// The value of a key and its revision; `None` if it was never written or was deleted. Cancel safe.
    ///
    /// It asks the stream's leader: a follower's answer could be older than the write that just conflicted.
    ///
    /// # Errors
    /// [`BucketError::Unreadable`], [`BucketError::BadKey`].
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, u64)>, BucketError> {
        check(key)?;
        let subject = format!("{}{key}", self.store.prefix);
        let read = timeout(CALL_MAX, self.store.stream.get_last_raw_message_by_subject(&subject)).await;
        match read.map_err(|elapsed| BucketError::Unreadable(elapsed.into()))? {
            Ok(message) if is_tombstone(&message.headers) => Ok(None),
            Ok(message) => Ok(Some((message.payload, message.sequence))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::InvalidSubject => Err(BucketError::BadKey(key.to_owned())),
                LastRawMessageErrorKind::JetStream(_) | LastRawMessageErrorKind::Other => {
                    Err(BucketError::Unreadable(error.into()))
                }
            },
        }
    }

    /// Writes a key that does not exist, and returns its revision.
    ///
    /// Cancelled or timed out, the write may still happen.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if the key exists, [`BucketError::Unknown`] without an answer.
    pub async fn create(&self, key: &str, value: Bytes) -> Result<u64, BucketError> {
        check(key)?;
        self.check_size(&value)?;
        let created = timeout(CALL_MAX, self.store.create(key, value)).await;
        created.map_err(|elapsed| BucketError::Unknown(elapsed.into()))?.map_err(|error| match error.kind() {
            CreateErrorKind::AlreadyExists => BucketError::Conflict,
            CreateErrorKind::InvalidKey => BucketError::BadKey(key.to_owned()),
            CreateErrorKind::Publish | CreateErrorKind::Ack | CreateErrorKind::Other => {
                BucketError::Unknown(error.into())
            }
        })
    }

    /// Replaces the value that was read at `revision`, and returns the new revision.
    ///
    /// Cancelled or timed out, the write may still happen.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if the key changed since, [`BucketError::Unknown`] without an answer.
    pub async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BucketError> {
        check(key)?;
        self.check_size(&value)?;
        let updated = timeout(CALL_MAX, self.store.update(key, value, revision)).await;
        updated
            .map_err(|elapsed| BucketError::Unknown(elapsed.into()))?
            .map_err(|error| written(key, error.kind(), error.into()))
    }

    /// Writes a key whatever it holds, and returns its revision.
    ///
    /// Cancelled or timed out, the write may still happen.
    ///
    /// # Errors
    /// [`BucketError::Unknown`] without an answer.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<u64, BucketError> {
        check(key)?;
        self.check_size(&value)?;
        let put = timeout(CALL_MAX, self.store.put(key, value)).await;
        flatten(put).map_err(BucketError::Unknown)
    }

    /// The server's refusal of a value that is too large would look like a write of which nothing is known.
    fn check_size(&self, value: &Bytes) -> Result<(), BucketError> {
        let max = usize::try_from(self.store.stream.cached_info().config.max_message_size).unwrap_or(usize::MAX);
        // The limit counts the headers of the write too.
        let max = max.saturating_sub(HEADER_BYTES);
        if value.len() <= max { Ok(()) } else { Err(BucketError::TooLarge { bytes: value.len(), max }) }
    }

    /// Removes a key with its history, whatever it holds. Idempotent.
    ///
    /// # Errors
    /// [`BucketError::Unknown`] without an answer.
    pub async fn remove(&self, key: &str) -> Result<(), BucketError> {
        check(key)?;
        let purged = timeout(CALL_MAX, self.store.purge(key)).await;
        flatten(purged).map_err(BucketError::Unknown)
    }

    /// Deletes the value that was read at `revision`.
    ///
    /// Cancelled or timed out, the deletion may still happen.
    ///
    /// # Errors
    /// [`BucketError::Conflict`] if the key changed since, [`BucketError::Unknown`] without an answer.
    pub async fn delete(&self, key: &str, revision: u64) -> Result<(), BucketError> {
        check(key)?;
        let deleted = timeout(CALL_MAX, self.store.delete_expect_revision(key, Some(revision))).await;
        deleted
            .map_err(|elapsed| BucketError::Unknown(elapsed.into()))?
            .map_err(|error| written(key, error.kind(), error.into()))
    }
}

fn written(key: &str, kind: UpdateErrorKind, cause: Cause) -> BucketError {
    match kind {
        UpdateErrorKind::WrongLastRevision => BucketError::Conflict,
        UpdateErrorKind::InvalidKey => BucketError::BadKey(key.to_owned()),
        UpdateErrorKind::TimedOut | UpdateErrorKind::Other => BucketError::Unknown(cause),
    }
}

fn flatten<T, E: Into<Cause>>(outcome: Result<Result<T, E>, tokio::time::error::Elapsed>) -> Result<T, Cause> {
    outcome.map_err(Cause::from)?.map_err(Into::into)
}

fn is_tombstone(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"))
}

/// Keys become the end of a subject.
fn check(key: &str) -> Result<(), BucketError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '/' | '.');
    if key.split('.').any(str::is_empty) || !key.chars().all(allowed) {
        return Err(BucketError::BadKey(key.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_break_a_subject_are_refused() {
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "ü"] {
            assert!(matches!(check(bad), Err(BucketError::BadKey(_))), "{bad:?}");
        }
        for good in ["sink.manifest", "a", "suspect/x=1"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }
}
