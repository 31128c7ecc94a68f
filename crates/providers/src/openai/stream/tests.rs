use serde_json::{Value, json};
use tollgate_types::Tokens;

use crate::stream::testing::{Told, joined, read, read_whole};
use crate::stream::{Broken, Stage};
use crate::vendor::Vendor::OpenAi;

const TEXT: &str = include_str!("../../../tests/streams/openai_text.sse");
const TOOLS: &str = include_str!("../../../tests/streams/openai_tools.sse");

fn sse(frames: &[Value]) -> String {
    frames.iter().map(|frame| format!("data: {frame}\n\n")).collect()
}

/// A frame of a server that leaves out all that can be left out.
fn frame(choice: Value) -> Value {
    json!({ "choices": [choice] })
}

fn content(text: &str) -> Value {
    frame(json!({ "delta": { "content": text } }))
}

fn message(told: Told) -> Value {
    told.body()["choices"][0]["message"].take()
}

#[test]
fn a_stream_ends_as_the_same_completion_as_a_whole_answer() {
    for (stream, whole) in [
        (TEXT, include_str!("../../../tests/streams/openai_text.json")),
        (TOOLS, include_str!("../../../tests/streams/openai_tools.json")),
    ] {
        let told = read(OpenAi, stream);
        assert_eq!((told.stage, &told.broken), (Stage::Over, &None));
        assert_eq!(told.body(), read_whole(OpenAi, whole));
    }
}

#[test]
fn chunks_are_passed_on_byte_for_byte_but_for_those_without_choices() {
    let told = read(OpenAi, TEXT);
    let frames: Vec<&str> = TEXT.split("\n\n").filter_map(|frame| frame.strip_prefix("data: ")).collect();
    let with_choices: Vec<&str> = frames.into_iter().filter(|frame| frame.contains("\"index\"")).collect();
    assert_eq!(told.deltas, with_choices);
    assert!(with_choices.len() > 5);
    let first = told.writes.iter().position(|writes| *writes);
    assert_eq!(first, Some(2), "a role is nothing that the model wrote");
    assert!(!told.writes[told.writes.len() - 1], "nor is an end");
}

#[test]
fn what_a_chunk_lacks_is_completed() {
    let mut first = content("a");
    first["model"] = "m".into();
    let text = sse(&[first, content("b"), frame(json!({ "delta": {}, "finish_reason": "stop" }))]);
    let told = read(OpenAi, &text.replace(r#","choices""#, ",\ndata: \"choices\""));
    for chunk in told.chunks() {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"], &chunk["model"]), (&"".into(), &0.into(), &"m".into()));
    }
    assert!(told.deltas.iter().all(|delta| !delta.contains(&b'\n')));
    assert_eq!(joined(&told.deltas)["choices"][0]["message"]["content"], "ab");
    assert_eq!(told.stage, Stage::Answered, "it was told why it ended");
    assert_eq!(message(told)["content"], "ab");
}

#[test]
fn an_end_is_done_or_a_reason_for_every_choice() {
    let ended = |index: u64| frame(json!({ "index": index, "delta": {}, "finish_reason": "stop" }));
    let other = frame(json!({ "index": 1, "delta": { "content": "b" }, "finish_reason": "" }));
    assert_eq!(read(OpenAi, "").stage, Stage::Open);
    assert_eq!(read(OpenAi, &sse(&[content("a")])).stage, Stage::Open);
    assert_eq!(read(OpenAi, &sse(&[content("a"), ended(0)])).stage, Stage::Answered);
    assert_eq!(read(OpenAi, &sse(&[content("a"), other.clone(), ended(0)])).stage, Stage::Open);
    assert_eq!(read(OpenAi, &sse(&[content("a"), other, ended(0), ended(1)])).stage, Stage::Answered);
    let done = read(OpenAi, &(sse(&[content("a")]) + "data: [DONE]\n\n"));
    assert_eq!(done.stage, Stage::Over);
    assert_eq!(message(done)["content"], "a");
    let nothing = read(OpenAi, "data: [DONE]\n\n").read.expect("it ended");
    assert_eq!(nothing.expect_err("it holds nothing").message, "an answer without choices");
}

#[test]
fn tool_calls_are_found_again_however_they_are_counted() {
    let call = |call: Value| frame(json!({ "delta": { "tool_calls": [call] } }));
    let whole =
        |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } });
    let piece = |index: Option<u64>, id: Option<&str>, arguments: &str| {
        let mut piece = json!({ "type": "function", "function": { "name": "f", "arguments": arguments } });
        index.into_iter().for_each(|index| piece["index"] = index.into());
        id.into_iter().for_each(|id| piece["id"] = id.into());
        call(piece)
    };
    for frames in [
        // Names that come again in each piece.
        vec![
            piece(Some(0), Some("x"), "{\"a\""),
            piece(Some(0), Some("x"), ":1}"),
            piece(Some(1), Some("y"), "{\"a\":1}"),
        ],
        // All under one index.
        vec![piece(Some(0), Some("x"), "{\"a\":1}"), piece(Some(0), Some("y"), "{\"a\""), piece(Some(0), None, ":1}")],
        // None.
        vec![piece(None, Some("x"), "{\"a\""), piece(None, None, ":1}"), piece(None, Some("y"), "{\"a\":1}")],
        // In between each other.
        vec![
            piece(Some(0), Some("x"), "{\"a\""),
            piece(Some(1), Some("y"), "{\"a\""),
            piece(Some(0), None, ":1}"),
            piece(Some(1), Some(""), ":1}"),
        ],
    ] {
        let told = read(OpenAi, &(sse(&frames) + "data: [DONE]\n\n"));
        assert!(told.writes.iter().all(|writes| *writes));
        let body = told.body();
        assert_eq!(body["choices"][0]["message"]["tool_calls"], json!([whole("x"), whole("y")]), "{frames:?}");
        assert_eq!(body["choices"][0]["finish_reason"], "tool_calls", "xAI leaves it out");
    }
}

