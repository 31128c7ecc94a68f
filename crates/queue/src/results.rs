//! The commit log: one final result per job, by one create-only publish.
//!
//! The server accepts the first result of a job and refuses every other, whoever races and whatever crashes. The usage
//! event rides in the result's header, so that answer and cost commit together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, HeaderName, Message};
use bytes::Bytes;
use tollgate_types::event::EventKind;
use tollgate_types::{Digest, JobId, UsageEvent, headers, subjects};

use crate::api::{self, ApiError, Stored};
use crate::lookup::Lookup;

const USAGE: HeaderName = HeaderName::from_static(headers::USAGE);
const DIGEST: HeaderName = HeaderName::from_static(headers::DIGEST);
const TOMBSTONE: HeaderName = HeaderName::from_static(headers::TOMBSTONE);

/// A result that is in the log.
#[derive(Clone, Debug)]
pub struct Existing {
    /// Its sequence in the log.
    pub sequence: u64,
    /// The digest of the request that it answers, as hexadecimal digits.
    pub digest: String,
    /// What it cost.
    pub event: UsageEvent,
    /// The result line.
    pub payload: Bytes,
    /// Whether its texts are gone and this stands in its place.
    pub is_tombstone: bool,
}

impl Existing {
    /// Whether it answers the request with this digest. One that was committed before anybody could read its job (a
    /// cancellation, say) answers whatever the id stood for.
    pub fn answers(&self, digest: &Digest) -> bool {
        self.digest == headers::ANY_DIGEST || self.digest == digest.to_string()
    }
}

/// How a commit ended.
#[derive(Clone, Debug)]
pub enum Commit {
    /// The result is in the log, and it is ours.
    Won,
    /// The result was in the log, and ours; its texts were removed before we heard of it, and this line stands there now.
    WonAndEmptied(Bytes),
    /// Another run's result was there first.
    Lost(Box<Existing>),
    /// The result is larger than a message may be; nothing was stored.
    TooLarge,
}

/// The results stream.
#[derive(Clone)]
pub struct Results {
    client: Client,
    lookup: Arc<Lookup>,
    stuck: Arc<AtomicUsize>,
}

impl Results {
    /// Over a connection; the stream must exist when something is committed.
    ///
    /// # Errors
    /// Returns why the lookup's inbox could not be made.
    pub async fn open(client: &Client) -> Result<Results, async_nats::SubscribeError> {
        let lookup = Arc::new(Lookup::open(client).await?);
        Ok(Results { client: client.clone(), lookup, stuck: Arc::default() })
    }

    /// Whether results can be read and written as far as we know: false while any lookup or commit is being retried.
    /// Workers take no job then, because they could not keep what it costs.
    pub fn writable(&self) -> bool {
        self.stuck.load(Ordering::Relaxed) == 0
    }

