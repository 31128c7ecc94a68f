use tollgate_types::JobSpec;

use super::*;

fn sent(chat: &Value) -> Result<Value> {
    let spec = JobSpec::decode(&format!("{{\"body\":{chat}}}").into(), 1 << 20).expect("a job");
    let out = super::body(&spec.body, &spec.request, &To::model("\"claude-x\""))?;
    Ok(serde_json::from_slice(&out).expect("JSON"))
}

fn with(field: &str, value: Value) -> Result<Value> {
    let mut chat = json!({ "model": "fast", "messages": [{ "role": "user", "content": "hi" }] });
    chat[field] = value;
    sent(&chat)
}

fn refused(result: Result<Value>) -> String {
    match result {
        Err(Unsendable::Unsupported(what)) => what,
        other => panic!("it was not refused as unsupported: {other:?}"),
    }
}

#[test]
fn a_plain_question_goes_out_as_one() {
    let chat = json!({ "model": "fast", "stream": true, "stream_options": { "include_usage": true }, "user": "u1",
        "max_tokens": 50, "temperature": 0.5, "stop": "END", "top_k": 5, "seed": null, "n": 1, "presence_penalty": 0.0,
        "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" }] });
    let expected = json!({ "model": "claude-x", "max_tokens": 50, "temperature": 0.5, "stop_sequences": ["END"],
        "top_k": 5, "metadata": { "user_id": "u1" }, "system": [{ "type": "text", "text": "be brief" }],
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }] });
    assert_eq!(sent(&chat), Ok(expected));
}

#[test]
fn an_answer_without_a_bound_gets_one() {
    assert_eq!(with("top_p", json!(0.9)).expect("sent")["max_tokens"], ANSWER_TOKENS);
    assert_eq!(with("max_completion_tokens", json!(7)).expect("sent")["max_tokens"], 7);
}

#[test]
fn tools_their_calls_and_their_results_find_their_places() {
    let chat = json!({ "model": "fast", "parallel_tool_calls": false,
        "tools": [{ "type": "function", "function": { "name": "look", "description": "d", "parameters": { "type": "object", "x": 1 } } },
                  { "type": "function", "function": { "name": "bare" } }],
        "tool_choice": { "type": "function", "function": { "name": "look" } },
        "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": null, "refusal": null, "thinking_blocks": [{ "type": "thinking", "thinking": "t", "signature": "s" }],
              "tool_calls": [{ "id": "a", "type": "function", "function": { "name": "look", "arguments": "{\"at\":1}" } },
                             { "id": "b", "type": "function", "function": { "name": "bare", "arguments": "" } }] },
            { "role": "tool", "tool_call_id": "a", "content": "one" },
            { "role": "tool", "tool_call_id": "b", "content": [{ "type": "text", "text": "two" }] },
            { "role": "user", "content": "and?" },
        ] });
    let out = sent(&chat).expect("sent");
    let text = |text: &str| json!([{ "type": "text", "text": text }]);
    assert_eq!(
        out["messages"],
        json!([
            { "role": "user", "content": text("go") },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "t", "signature": "s" },
                { "type": "tool_use", "id": "a", "name": "look", "input": { "at": 1 } },
                { "type": "tool_use", "id": "b", "name": "bare", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "a", "content": text("one") },
                { "type": "tool_result", "tool_use_id": "b", "content": text("two") },
                { "type": "text", "text": "and?" },
            ] },
        ])
    );
    assert_eq!(
        out["tools"],
        json!([{ "name": "look", "description": "d", "input_schema": { "type": "object", "x": 1 } },
               { "name": "bare", "input_schema": { "type": "object" } }])
    );
    assert_eq!(out["tool_choice"], json!({ "type": "tool", "name": "look", "disable_parallel_tool_use": true }));
}

