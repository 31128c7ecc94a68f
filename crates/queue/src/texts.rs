//! Every place beside the results where the texts of a job lie: its lane, the waiting jobs, the dead letters, the
//! captures, the kept answers, the large bodies. What is removed is overwritten by the server ([`Removal::Overwrite`]).
//!
//! A job's end must be in the log before its copies go: then a copy that is missed here, because somebody has it in his
//! hands, is answered when it comes again and can neither run nor pay. Everything here is idempotent; killed anywhere,
//! it is to be repeated.

use std::collections::BTreeMap;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::job::{named_user, undecoded_digest};
use tollgate_types::{JobId, JobSpec, UnixMillis, headers, subjects};

use crate::api::{self, ApiError, Stored};
use crate::blobs::Blobs;
use crate::connect::{ConnectFailure, Connection};
use crate::direct;
use crate::queue_key::Origin;
use crate::scan::{Scan, Waiting};
use crate::tombs::{Removal, last_on, page, remove};

/// The most messages of one page.
const PAGE_MAX: usize = 500;
/// How often a capture may change while it is removed.
const TRIES: usize = 8;

/// The jobs to be removed, each with the digest of the request that its end answers, as it is written with that.
pub type Wanted = BTreeMap<JobId, String>;

/// How many copies were removed, by where they lay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// In lanes.
    pub queued: u64,
    /// Behind gates and for later.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Captures.
    pub captured: u64,
    /// Kept answers.
    pub cached: u64,
    /// Chunks of bodies that did not fit a message.
    pub chunks: u64,
}

/// A job that waits, as it is read without leasing it.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its id.
    pub job: JobId,
    /// The end user that it names; empty without one.
    pub user: String,
    /// When the server accepted it; of a dead letter, when that was stored.
    pub at: UnixMillis,
}

/// Removes the copies of one team's jobs.
pub struct Texts {
    client: Client,
    scan: Scan,
    /// When the jobs stream was made, in nanoseconds: jobs without an id are named by it.
    made_ns: i128,
}

impl Texts {
    /// Connects like `beside`, which must be the broker's.
    ///
    /// # Errors
    /// Why it could not connect, or why the jobs stream could not be asked.
    pub async fn open(beside: &Connection, name: &str) -> Result<Texts, TextsFailure> {
        let scan = Scan::open(beside, name).await?;
        let made_ns = made_ns(&beside.client).await?;
        Ok(Texts { client: beside.client.clone(), scan, made_ns })
    }

    /// Every job of a team that waits, runs, or is a dead letter; one that can be read twice comes twice.
    ///
    /// # Errors
    /// Why a stream could not be read.
    pub async fn copies(&mut self, team: &str) -> Result<Vec<Copy>, ApiError> {
        let mut copies = Vec::new();
        for (origin, filter) in backlogs(team) {
            let mut from = Some(1);
            while let Some(next) = from {
                let page = self.scan.page(origin, &filter, next).await?;
                let read = page.jobs.iter().filter_map(|job| Some((id(job, origin, self.made_ns)?, job)));
                copies.extend(read.map(|(job, stored)| Copy {
                    job,
                    user: user(&stored.payload),
                    at: accepted_at(stored, origin),
                }));
                from = page.next;
            }
        }
        let mut take = |letter: &direct::Stored| {
            let job = text(&letter.headers, headers::DEAD_JOB).and_then(|job| job.parse().ok());
            copies.extend(job.map(|job| Copy { job, user: user(&letter.payload), at: letter.at }));
            false
        };
        each(&self.client, subjects::DEAD_STREAM, &dead_of(team), &mut take).await?;
        Ok(copies)
    }

