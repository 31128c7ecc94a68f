//! Results in the format that came in. Pure.
//!
//! OpenAI's line is the one that the broker keeps, with the two codes of a batch that OpenAI has; Anthropic's is made of it.
//! Our facts stay in the object `tollgate` of OpenAI's lines: clients read over fields that they do not know.

use serde_json::{Value, json};
use tollgate_types::batch::BatchFormat;
use tollgate_types::{ErrorCode, JobId, JobResult, Status};

/// A result as a line of a file, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Whether the request has its answer.
    pub succeeded: bool,
    /// The line.
    pub text: String,
}

/// The line of a result as it is kept.
pub fn render(format: BatchFormat, job: &JobId, kept: &[u8]) -> Rendered {
    match serde_json::from_slice::<JobResult>(kept) {
        Ok(result) => match format {
            BatchFormat::OpenAi => openai(&result, kept),
            BatchFormat::Anthropic => of_anthropic(&result),
        },
        Err(_) => lost(format, job, None),
    }
}

/// The line of a job that ended and whose result is not there any more, with the name that its file has for it.
pub fn lost(format: BatchFormat, job: &JobId, custom_id: Option<&str>) -> Rendered {
    let message = "the result of this request is not kept any more";
    let text = match format {
        BatchFormat::OpenAi => json!({
            "id": job, "custom_id": custom_id, "response": null,
            "error": { "code": ErrorCode::NotKept, "message": message },
        }),
        BatchFormat::Anthropic => errored(custom_id, "not_found_error", message),
    };
    Rendered { succeeded: false, text: text.to_string() }
}

/// The line of a request that was never submitted, because its batch was stopped before.
pub fn not_submitted(format: BatchFormat, job: &JobId, custom_id: Option<&str>) -> Rendered {
    let message = "the batch was stopped before this request was submitted";
    let text = match format {
        BatchFormat::OpenAi => json!({
            "id": job, "custom_id": custom_id, "response": null,
            "error": { "code": "batch_cancelled", "message": message },
        }),
        BatchFormat::Anthropic => json!({ "custom_id": custom_id, "result": { "type": "canceled" } }),
    };
    Rendered { succeeded: false, text: text.to_string() }
}

/// Whether its answer is there: that of a job that succeeded may have been forgotten.
fn has_answer(result: &JobResult) -> bool {
    result.tollgate.status == Status::Succeeded && result.error.is_none()
}

fn openai(result: &JobResult, kept: &[u8]) -> Rendered {
    let code = match result.tollgate.status {
        Status::Expired => Some("batch_expired"),
        Status::Cancelled => Some("batch_cancelled"),
        Status::Succeeded | Status::Failed | Status::Rejected | Status::Blocked => None,
    };
    let as_it_is = || String::from_utf8_lossy(kept).into_owned();
    let text = match code {
        None => as_it_is(),
        Some(code) => match serde_json::from_slice::<Value>(kept) {
            Ok(mut line) => {
                line["error"]["code"] = code.into();
                line.to_string()
            }
            Err(_) => as_it_is(),
        },
    };
    Rendered { succeeded: has_answer(result), text }
}

fn of_anthropic(result: &JobResult) -> Rendered {
    let custom_id = result.custom_id.as_deref();
    let message = result.error.as_ref().map_or("there is no answer", |error| error.message.as_str());
    let body = result.response.as_ref().and_then(|response| serde_json::from_str(response.body.get()).ok());
    let answer = body.as_ref().and_then(tollgate_messages::message);
    let line = match (result.tollgate.status, answer) {
        (Status::Succeeded, Some(message)) => {
            let text = json!({ "custom_id": custom_id, "result": { "type": "succeeded", "message": message } });
            return Rendered { succeeded: has_answer(result), text: text.to_string() };
        }
        (Status::Expired, _) => json!({ "custom_id": custom_id, "result": { "type": "expired" } }),
        (Status::Cancelled, _) => json!({ "custom_id": custom_id, "result": { "type": "canceled" } }),
        (Status::Succeeded, None) => errored(custom_id, "not_found_error", message),
        (Status::Rejected | Status::Blocked, _) => errored(custom_id, "invalid_request_error", message),
        (Status::Failed, _) => errored(custom_id, kind_of(result), message),
    };
    Rendered { succeeded: false, text: line.to_string() }
}

