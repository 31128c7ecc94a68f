//! The one final result of a job: one line of the OpenAI Batch output format, with our facts in one extra object.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::claim::Claim;
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
    /// The provider's body, byte for byte; null if it does not fit a message and `tollgate.body` says where it lies.
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
    /// The answer's body, if it does not fit a message: its chunks lie under the job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Claim>,
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

impl JobResult {
    /// The line without the answer's body, and that body; `None` if it has none.
    pub fn checked_in(line: &[u8]) -> Option<(Bytes, Bytes)> {
        let mut result: JobResult = serde_json::from_slice(line).ok()?;
        let body = std::mem::replace(&mut result.response.as_mut()?.body, null());
        let body = Bytes::from(body.get().to_owned());
        result.tollgate.body = Some(Claim::of(&body));
        Some((written(&result), body))
    }

    /// Where the answer's body lies, if it is not in the line.
    pub fn elsewhere(line: &[u8]) -> Option<Claim> {
        #[derive(Deserialize)]
        struct Line {
            tollgate: Facts,
        }
        #[derive(Deserialize)]
        struct Facts {
            body: Option<Claim>,
        }
        // Most lines are told apart without reading them.
        let text = std::str::from_utf8(line).ok().filter(|text| text.contains("\"sha256\""))?;
        let line: Line = serde_json::from_str(text).ok()?;
        line.tollgate.body.filter(Claim::is_valid)
    }

    /// The line with the body that lay elsewhere; `None` if the two do not go together.
    pub fn whole(line: &[u8], body: Bytes) -> Option<Bytes> {
        let mut result: JobResult = serde_json::from_slice(line).ok()?;
        let text = String::from_utf8(body.into()).ok()?;
        result.response.as_mut()?.body = RawValue::from_string(text).ok()?;
        result.tollgate.body = None;
        Some(written(&result))
    }
}

fn null() -> Box<RawValue> {
    RawValue::from_string("null".to_owned()).expect("null is JSON")
}

fn written(result: &JobResult) -> Bytes {
    serde_json::to_vec(result).expect("a result of texts and numbers always serialises").into()
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
            body: None,
            accepted_at: UnixMillis::to_rfc3339(event.accepted_at),
            run: event.run.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_lies_elsewhere_comes_back_into_its_line() {
        let line = r#"{"id":"search:1","custom_id":"c","response":{"status_code":200,"request_id":"r","body":{"a": 1.10}},"error":null,
            "tollgate":{"version":1,"team":"search","class":"batch","status":"succeeded","model_requested":"m","model":"m",
            "provider":"p","cost_nanousd":7,"tokens":{"input":1,"cache_read":0,"cache_write":0,"output":2,"reasoning":0},
            "queued_ms":1,"latency_ms":2,"attempts":[],"unknown_attempts":0,"unknown_nanousd":0,"cache":"miss","guardrails":[],
            "warnings":[],"accepted_at":"2026-12-01T10:00:00Z","run":"r"}}"#;
        assert_eq!(JobResult::elsewhere(line.as_bytes()), None);
        let (small, body) = JobResult::checked_in(line.as_bytes()).expect("it has an answer");
        assert_eq!(&body[..], br#"{"a": 1.10}"#, "byte for byte");
        let claim = JobResult::elsewhere(&small).expect("it says where");
        assert!(claim.is_of(&body));
        let result: JobResult = serde_json::from_slice(&small).expect("it is still a result");
        assert_eq!(result.response.expect("with an answer").body.get(), "null");
        let whole = JobResult::whole(&small, body).expect("they go together");
        assert_eq!(JobResult::elsewhere(&whole), None);
        let result: JobResult = serde_json::from_slice(&whole).expect("a result");
        assert_eq!(result.response.expect("with its answer").body.get(), r#"{"a": 1.10}"#);
    }
}
