//! From one record of the commit log to its spans: a pure function, so that a record which is posted twice makes the
//! same spans under the same ids.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use tollgate_types::event::EventKind;
use tollgate_types::{AttemptOutcome, AttemptRecord, Digest, UnixMillis, UsageEvent};

use crate::names;

/// The spans of a record: one for the run of the job, and below it one for each call to a provider.
///
/// They continue the trace that the job came with, unless that says it is not sampled; then there are none. Without a
/// trace the job makes its own. A notice that a run is about to pay makes none, because its result or extra record will.
pub fn spans(event: &UsageEvent) -> Vec<Span> {
    if event.kind == EventKind::Started {
        return Vec::new();
    }
    let Some(trace) = Trace::of(event) else { return Vec::new() };
    let run = run_span(event, &trace);
    let calls = event.attempts.iter().zip(1u32..).map(|(attempt, number)| call_span(event, attempt, number, &trace));
    std::iter::once(run).chain(calls).collect()
}

/// Where the spans of a record belong.
struct Trace {
    id: Vec<u8>,
    /// The producer's span; empty without one.
    parent: Vec<u8>,
    /// The span of the run.
    run: Vec<u8>,
}

impl Trace {
    fn of(event: &UsageEvent) -> Option<Trace> {
        let run = span_id(event, 0);
        let parts: Vec<&str> = event.traceparent.split('-').collect();
        let [_, id, parent, flags] = parts[..] else {
            let digest = Digest::of(&[event.team.as_bytes(), event.job.as_str().as_bytes()]);
            let id = bytes(&digest.to_string(), 16)?;
            return Some(Trace { id, parent: Vec::new(), run });
        };
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        sampled.then_some(())?;
        Some(Trace { id: bytes(id, 16)?, parent: bytes(parent, 8)?, run })
    }
}

/// The id of a run's span (call 0) or of one of its calls.
fn span_id(event: &UsageEvent, call: u32) -> Vec<u8> {
    let kind = [u8::from(event.kind == EventKind::Extra)];
    let digest = Digest::of(&[event.run.as_bytes(), event.job.as_str().as_bytes(), &kind, &call.to_be_bytes()]);
    bytes(&digest.to_string(), 8).unwrap_or_default()
}

