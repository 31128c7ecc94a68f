//! Why a call gets no answer, in the words and the shape of its vendor.
//!
//! Sources: <https://platform.openai.com/docs/guides/error-codes>, <https://docs.anthropic.com/en/api/errors>.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tollgate_types::result::JobError;
use tollgate_types::{ErrorCode, Rejection};

/// Whose words a response is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Shape {
    /// Of a call whose path does not say: Anthropic's clients name a version.
    pub(crate) fn of(headers: &HeaderMap) -> Shape {
        if headers.contains_key("anthropic-version") { Shape::Anthropic } else { Shape::OpenAi }
    }
}

/// Why a call gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    /// A stable word.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The field of the body that is wrong.
    pub(crate) param: Option<String>,
    /// When another try makes sense, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// Whether the vendors' clients should try again by themselves; they decide by the status if nothing is said.
    pub(crate) retry: Option<bool>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refused {
        Refused { status, code, message: message.into(), param: None, retry_after: None, retry: None }
    }

    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn of_field(param: &str, message: impl Into<String>) -> Refused {
        Refused { param: Some(param.to_owned()), ..Refused::bad("invalid_value", message) }
    }

    /// Something of ours is away or full; it passes.
    pub(crate) fn later(message: impl Into<String>) -> Refused {
        let refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Refused { retry_after: Some(1), ..refused }
    }

    /// The vendor's shape of it.
    pub(crate) fn body(&self, shape: Shape, request_id: &str) -> Value {
        match shape {
            Shape::OpenAi => json!({ "error": {
                "message": self.message, "type": self.openai_type(), "param": self.param, "code": self.code,
            } }),
            Shape::Anthropic => json!({
                "type": "error",
                "error": { "type": self.anthropic_type(), "message": self.message },
                "request_id": request_id,
            }),
        }
    }

    pub(crate) fn response(&self, shape: Shape, request_id: &str) -> Response {
        let mut response = Response::new(Body::from(self.body(shape, request_id).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static("x-tollgate-error"), HeaderValue::from_static(self.code));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(retry) = self.retry {
            let retry = HeaderValue::from_static(if retry { "true" } else { "false" });
            headers.insert(HeaderName::from_static("x-should-retry"), retry);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    pub(crate) fn openai_type(&self) -> &'static str {
        match (self.status.as_u16(), self.code) {
            (_, "insufficient_quota") => "insufficient_quota",
            (401, _) => "authentication_error",
            (403, _) => "permission_error",
            (429, _) => "rate_limit_error",
            (500.., _) => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub(crate) fn anthropic_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            504 => "timeout_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }
}

/// What is wrong with a job line, to who sent its body.
impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        let error = JobError { code: rejection.code, message: rejection.message };
        Refused::from(&error)
    }
}

/// How a job ended without an answer.
impl From<&JobError> for Refused {
    fn from(error: &JobError) -> Self {
        let Told { status, code, again } = told(error.code);
        let message = match error.code {
            // What the provider says of the operator's account is for the operator.
            ErrorCode::QuotaExhausted | ErrorCode::ProviderAuth | ErrorCode::ModelNotFound | ErrorCode::Poison => {
                error.code.cause().to_owned()
            }
            _ => error.message.replace("`body.", "`"),
        };
        let status = StatusCode::from_u16(status).expect("the table holds statuses");
        let retry_after = matches!(status.as_u16(), 429 | 503).then_some(if again { 2 } else { 60 });
        let retry = (!again && matches!(status.as_u16(), 408 | 409 | 429 | 500..)).then_some(false);
        Refused { status, code, param: param_in(&message), message, retry_after, retry }
    }
}

/// The field that a message of ours names first, if that is one of the body.
fn param_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once('`')?;
    let (name, _) = rest.split_once('`')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '-');
    (!name.is_empty() && name.len() <= 128 && name.chars().all(plain)).then(|| name.to_owned())
}

/// How a code is told over HTTP.
struct Told {
    status: u16,
    /// The vendor's own word where it has one that apps look for.
    code: &'static str,
    /// Whether the same call may succeed if it is made again soon.
    again: bool,
}

fn told(code: ErrorCode) -> Told {
    use ErrorCode as E;
    let tell = |status, again| Told { status, code: code.as_str(), again };
    match code {
        E::BadRequest | E::InvalidJson | E::BadEncoding | E::TooDeep | E::DuplicateField | E::UnknownField => {
            tell(400, false)
        }
        E::ForbiddenField | E::MissingField | E::InvalidField | E::NoMessages | E::UnsupportedVersion => {
            tell(400, false)
        }
        E::UnsupportedUrl | E::BadId | E::BadHeader | E::ForbiddenReply | E::ForbiddenUrl | E::UnknownClass => {
            tell(400, false)
        }
        E::UnknownTag | E::Unsupported | E::InvalidRequest | E::ContextLengthExceeded | E::CostAboveMax => {
            tell(400, false)
        }
        E::PromptBlocked | E::AnswerBlocked => tell(400, false),
        E::ContentFiltered => Told { code: "content_filter", ..tell(400, false) },
        // The door puts large bodies beside their lines itself: something took them away.
        E::PayloadMissing | E::PayloadDigest => tell(500, false),
        E::TooLarge => tell(413, false),
        E::Conflict => Told { code: "idempotency_key_reused", ..tell(422, false) },
        E::UnknownTeam | E::ForbiddenModel => tell(403, false),
        E::UnknownModel | E::UnpricedModel => Told { code: "model_not_found", ..tell(404, false) },
        E::OverBudget => Told { code: "insufficient_quota", ..tell(429, false) },
        E::OverLimit => Told { code: "rate_limit_exceeded", ..tell(429, false) },
        E::RateLimited => Told { code: "rate_limit_exceeded", ..tell(429, true) },
        E::Cancelled => tell(409, false),
        E::Forgotten | E::NotKept => tell(410, false),
        E::DeadlineExceeded | E::ProviderTimeout => tell(504, false),
        E::GuardrailFailed | E::ProviderUnavailable => tell(503, true),
        E::QuotaExhausted => tell(503, false),
        E::ProviderAuth | E::BadResponse | E::ModelNotFound => tell(502, false),
        E::Poison | E::ResultTooLarge => tell(500, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_each_vendor_its_words() {
        for &code in ErrorCode::ALL {
            let refused = Refused::from(&JobError { code, message: "`body.model` is wrong".to_owned() });
            assert!(refused.status.is_client_error() || refused.status.is_server_error(), "{code}");
            let openai = refused.body(Shape::OpenAi, "req_1");
            assert!(openai["error"]["message"].is_string() && openai["error"]["type"].is_string(), "{openai}");
            let anthropic = refused.body(Shape::Anthropic, "req_1");
            assert_eq!((&anthropic["type"], &anthropic["request_id"]), (&"error".into(), &"req_1".into()));
        }
    }

    #[test]
    fn a_field_of_the_body_is_named_as_its_sender_knows_it() {
        let of = |message: &str| {
            let refused = Refused::from(&JobError { code: ErrorCode::MissingField, message: message.to_owned() });
            (refused.message, refused.param)
        };
        assert_eq!(of("`body.model` is missing"), ("`model` is missing".to_owned(), Some("model".to_owned())));
        assert_eq!(of("no field is named").1, None);
        assert_eq!(of("`a b\r\n` is odd").1, None);
    }

    #[test]
    fn what_the_operator_alone_should_know_stays_with_him() {
        let error = JobError { code: ErrorCode::ProviderAuth, message: "sk-…abcd of http://10.0.0.7".to_owned() };
        assert!(!Refused::from(&error).message.contains("10.0.0.7"));
    }
}