#[test]
fn a_refusal_of_an_earlier_turn_stays_a_part_of_the_conversation() {
    let chat = json!({ "model": "m", "messages": [
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": null, "refusal": "no", "annotations": [], "reasoning_content": "hm" },
        { "role": "user", "content": "b" },
    ] });
    let out = sent(&chat).expect("sent");
    assert_eq!(out["messages"][1]["content"], json!([{ "type": "text", "text": "no" }]));
}

#[test]
fn choices_of_tools_are_translated() {
    let chosen = |choice: Value| tool_choice(Some(choice), None).expect("a choice");
    assert_eq!(chosen(json!("auto")), Some(json!({ "type": "auto" })));
    assert_eq!(chosen(json!("required")), Some(json!({ "type": "any" })));
    assert_eq!(chosen(json!("none")), Some(json!({ "type": "none" })));
    assert!(tool_choice(Some(json!("some")), None).is_err());
    assert_eq!(tool_choice(None, Some(json!(true))), Ok(None));
}

#[test]
fn pictures_and_documents_are_passed_on_and_never_fetched() {
    let parts = json!([
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA", "detail": "low" } },
        { "type": "image_url", "image_url": { "url": "https://x.example/y.png" } },
        { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB" } },
    ]);
    let out = sent(&json!({ "model": "m", "messages": [{ "role": "user", "content": parts }] })).expect("sent");
    assert_eq!(
        out["messages"][0]["content"],
        json!([
            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } },
            { "type": "image", "source": { "type": "url", "url": "https://x.example/y.png" } },
            { "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "BBBB" } },
        ])
    );
}

#[test]
fn the_form_of_the_answer_and_the_effort_are_asked_for() {
    let schema = json!({ "type": "object", "properties": {} });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": schema } });
    let out = with("response_format", format).expect("sent");
    assert_eq!(out["output_config"], json!({ "format": { "type": "json_schema", "schema": schema } }));
    assert_eq!(with("reasoning_effort", json!("high")).expect("sent")["output_config"], json!({ "effort": "high" }));
    assert_eq!(with("response_format", json!({ "type": "text" })).expect("sent").get("output_config"), None);
}

#[test]
fn what_anthropic_cannot_do_is_refused_by_name_before_the_call() {
    for (field, value) in [
        ("n", json!(2)),
        ("seed", json!(7)),
        ("logit_bias", json!({ "1": 2 })),
        ("logprobs", json!(true)),
        ("frequency_penalty", json!(0.5)),
        ("functions", json!([{ "name": "f" }])),
        ("modalities", json!(["text", "audio"])),
        ("service_tier", json!("flex")),
        ("temperature", json!(1.5)),
        ("response_format", json!({ "type": "json_object" })),
        ("reasoning_effort", json!("minimal")),
        ("tools", json!([{ "type": "web_search" }])),
    ] {
        let what = refused(with(field, value));
        assert!(what.contains(&format!("`{field}")), "{field}: {what}");
    }
    for (message, words) in [
        (json!({ "role": "user", "content": "x", "name": "ann" }), "`messages[1].name`"),
        (
            json!({ "role": "user", "content": [{ "type": "input_audio" }] }),
            "`messages[1].content[0]` is of the type `input_audio`",
        ),
        (
            json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "http://x/y" } }] }),
            "`messages[1].content[0]`",
        ),
        (json!({ "role": "critic", "content": "secret" }), "`messages[1].role`"),
        (json!({ "role": "tool", "content": "secret" }), "`tool_call_id`"),
        (
            json!({ "role": "assistant", "tool_calls": [{ "id": "a", "function": { "name": "f", "arguments": "secret" } }] }),
            "`messages[1].tool_calls[0].function.arguments` is no JSON object",
        ),
    ] {
        let chat = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }, message] });
        let what = refused(sent(&chat));
        assert!(what.contains(words) && !what.contains("secret"), "{what}");
    }
    let first = json!({ "model": "m", "messages": [{ "role": "assistant", "content": "secret" }] });
    assert_eq!(refused(sent(&first)), "a conversation that does not begin with the user");
}
