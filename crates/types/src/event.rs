//! The usage event: what one run of a job cost, in the header of the result that it commits with.
//!
//! It is bounded by construction: every text in it was bounded when it was read, attempts are few, raw usage is cut.
//! The sink's rows are a pure function of this event, its subject, sequence and server timestamp.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::code::{ErrorCode, Status};
use crate::guardrails::Hit;
use crate::headers::USAGE_MAX;
use crate::ids::{Class, JobId};
use crate::instant::UnixMillis;
use crate::job::VERSION;
use crate::money::NanoUsd;
use crate::scope::{AccountId, Scope};
use crate::tokens::Tokens;

/// The most attempts that one run may make; retry policies are clamped to it.
pub const ATTEMPTS_MAX: usize = 8;
/// The most bytes of a provider's own usage object that are kept, per attempt.
pub const RAW_USAGE_BYTES_MAX: usize = 768;

/// What the record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The one final result of a job.
    Result,
    /// Spend of a run that lost the race for the result.
    Extra,
    /// A run of a redelivered job is about to pay: unless its own result or extra record follows, its calls count as
    /// unknown.
    Started,
}

/// What one run of a job did and cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageEvent {
    /// The version of this object; 1.
    pub version: u32,
    /// What the record is about.
    pub kind: EventKind,
    /// The job.
    pub job: JobId,
    /// The team's token in the subject.
    pub team: String,
    /// The class's token in the subject.
    pub class: String,
    /// A fresh id of the run: one delivery of the job to one worker.
    pub run: String,
    /// The worker that ran it.
    pub worker: String,
    /// Which delivery of the job this was, from 1.
    pub delivery: u64,
    /// How it ended.
    pub status: Status,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<ErrorCode>,
    /// The project that the job named.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// The end user that the job named.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The id of the API key that the job came in with, if it came through the front door.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Free dimensions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The model that was asked for; empty if the job could not be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_requested: String,
    /// The calls that this run made, in order.
    pub attempts: Vec<AttemptRecord>,
    /// Earlier deliveries that may have been paid for and left no record, less those that a `started` record of this
    /// run already counted; so it can be negative.
    #[serde(default)]
    pub unknown_attempts: i64,
    /// The most that those may have cost; never part of any cost.
    #[serde(default)]
    pub unknown_nanousd: NanoUsd,
    /// What a cached answer would have cost.
    #[serde(default)]
    pub saved_nanousd: NanoUsd,
    /// `miss`, `hit` or `bypass`.
    pub cache: CacheUse,
    /// Where a kept answer came from, on a hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptFrom>,
    /// Whether deltas were asked for.
    #[serde(default)]
    pub stream: bool,
    /// The guardrail rules that fired, at most [`HITS_MAX`](crate::guardrails::HITS_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<Hit>,
    /// The risk that what fired on the request adds up to, 0 to 100.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub risk: u8,
    /// The money that was held for this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The cheaper model that a spent budget put in the place of the one asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub downgraded_to: String,
    /// The endpoint that the job asks for, such as `/v1/embeddings`; empty for chat completions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// The trace that the job came with (<https://www.w3.org/TR/trace-context/#traceparent-header>); empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traceparent: String,
    /// When the server accepted the job.
    pub accepted_at: UnixMillis,
    /// From acceptance to the start of this run, ms.
    pub queued_ms: u64,
    /// From the start of this run to its end, ms.
    pub run_ms: u64,
}

/// Money that a worker held for a run: whoever folds the record takes it off the worker's blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// The worker's lease, which names its block in each account.
    pub lease: String,
    /// How much was held, in each account.
    pub nanousd: NanoUsd,
    /// The accounts whose ordinary money was held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountId>,
    /// The accounts whose money for the cheaper model was held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downgraded: Vec<AccountId>,
}

/// Where a kept answer came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptFrom {
    /// The job that the provider was called for.
    pub job: JobId,
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// What that call used; this job used none of it.
    pub tokens: Tokens,
    /// When the answer was kept.
    pub at: UnixMillis,
}

/// Where the answer came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheUse {
    /// No kept answer was used, and one would have been.
    #[default]
    Miss,
    /// A kept answer was used.
    Hit,
    /// Neither the job nor its team's configuration let the cache be used.
    Bypass,
}

/// How one call to a provider ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// A usable answer.
    Ok,
    /// HTTP 429 for rate.
    RateLimited,
    /// No answer in time.
    Timeout,
    /// The job's time ended while the call ran, or somebody cancelled it.
    Cancelled,
    /// Anything else.
    Error,
}

