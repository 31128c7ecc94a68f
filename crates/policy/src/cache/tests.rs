use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tollgate_types::{CacheMode, CacheRules, CacheWish, Digest, Endpoint};

use super::{Asked, UNKEYED, Unkept, Way, judge, key, searches, temperature, way};

fn of(body: &str) -> Option<Digest> {
    let tags = BTreeSet::new();
    let asked = Asked {
        team: "search",
        shared_by: ("", ""),
        model: "fast",
        endpoint: Endpoint::ChatCompletions,
        tags: &tags,
        body: body.as_bytes(),
    };
    key(&asked)
}

#[test]
fn the_way_a_body_is_written_does_not_matter() {
    let check = |a: &str, b: &str| assert_eq!(of(a), of(b), "{a} and {b}");
    check(r#"{"a":1,"b":{"c":2,"d":3}}"#, "{ \"b\" : {\n\"d\":3, \"c\":2}, \"a\":1 }");
    check(r#"{"a":"\u00e9\/"}"#, r#"{"a":"é/"}"#);
    for one in ["1.0", "1e0", "10e-1", "0.1E+1", "1.000"] {
        check(r#"{"a":1}"#, &format!(r#"{{"a":{one}}}"#));
    }
    check(r#"{"a":0}"#, r#"{"a":-0.0e5}"#);
    for field in UNKEYED {
        check(r#"{"a":1}"#, &json!({ "a": 1, *field: "x" }).to_string());
    }
}

#[test]
fn whatever_may_change_the_answer_matters() {
    let mut seen = std::collections::HashMap::new();
    for body in [
        "{}",
        r#"{"a":1}"#,
        r#"{"a":"1"}"#,
        r#"{"a":[1]}"#,
        r#"{"a":[[1]]}"#,
        r#"{"a":{"1":null}}"#,
        r#"{"a":null}"#,
        r#"{"a":true}"#,
        r#"{"a":false}"#,
        r#"{"a":-1}"#,
        r#"{"a":10}"#,
        r#"{"a":0.1}"#,
        r#"{"a":[1,2]}"#,
        r#"{"a":[2,1]}"#,
        r#"{"a":9007199254740993}"#,
        r#"{"a":9007199254740992}"#,
        r#"{"a":1e99999999999999999999}"#,
        r#"{"b":1}"#,
        r#"{"a":1,"n":2}"#,
        r#"{"a":1,"seed":2}"#,
        r#"{"x":{"user":"a"}}"#,
        r#"{"x":{"user":"b"}}"#,
    ] {
        let before = seen.insert(of(body).expect(body), body);
        assert_eq!(before, None, "{body}");
    }
    assert_eq!(of("[1]"), None);
    assert_eq!(of("{"), None);
}

#[test]
fn team_scope_model_endpoint_and_tags_are_part_of_the_key() {
    let (none, eu) = (BTreeSet::new(), BTreeSet::from(["eu".to_owned()]));
    let asked = Asked {
        team: "a",
        shared_by: ("", ""),
        model: "m",
        endpoint: Endpoint::ChatCompletions,
        tags: &none,
        body: b"{}",
    };
    let all = [
        asked,
        Asked { team: "b", ..asked },
        Asked { model: "n", ..asked },
        Asked { shared_by: ("user", "x"), ..asked },
        Asked { shared_by: ("project", "x"), ..asked },
        Asked { endpoint: Endpoint::Responses, ..asked },
        Asked { tags: &eu, ..asked },
    ];
    let keys: BTreeSet<String> = all.iter().map(|asked| key(asked).expect("a body").to_string()).collect();
    assert_eq!(keys.len(), all.len());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        "[a-e\\\\\"é😀\\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The same value, written with its members the other way round, white space, and every text escaped.
fn otherwise(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().rev().map(|(name, value)| format!("{} : {}", escaped(name), otherwise(value))).collect();
            format!("{{\n {} }}", members.join(" ,\t"))
        }
        Value::Array(items) => format!("[ {} ]", items.iter().map(otherwise).collect::<Vec<_>>().join(" , ")),
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    format!("\"{units}\"")
}

proptest! {
    #[test]
    fn order_white_space_and_escapes_never_matter(a in any_value()) {
        let body = Value::Object(Map::from_iter([("x".to_owned(), a.clone()), ("y".to_owned(), 1.into())]));
        prop_assert_eq!(of(&body.to_string()), of(&otherwise(&body)));
    }

    #[test]
    fn any_other_value_is_another_key(a in any_value(), b in any_value()) {
        let same = of(&json!({ "x": a }).to_string()) == of(&json!({ "x": b }).to_string());
        // 1 and 1.0 are one number here and two to the comparison.
        let equal = a == b || otherwise(&a).replace(".0", "") == otherwise(&b).replace(".0", "");
        prop_assert_eq!(same, equal, "{} and {}", a, b);
    }
}

#[test]
fn a_job_gets_what_it_asks_for_unless_the_cache_is_off_and_else_what_its_team_has() {
    use CacheWish::{Bypass, Refresh, Use};
    let check = |mode, wish, temperature, expected| {
        let rules = CacheRules { mode, ..CacheRules::default() };
        assert_eq!(way(wish, &rules, temperature), expected, "{mode:?} {wish:?} {temperature:?}");
    };
    let (off, asked_only, on) = (Some(CacheMode::Off), Some(CacheMode::Bypass), Some(CacheMode::Use));
    for wish in [None, Some(Use), Some(Refresh), Some(Bypass)] {
        check(off, wish, None, Way::None);
    }
    for mode in [None, asked_only] {
        check(mode, None, None, Way::None);
        check(mode, Some(Use), Some(1.0), Way::Use);
        check(mode, Some(Refresh), None, Way::Refresh);
    }
    check(on, None, None, Way::Use);
    check(on, None, Some(0.0), Way::Use);
    check(on, None, Some(0.7), Way::None);
    check(on, Some(Use), Some(0.7), Way::Use);
    check(on, Some(Bypass), None, Way::None);
    assert_eq!(temperature(br#"{"temperature":0.5}"#), Some(0.5));
    assert_eq!(temperature(br#"{"temperature":null,"x":{"temperature":1}}"#), None);
}

#[test]
fn only_whole_answers_are_kept() {
    let rules = CacheRules::default();
    let chat = |choices: Value| judge(Endpoint::ChatCompletions, &json!({ "choices": choices }).to_string(), &rules);
    let ended = |reason: &str| json!({ "finish_reason": reason, "message": { "content": "x" } });
    assert_eq!(chat(json!([ended("stop")])), Ok(()));
    for bad in ["length", "content_filter", ""] {
        assert_eq!(chat(json!([ended("stop"), ended(bad)])), Err(Unkept::NotWhole), "{bad}");
    }
    let found = |places: Value| json!([{ "finish_reason": "stop", "message": { "annotations": places } }]);
    assert_eq!(chat(found(json!([]))), Ok(()));
    assert_eq!(chat(found(json!([{ "type": "url_citation" }]))), Err(Unkept::ToolCalls));
    assert_eq!(chat(json!([])), Err(Unkept::NotWhole));
    assert_eq!(chat(json!([{ "message": {} }])), Err(Unkept::NotWhole));
    assert_eq!(chat(json!([{ "finish_reason": "stop", "message": { "refusal": "no" } }])), Err(Unkept::NotWhole));
    let response = |body: Value| judge(Endpoint::Responses, &body.to_string(), &rules);
    assert_eq!(response(json!({ "status": "completed", "output": [{ "type": "message" }] })), Ok(()));
    assert_eq!(response(json!({ "status": "incomplete", "output": [{ "type": "message" }] })), Err(Unkept::NotWhole));
    let of = |item: Value| response(json!({ "status": "completed", "output": [{ "type": "reasoning" }, item] }));
    for kind in ["function_call", "web_search_call", "mcp_approval_request"] {
        assert_eq!(of(json!({ "type": kind })), Err(Unkept::ToolCalls), "{kind}");
    }
    let says = |parts: Value| of(json!({ "type": "message", "content": parts }));
    assert_eq!(says(json!([{ "type": "output_text", "text": "x" }])), Ok(()));
    assert_eq!(says(json!([{ "type": "output_text" }, { "type": "refusal", "refusal": "" }])), Err(Unkept::NotWhole));
    assert_eq!(says(json!({ "type": "refusal" })), Err(Unkept::Unreadable));
    assert_eq!(judge(Endpoint::Embeddings, "{}", &rules), Ok(()));
}

#[test]
fn answers_with_tools_or_without_measure_are_kept_only_where_that_is_configured() {
    let call = json!({ "choices": [{ "finish_reason": "tool_calls", "message": { "tool_calls": [{ "id": "1" }] } }] });
    let said = |rules: &CacheRules| judge(Endpoint::ChatCompletions, &call.to_string(), rules);
    assert_eq!(said(&CacheRules::default()), Err(Unkept::ToolCalls));
    assert_eq!(said(&CacheRules { tool_calls: Some(true), ..CacheRules::default() }), Ok(()));
    assert_eq!(said(&CacheRules { answer_bytes_max: Some(10), ..CacheRules::default() }), Err(Unkept::TooLarge));
}

#[test]
fn a_chat_that_searches_the_web_is_told_from_others() {
    let check = |body: &str, expected| assert_eq!(searches(body.as_bytes()), expected, "{body}");
    check(r#"{"web_search_options":{}}"#, true);
    check(r#"{"web_search_options":null}"#, false);
    check(r#"{"messages":[{"web_search_options":{}}]}"#, false);
    check("{", false);
}
