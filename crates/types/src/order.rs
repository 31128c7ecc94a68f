//! Batches that were ordered by HTTP: what was asked for, which the broker then submits, and why nothing came of it.
//!
//! The broker alone writes both, so that what a key may do cannot be changed between the call and the submission.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api_key::{Door, KeyId};
use crate::batch::{BatchDone, BatchEnd, BatchId};
use crate::endpoint::Endpoint;
use crate::file::FileId;
use crate::ids::Class;
use crate::instant::UnixMillis;

/// The version of both records.
pub const VERSION: u32 = 1;
/// Mistakes that are kept of a file that is wrong; the others are counted.
pub const ERRORS_KEPT: usize = 100;

/// A batch that is to be made of an uploaded file: written once, by the front door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchOrder {
    /// The version of this object; 1.
    pub version: u32,
    /// The batch.
    pub id: BatchId,
    /// Its requests.
    pub input: FileId,
    /// What every request must ask.
    #[serde(with = "endpoint_text")]
    pub endpoint: Endpoint,
    /// How long it may take, in the caller's words.
    pub window: String,
    /// When it is too late for its requests.
    pub deadline: UnixMillis,
    /// The caller's own notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The class that its requests are submitted in.
    pub class: Class,
    /// What each request's `tollgate` object says where the request itself says nothing.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// The API key that it came in with; its requests are counted under it.
    pub key: KeyId,
    /// The models that the key might ask for by then; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// A digest of what was asked for, to know another request under the same idempotency key.
    pub digest: String,
    /// When it was ordered, by the server's clock.
    pub created_at: UnixMillis,
}

/// The endpoint as requests name it.
mod endpoint_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::endpoint::Endpoint;

    pub(super) fn serialize<S: Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(endpoint.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
        let text = String::deserialize(deserializer)?;
        Endpoint::of_url(&text).ok_or_else(|| serde::de::Error::custom("no endpoint"))
    }
}

/// The door through which requests of an endpoint come in one by one.
pub fn door_of(endpoint: Endpoint) -> Door {
    match endpoint {
        Endpoint::ChatCompletions => Door::Chat,
        Endpoint::Embeddings => Door::Embeddings,
        Endpoint::Responses => Door::Responses,
    }
}

/// How an order ended without all of its requests being submitted, or with none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderEnd {
    /// Something is wrong with its file.
    Failed,
    /// It was cancelled before anything was submitted.
    Cancelled,
    /// Its time was over before anything was submitted.
    Expired,
}

/// One thing that is wrong with a file, as OpenAI's batch object lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileError {
    /// What kind of mistake it is; stable.
    pub code: String,
    /// What is wrong and what to do, without any of the prompt.
    pub message: String,
    /// The field.
    pub param: Option<String>,
    /// The line it stands on, from 1.
    pub line: Option<u64>,
}

/// That an order ended so: written once, by whoever submits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchOutcome {
    /// The version of this object; 1.
    pub version: u32,
    /// The batch.
    pub batch: BatchId,
    /// How it ended.
    pub end: OrderEnd,
    /// What is wrong; at most [`ERRORS_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FileError>,
    /// When, by the server's clock.
    pub at: UnixMillis,
}

/// How a batch ended, in OpenAI's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Every request has its end.
    Completed,
    /// Its file was wrong, or went before all of it was submitted.
    Failed,
    /// Some requests had no end in time.
    Expired,
    /// It was stopped.
    Cancelled,
}

impl Ended {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Completed => "completed",
            Ended::Failed => "failed",
            Ended::Expired => "expired",
            Ended::Cancelled => "cancelled",
        }
    }

    /// How a batch ended by what is known of it; `None` if it did not yet. An outcome alone is an end only if nothing was
    /// submitted: `submitted` says whether the batch has its spec.
    pub fn of(
        order: Option<&BatchOrder>,
        outcome: Option<&BatchOutcome>,
        (submitted, done): (bool, Option<&BatchDone>),
    ) -> Option<Ended> {
        let by_outcome = outcome.map(|outcome| match outcome.end {
            OrderEnd::Failed => Ended::Failed,
            OrderEnd::Cancelled => Ended::Cancelled,
            OrderEnd::Expired => Ended::Expired,
        });
        let Some(done) = done else { return by_outcome.filter(|_| !submitted) };
        let late = |order: &BatchOrder| done.tally.ends.expired > 0 && done.ended_at >= order.deadline;
        Some(by_outcome.unwrap_or(match done.end {
            BatchEnd::Cancelled | BatchEnd::MaxCost => Ended::Cancelled,
            BatchEnd::Completed if order.is_some_and(late) => Ended::Expired,
            BatchEnd::Completed => Ended::Completed,
        }))
    }
}
