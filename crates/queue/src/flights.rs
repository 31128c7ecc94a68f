//! Claims: who is asking a provider for an answer that others wait for.
//!
//! A claim is one message that only the first can publish, and that the server forgets after [`LEASE`] unless its owner
//! publishes it anew. So a dead owner's claim is gone within seconds, by the server's own clock, and nobody has to notice
//! his death. Killed before the publish: nobody claims. Killed after it: the claim ends with its lease, or with the next
//! delivery of the same job, which may take it over at once.
//!
//! What comes of a shared call may be nothing to share: a failure, an answer that is not kept. Then the claim becomes a
//! mark for a while, that those who waited go on side by side instead of one after the other.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tollgate_types::{Digest, JobId, headers, subjects};

use crate::api::{self, ApiError, Stored};
use crate::direct;

/// How long a claim lasts without a sign of life. A dead worker's waiters go on after it.
pub const LEASE: Duration = Duration::from_secs(8);
/// How long nobody shares calls for a request whose shared call brought nothing to share: long enough for all who waited
/// to be under way.
pub const ALONE: Duration = Duration::from_secs(30);
/// A job waits no longer than this for what is only a saving.
const ASK_MAX: Duration = Duration::from_secs(1);
/// The most claims that are asked for at once; the server's own limit is 1,024.
const ASKED_MAX: usize = 512;

/// Who claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The digest of the request.
    pub key: Digest,
    /// The team.
    pub team: String,
    /// The job.
    pub job: JobId,
    /// This run of it.
    pub run: String,
    /// Whether the job was delivered before, so that an earlier run of it may have left a claim.
    pub redelivered: bool,
}

/// What became of a try to claim.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Ours(Lease),
    /// Another job has it.
    Theirs,
    /// No call of this request is shared for a while.
    Alone,
}

/// A claim that is held: to be renewed well within [`LEASE`].
#[derive(Debug)]
pub struct Lease {
    subject: String,
    said: Said,
    sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    version: u32,
    /// The whole digest: the subject has its beginning only.
    key: String,
    team: String,
    job: JobId,
    #[serde(default)]
    run: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    alone: bool,
}

/// The stream of claims. It may be missing: then nothing is shared.
#[derive(Clone)]
pub struct Flights {
    client: Client,
}

impl Flights {
    /// Over a connection; nothing is asked yet.
    pub fn new(client: &Client) -> Flights {
        Flights { client: client.clone() }
    }