    /// The job's result, if it has one. It asks again until the log answers: without it a job cannot go on, and the
    /// gate stays closed meanwhile. Cancel safe.
    ///
    /// # Errors
    /// Returns why the server refused to say; then it must not be assumed that there is no result.
    pub async fn find(&self, team: &str, job: &JobId) -> Result<Option<Existing>, ApiError> {
        let subject = subjects::result(team, job);
        let mut retry = Retry { stuck: &self.stuck, counted: false, tries: 0 };
        loop {
            match self.lookup.last(subject.clone()).await {
                Ok(found) => return Ok(found.as_ref().and_then(existing)),
                Err(error @ (ApiError::Absent { .. } | ApiError::Unknown)) => retry.pause(&subject, &error).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Commits a result, whatever it takes: it tries again until the server said yes or another run was first.
    ///
    /// Killed before the publish: the job is delivered again and runs again, its spend counted as unknown. Killed
    /// after it: the job is delivered again, the result is found, the tail is replayed. Cancel safe in the same sense.
    pub async fn commit(&self, job: &JobId, digest: Digest, event: &UsageEvent, payload: Bytes) -> Commit {
        let subject = subjects::result(&event.team, job);
        let usage = event.to_header();
        let mut expected = 0;
        let mut retry = Retry { stuck: &self.stuck, counted: false, tries: 0 };
        loop {
            let mut sent = HeaderMap::new();
            sent.insert(USAGE, usage.as_str());
            sent.insert(DIGEST, digest.to_string());
            match api::publish_expecting(&self.client, subject.clone(), sent, payload.clone(), expected).await {
                Ok(Stored::New) => return Commit::Won,
                Ok(Stored::Taken) => match self.lookup.last(subject.clone()).await {
                    Ok(Some(found)) => match existing(&found) {
                        // The acknowledgement of our own first try was lost.
                        Some(ours) if ours.event.run == event.run && ours.is_tombstone => {
                            return Commit::WonAndEmptied(ours.payload);
                        }
                        Some(ours) if ours.event.run == event.run => return Commit::Won,
                        Some(theirs) => return Commit::Lost(Box::new(theirs)),
                        // Not a result: without an account per team, anybody's acknowledgement can land here.
                        None => expected = sequence(&found).unwrap_or(0),
                    },
                    Ok(None) => expected = 0,
                    Err(error) => retry.pause(&subject, &error).await,
                },
                Err(ApiError::TooLarge) => return Commit::TooLarge,
                Err(error) => retry.pause(&subject, &error).await,
            }
        }
    }

    /// Records spend that is in no result, or that a redelivered run is about to spend. Idempotent by run and kind.
    pub async fn record(&self, event: &UsageEvent) {
        let token = match event.kind {
            EventKind::Started => format!("{}-started", event.run),
            EventKind::Extra | EventKind::Result => event.run.clone(),
        };
        let subject = subjects::extra(&event.team, &event.job, &token);
        let usage = event.to_header();
        let mut retry = Retry { stuck: &self.stuck, counted: false, tries: 0 };
        loop {
            let mut sent = HeaderMap::new();
            sent.insert(USAGE, usage.as_str());
            match api::publish_expecting(&self.client, subject.clone(), sent, Bytes::new(), 0).await {
                Ok(Stored::New | Stored::Taken) => return,
                Err(error) => retry.pause(&subject, &error).await,
            }
        }
    }
}

/// The rhythm of what must succeed, and the count that closes the gate meanwhile.
struct Retry<'a> {
    stuck: &'a AtomicUsize,
    counted: bool,
    tries: u32,
}

impl Retry<'_> {
    async fn pause(&mut self, subject: &str, error: &ApiError) {
        if !self.counted {
            self.counted = true;
            self.stuck.fetch_add(1, Ordering::Relaxed);
        }
        metrics::counter!("tollgate_commit_retries_total").increment(1);
        // The first misses are what a server restart looks like; after that a person should know.
        if self.tries >= 3 {
            tracing::error!(subject, %error, "the results do not answer; taking no more jobs until they do");
        }
        let cap = 100u64 << self.tries.min(4);
        self.tries += 1;
        tokio::time::sleep(Duration::from_millis(cap / 2 + rand::random_range(0..=cap / 2))).await;
    }
}

impl Drop for Retry<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.stuck.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Reads a direct get's answer as a result; `None` if it lacks the broker's headers.
fn existing(message: &Message) -> Option<Existing> {
    let headers = message.headers.as_ref()?;
    let event = UsageEvent::from_header(headers.get(USAGE)?.as_str()).ok()?;
    Some(Existing {
        sequence: sequence(message)?,
        digest: headers.get(DIGEST)?.as_str().to_owned(),
        event,
        payload: message.payload.clone(),
        is_tombstone: headers.get(TOMBSTONE).is_some(),
    })
}

fn sequence(message: &Message) -> Option<u64> {
    message.headers.as_ref()?.get(async_nats::header::NATS_SEQUENCE)?.as_str().parse().ok()
}
