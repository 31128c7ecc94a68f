use serde_json::json;
use tollgate_messages::message;

use super::*;

fn check(params: Value, expected: Value) {
    let found = body(params.as_object().expect("an object").clone()).expect("it is taken");
    assert_eq!(Value::Object(found), expected);
}

fn refused(params: Value, param: &str) {
    let error = body(params.as_object().expect("an object").clone()).expect_err(param);
    assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
}

fn base(with: Value) -> Value {
    let mut params = json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }] });
    params.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
    params
}

#[test]
fn what_both_formats_have_is_carried_over() {
    check(
        base(json!({ "system": "be brief", "stop_sequences": ["x"], "temperature": 0.5, "top_k": 3, "stream": false,
            "metadata": { "user_id": "u" } })),
        json!({ "model": "m", "max_completion_tokens": 5, "temperature": 0.5, "top_k": 3, "stop": ["x"], "user": "u",
            "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" }] }),
    );
}

#[test]
fn tools_and_their_results_become_those_of_a_chat_completion() {
    check(
        base(json!({
            "tools": [{ "name": "f", "description": "d", "input_schema": { "type": "object" } }],
            "tool_choice": { "type": "tool", "name": "f", "disable_parallel_tool_use": true },
            "messages": [
                { "role": "assistant", "content": [{ "type": "text", "text": "t" }, { "type": "tool_use", "id": "1", "name": "f", "input": { "a": 1 } }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "1", "content": "r" }, { "type": "text", "text": "go on" }] },
            ],
        })),
        json!({
            "model": "m", "max_completion_tokens": 5, "parallel_tool_calls": false,
            "tools": [{ "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object" } } }],
            "tool_choice": { "type": "function", "function": { "name": "f" } },
            "messages": [
                { "role": "assistant", "content": "t",
                  "tool_calls": [{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }] },
                { "role": "tool", "tool_call_id": "1", "content": "r" },
                { "role": "user", "content": [{ "type": "text", "text": "go on" }] },
            ],
        }),
    );
}

#[test]
fn pictures_come_as_data_and_as_addresses() {
    let image = |source: Value| json!([{ "role": "user", "content": [{ "type": "image", "source": source }] }]);
    let url =
        |url: &str| json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": url } }] }]);
    let carried = |source: Value, expected: &str| {
        check(
            base(json!({ "messages": image(source) })),
            json!({ "model": "m", "max_completion_tokens": 5, "messages": url(expected) }),
        );
    };
    carried(json!({ "type": "base64", "media_type": "image/png", "data": "AA==" }), "data:image/png;base64,AA==");
    carried(json!({ "type": "url", "url": "https://x/y.png" }), "https://x/y.png");
}

#[test]
fn what_a_chat_completion_has_nothing_for_is_refused_by_name() {
    refused(base(json!({ "container": "c" })), "params.container");
    refused(base(json!({ "stream": true })), "params.stream");
    refused(base(json!({ "max_tokens": null })), "params.max_tokens");
    refused(base(json!({ "messages": "x" })), "params.messages");
    refused(base(json!({ "messages": [{ "role": "tool", "content": "x" }] })), "params.messages.0.role");
    refused(
        base(json!({ "messages": [{ "role": "user", "content": [{ "type": "video" }] }] })),
        "params.messages.0.content.0.type",
    );
    refused(base(json!({ "tools": [{ "type": "web_search_20250305", "name": "w" }] })), "params.tools.0.type");
    refused(base(json!({ "tools": [{ "input_schema": {} }] })), "params.tools.0.name");
    refused(base(json!({ "something_new": 1 })), "params.something_new");
}

#[test]
fn an_answer_is_a_message_with_counts_that_do_not_overlap() {
    let completion = json!({
        "id": "chatcmpl-1", "model": "m", "choices": [{ "finish_reason": "tool_calls", "message": { "content": "t",
            "tool_calls": [{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }] } }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": { "cached_tokens": 3 } },
    });
    let expected = json!({
        "id": "msg_chatcmpl-1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "stop_sequence": null,
        "content": [{ "type": "text", "text": "t" }, { "type": "tool_use", "id": "1", "name": "f", "input": { "a": 1 } }],
        "usage": { "input_tokens": 7, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0, "output_tokens": 4 },
    });
    assert_eq!(message(&completion), Some(expected));
    assert_eq!(message(&json!({ "object": "list" })), None);
}