    /// Who claims the request's answer now, if not this job; `None` if nobody does. Cancel safe.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn look(&self, who: &Claimant) -> Result<Option<Claim>, ApiError> {
        let subject = subjects::flight(&who.key.short());
        let found = timeout(ASK_MAX, self.last(&subject)).await.map_err(|_| ApiError::Unknown)??;
        Ok(found.and_then(|(_, said)| said.to(who)))
    }

    /// Claims a request's answer.
    ///
    /// Cancelled or without an answer, the claim may be ours: it ends with its lease.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn claim(&self, who: &Claimant) -> Result<Claim, ApiError> {
        timeout(ASK_MAX, self.take(who)).await.map_err(|_| ApiError::Unknown)?
    }

    async fn take(&self, who: &Claimant) -> Result<Claim, ApiError> {
        let subject = subjects::flight(&who.key.short());
        let said = Said {
            version: 1,
            key: who.key.to_string(),
            team: who.team.clone(),
            job: who.job.clone(),
            run: who.run.clone(),
            alone: false,
        };
        let mut lease = Lease { subject, said, sequence: 0 };
        loop {
            if let Some(sequence) = self.publish(&lease, &lease.said, LEASE).await? {
                lease.sequence = sequence;
                return Ok(Claim::Ours(lease));
            }
            match self.last(&lease.subject).await? {
                Some((sequence, said)) => match said.to(who) {
                    Some(claim) => return Ok(claim),
                    // An earlier run's of this very job.
                    None => lease.sequence = sequence,
                },
                // It ended in between.
                None => lease.sequence = 0,
            }
        }
    }

    /// Renews a claim; `false` if it was lost: it ended, or another run of the job took it over.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn renew(&self, lease: &mut Lease) -> Result<bool, ApiError> {
        let said = lease.said.clone();
        timeout(ASK_MAX, self.replace(lease, &said, LEASE)).await.map_err(|_| ApiError::Unknown)?
    }

    /// Gives a claim up, so that who waited comes back. A claim that was lost is left alone.
    ///
    /// # Errors
    /// Why the server did not; the claim ends with its lease.
    pub async fn release(&self, lease: Lease) -> Result<(), ApiError> {
        timeout(ASK_MAX, self.give_up(&lease)).await.map_err(|_| ApiError::Unknown)?
    }

    async fn give_up(&self, lease: &Lease) -> Result<(), ApiError> {
        if !self.delete(lease.sequence).await?
            && let Some(sequence) = self.renewed_unheard(lease).await?
        {
            self.delete(sequence).await?;
        }
        Ok(())
    }

    /// Says whether it was there.
    async fn delete(&self, sequence: u64) -> Result<bool, ApiError> {
        #[derive(Deserialize)]
        struct Deleted {}
        let subject = format!("$JS.API.STREAM.MSG.DELETE.{}", subjects::FLIGHTS_STREAM);
        let question = serde_json::json!({ "seq": sequence, "no_erase": true });
        match api::ask::<Deleted>(&self.client, subject, question.to_string().into()).await {
            Ok(Deleted {}) => Ok(true),
            Err(ApiError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says that the request's calls are not shared for a while, in the place of a claim.
    ///
    /// # Errors
    /// Why the server did not; the claim ends with its lease.
    pub async fn leave_alone(&self, mut lease: Lease) -> Result<(), ApiError> {
        let said = Said { alone: true, ..lease.said.clone() };
        let replaced = timeout(ASK_MAX, self.replace(&mut lease, &said, ALONE)).await;
        replaced.map_err(|_| ApiError::Unknown)?.map(|_| ())
    }

    /// Which of these requests, by short digest, somebody claims now. Cancel safe.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn aloft(&self, digests: &[String]) -> Result<HashSet<String>, ApiError> {
        let mut aloft = HashSet::new();
        for some in digests.chunks(ASKED_MAX) {
            let wanted: Vec<String> = some.iter().map(|digest| subjects::flight(digest)).collect();
            let question = serde_json::json!({ "multi_last": wanted });
            let batch = direct::batch(&self.client, subjects::FLIGHTS_STREAM, &question).await?;
            for stored in batch.messages {
                let said = serde_json::from_slice::<Said>(&stored.payload);
                if let (Ok(Said { alone: false, .. }), Some(digest)) = (said, stored.subject.rsplit('.').next()) {
                    aloft.insert(digest.to_owned());
                }
            }
        }
        Ok(aloft)
    }

    /// Puts something in the place of a claim that is still ours; says whether it was.
    async fn replace(&self, lease: &mut Lease, said: &Said, ttl: Duration) -> Result<bool, ApiError> {
        let mut stored = self.publish(lease, said, ttl).await?;
        if stored.is_none()
            && let Some(sequence) = self.renewed_unheard(lease).await?
        {
            lease.sequence = sequence;
            stored = self.publish(lease, said, ttl).await?;
        }
        lease.sequence = stored.unwrap_or(lease.sequence);
        Ok(stored.is_some())
    }

    /// The sequence of a renewal that was stored, and whose acknowledgement did not reach us.
    async fn renewed_unheard(&self, lease: &Lease) -> Result<Option<u64>, ApiError> {
        let last = self.last(&lease.subject).await?;
        Ok(last.filter(|(_, said)| *said == lease.said).map(|(sequence, _)| sequence))
    }

    /// Its sequence if it was stored, which only happens after the sequence that the lease knows.
    async fn publish(&self, lease: &Lease, said: &Said, ttl: Duration) -> Result<Option<u64>, ApiError> {
        let mut sent = HeaderMap::new();
        sent.insert(headers::TTL, format!("{}s", ttl.as_secs()));
        let payload = serde_json::to_vec(said).expect("texts always serialise");
        let (subject, expected) = (lease.subject.clone(), lease.sequence);
        match api::publish_numbered(&self.client, subject, sent, payload.into(), expected).await? {
            (Stored::New, sequence) => Ok(Some(sequence)),
            (Stored::Taken, _) => Ok(None),
        }
    }

    async fn last(&self, subject: &str) -> Result<Option<(u64, Said)>, ApiError> {
        let question = serde_json::json!({ "multi_last": [subject] });
        let batch = direct::batch(&self.client, subjects::FLIGHTS_STREAM, &question).await?;
        let found = batch.messages.into_iter().next();
        Ok(found.and_then(|stored| Some((stored.sequence, serde_json::from_slice(&stored.payload).ok()?))))
    }
}

impl Said {
    /// What it says to somebody; `None` if he may claim in its place.
    fn to(&self, who: &Claimant) -> Option<Claim> {
        // Another request whose digest begins alike: rather no sharing than a wrong one.
        if self.alone || self.key != who.key.to_string() {
            return Some(Claim::Alone);
        }
        let own = who.redelivered && self.team == who.team && self.job == who.job;
        (!own).then_some(Claim::Theirs)
    }
}
