//! Streams: what leaves altogether is what the whole answer would have been, and nothing of a finding ever leaves before.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_guard::{Guard, Sieve, Sifted, Vault};

use crate::{REDACT, blocking, body, guard};

const REQUEST: &str = r#"{"input":"I am a@b.com, card 4111 1111 1111 1111, TICK-0007"}"#;

/// What has left, by field, for arguments of the first call.
#[derive(Default)]
struct Client {
    texts: std::collections::BTreeMap<String, String>,
    ended: bool,
    blocked: Option<String>,
}

impl Client {
    fn take(&mut self, sifted: Sifted) {
        let chunks = match sifted {
            Sifted::Pass(chunks) => chunks,
            Sifted::Blocked { rule } => {
                self.blocked = Some(rule.to_string());
                return;
            }
        };
        for chunk in chunks {
            let chunk: Value = serde_json::from_slice(&chunk).expect("it is JSON");
            for choice in chunk["choices"].as_array().into_iter().flatten() {
                self.take_delta(&choice["delta"]);
                self.ended |= !choice["finish_reason"].is_null();
            }
        }
    }

    fn take_delta(&mut self, delta: &Value) {
        for (name, value) in delta.as_object().into_iter().flatten() {
            let text = match name.as_str() {
                "tool_calls" => value[0]["function"]["arguments"].as_str().unwrap_or_default(),
                _ => value.as_str().unwrap_or_default(),
            };
            assert!(text.is_empty() || !self.ended, "nothing leaves after the end");
            self.texts.entry(name.clone()).or_default().push_str(text);
        }
    }

    fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }
}

fn chunk(delta: &Value, finish_reason: Option<&str>) -> Vec<u8> {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
        .to_string()
        .into_bytes()
}

fn sieve(guard: &Guard) -> Sieve {
    let mut vault = Vault::default();
    guard.screen_request(REQUEST.as_bytes(), &mut vault);
    guard.sieve(&vault)
}

/// What clients get of a text that comes in these pieces; after each piece it is checked.
fn streamed(guard: &Guard, pieces: &[&str], check: impl Fn(&str)) -> Client {
    let (mut sieve, mut client) = (sieve(guard), Client::default());
    client.take(sieve.push(&chunk(&json!({"role": "assistant", "content": ""}), None)));
    for piece in pieces {
        client.take(sieve.push(&chunk(&json!({"content": piece}), None)));
        check(client.text("content"));
    }
    client.take(sieve.push(&chunk(&json!({}), Some("stop"))));
    client.take(sieve.finish());
    client
}

/// What the whole answer is; `None` if it is blocked.
fn whole(guard: &Guard, text: &str) -> Option<String> {
    let mut vault = Vault::default();
    guard.screen_request(REQUEST.as_bytes(), &mut vault);
    let answer = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).to_string();
    let screened = guard.screen_answer(answer.as_bytes(), &mut vault);
    if blocking(&screened).is_some() {
        return None;
    }
    let answer = body(&screened).unwrap_or(answer);
    let restored = guard.restore(answer.as_bytes(), &vault, usize::MAX).expect("it fits");
    let answer: Value = serde_json::from_slice(&restored.unwrap_or(answer.into_bytes())).expect("it is JSON");
    Some(answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned())
}

/// Cuts a text into pieces of these lengths in characters, over and over.
fn cut<'t>(text: &'t str, lengths: &[usize]) -> Vec<&'t str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let at = rest.char_indices().nth((*length).max(1)).map_or(rest.len(), |(at, _)| at);
        pieces.push(&rest[..at]);
        rest = &rest[at..];
    }
    pieces
}

#[track_caller]
fn check(policy: &str, text: &str) {
    let guard = guard(policy);
    let expected = whole(&guard, text);
    for lengths in [&[1][..], &[3], &[7, 1], &[64], &[100_000]] {
        let client = streamed(&guard, &cut(text, lengths), |_| {});
        match &expected {
            Some(expected) => assert_eq!((client.text("content"), &client.blocked), (expected.as_str(), &None)),
            None => assert!(client.blocked.is_some(), "{lengths:?}"),
        }
    }
}