#[test]
fn what_only_some_servers_send_is_joined_too() {
    let delta = |delta: Value| frame(json!({ "delta": delta }));
    let told = read(
        OpenAi,
        &(sse(&[
            delta(json!({ "role": "assistant", "content": "", "audio": { "id": "au", "data": "QU" } })),
            delta(json!({ "role": "assistant", "audio": { "data": "JD", "expires_at": 7 }, "citations": ["u"] })),
            delta(json!({ "content": [{ "type": "thinking", "thinking": "hm" }], "citations": ["v"] })),
            delta(json!({ "content": "he" })),
            delta(json!({ "content": "llo", "function_call": { "name": "f", "arguments": "{" } })),
            delta(json!({ "function_call": { "arguments": "}" }, "refusal": "n" })),
            frame(json!({ "delta": { "refusal": "o" }, "logprobs": { "content": [1] } })),
            frame(json!({ "delta": {}, "logprobs": { "content": [2] }, "finish_reason": "stop" })),
        ]) + "data: [DONE]\n\n"),
    );
    let choice = told.body()["choices"][0].take();
    assert_eq!(choice["logprobs"], json!({ "content": [1, 2] }));
    assert_eq!(
        choice["message"],
        json!({
            "role": "assistant", "refusal": "no", "citations": ["u", "v"],
            "audio": { "id": "au", "data": "QUJD", "expires_at": 7 },
            "content": [{ "type": "thinking", "thinking": "hm" }, { "type": "text", "text": "hello" }],
            "function_call": { "name": "f", "arguments": "{}" },
        })
    );
}

#[test]
fn usage_is_read_wherever_it_comes() {
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 2 });
    let with_usage = |mut frame: Value| {
        frame["usage"] = usage.clone();
        frame
    };
    let end = || frame(json!({ "delta": {}, "finish_reason": "stop" }));
    let usage_only = json!({ "choices": [], "usage": usage });
    for frames in [
        vec![content("a"), end(), usage_only],
        vec![content("a"), with_usage(end())],
        vec![with_usage(content("a")), end()],
        vec![content("a"), end(), with_usage(frame(json!({ "index": 0, "delta": {} })))],
    ] {
        let told = read(OpenAi, &(sse(&frames) + "data: [DONE]\n\n"));
        let read = told.read.expect("it ended").expect("it is an answer");
        assert_eq!(read.reported.tokens, Some(Tokens { input: 9, output: 2, ..Tokens::default() }), "{frames:?}");
    }
    let cut = read(OpenAi, &sse(&[with_usage(content("a"))]));
    assert!(!cut.partial.is_total && cut.partial.reported.tokens.is_some());
    assert_eq!(cut.partial.text, "a");
}

#[test]
fn errors_and_what_is_no_chunk_end_the_stream() {
    for error in [
        r#"{"error":{"message":"m","type":"server_error"}}"#,
        r#"{"error":"m"}"#,
        r#"{"object":"error","message":"m","code":400}"#,
    ] {
        let told = read(OpenAi, &format!("{}data: {error}\n\n{}", sse(&[content("a")]), sse(&[content("b")])));
        assert_eq!((told.broken, told.partial.text.as_str()), (Some(Broken::Error), "a"), "{error}");
    }
    assert_eq!(read(OpenAi, "event: error\ndata: secret\n\n").broken, Some(Broken::Error));
    for no_error in [r#"{"error":null}"#, r#"{"error":""}"#, r#"{"error":{}}"#, r#"{"choices":null}"#] {
        assert_eq!(read(OpenAi, &format!("data: {no_error}\n\n")).broken, None, "{no_error}");
    }
    for (frame, what) in [
        ("secret", "an event of 6 bytes that holds no JSON"),
        ("{\"choices\":[{\"delta\":", "an event of 21 bytes that holds no JSON"),
        ("[1]", "an event of 3 bytes that holds JSON that is no chunk"),
        (r#"{"choices":"secret"}"#, "an event with choices that are none"),
    ] {
        assert_eq!(read(OpenAi, &format!("data: {frame}\n\n")).broken, Some(Broken::Unreadable(what.to_owned())));
    }
}
