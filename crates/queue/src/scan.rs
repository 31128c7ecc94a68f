//! Reading a backlog without leasing anything: who waits, since when, for what, with which deadline.
//!
//! Batched direct gets bring about 75,000 messages a second. They come over a connection of their own, because a job
//! whose headers cannot be read makes the client drop it, or ends the client for good (see [`quarantine`](crate::quarantine));
//! then the scan connects anew, reads past that job by the server's JSON interface, and goes on. Such jobs are left
//! out: they are ended when their turn comes.

use async_nats::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::UnixMillis;

use crate::api::{self, ApiError, StoredMessage, stored_message};
use crate::connect::{ConnectFailure, Connection};
use crate::direct::{self, Batch, Stored};
use crate::quarantine::read_headers;
use crate::queue_key::{Origin, QueueKey};

/// The most messages of one page; the server's own limit is 1,024.
const PAGE_MAX: usize = 1000;
/// About as many bytes come in one page, whatever the size of the jobs.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// The most jobs that are read one by one after a job that cannot be read. It doubles from one with every such job, so
/// that many of them in a row cost a request each, not a connection each.
const STRIDE_MAX: usize = 256;

/// A job as it is stored.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its sequence in its stream.
    pub sequence: u64,
    /// The subject it was published on.
    pub subject: String,
    /// When the server stored it.
    pub at: UnixMillis,
    /// The request line.
    pub payload: Bytes,
    headers: HeaderMap,
}

impl Waiting {
    /// A header's value as text. Those that the server adds, such as `Nats-Sequence`, come after the producer's.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }
}

/// A part of a backlog, in the order of the stream.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Waiting>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
}

/// Reads backlogs.
pub struct Scan {
    /// For what is harmless whatever a producer wrote.
    beside: Connection,
    /// For what may end it.
    own: Connection,
    name: String,
    stride: usize,
}

#[derive(Serialize)]
struct Question<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: u64,
}

impl Scan {
    /// Connects like `beside`.
    ///
    /// # Errors
    /// Why the connection could not be made.
    pub async fn open(beside: &Connection, name: &str) -> Result<Scan, ConnectFailure> {
        let name = format!("{name}-scan");
        let own = beside.another(&name).await?;
        Ok(Scan { beside: beside.clone(), own, name, stride: 1 })
    }

    /// Reads the next part of a backlog: jobs from sequence `from` on whose subject matches `filter`.
    ///
    /// Cancel safe: nothing is changed, and the same page can be read again.
    ///
    /// # Errors
    /// Why the stream could not be read.
    pub async fn page(&mut self, origin: Origin, filter: &str, from: u64) -> Result<Page, ApiError> {
        let mut batch = Batch::default();
        let question = Question { seq: from.max(1), next_by_subj: filter, batch: PAGE_MAX, max_bytes: PAGE_BYTES_MAX };
        let mut health = self.own.health();
        let losses = health.borrow().losses;
        let lost = async move {
            // A sender that is gone is a connection that is gone.
            let _ = health.wait_for(|health| health.losses != losses).await;
        };
        let read = direct::gather(&self.own.client, origin.stream(), &question, lost, &mut batch).await;
        let next = batch.messages.last().map_or(question.seq, |last| last.sequence + 1);
        let jobs: Vec<Waiting> = batch.messages.into_iter().map(Waiting::from).collect();
        match read {
            Ok(()) if batch.pending == 0 => Ok(Page { jobs, next: None }),
            Ok(()) if !jobs.is_empty() => {
                self.stride = 1;
                Ok(Page { jobs, next: Some(next) })
            }
            // One job larger than a page, or one that cannot be read.
            Ok(()) => self.step_by_step(origin, filter, next, jobs).await,
            Err(ApiError::Unknown) => {
                self.reconnect().await?;
                self.step_by_step(origin, filter, next, jobs).await
            }
            Err(error) => Err(error),
        }
    }

