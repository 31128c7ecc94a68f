use serde_json::{Value, json};
use tollgate_types::Tokens;

use crate::stream::testing::{joined, read, read_whole};
use crate::stream::{Broken, Stage};
use crate::vendor::Vendor::Anthropic;

const STREAM: &str = include_str!("../../../tests/streams/anthropic.sse");
const WHOLE: &str = include_str!("../../../tests/streams/anthropic.json");

/// A completion without the time of its making.
fn timeless(mut body: Value) -> Value {
    body["created"] = Value::Null;
    body
}

/// The events up to the one that has this in it, and that one.
fn up_to(what: &str) -> String {
    let events: Vec<&str> = STREAM.split_inclusive("\n\n").collect();
    let at = events.iter().position(|event| event.contains(what)).expect("there is one");
    events[..=at].concat()
}

#[test]
fn a_stream_ends_as_the_same_completion_as_a_whole_answer() {
    let told = read(Anthropic, STREAM);
    assert_eq!((told.stage, &told.broken), (Stage::Over, &None));
    assert_eq!(timeless(told.body()), timeless(read_whole(Anthropic, WHOLE)));
}

#[test]
fn who_joins_the_deltas_has_the_answer() {
    let told = read(Anthropic, STREAM);
    let chunks = told.chunks();
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["created"].is_i64()));
    assert!(chunks.iter().all(|chunk| chunk["id"] == "msg_014p7gG3wDgGV9EUtLvnow3U"));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(told.writes.iter().position(|writes| *writes), Some(1), "a thought is the first content");
    assert_eq!(chunks[chunks.len() - 1]["choices"][0]["finish_reason"], "tool_calls");

    let mut joined = joined(&told.deltas);
    let mut whole = read_whole(Anthropic, WHOLE);
    for completion in [&mut joined, &mut whole] {
        // The pieces keep the model's white space.
        let arguments = &mut completion["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
        *arguments = serde_json::from_str(arguments.as_str().expect("text")).expect("JSON");
    }
    // A call without arguments has no piece of them.
    joined["choices"][0]["message"]["tool_calls"][1]["function"]["arguments"] = "{}".into();
    assert_eq!(joined["choices"], whole["choices"]);
}

#[test]
fn a_stream_that_breaks_off_says_what_there_was() {
    for (what, text, is_total, tokens) in [
        ("message_start", "", false, Some(2)),
        ("Francisco", "{\"location\": \"San Francisco", false, Some(2)),
        ("message_delta", "fahrenheit\"}", true, Some(89)),
    ] {
        let told = read(Anthropic, &up_to(what));
        let Tokens { input, cache_read, .. } = told.partial.reported.tokens.expect("it was said at the start");
        assert_eq!((input, cache_read), (472, 28));
        assert_eq!(told.partial.reported.tokens.map(|tokens| tokens.output), tokens, "{what}");
        assert!(told.partial.text.ends_with(text), "{}", told.partial.text);
        assert_eq!((told.partial.is_total, told.read.is_some()), (is_total, is_total), "{what}");
    }
    let told = read(Anthropic, "");
    assert_eq!((told.partial.text.as_str(), told.partial.reported.tokens), ("", None));
}

#[test]
fn a_call_that_is_cut_by_the_longest_answer_is_kept_as_it_is() {
    let end = r#"data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":9}}"#;
    let told = read(Anthropic, &format!("{}{end}\n\n", up_to("Francisco")));
    assert_eq!(told.stage, Stage::Answered);
    let choice = told.body()["choices"][0].take();
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"location\": \"San Francisco");
}

#[test]
fn an_error_ends_the_stream_whatever_names_it() {
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    for event in
        [format!("event: error\ndata: {error}\n\n"), format!("data: {error}\n\n"), "event: error\ndata: x\n\n".into()]
    {
        assert_eq!(read(Anthropic, &(up_to("Okay") + &event)).broken, Some(Broken::Error), "{event}");
    }
    let told = read(Anthropic, "event: message_start\ndata: secret\n\n");
    assert_eq!(told.broken, Some(Broken::Unreadable("an event of 6 bytes that holds no JSON".into())));
}

#[test]
fn a_paused_answer_is_none_and_its_deltas_name_no_end() {
    let end = r#"data: {"type":"message_delta","delta":{"stop_reason":"pause_turn"},"usage":{"output_tokens":9}}"#;
    let told = read(Anthropic, &format!("{}{end}\n\n", up_to("Okay")));
    assert!(told.chunks().iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
    let unusable = told.read.expect("it ended").expect_err("it is no answer");
    assert_eq!(unusable.message, "an answer that the model paused");
    assert_eq!(unusable.reported.tokens.map(|tokens| tokens.output), Some(9));
}
