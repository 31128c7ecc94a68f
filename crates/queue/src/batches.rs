//! The records of batches as the broker reads and writes them.
//!
//! What submitters wrote is read by the server's JSON interface: whatever bytes it has are harmless there (see
//! [`quarantine`](crate::quarantine)). What the broker counted is written by compare-and-swap, so that two who count at
//! once never undo each other's work.

use std::collections::BTreeMap;

use async_nats::{Client, HeaderMap};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_types::batch::{BatchDone, BatchProgress, LinesDone, Stop, Submitted};
use tollgate_types::subjects::BATCHES_STREAM;
use tollgate_types::{BatchId, BatchOrder, BatchOutcome, BatchSpec, Team, subjects};

use crate::api::{self, ApiError, Stored, StoredMessage, stored_message};
use crate::tombs::page;

/// The most records of one page.
const PAGE_MAX: usize = 500;

/// The stream of batches; it must exist, it is never created here. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Batches {
    client: Client,
}

/// What a compare-and-swap did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The record is stored under this sequence.
    Stored(u64),
    /// Somebody else wrote it first.
    Conflict,
}

/// A record that a submitter wrote, in the order of the stream.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its sequence.
    pub sequence: u64,
    /// Whose batch it is.
    pub team: Team,
    /// The batch.
    pub batch: BatchId,
}

impl Batches {
    /// The stream over a connection of the broker.
    pub fn new(client: Client) -> Batches {
        Batches { client }
    }

    /// What a batch is; `None` if there is no such batch, or if what is there cannot be understood. Cancel safe.
    ///
    /// # Errors
    /// Why the server could not be asked; so below.
    pub async fn spec(&self, team: &str, batch: &BatchId) -> Result<Option<BatchSpec>, ApiError> {
        Ok(self.last(subjects::batch_spec(team, batch)).await?.map(|(spec, _)| spec))
    }

