//! Generated content as a chat completion.
//!
//! | content | chat completion |
//! |---|---|
//! | `text` parts; with `thought` | `content`; `reasoning_content` |
//! | `functionCall` parts | `tool_calls`, with `args` as text, an id of ours where there is none, and `thought_signature` |
//! | `STOP` | `tool_calls` if a tool is called, else `stop` |
//! | `MAX_TOKENS` | `length` |
//! | `SAFETY` and its kin, a blocked prompt | `content_filter` |
//! | `MALFORMED_FUNCTION_CALL`, `OTHER`, … | no answer: it may be tried again |
//! | `usageMetadata`, where thoughts stand beside the answer | `usage`, where they are a part of it; the record keeps the former |

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_types::Tokens;

use crate::adapter::{Read, Reported, Sent, Unusable};
use crate::completion::{Choice, Written, completion};
use crate::payload;
use crate::usage::{Counts, count, report};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generated<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Value>,
    response_id: Option<String>,
    model_version: Option<String>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Value>,
    finish_reason: Option<String>,
}

/// Reads an answer: content that came to its end, or that a filter stopped.
pub(super) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let generated: Generated<'_> = payload::parse(&text, "generated content")?;
    payload::refuse_error(generated.error)?;
    let id = generated.response_id.unwrap_or_default();
    let candidates = generated.candidates.unwrap_or_default();
    let blocked = generated.prompt_feedback.is_some_and(|feedback| feedback["blockReason"].is_string());
    let written: Vec<(Written, Option<String>)> = match candidates.is_empty() {
        true if blocked => vec![(Written::default(), Some("SAFETY".to_owned()))],
        true => return Err(payload::unusable("an answer without candidates")),
        false => {
            let of = |candidate: Candidate| (written(candidate.content.as_ref(), &id), candidate.finish_reason);
            candidates.into_iter().map(of).collect()
        }
    };
    let answer_text_bytes = written.iter().map(|(written, _)| written.bytes()).sum();
    let counts =
        generated.usage_metadata.and_then(|raw| serde_json::from_str::<RawUsage<'_>>(raw.get()).ok()?.counts());
    let usage = counts.as_ref().map(|counts| counts.tokens);
    let reported = generated.usage_metadata.map(|raw| report(raw, counts, sent, answer_text_bytes)).unwrap_or_default();
    let mut choices = Vec::new();
    let mut first = None;
    for (written, reason) in written {
        let Some(finish) = finish(reason.as_deref(), !written.tool_calls.is_empty()) else {
            return Err(Unusable::bad("an answer without a known end", reported));
        };
        first.get_or_insert(finish);
        choices.push(Choice { message: written, finish, stop_reason: None });
    }
    let finish = first.unwrap_or_default().to_owned();
    if answer_text_bytes == 0 && finish == "stop" {
        return Err(Unusable::bad("an answer that holds nothing", reported));
    }
    let body = completion(Some(id), generated.model_version, choices, usage.as_ref());
    Ok(Read { body, finish, answer_text_bytes, reported })
}

/// The word for an end; `None` for what is no end, and may go well when it is tried again.
pub(super) fn finish(reason: Option<&str>, calls_tools: bool) -> Option<&'static str> {
    match reason? {
        // Gemini itself stops; a server that copies it says what for.
        "STOP" | "FUNCTION_CALL" if calls_tools => Some("tool_calls"),
        "STOP" => Some("stop"),
        "MAX_TOKENS" => Some("length"),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Some("content_filter"),
        _ => None,
    }
}

/// What the model wrote.
pub(super) fn written(content: Option<&Value>, response_id: &str) -> Written {
    let mut written = Written::default();
    let parts = content.and_then(|content| content["parts"].as_array()).into_iter().flatten();
    for (at, part) in parts.enumerate() {
        let text = part["text"].as_str().unwrap_or_default();
        if part["thought"] == true {
            written.thoughts.push_str(text);
        } else {
            written.text.push_str(text);
        }
        written.tool_calls.extend(tool_call(part, response_id, at));
    }
    written
}

/// The call of a tool that is the part at this place, if it is one.
pub(super) fn tool_call(part: &Value, response_id: &str, at: usize) -> Option<Value> {
    let call = part.get("functionCall")?;
    let own = || Value::from(format!("call_{response_id}_{at}"));
    let id = call.get("id").filter(|id| id.is_string()).cloned().unwrap_or_else(own);
    let arguments = call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string);
    let mut tool_call = json!({
        "id": id,
        "type": "function",
        "function": { "name": call["name"], "arguments": arguments },
    });
    if let Some(signature) = part.get("thoughtSignature") {
        tool_call["thought_signature"] = signature.clone();
    }
    Some(tool_call)
}

/// What the provider says was used.
pub(super) fn reported(usage: &RawValue, sent: &Sent<'_>, answer_text_bytes: usize) -> Reported {
    let counts = serde_json::from_str::<RawUsage<'_>>(usage.get()).ok().and_then(|usage| usage.counts());
    report(usage, counts, sent, answer_text_bytes)
}

/// Gemini counts what its cache gave inside the prompt, what tools brought beside it, and thoughts beside the answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawUsage<'a> {
    #[serde(borrow)]
    prompt_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    cached_content_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_prompt_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    candidates_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    thoughts_token_count: Option<&'a RawValue>,
}

