//! Policies that cannot be applied say where, and what would mend it.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_guard::{Action, Guard, Policy, Side, all_applied};

#[track_caller]
fn check(policy: &str, path: &str, says: &str) {
    let checkers = BTreeSet::from(["lakera".to_owned()]);
    let policy = serde_json::from_str(policy).expect("a policy");
    let error = Guard::new(&policy, &checkers).expect_err("it cannot be applied");
    assert_eq!(error.path, path);
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_name_that_nothing_has_comes_with_the_nearest_that_something_has() {
    check(r#"{"input":{"paymentcard":"block"}}"#, "input.paymentcard", "`payment_card`");
    check(r#"{"output":{"secret":"block"}}"#, "output.secret", "`secrets`");
    check(r#"{"input":{"xyzzy":"block"}}"#, "input.xyzzy", "neither built in");
    check(r#"{"risk":{"weights":{"jailbraek":5}}}"#, "risk.weights.jailbraek", "`jailbreak`");
    check(r#"{"input":{"lakira":"block"}}"#, "input.lakira", "`lakera`");
    check(r#"{"languages":["deutsch"]}"#, "languages", "de");
}

/// A record's list counts as applied if another record's table names it, so the record is judged beside those tables.
#[track_caller]
fn unapplied(policy: &str, path: &str) {
    let policy: Policy = serde_json::from_str(policy).expect("a policy");
    let error = all_applied(&policy, [&policy.input, &policy.output]).expect_err("no table names it");
    assert_eq!(error.path, path);
    assert!(error.to_string().contains("`input` or `output`"), "{error}");
    let name = path.split('.').next_back().expect("a name").to_owned();
    let elsewhere = BTreeMap::from([(name, Action::Flag)]);
    assert!(all_applied(&policy, [&policy.input, &elsewhere]).is_ok());
}

#[test]
fn a_rule_from_which_nothing_follows_is_refused() {
    unapplied(r#"{"keywords":{"names":{"words":["falcon"]}}}"#, "keywords.names");
    unapplied(r#"{"patterns":{"ticket":{"regex":"T[0-9]+"}}}"#, "patterns.ticket");
    check(r#"{"input":{"size":"block"}}"#, "input.size", "characters_max");
    check(r#"{"input":{"language":"block"}}"#, "input.language", "languages");
}

#[test]
fn what_cannot_be_done_is_refused() {
    check(r#"{"characters_max":5,"input":{"size":"redact"}}"#, "input.size", "`flag` or `block`");
    check(r#"{"languages":["de"],"input":{"language":"redact"}}"#, "input.language", "`flag` or `block`");
    check(r#"{"characters_max":5,"output":{"size":"block"}}"#, "output.size", "`input`");
    check(r#"{"phone_country":"XX"}"#, "phone_country", "XX");
    check(r#"{"input":{"a":"block"},"keywords":{"a":{"words":["b"],"at_least":2}}}"#, "keywords.a.at_least", "never");
    check(r#"{"input":{"a":"block"},"keywords":{"a":{"words":["-"]}}}"#, "keywords.a.words", "-");
    check(r#"{"input":{"a":"block"},"patterns":{"a":{"regex":"("}}}"#, "patterns.a.regex", "");
    check(
        r#"{"input":{"a":"block"},"patterns":{"a":{"regex":"b","placeholder":"c d"}}}"#,
        "patterns.a.placeholder",
        "A-Z",
    );
}

#[test]
fn names_are_taken_once() {
    check(r#"{"input":{"email":"block"},"keywords":{"email":{"words":["b"]}}}"#, "keywords.email", "already");
    check(r#"{"input":{"risk":"block"},"patterns":{"risk":{"regex":"b"}}}"#, "patterns.risk", "already");
    check(r#"{"input":{"lakera":"block"},"keywords":{"lakera":{"words":["b"]}}}"#, "keywords.lakera", "already");
    check(r#"{"input":{"é":"block"},"keywords":{"é":{"words":["b"]}}}"#, "keywords.é", "a-z");
}

#[test]
fn external_checkers_are_told_with_what_follows() {
    let checkers = BTreeSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    let policy = serde_json::from_str(r#"{"input":{"a":"block","b":"off"},"output":{"c":"flag"}}"#).unwrap();
    let guard = Guard::new(&policy, &checkers).unwrap();
    assert_eq!(guard.checkers(Side::Request).collect::<Vec<_>>(), [("a", Action::Block)]);
    assert_eq!(guard.checkers(Side::Answer).collect::<Vec<_>>(), [("c", Action::Flag)]);
    assert!(!guard.looks_at_requests() && !guard.looks_at_answers());
}
