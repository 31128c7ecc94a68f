//! Bodies that do not fit a message: put, fetched and removed in chunks ([`tollgate_types::claim`]).
//!
//! A body belongs to one job. It is put before the line that names it, so whoever reads the line finds it; one whose line
//! was never written is dropped by its age.

mod space;

use async_nats::{Client, HeaderMap};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tollgate_types::claim::CHUNK_BYTES;
use tollgate_types::{Claim, JobId, subjects};

use crate::api::{self, ApiError, NO_STREAM};

pub use space::Space;

/// How many chunks are under way at once.
const AT_ONCE: usize = 8;

/// What a claim brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The body.
    Body(Bytes),
    /// A chunk is not there: it was never put, or it was removed, or it is too old.
    Missing,
    /// The chunks are not the body.
    Other,
}

/// Why a body was not put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPut {
    /// The team has its share of the stream.
    #[error("the team's large bodies have their share of the room for them")]
    OverShare,
    /// A chunk was not stored, or not certainly.
    #[error(transparent)]
    Server(#[from] ApiError),
}

/// The stream of large bodies. It may be missing: then nothing is found, and nothing can be put.
#[derive(Clone)]
pub struct Blobs {
    client: Client,
}

impl Blobs {
    /// Over a connection; nothing is asked yet.
    pub fn new(client: &Client) -> Blobs {
        Blobs { client: client.clone() }
    }

    /// Puts a body of a job if the team's share of the stream has room for it. Idempotent; killed or cancelled half-way, what
    /// is there is dropped by its age.
    ///
    /// # Errors
    /// Why it is not there.
    pub async fn put_within_share(&self, team: &str, job: &JobId, body: &Bytes) -> Result<Claim, NotPut> {
        if !self.is_within_share(team, body.len() as u64).await? {
            metrics::counter!("tollgate_blobs_refused_total").increment(1);
            return Err(NotPut::OverShare);
        }
        Ok(self.put(team, job, body).await?)
    }

    /// Puts a body of a job, whoever fills the stream: for an operator who knows what he does. Otherwise the same.
    ///
    /// # Errors
    /// Why a chunk was not stored, or not certainly.
    pub async fn put(&self, team: &str, job: &JobId, body: &Bytes) -> Result<Claim, ApiError> {
        let claim = Claim::of(body);
        let chunks = (0..claim.chunks()).map(|n| {
            let chunk = body.slice(n * CHUNK_BYTES..body.len().min((n + 1) * CHUNK_BYTES));
            let subject = claim.subject(team, job, n);
            async move { api::acknowledged(&self.client, subject, HeaderMap::new(), chunk).await }
        });
        stream::iter(chunks).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(claim)
    }

    /// Fetches a body of a job and verifies it. Cancel safe.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn fetch(&self, team: &str, job: &JobId, claim: &Claim) -> Result<Fetched, ApiError> {
        let chunks = (0..claim.chunks()).map(|n| claim.subject(team, job, n));
        let chunk = |subject: String| async move { api::last(&self.client, subjects::BLOBS_STREAM, &subject).await };
        let mut chunks = stream::iter(chunks).map(chunk).buffered(AT_ONCE);
        let length = usize::try_from(claim.bytes).map_err(|_| ApiError::TooLarge)?;
        let mut body = BytesMut::with_capacity(length);
        while let Some(chunk) = chunks.next().await {
            match chunk? {
                // A chunk that is too long would make the rest wait for memory that nobody counted.
                Some(chunk) if body.len() + chunk.len() <= length => body.extend_from_slice(&chunk),
                Some(_) => return Ok(Fetched::Other),
                None => return Ok(Fetched::Missing),
            }
        }
        Ok(if claim.is_of(&body) { Fetched::Body(body.freeze()) } else { Fetched::Other })
    }

    /// Removes one body of a job.
    ///
    /// # Errors
    /// Why the server did not.
    pub async fn remove(&self, team: &str, job: &JobId, claim: &Claim) -> Result<u64, ApiError> {
        self.purge(format!("tollgate.blobs.{team}.{job}.{}.*", claim.sha256)).await
    }

    /// Removes every body of a job, and says how many chunks there were. What is not there is removed.
    ///
    /// # Errors
    /// Why the server did not.
    pub async fn remove_all(&self, team: &str, job: &JobId) -> Result<u64, ApiError> {
        self.purge(format!("tollgate.blobs.{team}.{job}.*.*")).await
    }

    async fn purge(&self, filter: String) -> Result<u64, ApiError> {
        match api::purge(&self.client, subjects::BLOBS_STREAM, &filter).await {
            Err(ApiError::Refused { code: NO_STREAM, .. }) => Ok(0),
            purged => purged,
        }
    }
}
