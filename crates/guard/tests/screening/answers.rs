//! Answers: screened as the provider wrote them, then restored.

use tollgate_guard::{Guard, Side, TooLarge, Vault};

use crate::{REDACT, blocking, body, guard};

/// An answer with this JSON as its message.
fn answer(message: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-4111111111111111","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#
    )
}

fn content(text: &str) -> String {
    answer(&format!(r#"{{"role":"assistant","content":"{text}"}}"#))
}

/// What a guard delivers of an answer to a request.
fn delivered(guard: &Guard, request: &str, answer: &str) -> String {
    let mut vault = Vault::default();
    guard.screen_request(request.as_bytes(), &mut vault);
    let screened = guard.screen_answer(answer.as_bytes(), &mut vault);
    assert_eq!(blocking(&screened), None);
    let answer = body(&screened).unwrap_or_else(|| answer.to_owned());
    let restored = guard
        .restore(answer.as_bytes(), &vault, usize::MAX)
        .expect("it fits")
        .map(|body| String::from_utf8(body).expect("it is text"));
    restored.unwrap_or(answer)
}

#[track_caller]
fn check(request: &str, before: &str, after: &str) {
    assert_eq!(delivered(&guard(REDACT), request, before), after);
}

const REQUEST: &str = r#"{"input":"I am a@b.com, card 4111 1111 1111 1111"}"#;

#[test]
fn placeholders_become_the_values_again_however_the_model_spells_them() {
    for spelt in [
        "<EMAIL_1>",
        "<email_1>",
        "<Email_1>",
        "EMAIL_1",
        "&lt;EMAIL_1&gt;",
        r"\u003cEMAIL_1\u003e",
        r"\\u003cEMAIL_1\\u003e",
        r"<EMAIL\\_1>",
    ] {
        check(REQUEST, &content(&format!("Dear {spelt}, hello.")), &content("Dear a@b.com, hello."));
        check(REQUEST, &content(&format!("邮箱{spelt}是")), &content("邮箱a@b.com是"));
    }
}

#[test]
fn what_only_looks_like_a_placeholder_stays() {
    for text in ["<EMAIL_2>", "EMAIL_12", "MY_EMAIL_1", "EMAIL_1_2", "email_1", "EMAIL_1x", "<EMAIL_>", "<IBAN_1>"] {
        check(REQUEST, &content(text), &content(text));
    }
}

#[test]
fn what_the_user_wrote_as_a_placeholder_is_not_somebodys_value() {
    check(r#"{"input":"a@b.com says <EMAIL_1>"}"#, &content("<EMAIL_1> <EMAIL_2>"), &content("<EMAIL_1> a@b.com"));
}

#[test]
fn values_are_put_back_in_all_texts_and_not_in_names_of_machines() {
    let message = |value: &str, id: &str| {
        answer(&format!(
            r#"{{"role":"assistant","refusal":"{value}","reasoning_content":"{value}","tool_calls":[{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{\"to\":\"{value}\"}}"}}}}]}}"#
        ))
    };
    check(REQUEST, &message("<EMAIL_1>", "EMAIL_1"), &message("a@b.com", "EMAIL_1"));
    let output = |value: &str| {
        format!(r#"{{"output":[{{"type":"message","content":[{{"type":"output_text","text":"to {value}"}}]}}]}}"#)
    };
    check(REQUEST, &output("<EMAIL_1>"), &output("a@b.com"));
}

#[test]
fn values_are_escaped_as_deep_as_they_stand() {
    let policy = r#"{"input":{"quoted":"redact"},"patterns":{"quoted":{"regex":"\"[a-z]+\\\\[a-z]+\""}}}"#;
    let request = r#"{"input":"it is \"ab\\cd\" here"}"#;
    let delivered = |answer: &str| delivered(&guard(policy), request, answer);
    assert_eq!(delivered(&content("is <QUOTED_1>.")), content(r#"is \"ab\\cd\"."#));
    let nested = |value: &str| content(&format!(r#"{{\"a\":\"{value}\"}}"#));
    assert_eq!(delivered(&nested("<QUOTED_1>")), nested(r#"\\\"ab\\\\cd\\\""#));
}

#[test]
fn what_was_a_number_is_a_number_again_where_it_stands_alone() {
    let request = r#"{"messages":[{"role":"tool","content":"{\"card\":4111111111111111}"}]}"#;
    let arguments = |value: &str| content(&format!(r#"{{\"card\":{value}}}"#));
    check(request, &arguments(r#"\"<PAYMENT_CARD_1>\""#), &arguments("4111111111111111"));
    check(request, &arguments(r#"\"no <PAYMENT_CARD_1>\""#), &arguments(r#"\"no 4111111111111111\""#));
    check(request, &content("<PAYMENT_CARD_1>"), &content("4111111111111111"));
}

#[test]
fn what_is_redacted_in_the_answer_is_not_put_back() {
    check(REQUEST, &content("<EMAIL_1> knows z@y.com"), &content("a@b.com knows <EMAIL_A1>"));
    // Also not if the model knew the user's own address without having been told.
    check(REQUEST, &content("a@b.com"), &content("<EMAIL_A1>"));
}

#[test]
fn no_more_is_put_back_than_fits() {
    let guard = guard(r#"{"input":{"table":"redact"},"patterns":{"table":{"regex":"begin[^z]*z"}}}"#);
    let mut vault = Vault::default();
    let value = format!("begin{}z", "x".repeat(500_000));
    guard.screen_request(format!(r#"{{"input":"{value}"}}"#).as_bytes(), &mut vault);
    let restore = |text: String, most| {
        let restored = guard.restore(content(&text).as_bytes(), &vault, most)?;
        Ok(restored.map(|body| String::from_utf8(body).expect("it is text")))
    };
    assert_eq!(restore("<TABLE_1> ".repeat(1000), 16_000_000), Err(TooLarge));
    assert_eq!(restore(r#"[\"<TABLE_1>\"]"#.repeat(1000), 16_000_000), Err(TooLarge));
    assert_eq!(restore(format!(r#"[{}\"\"]"#, r#"\"<TABLE_1>\","#.repeat(1000)), 16_000_000), Err(TooLarge));
    let whole = content(&value);
    assert_eq!(restore("<TABLE_1>".to_owned(), whole.len() - 1), Err(TooLarge));
    assert_eq!(restore("<TABLE_1>".to_owned(), whole.len()), Ok(Some(whole)));
    assert_eq!(restore("nothing".to_owned(), 0), Ok(None), "nothing grows");
}

#[test]
fn what_a_response_repeats_of_its_request_is_not_the_models() {
    let response = |object: &str, instructions: &str| {
        format!(
            r#"{{"object":"{object}","instructions":"{instructions}","metadata":{{"x@y.com":"x@y.com"}},
            "tools":[{{"type":"function","description":"x@y.com","port":4111111111111111}}],"user":"x@y.com",
            "text":{{"format":{{"type":"text","description":"x@y.com"}}}},"prompt":{{"id":"p","variables":{{"a":"x@y.com"}}}},
            "output":[{{"type":"message","content":[{{"type":"output_text","text":"well"}}]}}]}}"#
        )
    };
    check(REQUEST, &response("response", "sign as x@y.com"), &response("response", "sign as x@y.com"));
    check(REQUEST, &response("response", "sign as <EMAIL_1>"), &response("response", "sign as a@b.com"));
    let said = response("response", "x@y.com").replace("well", "z@y.com");
    check(REQUEST, &said, &said.replace("z@y.com", "<EMAIL_A1>"));
    let block = guard(r#"{"output":{"email":"block"}}"#);
    let blocks = |answer: &str| blocking(&block.screen_answer(answer.as_bytes(), &mut Vault::default())).is_some();
    assert!(!blocks(&response("response", "x@y.com")) && blocks(&said));
    // Other answers repeat nothing, and what a message says of itself is no response.
    assert!(blocks(&response("chat.completion", "x@y.com")));
    assert!(blocks(r#"{"instructions":"x@y.com","output":[{"object":"response","content":"well"}]}"#));
}

#[test]
fn what_is_put_back_is_not_screened_again() {
    let guard = guard(r#"{"input":{"email":"redact"},"output":{"email":"block"}}"#);
    assert_eq!(delivered(&guard, REQUEST, &content("<EMAIL_1>")), content("a@b.com"));
}

#[test]
fn a_policy_can_leave_placeholders_in_answers() {
    let guard = guard(r#"{"input":{"email":"redact"},"restore":false}"#);
    assert_eq!(delivered(&guard, REQUEST, &content("<EMAIL_1>")), content("<EMAIL_1>"));
}

#[test]
fn an_answer_that_has_what_must_not_leave_is_blocked() {
    let guard = guard(r#"{"output":{"secrets":"block"}}"#);
    let answer = content("-----BEGIN RSA PRIVATE KEY-----\\nMIIEpAIBAAKCAQEA\\n-----END RSA PRIVATE KEY-----");
    let screened = guard.screen_answer(answer.as_bytes(), &mut Vault::default());
    assert_eq!(blocking(&screened), Some("private_key"));
}

#[test]
fn the_tokens_of_a_text_that_was_redacted_go_with_it() {
    let answer = |text: &str, logprobs: &str| {
        format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"logprobs":{logprobs},"index":0}}]}}"#)
    };
    let tokens = r#"{"content":[{"token":"z@y","logprob":-0.1,"bytes":[122]},{"token":".com","logprob":-0.1}]}"#;
    check(REQUEST, &answer("z@y.com", tokens), &answer("<EMAIL_A1>", "null"));
    check(REQUEST, &answer("nothing", tokens), &answer("nothing", tokens));
}

#[test]
fn names_of_fields_within_tokens_go_with_them() {
    let guard = guard(r#"{"output":{"falcon":"redact"},"keywords":{"falcon":{"words":["Falcon"]}}}"#);
    let answer = |logprobs: &str, text: &str| {
        format!(r#"{{"choices":[{{"logprobs":{logprobs},"message":{{"content":"{text} is here"}}}}]}}"#)
    };
    let before = answer(r#"{"top_logprobs":[{"Falcon":-0.1}]}"#, "Falcon");
    assert_eq!(delivered(&guard, "{}", &before), answer("null", "<FALCON_A1>"));
}

#[test]
fn numbers_of_an_answer_that_are_facts_stay() {
    let answer = r#"{"created":4111111111111111,"usage":{"total_tokens":4111111111111111},
        "data":[{"object":"embedding","embedding":[4111111111111111,0.5],"index":0}]}"#;
    check(REQUEST, answer, answer);
}

#[test]
fn texts_among_the_facts_of_an_answer_are_no_facts() {
    let answer = |text: &str| {
        format!(
            r#"{{"usage":{{"tier":"on-demand","note":"{text}"}},"data":[{{"embedding":{{"x":"{text}"}}}}],
            "choices":[{{"logprobs":{{"content":null,"note":"{text}"}}}}]}}"#
        )
    };
    let redacted = answer("of <EMAIL_A1>").replace(r#"{"content":null,"note":"of <EMAIL_A1>"}"#, "null");
    check(REQUEST, &answer("of z@y.com"), &redacted);
}

#[test]
fn the_texts_of_a_body_are_joined_for_others_to_look_at() {
    let guard = guard(REDACT);
    let texts = guard.texts(Side::Request, br#"{"model":"m","messages":[{"role":"user","content":"one \u0040"},{"content":[{"type":"text","text":"two"}]}]}"#);
    assert_eq!((texts.joined.as_str(), texts.whole), ("one @\ntwo\n", true));
    let long = format!(r#"{{"input":["{}","rest"]}}"#, "x".repeat(2 * 1024 * 1024));
    assert!(
        !guard.texts(Side::Request, long.as_bytes()).whole && !guard.texts(Side::Request, br#"{"input":[1]}"#).whole
    );
}
