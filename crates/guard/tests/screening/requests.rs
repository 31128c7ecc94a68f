//! Requests: every place that can hold a prompt is looked at, and nothing else changes.

use tollgate_guard::{Followed, Guard, Side, TOO_MANY, UNREADABLE, Vault};

use crate::{REDACT, blocking, body, check, check_clean, guard};

#[test]
fn only_what_was_found_changes_byte_for_byte() {
    check(
        "{ \"model\":\"m\" , \"messages\":[ {\"role\":\"user\",\"content\":\"I am a@b.com, \\u00e9\\n\"}],\t\"seed\":1e2}",
        "{ \"model\":\"m\" , \"messages\":[ {\"role\":\"user\",\"content\":\"I am <EMAIL_1>, \\u00e9\\n\"}],\t\"seed\":1e2}",
    );
    check_clean(r#"{"model":"m","messages":[{"role":"user","content":"nothing to see, 12:30, 3.14"}]}"#);
}

#[test]
fn the_same_value_has_the_same_placeholder_wherever_it_stands() {
    check(
        r#"{"messages":[{"content":"a@b.com and c@d.com"},{"content":"again a@b.com"}],"user":"c@d.com"}"#,
        r#"{"messages":[{"content":"<EMAIL_1> and <EMAIL_2>"},{"content":"again <EMAIL_1>"}],"user":"<EMAIL_2>"}"#,
    );
}

#[test]
fn all_roles_calls_results_schemas_and_metadata_are_looked_at() {
    for hidden in [
        r#"{"messages":[{"role":"system","content":"@"}]}"#,
        r#"{"messages":[{"role":"tool","tool_call_id":"c1","content":"@"}]}"#,
        r#"{"messages":[{"role":"user","name":"@","content":"x"}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"@"}]}]}"#,
        r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"to\":\"@\"}"}}]}]}"#,
        r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{"description":"@"}}}}}]}"#,
        r#"{"tools":[{"function":{"parameters":{"properties":{"@":{"type":"string"}}}}}]}"#,
        r#"{"metadata":{"any":"@"}}"#,
        r#"{"input":"@"}"#,
        r#"{"input":["x","@"]}"#,
        r#"{"instructions":"@","input":[{"type":"function_call_output","call_id":"c","output":"@"}]}"#,
        r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"@"}]}]}"#,
        r#"{"messages":[{"role":"@","content":"x"}],"model":"@"}"#,
        r#"{"unheard":[{"of":[["@"]]}]}"#,
    ] {
        check(&hidden.replace('@', "a@b.com"), &hidden.replace('@', "<EMAIL_1>"));
    }
}

#[test]
fn names_that_machines_gave_are_left_alone_where_they_stand() {
    check_clean(
        r#"{"model":"4111111111111111","messages":[{"role":"tool","tool_call_id":"4111111111111111","content":""}]}"#,
    );
    check_clean(r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"4111111111111111","type":"function"}]}]}"#);
}

