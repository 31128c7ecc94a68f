//! A message as a chat completion.
//!
//! | message | chat completion |
//! |---|---|
//! | `text` blocks | `content`, joined |
//! | `tool_use` blocks | `tool_calls`, with `input` as text |
//! | `thinking` blocks | `reasoning_content` for people, and `thinking_blocks` whole, to be sent back with tool results |
//! | `end_turn`, `stop_sequence` | `stop`; which sequence it was stands in the choice's `stop_reason` |
//! | `max_tokens`, `model_context_window_exceeded` | `length` |
//! | `tool_use` | `tool_calls` |
//! | `refusal` | `content_filter` |
//! | `pause_turn` | no answer: the model wants to be asked to go on |
//! | `usage`, where the cache stands beside the input | `usage`, where it is a part of the prompt; the record keeps the former |

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_types::Tokens;

use crate::adapter::{Read, Reported, Sent, Unusable};
use crate::completion::{Choice, Written, completion};
use crate::payload;
use crate::usage::{Counts, count, report};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    id: Option<String>,
    model: Option<String>,
    content: Option<Vec<Value>>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Reads an answer: a message that came to its end.
pub(super) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let message: Message<'_> = payload::parse(&text, "message")?;
    payload::refuse_error(message.error)?;
    let blocks = message.content.ok_or_else(|| payload::unusable("an answer without content"))?;
    let written = written(&blocks);
    let answer_text_bytes = written.bytes();
    let counts = message.usage.and_then(|raw| serde_json::from_str::<RawUsage<'_>>(raw.get()).ok()?.counts());
    let usage = counts.as_ref().map(|counts| counts.tokens);
    let reported = message.usage.map(|raw| report(raw, counts, sent, answer_text_bytes)).unwrap_or_default();
    let ended = |message: &str, reported| Err(Unusable::bad(message, reported));
    let finish = match message.stop_reason.as_deref() {
        Some("pause_turn") => return ended("an answer that the model paused", reported),
        reason => match reason.and_then(finish) {
            Some(finish) => finish,
            None => return ended("an answer without a known end", reported),
        },
    };
    if answer_text_bytes == 0 && finish == "stop" {
        return ended("an answer that holds nothing", reported);
    }
    let choices = vec![Choice { message: written, finish, stop_reason: message.stop_sequence }];
    let body = completion(message.id, message.model, choices, usage.as_ref());
    Ok(Read { body, finish: finish.to_owned(), answer_text_bytes, reported })
}

/// The word for an end that is one.
pub(super) fn finish(stop_reason: &str) -> Option<&'static str> {
    match stop_reason {
        "end_turn" | "stop_sequence" => Some("stop"),
        "max_tokens" | "model_context_window_exceeded" => Some("length"),
        "tool_use" => Some("tool_calls"),
        "refusal" => Some("content_filter"),
        _ => None,
    }
}

/// What the provider says was used.
pub(super) fn reported(usage: &RawValue, sent: &Sent<'_>, answer_text_bytes: usize) -> Reported {
    let counts = serde_json::from_str::<RawUsage<'_>>(usage.get()).ok().and_then(|usage| usage.counts());
    report(usage, counts, sent, answer_text_bytes)
}

/// What the model wrote.
pub(super) fn written(blocks: &[Value]) -> Written {
    let mut written = Written::default();
    for block in blocks {
        match block["type"].as_str().unwrap_or_default() {
            "text" => written.text.push_str(block["text"].as_str().unwrap_or_default()),
            "thinking" => {
                written.thoughts.push_str(block["thinking"].as_str().unwrap_or_default());
                written.thinking_blocks.push(block.clone());
            }
            "redacted_thinking" => written.thinking_blocks.push(block.clone()),
            "tool_use" => written.tool_calls.push(json!({
                "id": block["id"],
                "type": "function",
                "function": { "name": block["name"], "arguments": arguments(&block["input"]) },
            })),
            // What servers' own tools write has no place in a chat completion.
            _ => {}
        }
    }
    written
}

/// The arguments of a call as text. They are text already where a stream was cut in the middle of them.
fn arguments(input: &Value) -> String {
    input.as_str().map_or_else(|| input.to_string(), str::to_owned)
}

/// Anthropic counts what its cache gave and took beside the input, and thoughts inside the output, without saying how
/// many.
#[derive(Deserialize)]
struct RawUsage<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
}

