//! Reads a response of OpenAI's newer format: whether it came to its end stands in the body, not in the status.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/object>.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_types::FailureKind;

use super::usage;
use crate::adapter::{Read, Sent, Unusable};
use crate::{payload, refusal};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    status: Option<String>,
    incomplete_details: Option<Incomplete>,
    #[serde(borrow)]
    output: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

/// One thing that the model wrote, as far as its kind is known.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    content: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    summary: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
}

/// Reads an answer: a response that is completed, or that its length or a filter ended.
///
/// A failed one says why by a code; one that is not done yet is no answer, because nobody asks for it again.
pub(crate) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let envelope: Envelope<'_> = payload::parse(&text, "response")?;
    let output = envelope.output.unwrap_or_default();
    let answer_text_bytes: usize = output.iter().flat_map(|item| written(item)).map(str::len).sum();
    let reported = usage::read_response(envelope.usage, sent, answer_text_bytes);
    let reason = envelope.incomplete_details.and_then(|details| details.reason);
    let finish = match (envelope.status.as_deref(), reason.as_deref()) {
        (Some("completed"), _) if output.iter().any(|item| is_call(item)) => "tool_calls",
        (Some("completed"), _) => "stop",
        (Some("incomplete"), Some("max_output_tokens")) => "length",
        (Some("incomplete"), Some("content_filter")) => "content_filter",
        (Some("failed"), _) | (None, _) if envelope.error.is_some() => {
            let error = envelope.error.map_or("", RawValue::get);
            let (kind, words) = refusal::error_in_an_answer(error.as_bytes());
            return Err(Unusable { kind, message: format!("a failed response: {words}"), reported });
        }
        (Some("failed"), _) => {
            return Err(Unusable { kind: FailureKind::ServerError, message: "a failed response".to_owned(), reported });
        }
        (Some("in_progress" | "queued" | "cancelled"), _) => {
            return Err(Unusable::bad("a response that did not come to its end", reported));
        }
        _ => return Err(Unusable::bad("a response without a known end", reported)),
    };
    if answer_text_bytes == 0 && finish == "stop" {
        return Err(Unusable::bad("an answer that holds nothing", reported));
    }
    let body = RawValue::from_string(text).expect("it was just read as JSON");
    Ok(Read { body, finish: finish.to_owned(), answer_text_bytes, reported })
}

fn is_call(item: &RawValue) -> bool {
    let kind = serde_json::from_str::<Item<'_>>(item.get()).ok().and_then(|item| item.kind);
    matches!(kind.as_deref(), Some("function_call" | "custom_tool_call"))
}

/// What the model wrote in an item: texts; of calls and of kinds that are not known, their JSON.
fn written(item: &RawValue) -> Vec<&str> {
    match serde_json::from_str::<Item<'_>>(item.get()) {
        Ok(Item { kind, content, summary }) if matches!(kind.as_deref(), Some("message" | "reasoning")) => {
            let parts = [content, summary].into_iter().flatten().flatten();
            let texts = parts.flat_map(|part| [part.text, part.refusal]).flatten().map(RawValue::get);
            texts.filter(|text| *text != "\"\"").collect()
        }
        Ok(_) | Err(_) => vec![item.get()],
    }
}

/// All that the model wrote, as text: for counting it when the provider did not.
pub(crate) fn answer_text(body: &RawValue) -> String {
    let Ok(Envelope { output: Some(output), .. }) = serde_json::from_str(body.get()) else { return String::new() };
    let plain = |text: &str| serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
    let texts: Vec<String> = output.iter().flat_map(|item| written(item)).map(plain).collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tollgate_types::Tokens;

    use super::*;

    fn read_text(text: &str) -> Result<Read, Unusable> {
        let body = Bytes::from(vec![b'x'; 400]);
        read(text.as_bytes().to_vec(), &Sent { body: &body, max_tokens: None, n: 1 })
    }

    #[test]
    fn a_completed_response_is_passed_on_and_its_usage_taken_apart() {
        let text = r#"{"id":"resp_1","object":"response","status":"completed","error":null,"incomplete_details":null,
            "output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"h\u00e9","annotations":[]}]}],
            "usage":{"input_tokens":20,"input_tokens_details":{"cached_tokens":8,"cache_write_tokens":2},
            "output_tokens":9,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":29}}"#;
        let read = read_text(text).expect("an answer");
        assert_eq!((read.body.get(), read.finish.as_str()), (text, "stop"));
        let tokens = Tokens { input: 10, cache_read: 8, cache_write: 2, output: 4, reasoning: 5 };
        assert_eq!(read.reported.tokens, Some(tokens));
        assert_eq!(answer_text(&read.body), "hm\nhé");
    }

    #[test]
    fn every_end_has_its_word() {
        let message = r#"{"type":"message","content":[{"type":"output_text","text":"a"}]}"#;
        let refusal = r#"{"type":"message","content":[{"type":"refusal","refusal":"no"}]}"#;
        let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#;
        for (status, details, output, finish) in [
            ("completed", "null", message, "stop"),
            ("completed", "null", refusal, "stop"),
            ("completed", "null", call, "tool_calls"),
            ("incomplete", r#"{"reason":"max_output_tokens"}"#, message, "length"),
            ("incomplete", r#"{"reason":"max_output_tokens"}"#, "", "length"),
            ("incomplete", r#"{"reason":"content_filter"}"#, "", "content_filter"),
        ] {
            let text = format!(r#"{{"status":"{status}","incomplete_details":{details},"output":[{output}]}}"#);
            assert_eq!(read_text(&text).expect(&text).finish, finish, "{text}");
        }
    }

    #[test]
    fn a_failed_response_is_the_failure_that_its_code_says() {
        use FailureKind::{BadResponse, ContentPolicy, QuotaExhausted, RateLimited, ServerError};
        for (code, kind) in [
            ("server_error", ServerError),
            ("rate_limit_exceeded", RateLimited),
            ("insufficient_quota", QuotaExhausted),
            ("invalid_prompt", ContentPolicy),
            ("bio_policy", ContentPolicy),
            ("vector_store_timeout", ServerError),
            ("data_residency_mismatch", FailureKind::InvalidRequest),
            ("invalid_image", FailureKind::InvalidRequest),
            ("image_too_large", FailureKind::InvalidRequest),
            ("something_new", BadResponse),
        ] {
            let text = format!(
                r#"{{"status":"failed","error":{{"code":"{code}","message":"why"}},"output":[],"usage":{{"input_tokens":3,"output_tokens":0}}}}"#
            );
            let unusable = read_text(&text).unwrap_err();
            assert_eq!((unusable.kind, unusable.message.as_str()), (kind, "a failed response: why"), "{code}");
            assert!(unusable.reported.tokens.is_some(), "what it used is known");
        }
    }

    #[test]
    fn what_did_not_come_to_an_end_is_no_answer() {
        for (text, message) in [
            (r#"{"status":"in_progress","output":[]}"#, "a response that did not come to its end"),
            (r#"{"status":"queued"}"#, "a response that did not come to its end"),
            (r#"{"status":"failed"}"#, "a failed response"),
            (r#"{"status":"incomplete","output":[]}"#, "a response without a known end"),
            (r#"{"output":[]}"#, "a response without a known end"),
            (r#"{"error":{"message":"overloaded"}}"#, "a failed response: overloaded"),
            (r#"{"status":"completed","output":[]}"#, "an answer that holds nothing"),
            (r#"{"status":"completed","output":"secret"}"#, "JSON that is no response"),
        ] {
            assert_eq!(read_text(text).unwrap_err().message, message, "{text}");
        }
    }
}