impl AttemptOutcome {
    /// Every outcome.
    pub const ALL: [AttemptOutcome; 5] = [
        AttemptOutcome::Ok,
        AttemptOutcome::RateLimited,
        AttemptOutcome::Timeout,
        AttemptOutcome::Cancelled,
        AttemptOutcome::Error,
    ];

    /// The word on the wire and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Ok => "ok",
            AttemptOutcome::RateLimited => "rate_limited",
            AttemptOutcome::Timeout => "timeout",
            AttemptOutcome::Cancelled => "cancelled",
            AttemptOutcome::Error => "error",
        }
    }
}

/// Where the token counts of an attempt came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UsageSource {
    /// The provider reported them.
    Provider,
    /// The provider reported none, or impossible ones: we counted.
    Estimated,
    /// The call was refused before any work: there is nothing to count.
    None,
}

impl UsageSource {
    /// The word on the wire and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            UsageSource::Provider => "provider",
            UsageSource::Estimated => "estimated",
            UsageSource::None => "none",
        }
    }
}

/// One call to a provider, as it is booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptRecord {
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Where it runs, if the operator said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Short, stable reason when it did not end well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The provider's HTTP status; 0 if there was none.
    pub http_status: u16,
    /// When it started, by the server's clock.
    pub started_at: UnixMillis,
    /// From the request to the end of the answer, ms.
    pub latency_ms: u64,
    /// From the request to the first of what the model wrote, ms: of a whole answer, to its headers; 0 if there was none.
    pub first_byte_ms: u64,
    /// What was used.
    pub tokens: Tokens,
    /// Where the counts came from.
    pub usage_source: UsageSource,
    /// What it cost.
    pub cost_nanousd: NanoUsd,
    /// The version of the price that was applied.
    pub price_version: String,
    /// The provider's id of the request, if it gave one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The provider's own usage object as JSON, at most [`RAW_USAGE_BYTES_MAX`] bytes; empty if absent or longer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub raw_usage: String,
}

impl UsageEvent {
    /// What all attempts cost together.
    pub fn cost(&self) -> NanoUsd {
        self.attempts.iter().map(|a| a.cost_nanousd).sum()
    }

    /// The tokens of all attempts together.
    pub fn tokens(&self) -> Tokens {
        self.attempts.iter().fold(Tokens::default(), |sum, a| sum + a.tokens)
    }

    /// The class, if the token is one of the three.
    pub fn known_class(&self) -> Option<Class> {
        self.class.parse().ok()
    }

    /// Everybody whose money it is, from the widest scope to the narrowest.
    pub fn scopes(&self) -> Vec<Scope> {
        scopes(&self.team, &self.project, &self.user, &self.key)
    }

    /// The header's value: ASCII JSON of at most [`USAGE_MAX`] bytes.
    ///
    /// Should the bound ever be exceeded, raw usage goes first, then labels; counts and money always stay.
    pub fn to_header(&self) -> String {
        let text = ascii_json(self);
        if text.len() <= USAGE_MAX {
            return text;
        }
        let mut slim = self.clone();
        slim.attempts.iter_mut().for_each(|a| a.raw_usage.clear());
        let text = ascii_json(&slim);
        if text.len() <= USAGE_MAX {
            return text;
        }
        slim.labels.clear();
        ascii_json(&slim)
    }

    /// Reads the header's value.
    ///
    /// # Errors
    /// Returns why it is no record, or that it is one which this code is too old to read.
    pub fn from_header(text: &str) -> Result<Self, EventError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let malformed = |error: serde_json::Error| EventError::Malformed(error.to_string());
        match serde_json::from_str(text) {
            Ok(event @ UsageEvent { version: VERSION, .. }) => Ok(event),
            Ok(UsageEvent { version, .. }) => Err(EventError::Newer(version)),
            Err(error) => match serde_json::from_str(text) {
                Ok(Versioned { version }) if version > VERSION => Err(EventError::Newer(version)),
                Ok(Versioned { .. }) | Err(_) => Err(malformed(error)),
            },
        }
    }
}

/// Why a header is not a usage event that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is no usage event, and does not count.
    #[error("{0}")]
    Malformed(String),
    /// It stands in the place of a record whose texts are gone, which counted when it was read.
    #[error("it stands in the place of record {0}")]
    Tombstone(u64),
    /// It is a usage event of another version of Tollgate: it counts, and this code must not pass over it.
    #[error("it has version {0}, which this process cannot read; run a newer one")]
    Newer(u32),
}