impl RawUsage<'_> {
    fn counts(&self) -> Option<Counts> {
        let cache_read = count(self.cached_content_token_count)?.unwrap_or(0);
        let by_tools = count(self.tool_use_prompt_token_count)?.unwrap_or(0);
        let thoughts = count(self.thoughts_token_count)?;
        let tokens = Tokens {
            input: count(self.prompt_token_count)??.checked_sub(cache_read)?.checked_add(by_tools)?,
            cache_read,
            cache_write: 0,
            // A blocked prompt and an answer of thoughts alone have none.
            output: count(self.candidates_token_count)?.unwrap_or(0),
            reasoning: thoughts.unwrap_or(0),
        };
        Some(Counts { tokens, reasoning_is_known: thoughts.is_some(), silent: 0 })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read_text(text: &str) -> Result<Read, Unusable> {
        let body = Bytes::from(vec![b'x'; 400]);
        read(text.as_bytes().to_vec(), &Sent { body: &body, max_tokens: None, n: 1 })
    }

    #[test]
    fn content_becomes_a_completion_and_its_usage_is_taken_apart() {
        let text = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"Hel"},{"text":"lo"}]},
            "finishReason":"STOP","index":0}],"modelVersion":"gemini-x","responseId":"r1",
            "usageMetadata":{"promptTokenCount":20,"cachedContentTokenCount":7,"toolUsePromptTokenCount":1,
            "candidatesTokenCount":5,"thoughtsTokenCount":30,"totalTokenCount":56}}"#;
        let read = read_text(text).expect("an answer");
        let tokens = Tokens { input: 14, cache_read: 7, cache_write: 0, output: 5, reasoning: 30 };
        assert_eq!((read.finish.as_str(), read.reported.tokens), ("stop", Some(tokens)));
        let body: Value = serde_json::from_str(read.body.get()).expect("JSON");
        let message = &body["choices"][0]["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&"Hello".into(), &"hm".into()));
        assert_eq!(
            (&body["id"], &body["model"], &body["usage"]["completion_tokens"]),
            (&"r1".into(), &"gemini-x".into(), &35.into())
        );
    }

    #[test]
    fn calls_of_tools_have_ids_and_signatures() {
        let text = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"look","args":{"at":1}},"thoughtSignature":"s"},
            {"functionCall":{"id":"own","name":"bare"}}]},"finishReason":"STOP"}],"responseId":"r1"}"#;
        let read = read_text(text).expect("an answer");
        assert_eq!(read.finish, "tool_calls");
        let of_a_copy = text.replace("STOP", "FUNCTION_CALL");
        assert_eq!(read_text(&of_a_copy).expect("an answer").finish, "tool_calls");
        let body: Value = serde_json::from_str(read.body.get()).expect("JSON");
        assert_eq!(
            body["choices"][0]["message"]["tool_calls"],
            json!([
                { "id": "call_r1_0", "type": "function", "function": { "name": "look", "arguments": r#"{"at":1}"# }, "thought_signature": "s" },
                { "id": "own", "type": "function", "function": { "name": "bare", "arguments": "{}" } },
            ])
        );
    }

    #[test]
    fn every_end_has_its_word_and_what_is_no_end_is_no_answer() {
        let ended = |reason: &str| {
            let text =
                format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":{reason}}}]}}"#);
            read_text(&text).map(|read| read.finish).map_err(|unusable| unusable.message)
        };
        assert_eq!(ended(r#""STOP""#).as_deref(), Ok("stop"));
        assert_eq!(ended(r#""MAX_TOKENS""#).as_deref(), Ok("length"));
        assert_eq!(ended(r#""SAFETY""#).as_deref(), Ok("content_filter"));
        for no_end in ["null", r#""OTHER""#, r#""MALFORMED_FUNCTION_CALL""#, r#""SOMETHING_NEW""#] {
            assert_eq!(ended(no_end).unwrap_err(), "an answer without a known end", "{no_end}");
        }
        let blocked =
            read_text(r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":5}}"#);
        let blocked = blocked.expect("it is an answer, and was billed");
        assert_eq!(
            (blocked.finish.as_str(), blocked.reported.tokens.map(|tokens| tokens.input)),
            ("content_filter", Some(5))
        );
    }

    #[test]
    fn what_only_looks_like_an_answer_is_named_without_quoting_it() {
        for (text, message) in [
            ("", "an empty body"),
            (r#"{"candidates":"secret"}"#, "JSON that is no generated content"),
            (r#"{"secret":1}"#, "an answer without candidates"),
            (r#"{"candidates":[{"finishReason":"STOP"}]}"#, "an answer that holds nothing"),
            (
                r#"{"error":{"message":"overloaded","status":"UNAVAILABLE"}}"#,
                "an error in place of an answer: overloaded",
            ),
        ] {
            assert_eq!(read_text(text).unwrap_err().message, message, "{text}");
        }
    }

    #[test]
    fn counts_that_cannot_be_are_no_counts() {
        for usage in [r#"{"promptTokenCount":-1}"#, r#"{"promptTokenCount":1,"cachedContentTokenCount":2}"#, "{}"] {
            let text = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}}],"usageMetadata":{usage}}}"#
            );
            assert_eq!(read_text(&text).expect("an answer").reported.tokens, None, "{usage}");
        }
    }
}