    /// Removes every copy of the jobs. A queued message under the id of one of them that is another request is left: it
    /// is answered `conflict` when it is reached.
    ///
    /// # Errors
    /// Why a stream could not be read or changed; then it is to be repeated.
    pub async fn remove(&mut self, team: &str, wanted: &Wanted) -> Result<Removed, ApiError> {
        let mut removed = Removed::default();
        for (origin, filter) in backlogs(team) {
            let count = self.remove_waiting(origin, &filter, wanted).await?;
            match origin {
                Origin::Jobs => removed.queued += count,
                Origin::Wait => removed.parked += count,
            }
        }
        let mut is_theirs = |letter: &direct::Stored| {
            text(&letter.headers, headers::DEAD_JOB).is_some_and(|job| is_wanted(job, wanted))
        };
        removed.dead = each(&self.client, subjects::DEAD_STREAM, &dead_of(team), &mut is_theirs).await?;
        for job in wanted.keys() {
            removed.captured += u64::from(forbid_capture(&self.client, team, job).await?);
            removed.chunks += Blobs::new(&self.client).remove_all(team, job).await?;
        }
        let mut is_theirs = |answer: &direct::Stored| {
            text(&answer.headers, headers::FROM_JOB).is_some_and(|job| is_wanted(job, wanted))
        };
        // The copies that workers keep in their own memory are told of by `control::announce_forgotten`.
        let cached =
            each(&self.client, subjects::CACHE_STREAM, &format!("tollgate.cache.{team}.>"), &mut is_theirs).await;
        removed.cached = unless_absent(cached)?;
        Ok(removed)
    }

    async fn remove_waiting(&mut self, origin: Origin, filter: &str, wanted: &Wanted) -> Result<u64, ApiError> {
        let mut count = 0;
        let mut from = Some(1);
        while let Some(next) = from {
            let page = self.scan.page(origin, filter, next).await?;
            for job in &page.jobs {
                let digest = id(job, origin, self.made_ns).and_then(|id| wanted.get(&id));
                if digest.is_some_and(|digest| is_answered_by(digest, &job.payload)) {
                    count += u64::from(remove(&self.client, origin.stream(), job.sequence, Removal::Overwrite).await?);
                }
            }
            from = page.next;
        }
        Ok(count)
    }
}

