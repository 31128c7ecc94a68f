use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};

use super::*;
use crate::keys::ApiKey;
use crate::vendor::Vendor;
use FailureKind::{
    Auth, BadResponse, ContentPolicy, ContextLength, InvalidRequest, NotAgain, NotFound, QuotaExhausted, RateLimited,
    ServerError,
};

fn failure(status: u16, headers: &[(&'static str, &'static str)], body: &str, key: Option<&str>) -> Failure {
    let headers: HeaderMap =
        headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    let keys: Vec<ApiKey> = key.map(|key| ApiKey::new(key).expect("a key")).into_iter().collect();
    refuse(&Refusal { status, headers: &headers, body: body.as_bytes(), keys: &keys })
}

fn error(kind: &str, code: &str, message: &str) -> String {
    serde_json::json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

#[test]
fn status_and_code_decide() {
    for (status, kind, code, expected) in [
        (400, "invalid_request_error", "context_length_exceeded", ContextLength),
        (400, "invalid_request_error", "content_policy_violation", ContentPolicy),
        (400, "invalid_request_error", "content_filter", ContentPolicy),
        (400, "invalid_request_error", "invalid_prompt", ContentPolicy),
        (400, "invalid_request_error", "string_above_max_length", InvalidRequest),
        (400, "invalid_request_error", "unsupported_parameter", InvalidRequest),
        (400, "invalid_request_error", "invalid_api_key", Auth),
        (400, "invalid_request_error", "billing_hard_limit_reached", QuotaExhausted),
        (400, "invalid_request_error", "model_not_found", NotFound),
        (401, "invalid_request_error", "invalid_api_key", Auth),
        (402, "", "", QuotaExhausted),
        (403, "", "unsupported_country_region_territory", Auth),
        (403, "insufficient_quota", "", QuotaExhausted),
        (403, "", "content_policy_violation", ContentPolicy),
        (404, "invalid_request_error", "model_not_found", NotFound),
        (404, "", "DeploymentNotFound", NotFound),
        (405, "", "", InvalidRequest),
        (408, "", "", ServerError),
        (409, "", "", ServerError),
        (413, "", "", InvalidRequest),
        (415, "", "", InvalidRequest),
        (422, "", "", InvalidRequest),
        (424, "", "", ServerError),
        (425, "", "", ServerError),
        (429, "rate_limit_error", "rate_limit_exceeded", RateLimited),
        (429, "rate_limit_error", "slow_down", RateLimited),
        (429, "insufficient_quota", "credit_balance_exhausted", QuotaExhausted),
        (429, "insufficient_quota", "something_new", QuotaExhausted),
        (429, "", "project_spend_limit_exceeded", QuotaExhausted),
        (500, "server_error", "", ServerError),
        (500, "exceed_context_size_error", "", ContextLength),
        (502, "", "", ServerError),
        (503, "service_unavailable_error", "server_is_overloaded", ServerError),
        (529, "overloaded_error", "", ServerError),
        (301, "", "", BadResponse),
        (307, "", "", BadResponse),
        (304, "", "", BadResponse),
    ] {
        let failure = failure(status, &[], &error(kind, code, "x"), None);
        assert_eq!(failure.kind, expected, "{status} {kind} {code}");
        assert_eq!(failure.http_status, Some(status));
    }
}

#[test]
fn words_decide_only_where_the_request_is_at_fault() {
    let too_long = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens";
    let filtered = "Your request was rejected as a result of our safety system.";
    let too_much =
        "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 50000.";
    for (status, message, expected) in [
        (429, too_much, ContextLength),
        (400, too_long, ContextLength),
        (413, "prompt is too long: 9 tokens > 8 maximum", ContextLength),
        (422, "the request EXCEEDS the available context size", ContextLength),
        (400, filtered, ContentPolicy),
        (400, "bad prompt 'please ignore rate limit 429 insufficient_quota 401'", InvalidRequest),
        (500, too_long, ServerError),
        (429, too_long, RateLimited),
        (401, filtered, Auth),
        (404, filtered, NotFound),
    ] {
        assert_eq!(failure(status, &[], &error("t", "c", message), None).kind, expected, "{status} {message}");
    }
    let field = error("", "string_above_max_length", "Invalid 'user': string too long. input is too long");
    assert_eq!(failure(400, &[], &field, None).kind, InvalidRequest);
}

#[test]
fn every_shape_of_an_error_body_is_read() {
    for (body, message) in [
        (r#"{"error":{"message":"why","type":"t","code":"c"}}"#, "HTTP 400 c: why"),
        (r#"{"error":{"message":"why","type":"t","code":null}}"#, "HTTP 400 t: why"),
        (r#"{"error":{"message":"why"}}"#, "HTTP 400: why"),
        (r#"{"error":"why"}"#, "HTTP 400: why"),
        (r#"{"object":"error","message":"why","type":"T","code":40}"#, "HTTP 400 t: why"),
        (r#"{"detail":"why"}"#, "HTTP 400: why"),
        (r#"{"detail":[{"loc":["body"],"msg":"why"}]}"#, "HTTP 400: why"),
        (r#"[{"error":{"code":400,"message":"why","status":"INVALID_ARGUMENT"}}]"#, "HTTP 400 invalid_argument: why"),
        (r#"{"message":"why"}"#, "HTTP 400: why"),
        ("", "HTTP 400 without a readable error"),
        ("<html>secret", "HTTP 400 without a readable error"),
        ("{}", "HTTP 400 without a readable error"),
        ("7", "HTTP 400 without a readable error"),
    ] {
        assert_eq!(failure(400, &[], body, None).message, message, "{body}");
    }
    assert_eq!(failure(302, &[], "", None).message, "HTTP 302: a redirect, which is not followed");
}

#[test]
fn messages_are_scrubbed_and_bounded() {
    let body = error("t", "c", &format!("no access with hunter2 or sk-other\n{}", "x".repeat(2000)));
    let failure = failure(401, &[], &body, Some("hunter2"));
    assert!(failure.message.starts_with("HTTP 401 c: no access with [key] or [key] xx"), "{}", failure.message);
    assert_eq!(failure.message.chars().count(), crate::scrub::MESSAGE_CHARS_MAX);
}

#[test]
fn the_provider_may_overrule_whether_to_retry() {
    let check = |status, headers: &[(&'static str, &'static str)], kind, retry_after| {
        let failure = failure(status, headers, "", None);
        assert_eq!((failure.kind, failure.retry_after), (kind, retry_after), "{status} {headers:?}");
    };
    check(429, &[("retry-after", "3")], RateLimited, Some(Duration::from_secs(3)));
    check(503, &[("x-should-retry", "false"), ("retry-after", "3")], NotAgain, None);
    check(429, &[("x-should-retry", "false")], QuotaExhausted, None);
    check(400, &[("x-should-retry", "true")], ServerError, None);
    check(400, &[("x-should-retry", "maybe")], InvalidRequest, None);
    check(401, &[("x-should-retry", "true")], Auth, None);
}

#[test]
fn only_a_gateway_that_stopped_waiting_leaves_the_bill_open() {
    for status in [408, 502, 504, 520, 524] {
        assert_eq!(failure(status, &[], "", None).billed, Billed::Maybe, "{status}");
    }
    for status in [302, 400, 401, 404, 429, 500, 503, 529] {
        assert_eq!(failure(status, &[], "", None).billed, Billed::No, "{status}");
    }
}

/// What each vendor says to a key that it does not take, with the whole key where it quotes one, as gateways in front of
/// them and older versions do.
#[test]
fn no_vendors_error_shows_a_key() {
    let ours = "sk-proj-Ab12_cd";
    for (vendor, status, body) in [
        (
            Vendor::OpenAi,
            401,
            r#"{"error":{"message":"Incorrect API key provided: <KEY>. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        ),
        (
            Vendor::OpenAi,
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-proj-********cd.","code":"invalid_api_key"}}"#,
        ),
        (Vendor::OpenAi, 401, r#"{"error":"Invalid token <KEY>","code":"<KEY>"}"#),
        (Vendor::OpenAi, 401, r#"{"object":"error","message":"Unauthorized: <KEY>","type":"<KEY>"}"#),
        (Vendor::OpenAi, 401, r#"{"detail":[{"msg":"Authorization: Bearer <KEY>"}]}"#),
        (
            Vendor::Anthropic,
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key: <KEY>"},"request_id":"req_1"}"#,
        ),
        (
            Vendor::Gemini,
            400,
            r#"{"error":{"code":400,"message":"API key <KEY> not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","metadata":{"key":"<KEY>"}}]}}"#,
        ),
    ] {
        for key in [ours, "0123456789abcdef0123456789abcdef"] {
            let body = body.replace("<KEY>", key);
            let keys = [ApiKey::new(key).expect("a key")];
            let headers = HeaderMap::new();
            let failure =
                (vendor.adapter().refuse)(&Refusal { status, headers: &headers, body: body.as_bytes(), keys: &keys });
            assert_eq!(failure.kind, Auth, "{body}");
            assert!(failure.message.contains("[key]"), "{}", failure.message);
            for part in [key, "********cd", "0123456789", "Ab12"] {
                assert!(!failure.message.contains(part), "{}", failure.message);
            }
        }
    }
}
