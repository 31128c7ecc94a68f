//! What the provider says was used, in disjoint buckets; or nothing, if what it says cannot be.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_types::Tokens;

use crate::adapter::{Reported, Sent};
use crate::usage::{Counts, count, report};

#[derive(Deserialize)]
struct RawUsage<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<PromptDetails<'a>>,
    #[serde(borrow)]
    completion_tokens_details: Option<CompletionDetails<'a>>,
}

#[derive(Default, Deserialize)]
struct PromptDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct CompletionDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    audio_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    rejected_prediction_tokens: Option<&'a RawValue>,
}

/// Nothing was reported.
pub(super) fn none() -> Reported {
    Reported::default()
}

/// Reads a usage object. Counts that are absent, negative, fractional, too large, contradictory or far beyond what the
/// request and the answer can hold are no counts; the object itself is kept either way.
pub(super) fn read(usage: Option<&RawValue>, sent: &Sent<'_>, answer_text_bytes: usize) -> Reported {
    let Some(raw) = usage else { return none() };
    let counts = serde_json::from_str::<RawUsage<'_>>(raw.get()).ok().and_then(|usage| counts(&usage));
    report(raw, counts, sent, answer_text_bytes)
}

/// The same for embeddings, which have prompt tokens alone.
pub(super) fn read_embeddings(usage: Option<&RawValue>, sent: &Sent<'_>) -> Reported {
    let Some(raw) = usage else { return none() };
    let prompt = serde_json::from_str::<RawUsage<'_>>(raw.get()).ok().and_then(|usage| count(usage.prompt_tokens)?);
    let tokens = prompt.map(|input| Tokens { input, ..Tokens::default() });
    let counts = tokens.map(|tokens| Counts { tokens, reasoning_is_known: true, silent: 0 });
    report(raw, counts, sent, 0)
}

#[derive(Deserialize)]
struct ResponseUsage<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    input_tokens_details: Option<PromptDetails<'a>>,
    #[serde(borrow)]
    output_tokens_details: Option<CompletionDetails<'a>>,
}

/// The same for a response, which has other names for the same counts.
pub(super) fn read_response(usage: Option<&RawValue>, sent: &Sent<'_>, answer_text_bytes: usize) -> Reported {
    let Some(raw) = usage else { return none() };
    let same = |usage: ResponseUsage<'_>| {
        counts(&RawUsage {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens,
            prompt_tokens_details: usage.input_tokens_details,
            completion_tokens_details: usage.output_tokens_details,
        })
    };
    let counts = serde_json::from_str(raw.get()).ok().and_then(same);
    report(raw, counts, sent, answer_text_bytes)
}

