//! The one final result of a job: one line of the OpenAI Batch output format, with our facts in one extra object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::code::{ErrorCode, Status};
use crate::event::{AttemptOutcome, AttemptRecord, CacheUse, UsageEvent, UsageSource};
use crate::guardrails::Hit;
use crate::ids::JobId;
use crate::instant::UnixMillis;
use crate::money::NanoUsd;
use crate::tokens::Tokens;

/// One line of the output format.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Result")]
pub struct JobResult {
    /// The job's id.
    pub id: JobId,
    /// The producer's own name for the request.
    pub custom_id: Option<String>,
    /// The provider's answer, if there is one.
    pub response: Option<Response>,
    /// Why there is none.
    pub error: Option<JobError>,
    /// What Tollgate knows of the job.
    pub tollgate: ResultFacts,
}

/// The provider's answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// The provider's HTTP status.
    pub status_code: u16,
    /// The provider's id of the request; empty if it gave none.
    pub request_id: String,
    /// The provider's body, byte for byte.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub body: Box<RawValue>,
}

/// Why a job did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobError {
    /// The stable code.
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub message: String,
}

/// What Tollgate knows of a job that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResultFacts {
    /// The version of this object; 1.
    pub version: u32,
    /// The team's token in the subject.
    pub team: String,
    /// The class's token in the subject.
    pub class: String,
    /// How the job ended.
    pub status: Status,
    /// The model that was asked for.
    pub model_requested: Option<String>,
    /// The cheaper model that a spent budget put in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgraded_to: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider that answered.
    pub provider: Option<String>,
    /// What all attempts of this run cost together.
    pub cost_nanousd: NanoUsd,
    /// The tokens of all attempts of this run together.
    pub tokens: Tokens,
    /// From acceptance to the start of the run, ms.
    pub queued_ms: u64,
    /// From the start of the run to its end, ms.
    pub latency_ms: u64,
    /// The calls to providers, in order.
    pub attempts: Vec<AttemptFacts>,
    /// Earlier deliveries that may have been paid for and left no record.
    pub unknown_attempts: i64,
    /// The most that those may have cost; not part of `cost_nanousd`.
    pub unknown_nanousd: NanoUsd,
    /// Where the answer came from.
    pub cache: CacheUse,
    /// What the call cost that a kept answer came from.
    #[serde(default)]
    pub saved_nanousd: NanoUsd,
    /// The guardrail rules that fired.
    pub guardrails: Vec<Hit>,
    /// The risk that what fired on the request adds up to, 0 to 100; left out where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
    /// What the producer should know although the job ended well.
    pub warnings: Vec<String>,
    /// When the server accepted the job, RFC 3339.
    pub accepted_at: String,
    /// The run that committed this result.
    pub run: String,
}

/// One call to a provider, as the producer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptFacts {
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Short, stable reason when it did not end well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The provider's HTTP status; 0 if there was none.
    pub http_status: u16,
    /// From the request to the end of the answer, ms.
    pub latency_ms: u64,
    /// What it cost.
    pub cost_nanousd: NanoUsd,
    /// Where the token counts came from.
    pub usage_source: UsageSource,
}

impl From<&AttemptRecord> for AttemptFacts {
    fn from(record: &AttemptRecord) -> Self {
        AttemptFacts {
            provider: record.provider.clone(),
            model: record.model.clone(),
            outcome: record.outcome,
            error: record.error.clone(),
            http_status: record.http_status,
            latency_ms: record.latency_ms,
            cost_nanousd: record.cost_nanousd,
            usage_source: record.usage_source,
        }
    }
}

impl ResultFacts {
    /// The facts that an event says, with the producer's warnings.
    pub fn from_event(event: &UsageEvent, warnings: Vec<String>) -> Self {
        let answered = event.attempts.iter().rev().find(|a| a.outcome == AttemptOutcome::Ok);
        let kept = event.kept.as_ref();
        let known = !event.model_requested.is_empty();
        ResultFacts {
            version: crate::job::VERSION,
            team: event.team.clone(),
            class: event.class.clone(),
            status: event.status,
            model_requested: known.then(|| event.model_requested.clone()),
            downgraded_to: (!event.downgraded_to.is_empty()).then(|| event.downgraded_to.clone()),
            model: answered.map(|a| &a.model).or(kept.map(|kept| &kept.model)).cloned(),
            provider: answered.map(|a| &a.provider).or(kept.map(|kept| &kept.provider)).cloned(),
            cost_nanousd: event.cost(),
            tokens: event.tokens(),
            queued_ms: event.queued_ms,
            latency_ms: event.run_ms,
            attempts: event.attempts.iter().map(AttemptFacts::from).collect(),
            unknown_attempts: event.unknown_attempts,
            unknown_nanousd: event.unknown_nanousd,
            cache: event.cache,
            saved_nanousd: event.saved_nanousd,
            guardrails: event.guardrails.clone(),
            risk: (event.risk > 0).then_some(event.risk),
            warnings,
            accepted_at: UnixMillis::to_rfc3339(event.accepted_at),
            run: event.run.clone(),
        }
    }
}
