//! Questions about jobs, to the service that all workers offer together.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_types::{JobId, NanoUsd};

use crate::Producer;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No worker runs, or the account does not import `tollgate.api.<team>.>`.
    #[error("no worker answers questions; is one running, and does the account import tollgate.api.<team>.>?")]
    NoResponders,
    /// No answer came; a question changes nothing that asking again would not.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The service refused: 404 for a job that it does not know, 503 while it cannot look.
    #[error("{reason}")]
    Refused {
        /// A number as HTTP has them.
        code: u16,
        /// Why, in words that begin with a stable code.
        reason: String,
    },
    /// The connection failed, or the answer could not be read.
    #[error("the workers cannot be asked: {0}")]
    Failed(String),
}

/// Where a job is. Fields of later versions are ignored; those that do not apply are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JobStatus {
    /// `waiting`, `parked`, `running` or `ended`.
    pub state: String,
    /// How it ended, if it did.
    pub status: Option<String>,
    /// The stable code of why it did not succeed.
    pub error_code: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// The model that it asked for.
    pub model_requested: Option<String>,
    /// The cheaper model that a spent budget put in its place.
    pub downgraded_to: Option<String>,
    /// What it cost.
    pub cost_nanousd: Option<NanoUsd>,
    /// When the server accepted it, RFC 3339.
    pub accepted_at: Option<String>,
    /// From then to the start of its run, ms.
    pub queued_ms: Option<u64>,
    /// From its start to its end, ms.
    pub run_ms: Option<u64>,
    /// What it is parked for, in words.
    pub parked_for: Option<String>,
    /// The gate behind which it is parked.
    pub parked_behind: Option<String>,
    /// How many jobs stand before it; only explained.
    pub ahead: Option<u64>,
    /// The gate that keeps it; only explained.
    pub gate: Option<String>,
    /// Why it does not run, in words; only explained.
    pub reason: Option<String>,
    /// When its turn comes, if its lane goes on as it does, seconds; only explained.
    pub expected_seconds: Option<u64>,
    /// When its texts were removed, if they were.
    pub texts_gone: Option<String>,
    /// Of a cancellation: whether this one ended it.
    pub cancelled: bool,
}

impl Producer {
    /// How long an answer may take: a worker may have to read a long backlog for it.
    pub const ANSWER_WITHIN: Duration = Duration::from_secs(40);

    /// Where a job is. Cancel safe.
    ///
    /// # Errors
    /// [`AskError::Refused`] with 404 for a job that neither waits nor has a kept result.
    pub async fn status(&self, job: &JobId) -> Result<JobStatus, AskError> {
        read(&self.ask("status", json!({ "job": job })).await?)
    }

    /// Where a job is, why it does not run, and when its turn may come. It takes a second or more. Cancel safe.
    ///
    /// # Errors
    /// As for [`Producer::status`].
    pub async fn explain(&self, job: &JobId) -> Result<JobStatus, AskError> {
        read(&self.ask("status", json!({ "job": job, "explain": true })).await?)
    }

    /// Cancels a job, wherever it is; [`JobStatus::cancelled`] says whether this ended it, or its status how it had ended.
    /// It may be repeated.
    ///
    /// # Errors
    /// As for [`Producer::status`].
    pub async fn cancel(&self, job: &JobId) -> Result<JobStatus, AskError> {
        read(&self.ask("cancel", json!({ "job": job })).await?)
    }

    /// Any question to the service, with the answer as it came: `status`, `cancel`, `usage`, `budget`. Cancel safe.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, what: &str, question: Value) -> Result<Value, AskError> {
        let subject = format!("tollgate.api.{}.{what}", self.team);
        let request = Request::new().payload(question.to_string().into()).timeout(Some(Self::ANSWER_WITHIN));
        let message = self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => AskError::NoResponders,
            RequestErrorKind::TimedOut => AskError::TimedOut(Self::ANSWER_WITHIN),
            RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                AskError::Failed(error.to_string())
            }
        })?;
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str().to_owned());
        if let Some(reason) = header("Nats-Service-Error") {
            let code = header("Nats-Service-Error-Code").and_then(|code| code.parse().ok()).unwrap_or(500);
            return Err(AskError::Refused { code, reason });
        }
        serde_json::from_slice(&message.payload).map_err(|error| AskError::Failed(error.to_string()))
    }
}

fn read(answer: &Value) -> Result<JobStatus, AskError> {
    JobStatus::deserialize(answer).map_err(|error| AskError::Failed(error.to_string()))
}