    /// How far it is submitted.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn submitted(&self, team: &str, batch: &BatchId) -> Result<Option<Submitted>, ApiError> {
        Ok(self.last(subjects::batch_submitted(team, batch)).await?.map(|(submitted, _)| submitted))
    }

    /// Whether it is to be stopped.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn stop(&self, team: &str, batch: &BatchId) -> Result<Option<Stop>, ApiError> {
        Ok(self.last(subjects::batch_stop(team, batch)).await?.map(|(stop, _)| stop))
    }

    /// How it stands, with the sequence of that record.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn progress(&self, team: &str, batch: &BatchId) -> Result<Option<(BatchProgress, u64)>, ApiError> {
        self.last(subjects::batch_progress(team, batch)).await
    }

    /// Which lines of a part have ended, with the sequence of that record.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn lines(&self, team: &str, batch: &BatchId, part: u64) -> Result<Option<(LinesDone, u64)>, ApiError> {
        self.last(subjects::batch_lines(team, batch, part)).await
    }

    /// That it has ended.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn done(&self, team: &str, batch: &BatchId) -> Result<Option<BatchDone>, ApiError> {
        Ok(self.last(subjects::batch_done(team, batch)).await?.map(|(done, _)| done))
    }

    /// The parts of a batch of which there are records, in order.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn parts(&self, team: &str, batch: &BatchId) -> Result<Vec<u64>, ApiError> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            #[serde(default)]
            subjects: Option<BTreeMap<String, u64>>,
        }
        // The most lines of a batch are 611 parts; the server tells of 100,000 subjects at once.
        let prefix = format!("tollgate.batches.{team}.{batch}.");
        let question = json!({ "subjects_filter": format!("{prefix}*") }).to_string();
        let asked = format!("$JS.API.STREAM.INFO.{BATCHES_STREAM}");
        let info: Info = api::ask(&self.client, asked, question.into()).await?;
        let subjects = info.state.subjects.unwrap_or_default();
        let part = |subject: &String| subject.strip_prefix(&prefix)?.strip_prefix("lines-")?.parse().ok();
        let mut parts: Vec<u64> = subjects.keys().filter_map(part).collect();
        parts.sort_unstable();
        Ok(parts)
    }

    /// Replaces the lines of a part as they were read at `expected`, 0 for the first time.
    ///
    /// # Errors
    /// After [`ApiError::Unknown`] it may be stored: read it again.
    pub async fn swap_lines(
        &self,
        (team, batch, part): (&str, &BatchId, u64),
        lines: &LinesDone,
        expected: u64,
    ) -> Result<Swapped, ApiError> {
        self.swap(subjects::batch_lines(team, batch, part), lines, expected).await
    }

    /// Replaces how a batch stands, likewise.
    ///
    /// # Errors
    /// As [`Batches::swap_lines`].
    pub async fn swap_progress(
        &self,
        (team, batch): (&str, &BatchId),
        progress: &BatchProgress,
        expected: u64,
    ) -> Result<Swapped, ApiError> {
        self.swap(subjects::batch_progress(team, batch), progress, expected).await
    }

    /// Says that a batch is to be stopped, unless that was said before.
    ///
    /// # Errors
    /// As [`Batches::swap_lines`].
    pub async fn say_stop(&self, (team, batch): (&str, &BatchId), stop: &Stop) -> Result<Swapped, ApiError> {
        self.swap(subjects::batch_stop(team, batch), stop, 0).await
    }

    /// Announces that a batch has ended, once.
    ///
    /// # Errors
    /// As [`Batches::swap_lines`].
    pub async fn say_done(&self, done: &BatchDone) -> Result<Swapped, ApiError> {
        self.swap(subjects::batch_done(&done.team, &done.batch), done, 0).await
    }

    /// What tells this stream from one that was made anew.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn identity(&self) -> Result<String, ApiError> {
        #[derive(serde::Deserialize)]
        struct Info {
            created: String,
        }
        let subject = format!("$JS.API.STREAM.INFO.{BATCHES_STREAM}");
        Ok(api::ask::<Info>(&self.client, subject, bytes::Bytes::new()).await?.created)
    }

    /// What was ordered by HTTP, with the sequence of that record.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn order(&self, team: &str, batch: &BatchId) -> Result<Option<(BatchOrder, u64)>, ApiError> {
        self.last(subjects::batch_order(team, batch)).await
    }

    /// Why nothing, or not all, came of an order.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn outcome(&self, team: &str, batch: &BatchId) -> Result<Option<BatchOutcome>, ApiError> {
        Ok(self.last(subjects::batch_outcome(team, batch)).await?.map(|(outcome, _)| outcome))
    }

    /// Orders a batch, unless it was ordered before.
    ///
    /// # Errors
    /// As [`Batches::swap_lines`].
    pub async fn say_order(&self, team: &str, order: &BatchOrder) -> Result<Swapped, ApiError> {
        self.swap(subjects::batch_order(team, &order.id), order, 0).await
    }

    /// Says how an order ended, once.
    ///
    /// # Errors
    /// As [`Batches::swap_lines`].
    pub async fn say_outcome(&self, team: &str, outcome: &BatchOutcome) -> Result<Swapped, ApiError> {
        self.swap(subjects::batch_outcome(team, &outcome.batch), outcome, 0).await
    }

    /// Whether a batch was to be stopped before it had its spec; `None` if it is not to be stopped. Nothing is submitted
    /// before a spec is there, and whoever submits looks for a stop once it is: so of such a batch nothing ever ran.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn stopped_first(&self, team: &str, batch: &BatchId) -> Result<Option<bool>, ApiError> {
        let stop: Option<(Stop, u64)> = self.last(subjects::batch_stop(team, batch)).await?;
        let Some((_, stopped)) = stop else { return Ok(None) };
        let spec: Option<(BatchSpec, u64)> = self.last(subjects::batch_spec(team, batch)).await?;
        Ok(Some(spec.is_none_or(|(_, made)| stopped < made)))
    }

    /// The next order, from a sequence on; of one team or of all.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn next_order(&self, from: u64) -> Result<Option<Said>, ApiError> {
        let mut from = from.max(1);
        loop {
            let question = json!({ "seq": from, "next_by_subj": "tollgate.batches.*.*.order" });
            let Some(StoredMessage { seq, subject, .. }) =
                stored_message(&self.client, BATCHES_STREAM, &question).await?
            else {
                return Ok(None);
            };
            if let Some((team, batch, _)) = subjects::parse_batches(&subject) {
                return Ok(Some(Said { sequence: seq, team, batch }));
            }
            from = seq + 1;
        }
    }

    /// Every order of a team, the newest last. Cancel safe.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn orders(&self, team: &str) -> Result<Vec<BatchId>, ApiError> {
        let (mut found, mut from) = (Vec::new(), Some(1));
        while let Some(next) = from {
            let filter = format!("tollgate.batches.{team}.*.order");
            let page = page(&self.client, BATCHES_STREAM, &filter, next, PAGE_MAX).await?;
            let batches = page.messages.iter().filter_map(|stored| subjects::parse_batches(&stored.subject));
            found.extend(batches.map(|(_, batch, _)| batch));
            from = page.messages.last().filter(|_| page.pending > 0).map(|last| last.sequence + 1);
        }
        Ok(found)
    }

    /// How many orders of a team are kept.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn orders_count(&self, team: &str) -> Result<u64, ApiError> {
        let filter = format!("tollgate.batches.{team}.*.order");
        let page = page(&self.client, BATCHES_STREAM, &filter, 1, 1).await?;
        Ok(page.messages.len() as u64 + page.pending)
    }

    /// The next batch of which something was said, such as `stop`, from a sequence on; of one team or of all.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn next(&self, team: Option<&Team>, record: &str, from: u64) -> Result<Option<Said>, ApiError> {
        let filter = format!("tollgate.bulk.{}.*.{record}", team.map_or("*", Team::as_str));
        let mut from = from.max(1);
        loop {
            let question = json!({ "seq": from, "next_by_subj": filter });
            let Some(StoredMessage { seq, subject, .. }) =
                stored_message(&self.client, BATCHES_STREAM, &question).await?
            else {
                return Ok(None);
            };
            if let Some((team, batch, _)) = subjects::parse_bulk(&subject) {
                return Ok(Some(Said { sequence: seq, team, batch }));
            }
            // Somebody wrote under a name that is no batch.
            from = seq + 1;
        }
    }

    /// The sequence of the last record of a kind, such as `stop`, of any batch.
    ///
    /// # Errors
    /// As [`Batches::spec`].
    pub async fn last_of(&self, record: &str) -> Result<Option<u64>, ApiError> {
        let question = json!({ "last_by_subj": format!("tollgate.bulk.*.*.{record}") });
        Ok(stored_message(&self.client, BATCHES_STREAM, &question).await?.map(|found| found.seq))
    }

    async fn last<T: DeserializeOwned>(&self, subject: String) -> Result<Option<(T, u64)>, ApiError> {
        let question = json!({ "last_by_subj": subject });
        let Some(found) = stored_message(&self.client, BATCHES_STREAM, &question).await? else { return Ok(None) };
        let bytes = BASE64_STANDARD.decode(&found.data).map_err(|error| ApiError::Unreadable(error.to_string()))?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some((record, found.seq))),
            // A submitter writes what it likes; nothing hangs on it but its own batch.
            Err(error) => {
                tracing::debug!(subject, %error, "a record of a batch cannot be understood");
                Ok(None)
            }
        }
    }

    async fn swap(&self, subject: String, record: &impl Serialize, expected: u64) -> Result<Swapped, ApiError> {
        let payload = serde_json::to_vec(record).expect("texts, numbers and JSON always serialise").into();
        let headers = HeaderMap::new();
        let stored = api::publish_numbered(&self.client, subject, headers, payload, expected).await?;
        Ok(match stored {
            (Stored::New, sequence) => Swapped::Stored(sequence),
            (Stored::Taken, _) => Swapped::Conflict,
        })
    }
}

/// Whether a header's id is that of a line of a batch; cheap enough for every message of a backlog.
pub fn is_of_batch(id: &str, batch: &BatchId) -> bool {
    id.strip_prefix(batch.as_str()).is_some_and(|rest| rest.starts_with(':'))
}
