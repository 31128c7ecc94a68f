//! Reads a response that is not 2xx: status and code first; the message's words last, and only where the request is at
//! fault, because providers quote prompts in their messages and a prompt may say "rate limit".

use reqwest::header::HeaderMap;
use serde_json::Value;
use time::OffsetDateTime;
use tollgate_types::{Billed, Failure, FailureKind};

use crate::adapter::Refusal;
use crate::keys::ApiKey;
use crate::retry_after;
use crate::scrub::scrub;

/// The account is out of quota or credit; OpenAI's error guide, and its copies.
const QUOTA: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "project_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
];
const CONTEXT: &[&str] = &["context_length_exceeded", "exceed_context_size_error"];
const POLICY: &[&str] =
    &["content_policy_violation", "content_filter", "invalid_prompt", "bio_policy", "responsibleaipolicyviolation"];
const AUTH: &[&str] = &["invalid_api_key", "authentication_error", "permission_error"];
/// For errors that come with the status of an answer, where the code must say what the status says elsewhere.
const RATE: &[&str] = &["rate_limit_exceeded", "rate_limit_error", "slow_down", "resource_exhausted"];
const SERVER: &[&str] = &[
    "server_error",
    "api_error",
    "overloaded_error",
    "server_is_overloaded",
    "service_unavailable_error",
    "timeout_error",
    "vector_store_timeout",
];
const NOT_FOUND: &[&str] = &["model_not_found", "deploymentnotfound", "invalid_model"];

/// Words of a 400, 413 or 422 that mean a prompt longer than the context (the list that LiteLLM keeps).
const CONTEXT_WORDS: &[&str] = &[
    "exceed context limit",
    "this model's maximum context length is",
    "model's maximum context limit",
    "is longer than the model's context length",
    "input tokens exceed the configured limit",
    "`inputs` tokens + `max_new_tokens` must be",
    "exceeds the available context size",
    "exceeds the maximum number of tokens allowed",
    "prompt is too long",
    "prompt: length",
    "input is too long",
    "too many input tokens",
    "too many tokens",
    "longer than the context length",
    "exceeds the context length",
    "exceeded max context length",
    "too large for model with",
];
const POLICY_WORDS: &[&str] = &[
    "responsibleaipolicyviolation",
    "content management policy",
    "rejected as a result of our safety system",
    "rejected as a result of the safety system",
    "violating our usage policy",
    "content filtering policy",
    "the response was blocked",
];

/// What the provider says is wrong.
#[derive(Default)]
struct Said {
    message: Option<String>,
    /// `code`, `type`, `status` and inner code, in lower case.
    codes: Vec<String>,
}

/// The failure that a response means.
pub(crate) fn refuse(refusal: &Refusal<'_>) -> Failure {
    let said = serde_json::from_slice(refusal.body).map(|body| said(&body)).unwrap_or_default();
    let status = refusal.status;
    let mut kind = kind(status, &said);
    let mut retry_after = retry_after::hint(refusal.headers, OffsetDateTime::now_utc());
    match should_retry(refusal.headers) {
        Some(true) if kind == FailureKind::InvalidRequest => kind = FailureKind::ServerError,
        Some(false) if kind == FailureKind::ServerError => (kind, retry_after) = (FailureKind::NotAgain, None),
        // A rate passes; what does not is a quota.
        Some(false) if kind == FailureKind::RateLimited => kind = FailureKind::QuotaExhausted,
        _ => {}
    }
    let message = match (said.message, said.codes.first()) {
        (Some(message), Some(code)) => format!("HTTP {status} {code}: {message}"),
        (Some(message), None) => format!("HTTP {status}: {message}"),
        (None, Some(code)) => format!("HTTP {status} {code}"),
        (None, None) if kind == FailureKind::BadResponse => format!("HTTP {status}: a redirect, which is not followed"),
        (None, None) => format!("HTTP {status} without a readable error"),
    };
    let message = scrub(&message, refusal.keys);
    Failure { kind, http_status: Some(status), retry_after, billed: billed(status), message }
}

/// What codes of errors inside of a stream would have as their status. All others are the server's own trouble.
const STATUS_OF_CODE: &[(u16, &[&str])] = &[
    (429, &["rate_limit_error", "rate_limit_exceeded", "slow_down", "too_many_requests", "resource_exhausted"]),
    (400, &["invalid_request_error", "invalid_argument", "failed_precondition", "request_too_large"]),
    (401, &["unauthenticated"]),
    (403, &["permission_denied"]),
    (404, &["not_found_error", "not_found"]),
];

/// The failure that an error inside of a stream means: what `refuse` makes of it with the status that it would have had
/// before the stream began. The model may have worked until then.
pub(crate) fn refuse_in_stream(error: &[u8], keys: &[ApiKey], refuse: fn(&Refusal<'_>) -> Failure) -> Failure {
    let status = serde_json::from_slice(error).map_or(500, |error| status_in_stream(&error));
    let failure = refuse(&Refusal { status, headers: &HeaderMap::new(), body: error, keys });
    let said = failure.message.strip_prefix(&format!("HTTP {status}")).unwrap_or(&failure.message);
    let message = scrub(&format!("an error in the stream{said}"), &[]);
    Failure { http_status: None, billed: Billed::Maybe, message, ..failure }
}

fn status_in_stream(error: &Value) -> u16 {
    let inner = error.get(0).unwrap_or(error);
    let code = &inner.get("error").unwrap_or(inner)["code"];
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok());
    if let Some(status) = number.and_then(|number| u16::try_from(number).ok()).filter(|n| (400..600).contains(n)) {
        return status;
    }
    let said = said(error);
    let has = |list: &[&str]| said.codes.iter().any(|code| list.contains(&code.as_str()));
    if [QUOTA, CONTEXT, POLICY, AUTH, NOT_FOUND].into_iter().any(has) {
        return 400;
    }
    STATUS_OF_CODE.iter().find(|(_, codes)| has(codes)).map_or(500, |(status, _)| *status)
}

