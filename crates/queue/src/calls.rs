//! Which jobs the front door has submitted under a caller's idempotency key, for as long as results are kept.
//!
//! The server itself refuses a second copy of an id for two minutes, and a result answers it for good; between the two, a
//! job that still waits could be submitted again and run twice. So each is noted, after its submission was acknowledged.
//! Killed in between, there is no note: a copy that comes within the two minutes is refused by the server, one that comes later,
//! while the first still waits, may run beside it. Noted before, a job that was never submitted would be waited for.

use async_nats::jetstream::Context;
use bytes::Bytes;
use tollgate_types::{Digest, JobId, subjects};

use crate::bucket::{Bucket, BucketError};

/// The notes. Clones share the connection.
#[derive(Clone)]
pub struct Calls {
    bucket: Bucket,
}

impl Calls {
    /// Opens the bucket.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub async fn open(context: &Context) -> Result<Calls, BucketError> {
        Ok(Calls { bucket: Bucket::open(context, subjects::CALLS_BUCKET).await? })
    }

    /// The digest of the request that was submitted under an id, as hexadecimal digits. Cancel safe.
    ///
    /// # Errors
    /// Why it is not known.
    pub async fn submitted(&self, job: &JobId) -> Result<Option<String>, BucketError> {
        let found = self.bucket.get(&key(job)).await?;
        Ok(found.map(|(value, _)| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Notes that a request was submitted under an id. Idempotent.
    ///
    /// # Errors
    /// Why it may not be noted.
    pub async fn note(&self, job: &JobId, digest: &Digest) -> Result<(), BucketError> {
        self.bucket.put(&key(job), Bytes::from(digest.to_string())).await.map(drop)
    }
}

/// The id as a key: a bucket takes no colons.
fn key(job: &JobId) -> String {
    job.as_str().replace(':', "/")
}
