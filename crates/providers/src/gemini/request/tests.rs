use tollgate_types::JobSpec;

use super::*;
use crate::adapter::Unsendable;

fn sent(chat: &Value) -> Result<Value> {
    let spec = JobSpec::decode(&format!("{{\"body\":{chat}}}").into(), 1 << 20).expect("a job");
    let out = super::body(&spec.body, &spec.request, &To::model("\"gemini-x\""))?;
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
    let chat = json!({ "model": "fast", "stream": true, "max_tokens": 50, "temperature": 0.5, "stop": "END", "seed": 7,
        "safetySettings": [{ "category": "c" }], "parallel_tool_calls": true, "metadata": { "a": "b" },
        "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" }] });
    let expected = json!({ "systemInstruction": { "parts": [{ "text": "be brief" }] },
        "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }], "safetySettings": [{ "category": "c" }],
        "generationConfig": { "maxOutputTokens": 50, "temperature": 0.5, "stopSequences": ["END"], "seed": 7 } });
    assert_eq!(sent(&chat), Ok(expected));
    let bare =
        json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }], "generationConfig": { "topP": 0.9 } });
    assert_eq!(with("top_p", json!(0.9)), Ok(bare));
}

#[test]
fn tools_their_calls_and_their_results_find_their_places() {
    let chat = json!({ "model": "fast",
        "tools": [{ "type": "function", "function": { "name": "look", "description": "d", "parameters": { "type": "object" } } }],
        "tool_choice": { "type": "function", "function": { "name": "look" } },
        "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": "ok", "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "look", "arguments": "{\"at\":1}" }, "thought_signature": "s" },
                { "id": "b", "type": "function", "function": { "name": "bare", "arguments": "" } }] },
            { "role": "tool", "tool_call_id": "b", "content": "two" },
            { "role": "tool", "tool_call_id": "a", "content": "{\"x\":1}" },
        ] });
    let out = sent(&chat).expect("sent");
    assert_eq!(
        out["contents"],
        json!([
            { "role": "user", "parts": [{ "text": "go" }] },
            { "role": "model", "parts": [
                { "text": "ok" },
                { "functionCall": { "name": "look", "args": { "at": 1 } }, "thoughtSignature": "s" },
                { "functionCall": { "name": "bare", "args": {} } },
            ] },
            { "role": "user", "parts": [
                { "functionResponse": { "name": "bare", "response": { "result": "two" } } },
                { "functionResponse": { "name": "look", "response": { "x": 1 } } },
            ] },
        ])
    );
    let declared = json!({ "name": "look", "description": "d", "parametersJsonSchema": { "type": "object" } });
    assert_eq!(out["tools"], json!([{ "functionDeclarations": [declared] }]));
    let calling = json!({ "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["look"] } });
    assert_eq!(out["toolConfig"], calling);
}

#[test]
fn pictures_sounds_and_files_go_along_as_data() {
    let parts = json!([
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } },
        { "type": "input_audio", "input_audio": { "data": "BBBB", "format": "wav" } },
        { "type": "file", "file": { "file_data": "data:application/pdf;base64,CCCC" } },
    ]);
    let out = sent(&json!({ "model": "m", "messages": [{ "role": "user", "content": parts }] })).expect("sent");
    let inline = |media_type: &str, data: &str| json!({ "inlineData": { "mimeType": media_type, "data": data } });
    let expected = [inline("image/png", "AAAA"), inline("audio/wav", "BBBB"), inline("application/pdf", "CCCC")];
    assert_eq!(out["contents"][0]["parts"], json!(expected));
}

#[test]
fn the_form_of_the_answer_and_the_effort_are_asked_for() {
    let schema = json!({ "type": "object", "properties": {} });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
    let out = with("response_format", format).expect("sent");
    let expected = json!({ "responseMimeType": "application/json", "responseJsonSchema": schema });
    assert_eq!(out["generationConfig"], expected);
    let out = with("response_format", json!({ "type": "json_object" })).expect("sent");
    assert_eq!(out["generationConfig"], json!({ "responseMimeType": "application/json" }));
    let out = with("reasoning_effort", json!("low")).expect("sent");
    assert_eq!(out["generationConfig"], json!({ "thinkingConfig": { "thinkingLevel": "low" } }));
}

#[test]
fn what_gemini_cannot_do_is_refused_by_name_before_the_call() {
    for (field, value) in [
        ("logit_bias", json!({ "1": 2 })),
        ("logprobs", json!(true)),
        ("parallel_tool_calls", json!(false)),
        ("user", json!("u1")),
        ("stop", json!(["a", "b", "c", "d", "e", "f"])),
        ("response_format", json!({ "type": "grammar" })),
        ("reasoning_effort", json!("max")),
        ("tools", json!([{ "type": "web_search" }])),
    ] {
        let what = refused(with(field, value));
        assert!(what.contains(&format!("`{field}")), "{field}: {what}");
    }
    let by_address = json!([{ "type": "image_url", "image_url": { "url": "https://x.example/secret" } }]);
    for (message, words) in [
        (json!({ "role": "user", "content": by_address }), "`messages[1].content[0]` is no base64 data"),
        (
            json!({ "role": "tool", "tool_call_id": "secret", "content": "x" }),
            "`messages[1].tool_call_id` is of no call",
        ),
    ] {
        let chat = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }, message] });
        let what = refused(sent(&chat));
        assert!(what.contains(words) && !what.contains("secret"), "{what}");
    }
}
