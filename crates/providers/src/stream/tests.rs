use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::vendor::Vendor;

#[test]
fn a_chunk_has_the_shape_of_openais() {
    let head = Head { id: "i".into(), model: "m".into(), created: 7 };
    assert_eq!(
        head.chunk(1, json!({ "content": "a" }), None),
        r#"{"id":"i","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":1,"delta":{"content":"a"},"logprobs":null,"finish_reason":null}]}"#
    );
}

#[test]
fn a_whole_answer_is_one_chunk() {
    let whole = json!({ "id": "i", "object": "chat.completion", "created": 7, "model": "m", "choices": [
        { "index": 0, "message": { "role": "assistant", "content": "a" }, "finish_reason": "stop" },
        { "index": 1, "message": { "tool_calls": [{ "id": "x" }, { "id": "y" }] }, "finish_reason": "tool_calls" },
    ], "usage": { "prompt_tokens": 1 } });
    let chunk: Value = serde_json::from_slice(&chunk_of_whole(
        &serde_json::value::to_raw_value(&whole).expect("values always serialise"),
    ))
    .expect("JSON");
    let expected = json!({ "id": "i", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [
        { "index": 0, "delta": { "role": "assistant", "content": "a" }, "finish_reason": "stop" },
        { "index": 1, "delta": { "tool_calls": [{ "id": "x", "index": 0 }, { "id": "y", "index": 1 }] }, "finish_reason": "tool_calls" },
    ], "usage": { "prompt_tokens": 1 } });
    assert_eq!(chunk, expected);
}

#[test]
fn an_answer_in_pieces_says_what_the_whole_says() {
    for text in ["", "a", &"é😀 word ".repeat(700)] {
        let whole = json!({ "id": "i", "object": "chat.completion", "model": "m", "choices": [
            { "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" },
            { "index": 1, "message": { "content": null, "tool_calls": [{ "id": "x" }] }, "finish_reason": "tool_calls" },
        ], "usage": { "prompt_tokens": 1 } });
        let chunks = chunks_of_answer(&serde_json::value::to_raw_value(&whole).expect("values always serialise"));
        assert!(chunks.len() <= 2 * PIECES_MAX + 5 && (text.len() < 2 || chunks.len() > 20), "{}", chunks.len());
        let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_slice(chunk).expect("JSON")).collect();
        assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == "i"));
        let of = |index: u64| {
            let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().expect("a list"));
            choices.filter(move |choice| choice["index"] == index).collect::<Vec<_>>()
        };
        let said: String = of(0).iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(said, text);
        assert_eq!(of(0)[0]["delta"]["role"], "assistant");
        assert_eq!(of(1)[0]["delta"]["tool_calls"], json!([{ "id": "x", "index": 0 }]));
        let ends = [of(0), of(1)].map(|of| of.last().expect("there are some")["finish_reason"].clone());
        assert_eq!(ends, ["stop", "tool_calls"]);
        assert_eq!(chunks.last().expect("there are some")["usage"]["prompt_tokens"], 1);
    }
}

/// JSON of any shape, in the words that vendors use.
fn json_of_words() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "choices",
        "delta",
        "content",
        "tool_calls",
        "function",
        "index",
        "id",
        "type",
        "arguments",
        "finish_reason",
        "usage",
        "message",
        "logprobs",
        "role",
        "refusal",
        "content_block",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "tool_use",
        "text_delta",
        "text",
        "input_json_delta",
        "partial_json",
        "thinking_delta",
        "thinking",
        "stop_reason",
        "end_turn",
        "candidates",
        "parts",
        "functionCall",
        "args",
        "thought",
        "finishReason",
        "STOP",
        "promptFeedback",
        "blockReason",
        "name",
        "usageMetadata",
        "responseId",
    ];
    let word = || proptest::sample::select(WORDS).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_u64).prop_map(Value::from),
        word().prop_map(Value::from),
        "[a-c{}\"]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((word(), inner), 0..8).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// Frames that are nearly those of vendors: their own, with values of any shape in some places.
fn frame() -> impl Strategy<Value = Value> {
    let openai = |(choice, delta, usage): (Value, Value, Value)| {
        let choice = if choice.is_object() { choice } else { json!({ "index": choice, "delta": delta }) };
        json!({ "choices": [choice], "usage": usage })
    };
    const KINDS: &[&str] =
        &["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"];
    let anthropic = |(kind, (block, delta, usage)): (&str, (Value, Value, Value))| json!({ "type": kind, "index": 0, "message": delta, "content_block": block, "delta": delta, "usage": usage });
    let gemini = |(part, reason, usage): (Value, Value, Value)| json!({ "candidates": [{ "content": { "parts": [part] }, "finishReason": reason }], "usageMetadata": usage });
    let three = || (json_of_words(), json_of_words(), json_of_words());
    prop_oneof![
        three().prop_map(openai),
        (proptest::sample::select(KINDS), three()).prop_map(anthropic),
        three().prop_map(gemini),
        json_of_words(),
    ]
}

proptest! {
    #[test]
    fn no_server_can_bring_a_reader_down(frames in proptest::collection::vec(frame(), 1..8)) {
        let text: String = frames.iter().map(|frame| format!("data: {frame}\n\n")).collect();
        for vendor in Vendor::ALL.into_iter().filter(|vendor| vendor.adapter().chat.streaming.is_some()) {
            let told = testing::read(vendor, &text);
            prop_assert_eq!(told.chunks().len(), told.writes.len());
            if let Some(Ok(read)) = told.read {
                let body: Value = serde_json::from_str(read.body.get()).expect("JSON");
                prop_assert!(body["choices"].is_array(), "{}", body);
                chunk_of_whole(&read.body);
            }
        }
    }
}

#[test]
fn an_event_that_is_no_json_is_not_quoted() {
    let event = Event { name: String::new(), data: Bytes::from_static(b"secret") };
    let Err(Broken::Unreadable(what)) = parse::<Value>(&event, "chunk") else { panic!("it was read") };
    assert_eq!(what, "an event of 6 bytes that holds no JSON");
    let event = Event { name: String::new(), data: Bytes::from_static(b"\"secret\"") };
    let Err(Broken::Unreadable(what)) = parse::<Map<_, _>>(&event, "chunk") else { panic!("it was read") };
    assert_eq!(what, "an event of 8 bytes that holds JSON that is no chunk");
}