#[test]
fn a_stream_leaves_as_the_whole_answer_would() {
    check(REDACT, "Hello <EMAIL_1>, your card <PAYMENT_CARD_1> is fine; z@y.com is not. &lt;email_1&gt; EMAIL_1");
    check(REDACT, "a very long text about nothing at all, ".repeat(40).as_str());
    check(REDACT, "邮箱<EMAIL_1>是你的。我们已经把它发送给了z@y.com，谢谢。".repeat(20).as_str());
    check(REDACT, "[1] says <EMAIL_1>; {x} {\"a\": 1} z@y.com");
    check(REDACT, r#"{"to": "<EMAIL_1>", "cc": "z\u0040y.com", "card": "<PAYMENT_CARD_1>"}"#);
    check(REDACT, r#"{"to": "<EMAIL_1>", "cc": "z@y.com", "unfinished": "#);
    check(REDACT, "");
    check(REDACT, " \n ");
}

#[test]
fn a_key_of_many_lines_is_held_back_as_a_whole() {
    let key = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}-----END RSA PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA7bq1\n".repeat(80)
    );
    let text = format!("Here it is:\n{key}\nKeep it. TICK-0008");
    check(REDACT, &text);
    check(REDACT, &text[..text.len() - 60]);
    check(r#"{"output":{"secrets":"block"}}"#, &text);
    let client = streamed(&guard(REDACT), &cut(&text, &[5]), |left| assert!(!left.contains("MIIE")));
    assert_eq!(client.text("content"), "Here it is:\n<PRIVATE_KEY_A1>\nKeep it. <TICKET_A1>");
}

#[test]
fn what_may_become_a_key_is_held_back_from_its_first_line_on() {
    let head = "Proc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,0123 4567 89AB CDEF\n\n";
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{head}MIIEpAIBAAKCAQEA7bq1\n-----END RSA PRIVATE KEY-----");
    let putty = format!(
        "PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\n{}Private-Lines: 1\nAAAA\nPrivate-MAC: 0a1b",
        "Public words of it, many of them\n".repeat(30)
    );
    for secret in [key, putty] {
        let text = format!("Look:\n{secret}\nThat is it.");
        check(BUILT_IN, &text);
        let client =
            streamed(&guard(BUILT_IN), &cut(&text, &[3]), |left| assert!(left.len() < 10 || left.contains("<PRI")));
        assert_eq!(client.text("content"), "Look:\n<PRIVATE_KEY_A1>\nThat is it.");
    }
    check(BUILT_IN, "A text that speaks of -----BEGIN PRIVATE KEY----- and of PuTTY-User-Key-File-3 alone.");
}

#[test]
fn a_block_stops_the_stream_for_good() {
    let guard = guard(r#"{"output":{"payment_card":"block"}}"#);
    let text = format!("{} 5555 5555 5555 4444 and more", "something before it ".repeat(20));
    let client = streamed(&guard, &cut(&text, &[4]), |left| assert!(!left.contains("5555")));
    assert_eq!(client.blocked.as_deref(), Some("payment_card"));
    assert!(client.text("content").starts_with("something before it "), "what came long before has left");
    let mut sieve = sieve(&guard);
    sieve.push(&chunk(&json!({"content": "5555 5555 5555 4444"}), Some("stop")));
    assert!(matches!(sieve.push(&chunk(&json!({"content": "clean"}), None)), Sifted::Blocked { .. }));
    assert_eq!(sieve.fired()[0].rule, "payment_card");
}

#[test]
fn little_is_held_back() {
    let guard = guard(REDACT.replace("\"ticket\":\"redact\"", "\"ticket\":\"off\"").as_str());
    let text = "word after word of an answer in which nothing can be found at all ".repeat(20);
    let mut sieve = sieve(&guard);
    let (mut client, mut given) = (Client::default(), 0);
    for piece in cut(&text, &[4]) {
        client.take(sieve.push(&chunk(&json!({"content": piece}), None)));
        given += piece.len();
        assert!(given - client.text("content").len() < 160, "{given}");
    }
}

#[test]
fn the_arguments_of_calls_leave_whole_before_the_end() {
    let guard = guard(REDACT);
    let (mut sieve, mut client) = (sieve(&guard), Client::default());
    let call =
        |index: u64, arguments: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]});
    let first = json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "c", "type": "function",
        "function": {"name": "send", "arguments": ""}}]});
    client.take(sieve.push(&chunk(&first, None)));
    for piece in [r#"{"to":"<EMA"#, r#"IL_1>","cc":"z\u00"#, r#"40y.com","card":"<PAYMENT_"#, r#"CARD_1>"}"#] {
        client.take(sieve.push(&chunk(&call(0, piece), None)));
        assert_eq!(client.text("tool_calls"), "");
    }
    client.take(sieve.push(&chunk(&json!({}), Some("tool_calls"))));
    assert_eq!(client.text("tool_calls"), r#"{"to":"a@b.com","cc":"<EMAIL_A1>","card":"4111 1111 1111 1111"}"#);
    assert!(client.ended);
}