/// Why the copies could not be looked for.
#[derive(Debug, thiserror::Error)]
pub enum TextsFailure {
    /// There is no connection for it.
    #[error("cannot connect to read the backlog")]
    Connect(#[from] ConnectFailure),
    /// The jobs stream could not be asked.
    #[error("the jobs stream cannot be asked")]
    Api(#[from] ApiError),
}

/// A capture as it is kept.
///
/// # Errors
/// Why it could not be read. A job that was never captured, or was forgotten, has none.
pub async fn captured(connection: &Connection, team: &str, job: &JobId) -> Result<Option<Bytes>, ApiError> {
    let subject = subjects::capture(team, job);
    let found = last_on(&connection.client, subjects::CAPTURE_STREAM, &[subject]).await?;
    Ok(found.into_iter().map(|stored| stored.payload).find(|payload| !payload.is_empty()))
}

/// Keeps a capture; `false` if the job has one, or was forgotten.
///
/// # Errors
/// Why it was not kept. Without an answer it may be.
pub async fn capture(connection: &Connection, team: &str, job: &JobId, payload: Bytes) -> Result<bool, ApiError> {
    let subject = subjects::capture(team, job);
    let stored = api::publish_expecting(&connection.client, subject, HeaderMap::new(), payload, 0).await?;
    Ok(stored == Stored::New)
}

/// Puts an empty message in the place of a job's capture, so that one that comes late is refused, and then overwrites
/// the capture. Says whether there was one.
///
/// Killed between the two: the last message on the subject is empty, and what lies before it is removed by repeating.
async fn forbid_capture(client: &Client, team: &str, job: &JobId) -> Result<bool, ApiError> {
    let subject = subjects::capture(team, job);
    for _ in 0..TRIES {
        let found = unless_absent(last_on(client, subjects::CAPTURE_STREAM, std::slice::from_ref(&subject)).await)?;
        let last = found.first();
        if last.is_none_or(|last| !last.payload.is_empty()) {
            let expected = last.map_or(0, |last| last.sequence);
            let put = api::publish_expecting(client, subject.clone(), HeaderMap::new(), Bytes::new(), expected).await;
            match put {
                Ok(Stored::New) => {}
                Ok(Stored::Taken) => continue,
                // Nothing is captured where the stream does not exist.
                Err(ApiError::Absent { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let mut with_text = |stored: &direct::Stored| !stored.payload.is_empty();
        return Ok(each(client, subjects::CAPTURE_STREAM, &subject, &mut with_text).await? > 0);
    }
    Err(ApiError::Unknown)
}

/// Reads what is stored under a subject, erases what `take` says, and returns how many that were.
async fn each(
    client: &Client,
    stream: &str,
    filter: &str,
    take: &mut impl FnMut(&direct::Stored) -> bool,
) -> Result<u64, ApiError> {
    let (mut from, mut count) = (1, 0);
    loop {
        let page = page(client, stream, filter, from, PAGE_MAX).await?;
        let Some(last) = page.messages.last().map(|last| last.sequence) else { return Ok(count) };
        for stored in &page.messages {
            if take(stored) {
                count += u64::from(remove(client, stream, stored.sequence, Removal::Overwrite).await?);
            }
        }
        if page.pending == 0 {
            return Ok(count);
        }
        from = last + 1;
    }
}

fn unless_absent<T: Default>(answer: Result<T, ApiError>) -> Result<T, ApiError> {
    match answer {
        Err(ApiError::Absent { .. }) => Ok(T::default()),
        answer => answer,
    }
}

fn backlogs(team: &str) -> [(Origin, String); 2] {
    // The lanes before the waiting jobs: a job that is parked between the two is met among these, and none goes back.
    [(Origin::Jobs, format!("tollgate.jobs.*.{team}")), (Origin::Wait, format!("tollgate.wait.*.*.{team}.*"))]
}

fn dead_of(team: &str) -> String {
    format!("tollgate.dead.*.{team}")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(async_nats::HeaderValue::as_str)
}

fn is_wanted(job: &str, wanted: &Wanted) -> bool {
    job.parse::<JobId>().is_ok_and(|job| wanted.contains_key(&job))
}

/// The id that a waiting message is answered under.
fn id(job: &Waiting, origin: Origin, made_ns: i128) -> Option<JobId> {
    match origin {
        Origin::Jobs => {
            let named = job.header(headers::JOB_ID).and_then(|id| id.parse().ok());
            Some(named.unwrap_or_else(|| JobId::from_sequence(made_ns, job.sequence)))
        }
        Origin::Wait => job.subject.rsplit('.').next()?.parse().ok(),
    }
}

/// Whether a request is the one that a result with this digest answers.
fn is_answered_by(digest: &str, payload: &Bytes) -> bool {
    let decoded = || JobSpec::decode(payload, usize::MAX).is_ok_and(|job| job.digest.to_string() == digest);
    // Whether it could be read depended on the worker's own limit.
    digest == headers::ANY_DIGEST || undecoded_digest(payload).to_string() == digest || decoded()
}

/// When the server accepted a job: a parked copy was stored later and says it.
fn accepted_at(job: &Waiting, origin: Origin) -> UnixMillis {
    let said = || job.header(headers::PARKED_ACCEPTED_AT)?.parse().ok().map(UnixMillis);
    match origin {
        // What a producer wrote there is no word of ours.
        Origin::Jobs => job.at,
        Origin::Wait => said().unwrap_or(job.at),
    }
}

fn user(payload: &Bytes) -> String {
    named_user(payload).unwrap_or_default()
}

async fn made_ns(client: &Client) -> Result<i128, ApiError> {
    #[derive(Deserialize)]
    struct Info {
        created: String,
    }
    let asked = format!("$JS.API.STREAM.INFO.{}", subjects::JOBS_STREAM);
    let info: Info = api::ask(client, asked, Bytes::new()).await?;
    let created = OffsetDateTime::parse(&info.created, &Rfc3339);
    created.map(OffsetDateTime::unix_timestamp_nanos).map_err(|error| ApiError::Unreadable(error.to_string()))
}
