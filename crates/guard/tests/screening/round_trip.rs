//! What was redacted comes back as it was, and nothing that comes makes a guard panic.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_guard::{Guard, Side, Vault};

use crate::{REDACT, guard};

/// A text with values that are redacted, and others.
fn text() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "a@b.com",
        "4111 1111 1111 1111",
        "4012888888881881",
        "TICK-1234",
        "<EMAIL_1>",
        "EMAIL_2",
        "\"",
        "\\",
        "\n",
        "/",
        "é",
        "\u{1F600}",
        "{",
        "}",
        "[1]",
        "<",
        "DE89 3704 0044 0532 0130 00",
        "c@d.org",
        ",",
        ":",
    ]);
    let piece = prop_oneof![4 => fixed.prop_map(str::to_owned), 2 => "[a-z]{1,8}", 3 => Just(" ".to_owned())];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// A value whose strings hold such texts, also as JSON within.
fn nested() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => Just(json!(4111111111111111_u64)),
        1 => any::<i32>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// A body of the protocol's own names, at any depth and in any order, with findings at any place: also as the name of a
/// field, within lists of tokens, and as a number.
fn protocol() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        8 => prop::sample::select(vec![
            "messages", "input", "output", "choices", "message", "delta", "content", "text", "parts", "summary",
            "logprobs", "token", "top_logprobs", "usage", "data", "embedding", "tool_calls", "function", "arguments",
            "function_call", "image_url", "file", "file_data", "url", "instructions", "tools", "object",
        ]).prop_map(str::to_owned),
        1 => text(),
    ];
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => Just(json!(4111111111111111_u64)),
        1 => Just(json!("data:text/plain;base64,YUBiLmNvbQ==")),
        1 => Just(json!(r#"{"card":4111111111111111,"to":"a@b.com"}"#)),
        1 => Just(json!("response")),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            5 => prop::collection::vec((name.clone(), inner), 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The text of a JSON value with some characters as escapes that it does not need.
fn with_escapes(value: &Value) -> String {
    value.to_string().replace('@', r"\u0040").replace('/', r"\/").replace("TICK", r"\u0054ICK")
}

/// An answer that says what the request says.
fn echo(request: &Value) -> Vec<u8> {
    let said = &request["messages"][0]["content"];
    let arguments = &request["messages"][1]["tool_calls"][0]["function"]["arguments"];
    json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": said,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]}}]})
    .to_string()
    .into_bytes()
}

fn request(content: &str, arguments: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": content}, {"role": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]}]})
}

/// What an answer says, which repeats what a provider was sent.
fn echoed(guard: &Guard, request: &str) -> (Value, bool) {
    let mut vault = Vault::default();
    let screened = guard.screen_request(request.as_bytes(), &mut vault);
    let sent = screened.body.unwrap_or_else(|| request.as_bytes().to_vec());
    let sent_text = String::from_utf8(sent.clone()).expect("it is text");
    let leaked = ["a@b.com", "TICK-1234", "c@d.org"].iter().any(|value| {
        // Only where it stands alone: other texts may make it a part of something else, as digits do with digits.
        sent_text.contains(&format!(" {value} "))
    });
    let answer = echo(&serde_json::from_slice(&sent).expect("it is JSON"));
    let restored = guard.restore(&answer, &vault, usize::MAX).expect("it fits").unwrap_or(answer);
    (serde_json::from_slice::<Value>(&restored).expect("it is JSON")["choices"][0]["message"].take(), leaked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_was_redacted_comes_back_in_an_answer(content in text(), arguments in nested(), escapes in any::<bool>()) {
        let written = if escapes { with_escapes(&arguments) } else { arguments.to_string() };
        let request = request(&content, &written);
        let body = if escapes { with_escapes(&request) } else { request.to_string() };
        let (message, leaked) = echoed(&guard(REDACT), &body);
        prop_assert!(!leaked, "{}", body);
        prop_assert_eq!(message["content"].as_str(), Some(content.as_str()));
        let back = message["tool_calls"][0]["function"]["arguments"].as_str().expect("a text");
        let back: Value = serde_json::from_str(back).expect("it is JSON");
        // A number that also stands as a text elsewhere comes back as a text, which is the same to who reads it.
        let same = |value: &Value| value.to_string().replace("\"4111111111111111\"", "4111111111111111");
        prop_assert_eq!(same(&back), same(&arguments));
    }

    #[test]
    fn no_bytes_make_a_guard_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        hostile(&bytes);
    }

    #[test]
    fn nothing_that_is_nearly_json_makes_a_guard_panic(
        text in r#"([{}\[\],:"\\é]|"messages":|"content":|"text":|"input":|"choices":|a@b\.com|\\u0040|\\ud83d|4111111111111111|data:text/plain;base64,|YUBiLmNvbQ==|<EMAIL_1>| ){0,40}"#
    ) {
        hostile(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_body_whatsoever_makes_a_guard_panic(body in protocol(), escapes in any::<bool>()) {
        let text = if escapes { with_escapes(&body) } else { body.to_string() };
        hostile(text.as_bytes());
        for screened in [
            guard(REDACT).screen_request(text.as_bytes(), &mut Vault::default()),
            guard(REDACT).screen_answer(text.as_bytes(), &mut Vault::default()),
        ] {
            let changed = screened.body.unwrap_or_default();
            prop_assert!(changed.is_empty() || serde_json::from_slice::<Value>(&changed).is_ok(), "{}", text);
        }
    }
}

fn hostile(bytes: &[u8]) {
    let guard = guard(REDACT);
    let mut vault = Vault::default();
    guard.screen_request(br#"{"input":"a@b.com"}"#, &mut vault);
    guard.screen_request(bytes, &mut vault);
    guard.screen_answer(bytes, &mut vault);
    let _ = guard.restore(bytes, &vault, bytes.len() + 8);
    guard.texts(Side::Request, bytes);
    guard.sieve(&vault).push(bytes);
}