fn counts(usage: &RawUsage<'_>) -> Option<Counts> {
    let prompt_details = usage.prompt_tokens_details.as_ref();
    let completion_details = usage.completion_tokens_details.as_ref();
    let prompt = count(usage.prompt_tokens)??;
    let completion = count(usage.completion_tokens)??;
    let total = count(usage.total_tokens)?;
    let cache_read = count(prompt_details.and_then(|d| d.cached_tokens))?.unwrap_or(0);
    let cache_write = count(prompt_details.and_then(|d| d.cache_write_tokens))?.unwrap_or(0);
    let known_reasoning = count(completion_details.and_then(|d| d.reasoning_tokens))?;
    let audio = count(completion_details.and_then(|d| d.audio_tokens))?.unwrap_or(0);
    let rejected = count(completion_details.and_then(|d| d.rejected_prediction_tokens))?.unwrap_or(0);

    let input = prompt.checked_sub(cache_read)?.checked_sub(cache_write)?;
    let reasoning = known_reasoning.unwrap_or(0);
    // OpenAI counts reasoning inside completion_tokens. xAI counts it beside them, and only its total tells.
    let beside = prompt.checked_add(completion)?.checked_add(reasoning)?;
    let output = if total == Some(beside) { completion } else { completion.checked_sub(reasoning)? };
    let tokens = Tokens { input, cache_read, cache_write, output, reasoning };
    Some(Counts { tokens, reasoning_is_known: known_reasoning.is_some(), silent: audio.saturating_add(rejected) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tollgate_types::job::MAX_TOKENS_MAX;

    use super::*;

    fn read_with(text: &str, body: &str, max_tokens: Option<u64>, answer_bytes: usize) -> Option<Tokens> {
        let raw: Box<RawValue> = serde_json::from_str(text).expect("JSON");
        let body = Bytes::copy_from_slice(body.as_bytes());
        read(Some(&raw), &Sent { body: &body, max_tokens, n: 1 }, answer_bytes).tokens
    }

    fn read_plain(text: &str) -> Option<Tokens> {
        read_with(text, &"x".repeat(1000), None, 1000)
    }

    fn tokens([input, cache_read, cache_write, output, reasoning]: [u64; 5]) -> Option<Tokens> {
        Some(Tokens { input, cache_read, cache_write, output, reasoning })
    }

    #[test]
    fn nested_counts_are_taken_apart() {
        for (text, expected) in [
            (r#"{"prompt_tokens":10,"completion_tokens":5}"#, [10, 0, 0, 5, 0]),
            (r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#, [0; 5]),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":null}"#,
                [10, 0, 0, 5, 0],
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":45,"new_field":{}}}"#,
                [10, 60, 30, 5, 45],
            ),
            // xAI: reasoning beside the completion.
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":315,"completion_tokens_details":{"reasoning_tokens":300}}"#,
                [10, 0, 0, 5, 300],
            ),
        ] {
            assert_eq!(read_plain(text), tokens(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_no_count() {
        for text in [
            "null",
            "{}",
            "[]",
            "3",
            r#"{"prompt_tokens":10}"#,
            r#"{"prompt_tokens":10,"completion_tokens":null}"#,
            r#"{"prompt_tokens":-1,"completion_tokens":5}"#,
            r#"{"prompt_tokens":10.0,"completion_tokens":5}"#,
            r#"{"prompt_tokens":"10","completion_tokens":5}"#,
            r#"{"prompt_tokens":1e3,"completion_tokens":5}"#,
            r#"{"prompt_tokens":99999999999999999999,"completion_tokens":5}"#,
            r#"{"prompt_tokens":18446744073709551615,"completion_tokens":5}"#,
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":11}}"#,
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":-1}}"#,
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":6,"cache_write_tokens":5}}"#,
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":7}"#,
            r#"{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":6}}"#,
        ] {
            assert_eq!(read_plain(text), None, "{text}");
        }
    }

    #[test]
    fn a_prompt_may_not_have_far_more_tokens_than_bytes_unless_it_refers_to_something() {
        let check = |prompt: u64, body: &str, possible: bool| {
            let text = format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":1}}"#);
            assert_eq!(read_with(&text, body, None, 10).is_some(), possible, "{prompt} for {body}");
        };
        check(1224, &"x".repeat(100), true);
        check(1225, &"x".repeat(100), false);
        let picture = r#"{"type":"image_url","image_url":{"url":"https://x/y"}}"#;
        check(90_000, picture, true);
        check(MAX_TOKENS_MAX + 1, picture, false);
    }

    #[test]
    fn an_answer_may_not_have_far_more_tokens_than_were_asked_for_or_written() {
        let check = |output: u64, details: &str, max_tokens, bytes, possible: bool| {
            let completion = output + 20_000;
            let text = match details {
                "" => format!(r#"{{"prompt_tokens":1,"completion_tokens":{output}}}"#),
                _ => format!(
                    r#"{{"prompt_tokens":1,"completion_tokens":{completion},"completion_tokens_details":{{"reasoning_tokens":20000{details}}}}}"#
                ),
            };
            assert_eq!(read_with(&text, "xxx", max_tokens, bytes).is_some(), possible, "{text}");
        };
        check(264, "", Some(100), 1000, true);
        check(265, "", Some(100), 1000, false);
        // Reasoning is not bounded by what was written or asked for.
        check(100, " ", Some(100), 1000, true);
        check(265, " ", Some(100), 1000, false);
        check(4096 + 20, " ", None, 10, true);
        check(4096 + 21, " ", None, 10, false);
        check(9000, r#","audio_tokens":5000"#, None, 10, true);
        // Who does not tell about reasoning may have reasoned a lot.
        check(100_000, "", None, 2, true);
        check(200_000, "", None, 2, false);
    }
}
