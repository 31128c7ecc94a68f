use serde_json::{Value, json};

use super::endpoint;
use crate::stream::testing::{joined, read, read_whole};
use crate::stream::{Broken, Stage};
use crate::vendor::Vendor::Gemini;

const STREAM: &str = include_str!("../../../tests/streams/gemini.sse");
const WHOLE: &str = include_str!("../../../tests/streams/gemini.json");

/// A completion without the time of its making.
fn timeless(mut body: Value) -> Value {
    body["created"] = Value::Null;
    body
}

/// The first frames.
fn frames(count: usize) -> String {
    STREAM.split_inclusive("\r\n\r\n").take(count).collect()
}

#[test]
fn a_stream_has_its_own_address() {
    for (whole, stream) in [
        ("https://x/v1beta/models/m:generateContent", "https://x/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("https://x/models/m:generateContent?a=b", "https://x/models/m:streamGenerateContent?a=b&alt=sse"),
    ] {
        assert_eq!(endpoint(&whole.parse().expect("a URL")).as_str(), stream);
    }
}

#[test]
fn a_stream_ends_as_the_same_completion_as_a_whole_answer() {
    let told = read(Gemini, STREAM);
    assert_eq!((told.stage, &told.broken), (Stage::Answered, &None));
    assert_eq!(timeless(told.body()), timeless(read_whole(Gemini, WHOLE)));
}

#[test]
fn who_joins_the_deltas_has_the_answer() {
    let told = read(Gemini, STREAM);
    let chunks = told.chunks();
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    assert!(
        chunks.iter().all(|chunk| chunk["id"] == "mAitaLmkHPPlz7IPvtfUqQ4" && chunk["model"] == "gemini-2.5-flash")
    );
    assert_eq!(joined(&told.deltas)["choices"], read_whole(Gemini, WHOLE)["choices"]);
    let last = chunks.len() - 1;
    assert_eq!(chunks[last]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!((told.writes[0], told.writes[last]), (true, false));
}

#[test]
fn a_stream_that_breaks_off_says_what_there_was() {
    let told = read(Gemini, &frames(4));
    assert_eq!((told.stage, told.partial.is_total), (Stage::Open, false));
    assert_eq!(told.partial.text, "Let me think.The weather in Köln:Another");
    assert_eq!(told.partial.reported.tokens.map(|tokens| (tokens.input, tokens.output)), Some((11, 0)));
    let told = read(Gemini, STREAM);
    assert!(told.partial.is_total);
    assert_eq!(told.partial.reported.tokens.map(|tokens| (tokens.input, tokens.reasoning)), Some((8, 22)));
    assert_eq!(read(Gemini, "").stage, Stage::Open);
}

#[test]
fn a_blocked_prompt_is_an_answer_and_an_odd_end_is_none() {
    let blocked = json!({ "promptFeedback": { "blockReason": "SAFETY" }, "usageMetadata": { "promptTokenCount": 5 } });
    let told = read(Gemini, &format!("data: {blocked}\n\n"));
    let answer = told.read.expect("it ended").expect("it is an answer");
    assert_eq!(
        (answer.finish.as_str(), answer.reported.tokens.map(|tokens| tokens.input)),
        ("content_filter", Some(5))
    );

    let odd = json!({ "candidates": [{ "finishReason": "MALFORMED_FUNCTION_CALL" }] });
    let told = read(Gemini, &format!("{}data: {odd}\n\n", frames(2)));
    let unusable = told.read.expect("it ended").expect_err("it is no answer");
    assert_eq!(unusable.message, "an answer without a known end");
}

#[test]
fn an_error_ends_the_stream_alone_or_in_a_list() {
    let error = json!({ "error": { "code": 503, "message": "m", "status": "UNAVAILABLE" } });
    for frame in [error.to_string(), json!([error]).to_string()] {
        let told = read(Gemini, &format!("{}data: {frame}\n\n", frames(3)));
        assert_eq!(told.broken, Some(Broken::Error), "{frame}");
        assert_eq!(told.partial.text, "Let me think.The weatherAn");
    }
    let told = read(Gemini, "data: {\"candidates\":\"secret\"}\n\n");
    let what = "an event of 23 bytes that holds JSON that is no generated content";
    assert_eq!(told.broken, Some(Broken::Unreadable(what.into())));
}