/// Codes of failed responses (<https://platform.openai.com/docs/api-reference/responses/object>) by which no other try
/// goes better: the pictures in the request, and where its data may lie.
fn is_about_the_request(code: &str) -> bool {
    code == "data_residency_mismatch" || code.contains("image") || code == "invalid_request_error"
}

/// The message of an error's body.
pub(crate) fn message_of(body: &[u8]) -> Option<String> {
    said(&serde_json::from_slice(body).ok()?).message
}

/// What an error object means that came with the status of an answer, and its message.
///
/// Only its codes count; without one that is known it is a bad response.
pub(crate) fn error_in_an_answer(json: &[u8]) -> (FailureKind, String) {
    let said = match serde_json::from_slice(json) {
        Ok(Value::String(message)) => Said { message: Some(message), ..Said::default() },
        Ok(value) => said(&value),
        Err(_) => Said::default(),
    };
    let has = |list: &[&str]| said.codes.iter().any(|code| list.contains(&code.as_str()));
    let kind = if has(QUOTA) {
        FailureKind::QuotaExhausted
    } else if has(RATE) {
        FailureKind::RateLimited
    } else if has(CONTEXT) {
        FailureKind::ContextLength
    } else if has(POLICY) {
        FailureKind::ContentPolicy
    } else if has(AUTH) {
        FailureKind::Auth
    } else if has(NOT_FOUND) {
        FailureKind::NotFound
    } else if has(SERVER) {
        FailureKind::ServerError
    } else if said.codes.iter().any(|code| is_about_the_request(code)) {
        FailureKind::InvalidRequest
    } else {
        FailureKind::BadResponse
    };
    (kind, said.message.unwrap_or_default())
}

/// `{"error":{…}}`; vLLM's and Mistral's bare object; FastAPI's `detail`; Gemini's array of one.
fn said(body: &Value) -> Said {
    let body = body.get(0).unwrap_or(body);
    let error = body.get("error").unwrap_or(body);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    // Mistral's message may itself be a list of details.
    let detail = body.get("detail").or_else(|| error.get("message")?.get("detail"));
    let message = text(error.get("message"))
        .or_else(|| text(Some(error)))
        .or_else(|| text(body.get("message")))
        .or_else(|| text(detail))
        .or_else(|| text(detail.and_then(|d| d.get(0)).and_then(|d| d.get("msg"))));
    let inner = error.get("innererror").and_then(|inner| inner.get("code"));
    let details = error.get("details").and_then(|details| details.get("error_code"));
    let codes = [error.get("code"), inner, details, error.get("type"), error.get("status")];
    let codes = codes.into_iter().flatten().filter_map(Value::as_str).filter(|code| !code.is_empty());
    Said { message, codes: codes.map(str::to_ascii_lowercase).collect() }
}

fn kind(status: u16, said: &Said) -> FailureKind {
    let has = |list: &[&str]| said.codes.iter().any(|code| list.contains(&code.as_str()));
    match status {
        402 => FailureKind::QuotaExhausted,
        400..=499 if has(QUOTA) => FailureKind::QuotaExhausted,
        // More than the account may have in a whole minute: waiting never helps, a smaller prompt does.
        429 if says_too_large(said) => FailureKind::ContextLength,
        429 => FailureKind::RateLimited,
        401 => FailureKind::Auth,
        // llama.cpp has said so with a 500.
        400..=599 if has(CONTEXT) => FailureKind::ContextLength,
        400..=499 if has(POLICY) => FailureKind::ContentPolicy,
        403 => FailureKind::Auth,
        404 => FailureKind::NotFound,
        408 | 409 | 424 | 425 | 500..=599 => FailureKind::ServerError,
        400..=499 if has(AUTH) => FailureKind::Auth,
        400..=499 if has(NOT_FOUND) => FailureKind::NotFound,
        400 | 413 | 422 => by_words(said),
        400..=499 => FailureKind::InvalidRequest,
        _ => FailureKind::BadResponse,
    }
}

fn says_too_large(said: &Said) -> bool {
    said.message.as_deref().is_some_and(|message| message.to_lowercase().starts_with("request too large"))
}

fn by_words(said: &Said) -> FailureKind {
    let message = said.message.as_deref().unwrap_or_default().to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    // A field that is too long is no context that is too long.
    if said.codes.iter().any(|code| code == "string_above_max_length") {
        FailureKind::InvalidRequest
    } else if says(CONTEXT_WORDS) {
        FailureKind::ContextLength
    } else if says(POLICY_WORDS) {
        FailureKind::ContentPolicy
    } else {
        FailureKind::InvalidRequest
    }
}

/// OpenAI's own clients obey this header above all else.
fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// Statuses by which a gateway says that it stopped waiting: the model behind it may have gone on. Providers do not
/// bill what they refuse or fail at themselves.
fn billed(status: u16) -> Billed {
    match status {
        408 | 502 | 504 | 520..=524 => Billed::Maybe,
        _ => Billed::No,
    }
}

#[cfg(test)]
mod tests;