fn errored(custom_id: Option<&str>, kind: &str, message: &str) -> Value {
    let error = json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": null });
    json!({ "custom_id": custom_id, "result": { "type": "errored", "error": error } })
}

/// Anthropic's word for why a call failed (<https://docs.anthropic.com/en/api/errors>).
fn kind_of(result: &JobResult) -> &'static str {
    match result.error.as_ref().map(|error| error.code) {
        Some(ErrorCode::RateLimited) => "rate_limit_error",
        Some(ErrorCode::QuotaExhausted) => "billing_error",
        Some(ErrorCode::ProviderAuth) => "authentication_error",
        Some(ErrorCode::ProviderTimeout) => "timeout_error",
        Some(ErrorCode::ModelNotFound) => "not_found_error",
        Some(ErrorCode::InvalidRequest | ErrorCode::ContextLengthExceeded | ErrorCode::ContentFiltered) => {
            "invalid_request_error"
        }
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(status: &str, response: Value, error: Value) -> Vec<u8> {
        json!({
            "id": "batch_00000000000000000000000000000000:1", "custom_id": "q", "response": response, "error": error,
            "tollgate": { "version": 1, "team": "a", "class": "batch", "status": status, "model_requested": "m",
                "model": "m", "provider": "p", "cost_nanousd": 1, "tokens": { "input": 3, "output": 4 }, "queued_ms": 1,
                "latency_ms": 2, "attempts": [], "unknown_attempts": 0, "unknown_nanousd": 0, "cache": "miss",
                "guardrails": [], "warnings": [], "accepted_at": "t", "run": "r" },
        })
        .to_string()
        .into_bytes()
    }

    fn check(format: BatchFormat, kept: &[u8], succeeded: bool, pointer: &str, expected: Value) {
        let job = "batch_00000000000000000000000000000000:1".parse().expect("an id");
        let rendered = render(format, &job, kept);
        let line: Value = serde_json::from_str(&rendered.text).expect("a line is JSON");
        assert_eq!((rendered.succeeded, line.pointer(pointer)), (succeeded, Some(&expected)), "{}", rendered.text);
        assert!(!rendered.text.contains('\n'));
    }

    #[test]
    fn each_end_has_its_word_in_both_formats() {
        let completion = json!({ "id": "c", "model": "m", "choices": [{ "finish_reason": "stop", "message": { "content": "hi" } }],
            "usage": { "prompt_tokens": 3, "completion_tokens": 4 } });
        let response = json!({ "status_code": 200, "request_id": "r", "body": completion });
        let error = |code: &str| json!({ "code": code, "message": "why" });
        let (openai, anthropic) = (BatchFormat::OpenAi, BatchFormat::Anthropic);
        let good = kept("succeeded", response, Value::Null);
        check(openai, &good, true, "/response/body/choices/0/message/content", json!("hi"));
        check(openai, &good, true, "/error", Value::Null);
        check(anthropic, &good, true, "/result/message/content/0/text", json!("hi"));
        check(anthropic, &good, true, "/custom_id", json!("q"));
        for (status, code, openai_code, pointer, word) in [
            ("expired", "deadline_exceeded", "batch_expired", "/result/type", "expired"),
            ("cancelled", "cancelled", "batch_cancelled", "/result/type", "canceled"),
            ("failed", "rate_limited", "rate_limited", "/result/error/error/type", "rate_limit_error"),
            ("rejected", "unknown_model", "unknown_model", "/result/error/error/type", "invalid_request_error"),
            ("blocked", "prompt_blocked", "prompt_blocked", "/result/error/error/type", "invalid_request_error"),
            ("succeeded", "not_kept", "not_kept", "/result/error/error/type", "not_found_error"),
        ] {
            let line = kept(status, Value::Null, error(code));
            check(openai, &line, false, "/error/code", json!(openai_code));
            check(openai, &line, false, "/response", Value::Null);
            check(anthropic, &line, false, pointer, json!(word));
        }
        check(openai, b"nonsense", false, "/error/code", json!("not_kept"));
        check(anthropic, b"nonsense", false, "/result/type", json!("errored"));
    }
}
