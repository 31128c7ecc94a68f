//! Reads a response that is not 2xx: Google puts into the body what others put into codes and headers.

use std::time::Duration;

use serde_json::Value;
use tollgate_types::{Failure, FailureKind};

use crate::adapter::Refusal;
use crate::refusal;
use crate::retry_after::HINT_MAX;

/// The failure that a response means.
///
/// A wait stands in `RetryInfo`. A quota by the day is no rate: the key has used it up. A key that
/// is not valid, and a project without billing or out of its region, come as a 400.
pub(super) fn refuse(refusal: &Refusal<'_>) -> Failure {
    let mut failure = refusal::refuse(refusal);
    let Ok(body) = serde_json::from_slice::<Value>(refusal.body) else { return failure };
    // A stream's error is a list of one.
    let error = &body.get(0).unwrap_or(&body)["error"];
    if refusal.status == 400 {
        let bad_key = details(error, "ErrorInfo").iter().any(|info| info["reason"] == "API_KEY_INVALID");
        if bad_key || error["status"] == "FAILED_PRECONDITION" {
            failure.kind = FailureKind::Auth;
        }
    }
    if failure.kind == FailureKind::RateLimited {
        let quotas = details(error, "QuotaFailure");
        let violations = quotas.iter().filter_map(|quota| quota["violations"].as_array()).flatten();
        let of_a_day = violations.filter_map(|violation| violation["quotaId"].as_str()).any(|id| id.contains("PerDay"));
        let waits = details(error, "RetryInfo").into_iter().filter_map(|info| wait(info["retryDelay"].as_str()?));
        failure.retry_after = waits.max().or(failure.retry_after);
        if of_a_day {
            (failure.kind, failure.retry_after) = (FailureKind::QuotaExhausted, Some(HINT_MAX));
        }
    }
    failure
}

/// A wait such as `37.5s`; what makes no sense is none.
fn wait(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(HINT_MAX))
}

/// The details of an error that are of a kind.
fn details<'a>(error: &'a Value, kind: &str) -> Vec<&'a Value> {
    let is_one = |detail: &&Value| detail["@type"].as_str().is_some_and(|at| at.ends_with(kind));
    error["details"].as_array().into_iter().flatten().filter(is_one).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    fn refused(status: u16, body: &Value) -> Failure {
        let text = body.to_string();
        refuse(&Refusal { status, headers: &HeaderMap::new(), body: text.as_bytes(), keys: &[] })
    }

    fn limited(details: Value) -> Failure {
        refused(
            429,
            &json!({ "error": { "code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details } }),
        )
    }

    #[test]
    fn the_wait_stands_in_the_body() {
        let info = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s" });
        let failure = limited(json!([info]));
        assert_eq!(
            (failure.kind, failure.retry_after),
            (FailureKind::RateLimited, Some(Duration::from_millis(37_500)))
        );
        let quota = |id: &str| json!({ "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{ "quotaId": id }] });
        let of_a_day = limited(json!([quota("GenerateRequestsPerDayPerProject"), info]));
        assert_eq!((of_a_day.kind, of_a_day.retry_after), (FailureKind::QuotaExhausted, Some(HINT_MAX)));
        assert_eq!(limited(json!([quota("GenerateRequestsPerMinute")])).retry_after, None);
        for odd in ["-1s", "NaNs", "37", "1e400s"] {
            let info = json!({ "@type": "x/google.rpc.RetryInfo", "retryDelay": odd });
            assert!(limited(json!([info])).retry_after.is_none_or(|wait| wait <= HINT_MAX), "{odd}");
        }
    }

    #[test]
    fn bad_keys_and_projects_are_told_from_bad_requests() {
        let error = |status: &str, details: Value| json!({ "error": { "code": 400, "message": "m", "status": status, "details": details } });
        let info = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID" }]);
        assert_eq!(refused(400, &error("INVALID_ARGUMENT", info)).kind, FailureKind::Auth);
        assert_eq!(refused(400, &error("FAILED_PRECONDITION", json!([]))).kind, FailureKind::Auth);
        assert_eq!(refused(400, &error("INVALID_ARGUMENT", json!([]))).kind, FailureKind::InvalidRequest);
        let long = json!({ "error": { "message": "The input token count (9) exceeds the maximum number of tokens allowed (8).", "status": "INVALID_ARGUMENT" } });
        assert_eq!(refused(400, &long).kind, FailureKind::ContextLength);
        assert_eq!(refused(403, &json!([{ "error": { "status": "PERMISSION_DENIED" } }])).kind, FailureKind::Auth);
        assert_eq!(refused(503, &json!({ "error": { "status": "UNAVAILABLE" } })).kind, FailureKind::ServerError);
    }
}
