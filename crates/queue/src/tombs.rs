//! Tombstones: a result's texts are removed, and what the books and a late copy of the job need stays in its place.
//!
//! A tombstone is published first, under the condition that the result is still the last message on its subject; only
//! then is the result deleted. So at every moment the job's subject holds an end of the job, and a copy of it that comes
//! is answered, not run. When a result may go is `tollgate_retention`'s decision.
//!
//! Killed before the publish: nothing happened. Killed between publish and deletion: both are there; lookups give the
//! tombstone, and whoever adds up knows by his own reading that they are one ([`Whole`](crate::commit_log::Whole)).
//! Repeated, the tombstone is found and the result deleted. Killed after the deletion: it is done.

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tollgate_types::event::{CacheUse, EventKind};
use tollgate_types::job::VERSION;
use tollgate_types::{ErrorCode, JobId, JobResult, NanoUsd, Tombstone, UnixMillis, UsageEvent, headers, subjects};

use crate::api::{self, ApiError, Stored};
use crate::blobs::Blobs;
use crate::connect::Connection;
use crate::crash::CrashPlan;
use crate::direct;

/// A result as it lies in the log, or its tombstone.
#[derive(Clone, Debug)]
pub struct Lying {
    /// Its sequence.
    pub sequence: u64,
    /// When the server stored it.
    pub at: UnixMillis,
    /// What it cost.
    pub event: UsageEvent,
    /// The digest of the request that it answers, as it is written.
    pub digest: String,
    /// What it stands for, if it is a tombstone.
    pub tombstone: Option<Tombstone>,
    payload: Bytes,
}

impl Lying {
    /// Whether there is no text in it.
    pub fn is_empty(&self) -> bool {
        self.tombstone.is_some() || self.event.error_code == Some(ErrorCode::Forgotten)
    }

    fn read(stored: direct::Stored) -> Option<Lying> {
        let text = |name: &str| stored.headers.get(name).map(async_nats::HeaderValue::as_str);
        let event = UsageEvent::from_header(text(headers::USAGE)?).ok()?;
        if stored.subject != subjects::result(&event.team, &event.job) {
            return None;
        }
        let tombstone = match text(headers::TOMBSTONE) {
            Some(header) => Some(Tombstone::from_header(header).ok()?),
            None => None,
        };
        let digest = text(headers::DIGEST)?.to_owned();
        Some(Lying { sequence: stored.sequence, at: stored.at, event, digest, tombstone, payload: stored.payload })
    }
}

/// A part of the results under a subject, in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The results and tombstones.
    pub lying: Vec<Lying>,
    /// Where the next part begins.
    pub next: u64,
    /// Whether there is more.
    pub more: bool,
}

/// How a message is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Its bytes in the server's file are overwritten with random ones. The server syncs the file for each: some 40 a
    /// second were measured on a busy machine.
    Overwrite,
    /// It is gone for every client; its bytes stay in the file until the server compacts it, as with a message that is
    /// past its stream's age.
    Delete,
}

/// Puts tombstones in the place of results.
#[derive(Clone)]
pub struct Tombs {
    client: Client,
    removal: Removal,
    crash: CrashPlan,
}

/// About as many bytes come in one part.
const PART_BYTES_MAX: u64 = 8 << 20;
/// The most subjects in one question; the server's own limit is 1,024.
const SUBJECTS_MAX: usize = 256;
/// The class of a job that nobody has ever seen.
const NO_CLASS: &str = "none";
const STREAM: &str = subjects::RESULTS_STREAM;

impl Tombs {
    /// Over a connection, which must be the broker's.
    pub fn new(connection: &Connection, removal: Removal, crash: CrashPlan) -> Tombs {
        Tombs { client: connection.client.clone(), removal, crash }
    }

    /// The result of a job, or its tombstone. Cancel safe.
    ///
    /// # Errors
    /// Why the log could not be asked.
    pub async fn find(&self, team: &str, job: &JobId) -> Result<Option<Lying>, ApiError> {
        let found = last_on(&self.client, STREAM, &[subjects::result(team, job)]).await?;
        Ok(found.into_iter().find_map(Lying::read))
    }

    /// Results and tombstones of a team, or of every team, from a sequence on, the oldest first: at most `most`, which is
    /// no more than the 1,024 of the server. Cancel safe.
    ///
    /// # Errors
    /// Why the log could not be read.
    pub async fn part(&self, team: Option<&str>, from: u64, most: usize) -> Result<Part, ApiError> {
        let filter = format!("tollgate.results.{}.*", team.unwrap_or("*"));
        let page = page(&self.client, STREAM, &filter, from, most).await?;
        let next = page.messages.last().map_or(from, |last| last.sequence + 1);
        let more = page.pending > 0;
        Ok(Part { lying: page.messages.into_iter().filter_map(Lying::read).collect(), next, more })
    }

