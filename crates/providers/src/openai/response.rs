//! Reads the body of a 2xx: an answer, or something that only looks like one.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage;
use crate::adapter::{Read, Sent, Unusable};
use crate::payload;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    finish_reason: Option<String>,
}

/// The fields of a message that carry what the model wrote, unread.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow)]
    audio: Option<&'a RawValue>,
    // Two names that OpenAI's copies give to thoughts that they show.
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    fn written(&self) -> impl Iterator<Item = &'a str> {
        let fields = [
            self.content,
            self.refusal,
            self.tool_calls,
            self.function_call,
            self.audio,
            self.reasoning_content,
            self.reasoning,
        ];
        fields.into_iter().flatten().map(RawValue::get).filter(|text| !matches!(*text, "\"\"" | "[]" | "{}"))
    }
}

/// Reads an answer: a JSON object with at least one choice, each with a message, and not an error in disguise.
///
/// An answer that a content filter cut or emptied is an answer: it was billed, and `finish` says what happened. One
/// that ended by itself and holds nothing at all is not.
pub(crate) fn read(bytes: Vec<u8>, sent: &Sent<'_>) -> Result<Read, Unusable> {
    let text = payload::text(bytes)?;
    let envelope: Envelope<'_> = payload::parse(&text, "chat completion")?;
    payload::refuse_error(envelope.error)?;
    let choices = envelope.choices.unwrap_or_default();
    let first = choices.first().ok_or_else(|| payload::unusable("an answer without choices"))?;
    let answer_text_bytes: usize =
        choices.iter().filter_map(|c| c.message.as_ref()).flat_map(Message::written).map(str::len).sum();
    let reported = usage::read(envelope.usage, sent, answer_text_bytes);
    if choices.iter().any(|choice| choice.message.is_none()) {
        return Err(Unusable::bad("a choice without a message", reported));
    }
    let finish = finish(first);
    if answer_text_bytes == 0 && matches!(finish.as_str(), "" | "stop") {
        return Err(Unusable::bad("an answer that holds nothing", reported));
    }
    // The second and last pass over the text: it makes the value that is passed on byte for byte.
    let body = RawValue::from_string(text).expect("it was just read as JSON");
    Ok(Read { body, finish, answer_text_bytes, reported })
}

/// Why the first choice ended. xAI leaves it empty when the model calls tools.
fn finish(choice: &Choice<'_>) -> String {
    const FINISH_CHARS_MAX: usize = 32;
    let reason = choice.finish_reason.as_deref().unwrap_or_default();
    let calls_tools = || choice.message.as_ref().is_some_and(|m| m.tool_calls.is_some_and(|raw| raw.get() != "[]"));
    if reason.is_empty() && calls_tools() {
        return "tool_calls".to_owned();
    }
    reason.chars().filter(|c| !c.is_control()).take(FINISH_CHARS_MAX).collect()
}

/// All that the model wrote, as text: for counting it when the provider did not.
pub(crate) fn answer_text(body: &RawValue) -> String {
    let Ok(Envelope { choices: Some(choices), .. }) = serde_json::from_str(body.get()) else { return String::new() };
    let mut text = String::new();
    for written in choices.iter().filter_map(|c| c.message.as_ref()).flat_map(Message::written) {
        match serde_json::from_str::<String>(written) {
            Ok(plain) => text.push_str(&plain),
            // Tool calls and lists of parts: their JSON is about what the model had to write.
            Err(_) => text.push_str(written),
        }
        text.push('\n');
    }
    text.pop();
    text
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
    fn an_answer_is_passed_on_byte_for_byte() {
        let text = r#"{"id":"a", "x":1.50,"choices":[{"index":0,"message":{"role":"assistant","content":"h\u00e9 "},
            "finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
        let read = read_text(text).expect("an answer");
        assert_eq!(read.body.get(), text);
        assert_eq!(read.finish, "stop");
        assert_eq!(read.reported.tokens, Some(Tokens { input: 5, output: 2, ..Tokens::default() }));
        assert_eq!(answer_text(&read.body), "hé ");
    }

    #[test]
    fn answers_of_every_shape_are_answers() {
        for (choice, finish, text) in [
            (r#"{"message":{"content":"","refusal":null},"finish_reason":"content_filter"}"#, "content_filter", ""),
            (r#"{"message":{"content":""},"finish_reason":"length"}"#, "length", ""),
            (r#"{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}"#, "stop", "no"),
            (
                r#"{"message":{"content":null,"tool_calls":[{"id":1}]},"finish_reason":""}"#,
                "tool_calls",
                r#"[{"id":1}]"#,
            ),
            (r#"{"message":{"content":null,"tool_calls":[{"id":1}]}}"#, "tool_calls", r#"[{"id":1}]"#),
            (r#"{"message":{"content":[{"text":"a"}]},"finish_reason":null}"#, "", r#"[{"text":"a"}]"#),
            (r#"{"message":{"content":"a","reasoning_content":"b"},"finish_reason":"stop"}"#, "stop", "a\nb"),
        ] {
            let read = read_text(&format!(r#"{{"error":null,"choices":[{choice}]}}"#)).expect(choice);
            assert_eq!(read.finish, finish, "{choice}");
            assert_eq!(answer_text(&read.body), text, "{choice}");
            assert_eq!(read.reported.tokens, None, "nothing was reported");
        }
    }

    #[test]
    fn what_only_looks_like_an_answer_is_named_without_quoting_it() {
        for (text, message) in [
            ("", "an empty body"),
            (" \n", "an empty body"),
            ("<!doctype html><p>secret", "an HTML page"),
            (r#"{"choices":[{"message":{"content":"secret"#, "JSON that breaks off after 41 bytes"),
            ("secret", "no JSON at line 1, column 1"),
            (r#"{"choices":[]} secret"#, "no JSON at line 1, column 16"),
            (r#"{"choices":"secret"}"#, "JSON that is no chat completion"),
            (r#"["secret"]"#, "JSON that is no chat completion"),
            (r#""secret""#, "JSON that is no chat completion"),
            (r#"{"choices":[]}"#, "an answer without choices"),
            (r#"{"object":"secret"}"#, "an answer without choices"),
            (r#"{"choices":[{"delta":{"content":"secret"}}]}"#, "a choice without a message"),
            (r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#, "an answer that holds nothing"),
            (r#"{"choices":[{"message":{"content":null},"finish_reason":null}]}"#, "an answer that holds nothing"),
            (r#"{"error":{"message":"overloaded"}}"#, "an error in place of an answer: overloaded"),
            (r#"{"error":"overloaded"}"#, "an error in place of an answer: overloaded"),
        ] {
            let unusable = read_text(text).err().unwrap_or_else(|| panic!("{text} was taken for an answer"));
            assert_eq!(unusable.message, message, "{text}");
        }
        assert_eq!(
            read(vec![0xff], &Sent { body: &Bytes::new(), max_tokens: None, n: 1 }).unwrap_err().message,
            "a body that is not UTF-8"
        );
    }

    #[test]
    fn an_unusable_answer_still_says_what_it_used() {
        let text = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
        let unusable = read_text(text).unwrap_err();
        assert_eq!(unusable.reported.tokens, Some(Tokens { input: 5, output: 2, ..Tokens::default() }));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!(r#"{{"x":{}{},"choices":[]}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(read_text(&deep).is_err());
    }
}