/// Everybody whose money a job of `team` spends, from the widest scope to the narrowest; an empty name is no scope.
pub fn scopes(team: &str, project: &str, user: &str, key: &str) -> Vec<Scope> {
    let team = || team.to_owned();
    let mut scopes = vec![Scope::Organisation, Scope::Team { team: team() }];
    if !project.is_empty() {
        scopes.push(Scope::Project { team: team(), project: project.to_owned() });
    }
    if !user.is_empty() {
        scopes.push(Scope::User { team: team(), user: user.to_owned() });
    }
    if !key.is_empty() {
        scopes.push(Scope::Key { team: team(), key: key.to_owned() });
    }
    scopes
}

fn is_zero(risk: &u8) -> bool {
    *risk == 0
}

/// JSON with everything outside ASCII escaped: header values must be ASCII.
pub(crate) fn ascii_json<T: Serialize>(value: &T) -> String {
    // What an event with one attempt takes, so that it does not grow step by step.
    let mut text = Vec::with_capacity(1280);
    serde_json::to_writer(&mut text, value).expect("records of texts and numbers always serialise");
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut units = [0u16; 2];
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(fill: &str) -> UsageEvent {
        let name = fill.repeat(crate::job::NAME_BYTES_MAX / fill.len());
        let attempt = AttemptRecord {
            provider: "p".repeat(64),
            model: "m".repeat(128),
            region: "eu-west-1".into(),
            outcome: AttemptOutcome::RateLimited,
            error: "provider_unavailable".into(),
            http_status: 429,
            started_at: UnixMillis(i64::MAX),
            latency_ms: u64::MAX,
            first_byte_ms: u64::MAX,
            tokens: Tokens {
                input: u64::MAX,
                cache_read: u64::MAX,
                cache_write: u64::MAX,
                output: u64::MAX,
                reasoning: u64::MAX,
            },
            usage_source: UsageSource::Estimated,
            cost_nanousd: NanoUsd(i64::MIN),
            price_version: "v".repeat(32),
            request_id: "r".repeat(64),
            raw_usage: "u".repeat(RAW_USAGE_BYTES_MAX),
        };
        let hit = Hit {
            rule: "r".repeat(crate::guardrails::RULE_NAME_BYTES_MAX),
            on: crate::guardrails::Side::Request,
            action: crate::guardrails::Followed::Redact,
            count: u32::MAX,
        };
        UsageEvent {
            version: 1,
            kind: EventKind::Result,
            job: "j".repeat(128).parse().expect("a job id"),
            team: "t".repeat(64),
            class: "interactive".into(),
            run: "r".repeat(32),
            worker: "w".repeat(64),
            delivery: u64::MAX,
            status: Status::Succeeded,
            error_code: Some(ErrorCode::ContextLengthExceeded),
            project: name.clone(),
            user: name.clone(),
            key: "k".repeat(64),
            labels: [("l".repeat(64), fill.repeat(200))].into(),
            model_requested: name,
            attempts: vec![attempt; ATTEMPTS_MAX],
            unknown_attempts: i64::MIN,
            unknown_nanousd: NanoUsd(i64::MIN),
            saved_nanousd: NanoUsd(i64::MIN),
            cache: CacheUse::Bypass,
            kept: Some(KeptFrom {
                job: "j".repeat(128).parse().expect("a job id"),
                provider: "p".repeat(64),
                model: "m".repeat(128),
                tokens: Tokens::default(),
                at: UnixMillis(i64::MIN),
            }),
            stream: true,
            guardrails: vec![hit; crate::guardrails::HITS_MAX],
            risk: 100,
            hold: None,
            downgraded_to: String::new(),
            endpoint: "/v1/chat/completions".into(),
            traceparent: "t".repeat(55),
            accepted_at: UnixMillis(i64::MIN),
            queued_ms: u64::MAX,
            run_ms: u64::MAX,
        }
    }

    #[test]
    fn a_record_of_a_newer_version_is_told_from_no_record() {
        let newer = r#"{"version":2,"kind":"refund"}"#;
        assert_eq!(UsageEvent::from_header(newer), Err(EventError::Newer(2)));
        for text in ["{}", "[]", r#"{"version":1}"#, r#"{"stream":"TOLLGATE_JOBS","seq":2}"#] {
            assert!(matches!(UsageEvent::from_header(text), Err(EventError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn the_largest_event_fits_its_header_and_reads_back() {
        for fill in ["x", "\"", "é", "😀"] {
            let event = largest(fill);
            let header = event.to_header();
            assert!(header.len() <= USAGE_MAX, "{fill}: {}", header.len());
            assert!(header.is_ascii() && !header.contains(['\r', '\n']));
            let back = UsageEvent::from_header(&header).expect("it reads back");
            assert_eq!((back.cost(), back.tokens(), back.user), (event.cost(), event.tokens(), event.user.clone()));
        }
    }
}
