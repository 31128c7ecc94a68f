//! Rules about a request as a whole: how large it is, and in which language.

use tollgate_guard::Vault;

use crate::{blocking, guard};

const GERMAN: &str = "Der Ausschuss trifft sich am Donnerstag wieder, um zu besprechen, was mit der Bruecke geschieht.";
const ENGLISH: &str = "The committee will meet again on Thursday to discuss what should be done about the old bridge.";

#[track_caller]
fn check(policy: &str, body: &str, expected: Option<&str>) {
    let screened = guard(policy).screen_request(body.as_bytes(), &mut Vault::default());
    assert_eq!(blocking(&screened), expected, "{body}");
}

#[test]
fn a_request_with_too_many_characters_is_blocked() {
    let policy = r#"{"characters_max":5}"#;
    check(policy, r#"{"model":"a-long-name","messages":[{"role":"user","content":"\u00e9éab"}]}"#, None);
    check(policy, r#"{"messages":[{"role":"user","content":"abc"},{"role":"user","content":"def"}]}"#, Some("size"));
    check(r#"{"characters_max":5,"input":{"size":"flag"}}"#, r#"{"input":"abcdef"}"#, None);
}

#[test]
fn a_user_who_surely_writes_in_another_language_is_blocked() {
    let policy = r#"{"languages":["de"]}"#;
    let message = |role: &str, text: &str| format!(r#"{{"messages":[{{"role":"{role}","content":"{text}"}}]}}"#);
    check(policy, &message("user", GERMAN), None);
    check(policy, &message("user", ENGLISH), Some("language"));
    check(policy, &format!(r#"{{"messages":[{{"content":"{ENGLISH}","role":"user"}}]}}"#), Some("language"));
    check(policy, &format!(r#"{{"messages":[{{"content":"{ENGLISH}","role":"system"}}]}}"#), None);
    check(policy, &message("system", ENGLISH), None);
    check(policy, &message("user", "Please go on"), None);
    check(policy, &format!(r#"{{"input":"{ENGLISH}"}}"#), Some("language"));
    check(policy, &format!(r#"{{"input":["Hallo","{ENGLISH}"]}}"#), Some("language"));
    check(
        policy,
        &format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"{ENGLISH}"}}]}}]}}"#),
        Some("language"),
    );
    check(r#"{"languages":["de","en"]}"#, &message("user", ENGLISH), None);
}
