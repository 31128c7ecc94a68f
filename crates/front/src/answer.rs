//! The response that a job's result makes.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use serde_json::Value;
use tollgate_queue::switchboard::Outcome;
use tollgate_types::{Door, JobResult, ResultFacts};

use crate::call::{reused, shape};
use crate::order::Order;
use crate::refused::Refused;

/// What a result says, to who called for it.
pub(crate) enum Said {
    /// The model's answer, as the job has it.
    Answer(Box<JobResult>),
    /// Why there is none.
    Refused(Refused, Option<Box<ResultFacts>>),
}

/// Reads the outcome of a wait. Another request's result, under an idempotency key that was used before, is none.
pub(crate) fn read(order: &Order, outcome: &Outcome) -> Said {
    if outcome.digest.as_ref().is_some_and(|digest| !order.is_of(digest)) {
        return Said::Refused(reused(), None);
    }
    read_line(&outcome.line)
}

/// Reads a result line.
pub(crate) fn read_line(line: &[u8]) -> Said {
    let Ok(result) = serde_json::from_slice::<JobResult>(line) else {
        tracing::error!("a result line cannot be read");
        let why = "the result cannot be read by this version of the program";
        return Said::Refused(Refused::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal_error", why), None);
    };
    match (&result.error, &result.response) {
        // It lay beside its result and is gone.
        (None, Some(_)) if result.tollgate.body.is_some() => {
            let why = "the answer did not fit a message, and is not kept any more";
            Said::Refused(Refused::new(axum::http::StatusCode::GONE, "not_kept", why), Some(Box::new(result.tollgate)))
        }
        (None, Some(_)) => Said::Answer(Box::new(result)),
        (Some(error), _) => Said::Refused(Refused::from(error), Some(Box::new(result.tollgate))),
        (None, None) => {
            let why = "the job ended without an answer";
            Said::Refused(
                Refused::new(axum::http::StatusCode::BAD_GATEWAY, "bad_response", why),
                Some(Box::new(result.tollgate)),
            )
        }
    }
}

/// The whole response.
pub(crate) fn response(order: &Order, outcome: Outcome, request_id: &str) -> Response {
    match read(order, &outcome) {
        Said::Refused(refused, facts) => {
            // Under the same idempotency key every try is this job, and hears the same.
            let retry = refused.retry.or(order.named.then_some(false));
            let mut response = Refused { retry, ..refused }.response(shape(order.door), request_id);
            if let Some(facts) = facts {
                tell(response.headers_mut(), &facts);
            }
            response
        }
        Said::Answer(result) => {
            let mut response = Response::new(Body::from(body(order.door, &result)));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            tell(headers, &result.tollgate);
            response
        }
    }
}

/// The body of an answer, in the shape of the door that it was asked at.
pub(crate) fn body(door: Door, result: &JobResult) -> String {
    let raw = result.response.as_ref().map_or("null", |response| response.body.get());
    match door {
        Door::Chat | Door::Embeddings | Door::Responses => raw.to_owned(),
        Door::Messages => {
            let completion: Value = serde_json::from_str(raw).unwrap_or_default();
            tollgate_messages::message(&completion).unwrap_or_default().to_string()
        }
    }
}

/// Says in headers what is known of a job that ended. Values that a header cannot hold are left out.
pub(crate) fn tell(headers: &mut HeaderMap, facts: &ResultFacts) {
    let mut say = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let dollars = facts.cost_nanousd.0;
    say("x-tollgate-status", facts.status.as_str().to_owned());
    say("x-tollgate-class", facts.class.clone());
    say("x-tollgate-cost-usd", format!("{}.{:09}", dollars / 1_000_000_000, dollars.rem_euclid(1_000_000_000)));
    say("x-tollgate-attempts", facts.attempts.len().to_string());
    say("x-tollgate-queued-ms", facts.queued_ms.to_string());
    say("x-tollgate-latency-ms", facts.latency_ms.to_string());
    say("openai-processing-ms", (facts.queued_ms + facts.latency_ms).to_string());
    if let Ok(Value::String(cache)) = serde_json::to_value(facts.cache) {
        say("x-tollgate-cache", cache);
    }
    for (name, value) in [
        ("x-tollgate-model", &facts.model),
        ("x-tollgate-provider", &facts.provider),
        ("x-tollgate-downgraded-to", &facts.downgraded_to),
    ] {
        if let Some(value) = value {
            say(name, value.clone());
        }
    }
    if !facts.guardrails.is_empty() {
        let fired: Vec<String> = facts.guardrails.iter().map(|hit| hit.rule.to_string()).collect();
        say("x-tollgate-guardrails", fired.join(", "));
    }
}