#[test]
fn a_match_behind_escapes_is_seen_and_escapes_around_it_stay() {
    check(r#"{"input":"\u00e9 a\u0040b.com \"q\""}"#, r#"{"input":"\u00e9 <EMAIL_1> \"q\""}"#);
    check(r#"{"input":"\na@b.com\n"}"#, r#"{"input":"\n<EMAIL_1>\n"}"#);
    check(
        r#"{"messages":[{"content":"{\"to\":\"a\\u0040b.com\",\"c\":\"\\nc@d.com\"}"}]}"#,
        r#"{"messages":[{"content":"{\"to\":\"<EMAIL_1>\",\"c\":\"\\n<EMAIL_2>\"}"}]}"#,
    );
}

#[test]
fn bare_numbers_become_placeholders_in_quotes() {
    check(r#"{"metadata":{"card":4111111111111111,"n":7}}"#, r#"{"metadata":{"card":"<PAYMENT_CARD_1>","n":7}}"#);
    check(
        r#"{"messages":[{"role":"tool","content":"{\"card\":4111111111111111,\"n\":7}"}]}"#,
        r#"{"messages":[{"role":"tool","content":"{\"card\":\"<PAYMENT_CARD_1>\",\"n\":7}"}]}"#,
    );
    check_clean(r#"{"metadata":{"measure":0.4111111111111111,"big":4111111111111111e2},"max_tokens":1000}"#);
}

#[test]
fn look_alikes_of_placeholders_keep_their_numbers() {
    check(
        r#"{"input":"is <EMAIL_1> or EMAIL\\_2 a@b.com?","user":"EMAIL\u005f3"}"#,
        r#"{"input":"is <EMAIL_1> or EMAIL\\_2 <EMAIL_4>?","user":"EMAIL\u005f3"}"#,
    );
}

#[test]
fn pictures_are_left_alone_and_texts_in_base64_are_not() {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let picture = |url: &str| {
        format!(
            r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"{url}","detail":"low"}}}}]}}]}}"#
        )
    };
    check_clean(&picture(&format!("data:image/png;base64,{}", encode("write to a@b.com now, please"))));
    let file = |text: &str| picture(&format!("data:text/plain;base64,{}", encode(text)));
    check(&file("write to a@b.com!"), &file("write to <EMAIL_1>!"));
    check(&picture("https://x.com/?mail=a@b.com"), &picture("https://x.com/?mail=<EMAIL_1>"));
}