    async fn reconnect(&mut self) -> Result<(), ApiError> {
        self.own = self.beside.another(&self.name).await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "backlog not read");
            ApiError::Unknown
        })?;
        Ok(())
    }

    /// Reads a few jobs one by one, to get past those that cannot be read.
    async fn step_by_step(
        &mut self,
        origin: Origin,
        filter: &str,
        from: u64,
        mut jobs: Vec<Waiting>,
    ) -> Result<Page, ApiError> {
        let mut next = from;
        for _ in 0..self.stride {
            let question = serde_json::json!({ "seq": next, "next_by_subj": filter });
            let Some(stored) = stored_message(&self.beside.client, origin.stream(), &question).await? else {
                return Ok(Page { jobs, next: None });
            };
            next = stored.seq + 1;
            jobs.extend(Waiting::read(stored));
        }
        self.stride = (self.stride * 2).min(STRIDE_MAX);
        Ok(Page { jobs, next: Some(next) })
    }

    /// Whether a message is still in its stream: waiting or in flight, but not settled.
    ///
    /// # Errors
    /// Why the stream could not be asked.
    pub async fn still_there(&self, origin: Origin, sequence: u64) -> Result<bool, ApiError> {
        let question = serde_json::json!({ "seq": sequence });
        Ok(stored_message(&self.beside.client, origin.stream(), &question).await?.is_some())
    }

    /// One job, if it is still there and can be read.
    ///
    /// # Errors
    /// Why the stream could not be asked.
    pub async fn one(&self, origin: Origin, sequence: u64) -> Result<Option<Waiting>, ApiError> {
        let question = serde_json::json!({ "seq": sequence });
        Ok(stored_message(&self.beside.client, origin.stream(), &question).await?.and_then(Waiting::read))
    }

    /// The sequence of the first job from `from` on whose subject matches `filter`, whether or not it can be read.
    ///
    /// # Errors
    /// Why the stream could not be asked.
    pub async fn next(&self, origin: Origin, filter: &str, from: u64) -> Result<Option<u64>, ApiError> {
        let question = serde_json::json!({ "seq": from.max(1), "next_by_subj": filter });
        let found = stored_message(&self.beside.client, origin.stream(), &question).await?;
        Ok(found.map(|stored| stored.seq))
    }

    /// How many jobs of a queue were stored before a sequence: its place in the queue. Jobs in flight count.
    ///
    /// # Errors
    /// Why the stream could not be asked.
    pub async fn count_before(&self, queue: &QueueKey, sequence: u64) -> Result<u64, ApiError> {
        let filter = queue.filter();
        let all = match queue.origin() {
            // One subject, which the server counts; its first job might be one that cannot be read.
            Origin::Jobs => self.count_subject(&filter).await?,
            Origin::Wait => self.count_from(queue.origin(), &filter, 1).await?,
        };
        let from_there = self.count_from(queue.origin(), &filter, sequence.max(1)).await?;
        Ok(all.saturating_sub(from_there))
    }

    async fn count_from(&self, origin: Origin, filter: &str, sequence: u64) -> Result<u64, ApiError> {
        let question = Question { seq: sequence, next_by_subj: filter, batch: 1, max_bytes: 0 };
        let batch = direct::batch(&self.own.client, origin.stream(), &question).await?;
        Ok(batch.messages.len() as u64 + batch.pending)
    }

    async fn count_subject(&self, subject: &str) -> Result<u64, ApiError> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            #[serde(default)]
            subjects: Option<std::collections::HashMap<String, u64>>,
        }
        let question = serde_json::json!({ "subjects_filter": subject }).to_string();
        let asked = format!("$JS.API.STREAM.INFO.{}", Origin::Jobs.stream());
        let info: Info = api::ask(&self.beside.client, asked, question.into()).await?;
        Ok(info.state.subjects.unwrap_or_default().get(subject).copied().unwrap_or(0))
    }
}

impl From<Stored> for Waiting {
    fn from(stored: Stored) -> Waiting {
        let Stored { sequence, subject, at, headers, payload } = stored;
        Waiting { sequence, subject, at, payload, headers }
    }
}

impl Waiting {
    /// `None` if our client could not have read it.
    fn read(stored: StoredMessage) -> Option<Waiting> {
        // The server writes this base64 itself.
        let headers = read_headers(&BASE64_STANDARD.decode(&stored.hdrs).ok()?)?;
        Some(Waiting {
            sequence: stored.seq,
            subject: stored.subject,
            at: OffsetDateTime::parse(&stored.time, &Rfc3339).map(Into::into).unwrap_or_default(),
            payload: BASE64_STANDARD.decode(&stored.data).ok()?.into(),
            headers,
        })
    }
}
