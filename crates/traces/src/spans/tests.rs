use serde_json::json;

use super::*;

fn event(change: serde_json::Value) -> UsageEvent {
    let mut event = json!({
        "version": 1, "kind": "result", "job": "j-1", "team": "search", "class": "batch", "run": "r-1", "worker": "w",
        "delivery": 1, "status": "succeeded", "cache": "miss", "accepted_at": 1000, "queued_ms": 50, "run_ms": 400,
        "project": "wiki", "labels": {"template": "t1"}, "model_requested": "fast", "attempts": [
            {"provider": "a", "model": "m-1", "outcome": "rate_limited", "error": "rate_limited", "http_status": 429,
             "started_at": 1060, "latency_ms": 20, "first_byte_ms": 0, "price_version": "1", "usage_source": "provider", "cost_nanousd": 0,
             "tokens": {"input": 0, "cache_read": 0, "cache_write": 0, "output": 0, "reasoning": 0}},
            {"provider": "b", "model": "m-2", "outcome": "ok", "http_status": 200, "started_at": 1100,
             "latency_ms": 300, "first_byte_ms": 90, "price_version": "1", "usage_source": "provider", "cost_nanousd": 2_500_000,
             "tokens": {"input": 70, "cache_read": 30, "cache_write": 0, "output": 8, "reasoning": 2},
             "request_id": "req-9"}
        ],
    });
    for (name, value) in change.as_object().expect("an object") {
        event[name] = value.clone();
    }
    serde_json::from_value(event).expect("an event")
}

/// An attribute as text.
fn said(span: &Span, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::DoubleValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn a_job_is_a_span_with_one_below_it_for_each_call() {
    let spans = spans(&event(json!({})));
    let [job, first, second] = &spans[..] else { panic!("{spans:?}") };
    let times = |span: &Span| (span.start_time_unix_nano / NANOS, span.end_time_unix_nano / NANOS);
    assert_eq!((job.name.as_str(), times(job)), ("job fast", (1000, 1450)));
    assert_eq!((second.name.as_str(), times(second)), ("chat m-2", (1100, 1400)));
    assert_eq!((&first.parent_span_id, &second.parent_span_id), (&job.span_id, &job.span_id));
    assert_eq!((job.trace_id.len(), job.span_id.len(), job.parent_span_id.len()), (16, 8, 0));
    assert_ne!(first.span_id, second.span_id);
    let check = |span: &Span, name: &str, expected: Option<&str>| {
        assert_eq!(said(span, name).as_deref(), expected, "{name} of {}", span.name);
    };
    check(second, "gen_ai.operation.name", Some("chat"));
    check(second, "gen_ai.provider.name", Some("b"));
    check(second, "gen_ai.usage.input_tokens", Some("100"));
    check(second, "gen_ai.usage.output_tokens", Some("10"));
    check(second, "gen_ai.usage.cache_read.input_tokens", Some("30"));
    check(second, "tollgate.cost_nanousd", Some("2500000"));
    check(second, "gen_ai.usage.cost", Some("0.0025"));
    check(second, "gen_ai.response.id", Some("req-9"));
    check(second, "error.type", None);
    check(first, "error.type", Some("rate_limited"));
    check(first, "http.response.status_code", Some("429"));
    check(job, "tollgate.team", Some("search"));
    check(job, "tollgate.label.template", Some("t1"));
    check(job, "user.id", None);
    assert_eq!(second.events[0].time_unix_nano / NANOS, 1190);
    assert!(first.events.is_empty(), "there was no first byte");
    let code = |span: &Span| span.status.as_ref().map(|status| status.code);
    assert_eq!((code(job), code(first)), (Some(StatusCode::Ok.into()), Some(StatusCode::Error.into())));
}

#[test]
fn the_trace_that_a_job_came_with_goes_on_unless_it_is_not_sampled() {
    let of = |trace: &str| spans(&event(json!({ "traceparent": trace })));
    let sampled = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(sampled[0].trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(sampled[0].parent_span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    assert!(of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").is_empty());
    assert_eq!(of("").len(), 3);
}

#[test]
fn the_same_record_makes_the_same_spans_and_another_run_others() {
    let one = spans(&event(json!({})));
    assert_eq!(one, spans(&event(json!({}))));
    let other = spans(&event(json!({ "run": "r-2", "kind": "extra" })));
    assert_eq!(one[0].trace_id, other[0].trace_id, "they are one job");
    assert_ne!(one[0].span_id, other[0].span_id);
    assert!(spans(&event(json!({ "kind": "started" }))).is_empty());
}

#[test]
fn embeddings_and_nonsensical_clocks_are_no_trouble() {
    let odd = json!({ "endpoint": "/v1/embeddings", "accepted_at": -5, "queued_ms": u64::MAX, "run_ms": u64::MAX });
    let spans = spans(&event(odd));
    assert_eq!(spans[1].name, "embeddings m-1");
    assert!(spans[0].end_time_unix_nano >= spans[0].start_time_unix_nano);
}