impl RawUsage<'_> {
    fn counts(&self) -> Option<Counts> {
        // A count that is `null` was not counted.
        let or_none = |field: Option<_>| count(field.filter(|raw: &&RawValue| raw.get() != "null"));
        let tokens = Tokens {
            input: count(self.input_tokens)??,
            cache_read: or_none(self.cache_read_input_tokens)?.unwrap_or(0),
            cache_write: or_none(self.cache_creation_input_tokens)?.unwrap_or(0),
            output: count(self.output_tokens)??,
            reasoning: 0,
        };
        Some(Counts { tokens, reasoning_is_known: false, silent: 0 })
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

    fn completion(text: &str) -> Value {
        serde_json::from_str(read_text(text).expect("an answer").body.get()).expect("JSON")
    }

    #[test]
    fn the_sequence_that_stopped_it_is_told() {
        let text = r#"{"content":[{"type":"text","text":"a"}],"stop_reason":"stop_sequence","stop_sequence":"END"}"#;
        let choice = &completion(text)["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&"stop".into(), &"END".into()));
        let text = r#"{"content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","stop_sequence":null}"#;
        assert_eq!(completion(text)["choices"][0].get("stop_reason"), None);
    }

    #[test]
    fn a_message_becomes_a_completion_and_its_usage_is_taken_apart() {
        let text = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
            {"type":"text","text":"Hel"},{"type":"text","text":"lo"}],"stop_reason":"end_turn","stop_sequence":null,
            "usage":{"input_tokens":10,"cache_creation_input_tokens":3,"cache_read_input_tokens":7,"output_tokens":5}}"#;
        let read = read_text(text).expect("an answer");
        let tokens = Tokens { input: 10, cache_read: 7, cache_write: 3, output: 5, reasoning: 0 };
        assert_eq!((read.finish.as_str(), read.reported.tokens), ("stop", Some(tokens)));
        assert!(read.reported.raw.contains(r#""cache_read_input_tokens":7"#), "the vendor's own object is kept");
        let body = completion(text);
        assert_eq!((body["id"].as_str(), body["model"].as_str()), (Some("msg_1"), Some("claude-x")));
        assert_eq!(body["choices"][0]["message"]["content"], "Hello");
        assert_eq!(body["usage"]["prompt_tokens"], 20);
        assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 7);
        assert_eq!(crate::openai::answer_text(&read.body), "Hello");
    }

    #[test]
    fn tools_and_thoughts_come_back_whole() {
        let body = completion(
            r#"{"content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},
            {"type":"tool_use","id":"t1","name":"look","input":{"at":[1]}}],"stop_reason":"tool_use"}"#,
        );
        let choice = &body["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert_eq!(choice["message"]["content"], Value::Null);
        assert_eq!(choice["message"]["reasoning_content"], "hm");
        assert_eq!(choice["message"]["thinking_blocks"][0]["signature"], "s");
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!(*call, json!({"id":"t1","type":"function","function":{"name":"look","arguments":r#"{"at":[1]}"#}}));
    }

    #[test]
    fn every_end_has_its_word_and_what_is_no_end_is_no_answer() {
        let ended = |reason: &str, content: &str| {
            read_text(&format!(r#"{{"content":[{content}],"stop_reason":{reason}}}"#))
                .map(|read| read.finish)
                .map_err(|unusable| unusable.message)
        };
        let text = r#"{"type":"text","text":"a"}"#;
        for (reason, finish) in [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("refusal", "content_filter"),
        ] {
            assert_eq!(ended(&format!("\"{reason}\""), text).as_deref(), Ok(finish));
        }
        for (reason, content, message) in [
            (r#""pause_turn""#, text, "an answer that the model paused"),
            ("null", text, "an answer without a known end"),
            (r#""end_turn""#, "", "an answer that holds nothing"),
            (r#""end_turn""#, r#"{"type":"text","text":""}"#, "an answer that holds nothing"),
        ] {
            assert_eq!(ended(reason, content).unwrap_err(), message);
        }
        assert_eq!(ended(r#""refusal""#, "").as_deref(), Ok("content_filter"));
    }

    #[test]
    fn what_only_looks_like_an_answer_is_named_without_quoting_it() {
        for (text, message) in [
            ("", "an empty body"),
            ("<html>secret", "an HTML page"),
            (r#"{"content":"secret"}"#, "JSON that is no message"),
            (r#"{"id":"secret"}"#, "an answer without content"),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                "an error in place of an answer: Overloaded",
            ),
        ] {
            assert_eq!(read_text(text).unwrap_err().message, message, "{text}");
        }
    }

    #[test]
    fn counts_that_cannot_be_are_no_counts() {
        for usage in [
            r#"{"input_tokens":-1,"output_tokens":1}"#,
            r#"{"input_tokens":1}"#,
            r#"{"input_tokens":1,"output_tokens":1,"cache_read_input_tokens":"7"}"#,
            r#"{"input_tokens":999999,"output_tokens":1}"#,
        ] {
            let text =
                format!(r#"{{"content":[{{"type":"text","text":"a"}}],"stop_reason":"end_turn","usage":{usage}}}"#);
            assert_eq!(read_text(&text).expect("an answer").reported.tokens, None, "{usage}");
        }
        let text = r#"{"content":[{"type":"text","text":"a"}],"stop_reason":"end_turn",
            "usage":{"input_tokens":9,"cache_creation_input_tokens":null,"output_tokens":2}}"#;
        let tokens = read_text(text).expect("an answer").reported.tokens;
        assert_eq!(tokens, Some(Tokens { input: 9, output: 2, ..Tokens::default() }));
    }
}