    /// Publishes the tombstone of a result; `false` if that is not the last on its subject any more.
    ///
    /// The result is still there, as after a kill; [`Tombs::bury`] removes it.
    ///
    /// # Errors
    /// Why the server did not do it. Without an answer it may be stored.
    pub async fn raise(&self, lying: &Lying, code: ErrorCode, sunk: bool) -> Result<bool, ApiError> {
        self.crash.point("F0");
        let Lying { event, digest, payload, .. } = lying;
        // First: killed after it, the result still asks to be entombed.
        Blobs::new(&self.client).remove_all(&event.team, &event.job).await?;
        let mut sent = HeaderMap::new();
        sent.insert(headers::USAGE, event.to_header());
        sent.insert(headers::DIGEST, digest.as_str());
        sent.insert(headers::TOMBSTONE, Tombstone::new(lying.sequence, lying.at, sunk).to_header());
        let line = JobResult::entombed(payload, event, code);
        let line = serde_json::to_vec(&line).expect("a result of texts and numbers always serialises").into();
        let subject = subjects::result(&event.team, &event.job);
        let stored = api::publish_expecting(&self.client, subject, sent, line, lying.sequence).await?;
        self.crash.point("F1");
        Ok(stored == Stored::New)
    }

    /// Removes a result that has its tombstone. Idempotent.
    ///
    /// # Errors
    /// Why the server did not do it.
    pub async fn bury(&self, sequence: u64) -> Result<(), ApiError> {
        remove(&self.client, STREAM, sequence, self.removal).await?;
        self.crash.point("F2");
        Ok(())
    }

    /// Gives a job that nobody has ever seen its end, so that a copy that comes late is answered; `false` if it has one.
    ///
    /// The record counts in the books as a cancelled job of no class that cost nothing.
    ///
    /// # Errors
    /// Why the server did not do it. Without an answer it may be stored.
    pub async fn forbid(&self, team: &str, job: &JobId, now: UnixMillis) -> Result<bool, ApiError> {
        let subject = subjects::result(team, job);
        let last = last_on(&self.client, STREAM, std::slice::from_ref(&subject)).await?.pop();
        // Without an account per team, anybody's message can lie where a result belongs.
        let expected = last.as_ref().map_or(0, |stray| stray.sequence);
        if last.is_some_and(|last| Lying::read(last).is_some()) {
            return Ok(false);
        }
        let event = unseen(team, job, now);
        let mut sent = HeaderMap::new();
        sent.insert(headers::USAGE, event.to_header());
        sent.insert(headers::DIGEST, headers::ANY_DIGEST);
        let line = JobResult::entombed(b"", &event, ErrorCode::Forgotten);
        let line = serde_json::to_vec(&line).expect("a result of texts and numbers always serialises").into();
        let stored = api::publish_expecting(&self.client, subject, sent, line, expected).await?;
        Ok(stored == Stored::New)
    }
}

fn unseen(team: &str, job: &JobId, now: UnixMillis) -> UsageEvent {
    let code = ErrorCode::Forgotten;
    UsageEvent {
        version: VERSION,
        kind: EventKind::Result,
        job: job.clone(),
        team: team.to_owned(),
        class: NO_CLASS.to_owned(),
        run: format!("{:032x}", rand::random::<u128>()),
        worker: String::new(),
        delivery: 0,
        status: code.status(),
        error_code: Some(code),
        project: String::new(),
        user: String::new(),
        key: String::new(),
        labels: Default::default(),
        model_requested: String::new(),
        attempts: Vec::new(),
        unknown_attempts: 0,
        unknown_nanousd: NanoUsd::ZERO,
        saved_nanousd: NanoUsd::ZERO,
        cache: CacheUse::Bypass,
        kept: None,
        stream: false,
        guardrails: Vec::new(),
        risk: 0,
        hold: None,
        downgraded_to: String::new(),
        endpoint: String::new(),
        traceparent: String::new(),
        accepted_at: now,
        queued_ms: 0,
        run_ms: 0,
    }
}

#[derive(Serialize)]
struct Question<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
}

/// A page of what is stored under a subject from a sequence on.
pub(crate) async fn page(
    client: &Client,
    stream: &str,
    filter: &str,
    from: u64,
    most: usize,
) -> Result<direct::Batch, ApiError> {
    let question = Question { seq: from.max(1), next_by_subj: filter, batch: most, max_bytes: Some(PART_BYTES_MAX) };
    let page = direct::batch(client, stream, &question).await?;
    if !page.messages.is_empty() || page.pending == 0 {
        return Ok(page);
    }
    // One message larger than a page.
    direct::batch(client, stream, &Question { batch: 1, max_bytes: None, ..question }).await
}

/// The last message on each of some subjects, where there is one.
pub(crate) async fn last_on(
    client: &Client,
    stream: &str,
    subjects: &[String],
) -> Result<Vec<direct::Stored>, ApiError> {
    #[derive(Serialize)]
    struct MultiLast<'a> {
        multi_last: &'a [String],
    }
    let mut found = Vec::new();
    for some in subjects.chunks(SUBJECTS_MAX) {
        found.extend(direct::batch(client, stream, &MultiLast { multi_last: some }).await?.messages);
    }
    Ok(found)
}

/// Removes a message; says whether it was there. Idempotent.
pub(crate) async fn remove(client: &Client, stream: &str, sequence: u64, removal: Removal) -> Result<bool, ApiError> {
    #[derive(Deserialize)]
    struct Deleted {}
    let subject = format!("$JS.API.STREAM.MSG.DELETE.{stream}");
    let question = serde_json::json!({ "seq": sequence, "no_erase": removal == Removal::Delete }).to_string();
    match api::ask::<Deleted>(client, subject, question.into()).await {
        Ok(Deleted {}) => Ok(true),
        // No message there, or none any more.
        Err(ApiError::Refused { code: 10043 | 10057, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