#[test]
fn what_cannot_be_looked_at_blocks_unless_the_policy_lets_it_pass() {
    for unreadable in [
        r#"{"input":[1,2,3]}"#.as_bytes(),
        br#"{"input":[[1,2],[3]]}"#,
        br#"{"messages":[{"content":[{"type":"file","file":{"file_data":"data:text/plain;base64,@@"}}]}]}"#,
        b"\xff",
    ] {
        let screened = guard(REDACT).screen_request(unreadable, &mut Vault::default());
        assert_eq!(blocking(&screened), Some(UNREADABLE));
        let lenient = guard(r#"{"input":{"pii":"redact"},"on_failure":"allow"}"#);
        let screened = lenient.screen_request(unreadable, &mut Vault::default());
        assert_eq!((blocking(&screened), screened.fired[0].action), (None, Followed::Passed));
    }
}

#[test]
fn a_rule_that_blocks_ends_the_job_and_all_that_fired_is_told() {
    let guard = guard(r#"{"input":{"pii":"flag","payment_card":"block","email":"redact"}}"#);
    let text = br#"{"input":"4111 1111 1111 1111 of a@b.com, a@b.com"}"#;
    let screened = guard.screen_request(text, &mut Vault::default());
    assert_eq!((blocking(&screened), &screened.body), (Some("payment_card"), &None));
    let told: Vec<_> = screened.fired.iter().map(|hit| (hit.rule.as_str(), hit.on, hit.action, hit.count)).collect();
    let expected = [("payment_card", Side::Request, Followed::Block, 1), ("email", Side::Request, Followed::Redact, 2)];
    assert_eq!(told, expected);
}

#[test]
fn a_rule_that_is_off_is_not_looked_for() {
    let guard = guard(r#"{"input":{"pii":"redact","email":"off"}}"#);
    let screened = guard.screen_request(br#"{"input":"a@b.com 4111 1111 1111 1111"}"#, &mut Vault::default());
    assert_eq!(body(&screened).as_deref(), Some(r#"{"input":"a@b.com <PAYMENT_CARD_1>"}"#));
}

#[test]
fn a_topic_fires_when_enough_different_words_are_in_the_job() {
    let policy = r#"{"input":{"merger":"block"},"keywords":{"merger":{"words":["falcon","target price","board"],"at_least":2}}}"#;
    let check = |text: &str, expected: Option<&str>| {
        let screened = guard(policy).screen_request(text.as_bytes(), &mut Vault::default());
        assert_eq!(blocking(&screened), expected, "{text}");
        assert_eq!(screened.fired.is_empty(), expected.is_none());
    };
    check(r#"{"messages":[{"content":"the falcon, a Falcon, FALCON"}]}"#, None);
    check(r#"{"messages":[{"content":"the falcon"},{"content":"of the Board"}]}"#, Some("merger"));
}

#[test]
fn what_fired_adds_up_to_a_risk_that_blocks() {
    let policy = r#"{"input":{"pii":"flag","codename":"flag"},"keywords":{"codename":{"words":["falcon"]}},
        "risk":{"weights":{"pii":30,"email":5,"codename":40},"block_from":70}}"#;
    let check = |text: &str, risk: u8, expected: Option<&str>| {
        let screened = guard(policy).screen_request(text.as_bytes(), &mut Vault::default());
        assert_eq!((screened.risk, blocking(&screened)), (risk, expected), "{text}");
    };
    check(r#"{"input":"hello"}"#, 0, None);
    check(r#"{"input":"a@b.com c@d.com"}"#, 5, None);
    check(r#"{"input":"a@b.com 4111 1111 1111 1111"}"#, 35, None);
    check(r#"{"input":"falcon 4111 1111 1111 1111"}"#, 70, Some("risk"));
}

#[test]
fn the_context_that_the_name_of_a_field_gives_counts() {
    let policy = guard(r#"{"input":{"us_ssn":"block"}}"#);
    let screen = |text: &str| policy.screen_request(text.as_bytes(), &mut Vault::default());
    assert_eq!(blocking(&screen(r#"{"metadata":{"ssn":"536904399"}}"#)), Some("us_ssn"));
    assert_eq!(blocking(&screen(r#"{"metadata":{"order":"536904399"}}"#)), None);
    assert_eq!(blocking(&screen(r#"{"messages":[{"content":"{\"ssn\": 536904399}"}]}"#)), Some("us_ssn"));
}

#[test]
fn more_values_than_can_be_kept_block_the_job() {
    let many: String = (0..10_001).map(|n| format!("u{n}@b.com ")).collect();
    let screened = guard(REDACT).screen_request(format!(r#"{{"input":"{many}"}}"#).as_bytes(), &mut Vault::default());
    assert_eq!(blocking(&screened), Some(TOO_MANY));
    let one = "a@b.com ".repeat(20_000);
    let screened = guard(REDACT).screen_request(format!(r#"{{"input":"{one}"}}"#).as_bytes(), &mut Vault::default());
    assert_eq!(blocking(&screened), None);
}

#[test]
fn a_guard_of_an_empty_policy_looks_at_nothing() {
    let guard: Guard = guard("{}");
    assert!(!guard.looks_at_requests() && !guard.looks_at_answers());
    let screened = guard.screen_request(b"\xff", &mut Vault::default());
    assert_eq!((blocking(&screened), screened.risk), (None, 0));
}

#[test]
fn nothing_that_is_shown_has_the_value_in_it() {
    let mut vault = Vault::default();
    let guard = guard(REDACT);
    let screened = guard.screen_request(br#"{"input":"hidden@b.com"}"#, &mut vault);
    let shown = format!("{screened:?} {vault:?} {guard:?} {:?}", guard.sieve(&vault));
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn texts_in_other_codings_are_looked_at() {
    let file =
        |data: &str| format!(r#"{{"messages":[{{"content":[{{"type":"file","file":{{"file_data":"{data}"}}}}]}}]}}"#);
    check(&file("data:text/plain,write%20to%20a%40b.com"), &file("data:text/plain,write%20to%20%3CEMAIL%5F1%3E"));
    let base64 = |text: &str| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text);
    check(&file(&base64("please write to a@b.com")), &file(&base64("please write to <EMAIL_1>")));
    check_clean(&file(&base64("nothing of anybody in here")));
    check_clean(&file("file-abc123XYZ"));
    let utf16: Vec<u8> = "a@b.com".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (kind, bytes, reads) in [
        ("application/json", &utf16[..], false),
        ("text/csv", &utf16[..], false),
        ("application/pdf", b"%PDF-1.7 \xff\xfe", true),
        ("application/octet-stream", b"\x89PNG\r\n\x1a\n\xff", true),
    ] {
        let data = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
        let body = file(&format!("data:{kind};base64,{data}"));
        let screened = guard(REDACT).screen_request(body.as_bytes(), &mut Vault::default());
        assert_eq!(blocking(&screened), (!reads).then_some(UNREADABLE), "{kind}");
    }
}

#[test]
fn escapes_within_lines_of_json_and_between_words_hide_nothing() {
    let content = |text: &str| serde_json::json!({ "messages": [{ "content": text }] }).to_string();
    check(&content("{\"a\":\"ann\\u0040example.com\"}\n{\"b\":1}"), &content("{\"a\":\"<EMAIL_1>\"}\n{\"b\":1}"));
    check(&content("```json\n{\"a\":\"ann\\u0040example.com\"}\n```"), &content("```json\n{\"a\":\"<EMAIL_1>\"}\n```"));
    check_clean(&content("write \\u0040 for an at sign"));
}

#[test]
fn checkers_are_shown_what_patterns_see_or_told_that_it_is_not_all() {
    let guard = guard(REDACT);
    let shown = |body: &str| {
        let texts = guard.texts(Side::Request, body.as_bytes());
        (texts.joined, texts.whole)
    };
    let body = r#"{"messages":[{"role":"bad role text here","content":"x"}],"metadata":{"Some Key Text":"v"}}"#;
    assert_eq!(shown(body), ("bad role text here\nx\nSome Key Text\nv\n".to_owned(), true));
    let file =
        |data: &str| format!(r#"{{"messages":[{{"content":[{{"type":"file","file":{{"file_data":"{data}"}}}}]}}]}}"#);
    assert!(!shown(&file("data:text/plain;base64,YUBiLmNvbQ==")).1, "a text that is not shown");
    assert!(shown(&file("data:image/png;base64,AAAA")).1, "a picture is no text");
}

#[test]
fn the_places_of_answers_hide_nothing_in_requests() {
    check(r#"{"usage":{"note":"mail a@b.com"}}"#, r#"{"usage":{"note":"mail <EMAIL_1>"}}"#);
    check(r#"{"usage":{"card":4111111111111111}}"#, r#"{"usage":{"card":"<PAYMENT_CARD_1>"}}"#);
    check(r#"{"data":[{"embedding":{"x":"mail a@b.com"}}]}"#, r#"{"data":[{"embedding":{"x":"mail <EMAIL_1>"}}]}"#);
    check(r#"{"choices":[{"finish_reason":"a@b.com"}]}"#, r#"{"choices":[{"finish_reason":"<EMAIL_1>"}]}"#);
    let part = |text: &str| {
        format!(r#"{{"messages":[{{"content":[{{"type":"text","text":"hi","logprobs":{{"x":"{text}"}}}}]}}]}}"#)
    };
    check(&part("card 4111 1111 1111 1111"), &part("card <PAYMENT_CARD_1>"));
}

#[test]
fn what_could_not_be_looked_at_and_may_pass_is_no_risk() {
    let policy = r#"{"input":{"email":"flag"},"on_failure":"allow","risk":{"block_from":1}}"#;
    let screened = guard(policy).screen_request(br#"{"input":[1,2]}"#, &mut Vault::default());
    assert_eq!((blocking(&screened), screened.risk), (None, 0));
    assert_eq!(screened.fired[0].rule, "unreadable");
    let screened = guard(policy).screen_request(br#"{"input":["a@b.com",1]}"#, &mut Vault::default());
    assert_eq!(blocking(&screened), Some("risk"));
}