#[test]
fn a_call_that_comes_in_one_chunk_with_the_end_keeps_its_order() {
    let guard = guard(REDACT);
    let call = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function",
        "function": {"name": "send", "arguments": "{\"to\":\"<EMAIL_1>\"}"}}]});
    let Sifted::Pass(chunks) = sieve(&guard).push(&chunk(&call, Some("tool_calls"))) else { panic!("it is clean") };
    let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_slice(chunk).unwrap()).collect();
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"], "send");
    let arguments = &chunks[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, r#"{"to":"a@b.com"}"#);
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn texts_of_other_fields_come_with_the_result_and_tokens_are_dropped() {
    let mut chunk = json!({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "thought": "is <EMAIL_1>"},
        "logprobs": {"content": [{"token": "z@y.com"}]}, "finish_reason": null}]});
    let pushed = |guard: &Guard| {
        let Sifted::Pass(chunks) = sieve(guard).push(chunk.to_string().as_bytes()) else { panic!("it passes") };
        serde_json::from_slice::<Value>(&chunks[0]).expect("it is JSON")
    };
    let (looks, restores) = (pushed(&guard(REDACT)), pushed(&guard(r#"{"input":{"email":"redact"}}"#)));
    chunk["choices"][0]["logprobs"] = Value::Null;
    chunk["choices"][0]["delta"]["thought"] = "is a@b.com".into();
    assert_eq!(restores, chunk, "nothing is looked for");
    chunk["choices"][0]["delta"] = json!({"role": "assistant"});
    assert_eq!(looks, chunk);
    for bad in ["", "[]", "3", "z@y.com", "\"z@y.com\""] {
        assert_eq!(sieve(&guard(REDACT)).push(bad.as_bytes()), Sifted::Pass(vec![]), "{bad}");
    }
}

#[test]
fn no_place_of_a_chunk_lets_a_finding_pass_in_pieces() {
    let places: [fn(&str) -> Value; 12] = [
        |text| json!({"choices": [{"delta": text, "finish_reason": {"x": text}}]}),
        |text| json!({"model": [text], "choices": [{"delta": {"role": text}}]}),
        |text| json!({"choices": [{"delta": {"reasoning_details": [{"type": "reasoning.text", "text": text}]}}]}),
        |text| json!({"choices": [{"delta": {"content": [{"type": "text", "text": text}]}}]}),
        |text| json!({"choices": [{"delta": {"audio": {"transcript": text}}}]}),
        |text| json!({"choices": [{"delta": {"role": [text]}}]}),
        |text| json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "custom": {"name": "f", "input": text}}]}}]}),
        |text| json!({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": {"x": text}}}, text]}}]}),
        |text| json!({"choices": [{"delta": {"function_call": {"note": text}}}]}),
        |text| json!({"choices": [{"text": text, "message": {"content": text}}, text]}),
        |text| json!({"choices": [], "usage": {"note": text}}),
        |text| json!({"choices": [], "citations": [text]}),
    ];
    for place in places {
        let mut sieve = sieve(&guard(REDACT));
        let mut left = String::new();
        for sifted in ["card 4111 1111", " 1111 1111 ok"].map(|text| sieve.push(place(text).to_string().as_bytes())) {
            let Sifted::Pass(chunks) = sifted else { panic!("nothing blocks") };
            left.extend(chunks.iter().map(|chunk| String::from_utf8_lossy(chunk)));
        }
        assert!(!left.contains("1111"), "{left}");
    }
}

