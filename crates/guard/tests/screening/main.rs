//! Whole bodies through a guard: what is replaced, blocked, told, and put back.

mod answers;
mod languages;
mod overlaps;
mod parts;
mod policies;
mod requests;
mod round_trip;
mod streams;

use std::collections::BTreeSet;

use tollgate_guard::{Guard, Screened, Vault, Verdict};

/// A guard of this policy, written as JSON.
fn guard(policy: &str) -> Guard {
    Guard::new(&serde_json::from_str(policy).expect("a policy"), &BTreeSet::new()).expect("it can be applied")
}

/// What redacts what the tests use.
const REDACT: &str = r#"{"input":{"pii":"redact","secrets":"redact","ticket":"redact"},
    "output":{"pii":"redact","secrets":"redact","ticket":"redact"},
    "patterns":{"ticket":{"regex":"TICK-[0-9]{4}"}}}"#;

/// The body of a screened request, as text.
fn body(screened: &Screened) -> Option<String> {
    screened.body.clone().map(|body| String::from_utf8(body).expect("it is text"))
}

/// Checks what becomes of a request's body under a policy that redacts.
#[track_caller]
fn check(before: &str, after: &str) {
    let screened = guard(REDACT).screen_request(before.as_bytes(), &mut Vault::default());
    assert_eq!(screened.verdict, Verdict::Pass);
    assert_eq!(body(&screened).as_deref().unwrap_or(before), after);
    assert_eq!(screened.body.is_some(), before != after, "what is clean is not copied");
    serde_json::from_str::<serde_json::Value>(after).expect("it is JSON still");
}

/// Checks that a request's body is clean under a policy that redacts.
#[track_caller]
fn check_clean(before: &str) {
    check(before, before);
}

/// The rule that blocks, if one does.
fn blocking(screened: &Screened) -> Option<&str> {
    match &screened.verdict {
        Verdict::Pass => None,
        Verdict::Block { rule } => Some(rule),
    }
}