/// The first bytes of a hexadecimal text.
fn bytes(hex: &str, count: usize) -> Option<Vec<u8>> {
    (0..count).map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

fn run_span(event: &UsageEvent, trace: &Trace) -> Span {
    let started = nanos(event.accepted_at, event.queued_ms);
    let mut attributes = of_job(event);
    attributes.extend([
        text(names::MESSAGING_SYSTEM, "nats"),
        text(names::MESSAGE_ID, event.job.as_str()),
        text(names::STATUS, event.status.as_str()),
        text(names::CACHE, cache(event)),
        text(names::WORKER, &event.worker),
        number(names::DELIVERY, event.delivery),
        number(names::QUEUED, event.queued_ms),
        signed(names::COST_NANOUSD, event.cost().0),
        dollars(names::COST, event.cost().0),
    ]);
    if event.saved_nanousd.0 != 0 {
        attributes.push(signed(names::SAVED_NANOUSD, event.saved_nanousd.0));
    }
    if !event.guardrails.is_empty() {
        let rules = event.guardrails.iter().map(|hit| string(&hit.rule)).collect();
        attributes.push(pair(names::GUARDRAILS, Value::ArrayValue(ArrayValue { values: rules })));
    }
    if event.risk > 0 {
        attributes.push(number(names::RISK, event.risk.into()));
    }
    let failed = event.error_code.map(|code| code.as_str().to_owned());
    attributes.extend(failed.as_deref().map(|code| text(names::ERROR_TYPE, code)));
    Span {
        trace_id: trace.id.clone(),
        span_id: trace.run.clone(),
        parent_span_id: trace.parent.clone(),
        name: format!("job {}", event.model_requested),
        kind: SpanKind::Consumer.into(),
        // What the producer waited for begins when the server accepted the job.
        start_time_unix_nano: nanos(event.accepted_at, 0),
        end_time_unix_nano: started.saturating_add(event.run_ms.saturating_mul(NANOS)),
        attributes: full(attributes),
        events: vec![Event { time_unix_nano: started, name: "taken by a worker".to_owned(), ..Event::default() }],
        status: Some(status(failed)),
        ..Span::default()
    }
}

fn call_span(event: &UsageEvent, attempt: &AttemptRecord, number_of: u32, trace: &Trace) -> Span {
    let started = nanos(attempt.started_at, 0);
    let at = |ms: u64| started.saturating_add(ms.saturating_mul(NANOS));
    let (operation, tokens) = (operation(event), attempt.tokens);
    let failed = (attempt.outcome != AttemptOutcome::Ok).then(|| reason(attempt));
    let mut attributes = of_job(event);
    attributes.extend([
        text(names::OPERATION, operation),
        text(names::PROVIDER, &attempt.provider),
        text(names::RESPONSE_MODEL, &attempt.model),
        text(names::RESPONSE_ID, &attempt.request_id),
        text(names::OUTCOME, attempt.outcome.as_str()),
        number(names::INPUT_TOKENS, tokens.prompt()),
        number(names::OUTPUT_TOKENS, tokens.completion()),
        number(names::CACHE_READ_TOKENS, tokens.cache_read),
        number(names::CACHE_WRITE_TOKENS, tokens.cache_write),
        signed(names::COST_NANOUSD, attempt.cost_nanousd.0),
        dollars(names::COST, attempt.cost_nanousd.0),
    ]);
    if attempt.http_status > 0 {
        attributes.push(number(names::HTTP_STATUS, attempt.http_status.into()));
    }
    attributes.extend(failed.as_deref().map(|reason| text(names::ERROR_TYPE, reason)));
    let first =
        Event { time_unix_nano: at(attempt.first_byte_ms), name: names::FIRST_TOKEN.to_owned(), ..Event::default() };
    Span {
        trace_id: trace.id.clone(),
        span_id: span_id(event, number_of),
        parent_span_id: trace.run.clone(),
        name: format!("{operation} {}", attempt.model),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: started,
        end_time_unix_nano: at(attempt.latency_ms),
        attributes: full(attributes),
        events: if attempt.first_byte_ms > 0 { vec![first] } else { Vec::new() },
        status: Some(status(failed)),
        ..Span::default()
    }
}

/// What the spans of a job share.
fn of_job(event: &UsageEvent) -> Vec<KeyValue> {
    let own = [
        text(names::TEAM, &event.team),
        text(names::CLASS, &event.class),
        text(names::PROJECT, &event.project),
        text(names::USER, &event.user),
        text(names::REQUEST_MODEL, &event.model_requested),
    ];
    let labels = event.labels.iter().map(|(name, value)| text(&format!("{}{name}", names::LABEL), value));
    own.into_iter().chain(labels).collect()
}

fn operation(event: &UsageEvent) -> &'static str {
    if event.endpoint == tollgate_types::Endpoint::Embeddings.as_str() { "embeddings" } else { "chat" }
}

fn cache(event: &UsageEvent) -> &'static str {
    use tollgate_types::event::CacheUse;
    match event.cache {
        CacheUse::Miss => "miss",
        CacheUse::Hit => "hit",
        CacheUse::Bypass => "bypass",
    }
}

fn reason(attempt: &AttemptRecord) -> String {
    if attempt.error.is_empty() { attempt.outcome.as_str().to_owned() } else { attempt.error.clone() }
}

fn status(failed: Option<String>) -> Status {
    let code = if failed.is_some() { StatusCode::Error } else { StatusCode::Ok };
    Status { code: code.into(), message: failed.unwrap_or_default() }
}

/// Nanoseconds in a millisecond.
const NANOS: u64 = 1_000_000;

fn nanos(at: UnixMillis, later_ms: u64) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_add(later_ms).saturating_mul(NANOS)
}

fn pair(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn string(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

fn text(name: &str, value: &str) -> KeyValue {
    pair(name, Value::StringValue(value.to_owned()))
}

fn number(name: &str, value: u64) -> KeyValue {
    signed(name, i64::try_from(value).unwrap_or(i64::MAX))
}

fn signed(name: &str, value: i64) -> KeyValue {
    pair(name, Value::IntValue(value))
}

#[allow(clippy::cast_precision_loss, reason = "for people; the exact sum stands beside it")]
fn dollars(name: &str, nanousd: i64) -> KeyValue {
    pair(name, Value::DoubleValue(nanousd as f64 / 1e9))
}

/// Without those that say nothing.
fn full(attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    let says_something = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        !matches!(value, Some(Value::StringValue(text)) if text.is_empty())
    };
    attributes.into_iter().filter(says_something).collect()
}

#[cfg(test)]
mod tests;