#[test]
fn the_input_of_a_call_leaves_whole_before_the_end() {
    let mut sieve = sieve(&guard(REDACT));
    let call = |input: &str| json!({"tool_calls": [{"index": 0, "custom": {"input": input}}]});
    for piece in ["to <EMA", "IL_1>, not z@", "y.com"] {
        assert_eq!(sieve.push(&chunk(&call(piece), None)), Sifted::Pass(vec![]));
    }
    let Sifted::Pass(chunks) = sieve.push(&chunk(&json!({}), Some("tool_calls"))) else { panic!("nothing blocks") };
    let first: Value = serde_json::from_slice(&chunks[0]).expect("it is JSON");
    assert_eq!(first["choices"][0]["delta"], call("to a@b.com, not <EMAIL_A1>"));
}

#[test]
fn no_more_is_put_back_into_a_stream_than_fits() {
    let guard = guard(r#"{"input":{"table":"redact"},"patterns":{"table":{"regex":"begin[^z]*z"}}}"#);
    let mut vault = Vault::default();
    let value = format!("begin{}z", "x".repeat(500_000));
    guard.screen_request(format!(r#"{{"input":"{value}"}}"#).as_bytes(), &mut vault);
    for (name, text) in [
        ("content", "<TABLE_1> ".repeat(1000)),
        ("content", format!(r#"["{}"]"#, "<TABLE_1> ".repeat(1000))),
        ("thought", "<TABLE_1> ".repeat(1000)),
    ] {
        let (mut sieve, mut client) = (guard.sieve(&vault), Client::default());
        client.take(sieve.push(&chunk(&json!({name: text}), None)));
        client.take(sieve.finish());
        let left = client.text(name);
        assert!(left.len() < 9_000_000 && left.contains("<TABLE_1>"), "{name} {}", left.len());
    }
}

#[test]
fn choices_and_fields_are_texts_of_their_own() {
    let guard = guard(REDACT);
    let (mut sieve, mut client) = (sieve(&guard), Client::default());
    for (field, piece) in [("content", "4012 8888 "), ("reasoning_content", "8888 1881 x"), ("content", "8888 1881.")] {
        client.take(sieve.push(&chunk(&json!({field: piece}), None)));
    }
    let other = json!({"choices": [{"index": 1, "delta": {"content": "z@y"}, "finish_reason": "stop"}]});
    let Sifted::Pass(chunks) = sieve.push(other.to_string().as_bytes()) else { panic!("it is clean") };
    assert_eq!(chunks.len(), 2, "the end of one choice lets go of its own text only");
    client.take(sieve.finish());
    assert_eq!(client.text("content"), "<PAYMENT_CARD_A1>.");
    assert_eq!(client.text("reasoning_content"), "8888 1881 x");
}

#[test]
fn without_anything_to_do_chunks_pass_byte_for_byte() {
    let guard = guard("{}");
    let chunk = br#"{ "choices":[ {"delta":{"content":"a@b.com"}}]}"#;
    assert_eq!(guard.sieve(&Vault::default()).push(chunk), Sifted::Pass(vec![chunk.to_vec()]));
}

/// What a model may write: words, placeholders, and what must not leave.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "z@y.com",
        "5555 5555 5555 4444",
        "5555-5555-5555-4444",
        "4012888888881881",
        "TICK-0009",
        "<EMAIL_1>",
        "EMAIL_1",
        "<email_1>",
        "&lt;PAYMENT_CARD_1&gt;",
        "<TICKET_1>",
        "<EMAIL",
        "<",
        "&lt;",
        "EMAIL_12",
        "DE89 3704 0044 0532 0130 00",
        "192.168.17.4",
        "1234",
        "12 34 56",
        "a@b",
        "z@y.com.",
        "1",
        "\n",
        ", ",
        "(",
        "-",
        "{",
        "[1]",
        "\"",
        "你好",
        "é",
        "TICK-",
        "AKIAIOSFODNN7EXAMPLQ",
        "https://u:pass1word@x.com/",
        "-----BEGIN",
        "2024-01-01",
        "+49 30 901820",
        "x.y.z",
    ]);
    prop_oneof![3 => fixed.prop_map(str::to_owned), 3 => "[a-z]{1,9}", 1 => "[0-9]{1,6}", 4 => Just(" ".to_owned())]
}

/// What redacts what is built in.
const BUILT_IN: &str = r#"{"input":{"pii":"redact"},"output":{"pii":"redact","secrets":"redact"}}"#;

/// What no prefix that has left may have a part of.
const HIDDEN: [&str; 6] = [
    "z@y.com",
    "5555 5555 5555 4444",
    "TICK-0009",
    "4012888888881881",
    "5555-5555-5555-4444",
    "\u{FF15}\u{200B}555 \u{FF15}\u{FF15}\u{FF15}\u{FF15} \u{FF15}\u{FF15}\u{FF15}\u{FF15} \u{FF14}\u{FF14}\u{FF14}\u{FF14}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn however_a_text_is_cut_what_leaves_is_the_same(
        pieces in prop::collection::vec(piece(), 0..60),
        lengths in prop::collection::vec(1_usize..20, 1..6),
        own in any::<bool>(),
    ) {
        let text = pieces.concat();
        // With rules of the operator's own more is held back; it must be enough without, too.
        let guard = guard(if own { REDACT } else { BUILT_IN });
        let expected = whole(&guard, &text).expect("nothing blocks");
        let client = streamed(&guard, &cut(&text, &lengths), |left| {
            assert!(expected.starts_with(left), "what has left stays: {left:?} of {expected:?}");
        });
        prop_assert_eq!(client.text("content"), expected);
    }

    #[test]
    fn nothing_of_a_finding_leaves_before_it_is_found(
        before in "[a-z ]{0,200}",
        hidden in prop::sample::select(HIDDEN.to_vec()),
        lengths in prop::collection::vec(1_usize..9, 1..4),
    ) {
        let text = format!("{before} {hidden} and so on");
        let own = r#"{"output":{"ticket":"block"},"patterns":{"ticket":{"regex":"TICK-[0-9]{4}"}}}"#;
        let guard = guard(if hidden.starts_with("TICK") { own } else { r#"{"output":{"pii":"block"}}"# });
        let client = streamed(&guard, &cut(&text, &lengths), |left| {
            assert!(left.len() <= before.len() + 1, "{left:?}");
        });
        prop_assert!(client.blocked.is_some());
    }

    #[test]
    fn no_chunk_makes_a_sieve_panic(chunks in prop::collection::vec(r#"[{}\[\]":,a-z@<_1 ]{0,60}|\{"choices":[\[\]{}":,a-z0-9]{0,40}\}"#, 0..5)) {
        let mut sieve = sieve(&guard(REDACT));
        for chunk in chunks {
            sieve.push(chunk.as_bytes());
        }
        sieve.finish();
    }
}
