//! Error responses in the vendor's form.

use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::json;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use crate::faults::RetryAfter;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// IMF-fixdate, <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>.
const HTTP_DATE: StaticFormatDescription =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// A request that is not answered, and what the client is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<&'static str>,
    message: String,
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, kind, code, param: None, message: message.into(), header: None }
    }

    /// A 400 about the field `param`.
    pub(crate) fn invalid(param: Option<&'static str>, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message) }
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("Request body is larger than {bytes_max} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", Some("request_too_large"), message)
    }

    pub(crate) fn not_found(method: &str, path: &str) -> Self {
        let message = format!("Unknown request URL: {method} {path}.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("unknown_url"), message)
    }

    pub(crate) fn invalid_key() -> Self {
        let message = "Incorrect API key provided.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", Some("invalid_api_key"), message)
    }

    pub(crate) fn echo_key(key: Option<&str>) -> Self {
        let message = format!("Request rejected. It was sent with the API key {}.", key.unwrap_or("(none)"));
        Self::invalid(None, Some("invalid_request"), message)
    }

    pub(crate) fn quota() -> Self {
        let message = "You exceeded your current quota, please check your plan and billing details.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", Some("insufficient_quota"), message)
    }

    pub(crate) fn context_length(prompt_tokens: u64) -> Self {
        let most = prompt_tokens.saturating_sub(1);
        let message = format!(
            "This model's maximum context length is {most} tokens. However, your messages resulted in {prompt_tokens} \
             tokens. Please reduce the length of the messages."
        );
        Self::invalid(Some("messages"), Some("context_length_exceeded"), message)
    }

    /// The error of a scripted status, in the words of the vendor where it has some.
    pub(crate) fn of_status(code: u16, retry_after: Option<&RetryAfter>, now: OffsetDateTime) -> Self {
        let status = StatusCode::from_u16(code).expect("the grammar allows 400 to 599 only");
        let (kind, code, message) = match code {
            401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided."),
            403 => (
                "invalid_request_error",
                Some("unsupported_country_region_territory"),
                "Country, region, or territory not supported.",
            ),
            404 => (
                "invalid_request_error",
                Some("model_not_found"),
                "The model does not exist or you do not have access to it.",
            ),
            429 => ("rate_limit_error", Some("rate_limit_exceeded"), "Rate limit reached. Please try again later."),
            503 => (
                "service_unavailable_error",
                Some("server_is_overloaded"),
                "The server is overloaded. Please try again later.",
            ),
            500.. => ("server_error", None, "The server had an error while processing your request."),
            _ => ("invalid_request_error", None, "The request was rejected."),
        };
        Self {
            header: retry_after.map(|wait| Box::new(wait_header(wait, now))),
            ..Self::new(status, kind, code, message)
        }
    }

    /// The response body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        serde_json::to_vec(&json!({ "error": error })).expect("plain fields always serialise")
    }

    /// The same as the event of a stream.
    pub(crate) fn event(&self) -> Vec<u8> {
        [b"data: ", self.body().as_slice(), b"\n\n"].concat()
    }

    /// A server error, for a body that comes with a status of 200.
    pub(crate) fn server_error() -> Self {
        let message = "The server had an error while processing your request.";
        Self::new(StatusCode::OK, "server_error", Some("server_error"), message)
    }
}

fn wait_header(wait: &RetryAfter, now: OffsetDateTime) -> (HeaderName, HeaderValue) {
    let (name, text) = match wait {
        RetryAfter::Header(text) => (RETRY_AFTER, http_date(text, now).unwrap_or_else(|| text.to_string())),
        RetryAfter::Millis(text) => (RETRY_AFTER_MS, text.to_string()),
    };
    (name, HeaderValue::try_from(text).expect("the grammar allows printable ASCII only"))
}

/// The date that `http-date+<seconds>` stands for; `None` for any other text.
fn http_date(text: &str, now: OffsetDateTime) -> Option<String> {
    let seconds: u32 = text.strip_prefix("http-date+")?.parse().ok()?;
    (now + Duration::seconds(i64::from(seconds))).format(HTTP_DATE).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn waits_are_sent_as_written_or_as_a_date() {
        let check = |wait: RetryAfter, name: &str, value: &str| {
            let refusal = Refusal::of_status(429, Some(&wait), datetime!(2026-11-23 18:00:00 UTC));
            let (sent_name, sent) = *refusal.header.unwrap();
            assert_eq!((sent_name.as_str(), sent.to_str().unwrap()), (name, value));
        };
        check(RetryAfter::Header("2".into()), "retry-after", "2");
        check(RetryAfter::Header("soon".into()), "retry-after", "soon");
        check(RetryAfter::Header("http-date+90".into()), "retry-after", "Mon, 23 Nov 2026 18:01:30 GMT");
        check(RetryAfter::Header("http-date+x".into()), "retry-after", "http-date+x");
        check(RetryAfter::Millis("250".into()), "retry-after-ms", "250");
    }

    #[test]
    fn every_scripted_status_has_an_error_body() {
        for code in 400..600 {
            let refusal = Refusal::of_status(code, None, OffsetDateTime::UNIX_EPOCH);
            let body: serde_json::Value = serde_json::from_slice(&refusal.body()).unwrap();
            assert_eq!(refusal.status.as_u16(), code);
            assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{code}");
            assert!(!body["error"]["type"].as_str().unwrap().is_empty(), "{code}");
        }
    }
}
