//! Kept answers and guardrails: what is kept has placeholders, and the rules of now hold for it.

use serde_json::json;
use tollgate_types::event::CacheUse;
use tollgate_types::{ErrorCode, JobResult, Status};

use crate::bench::{Bench, CARD, answer, echo, hits};

async fn run(bench: &Bench, prompt: &str) -> JobResult {
    let line = json!({ "body": echo(prompt), "tollgate": { "cache": "use" } });
    let id = bench.submit_line(line).await;
    bench.result(&id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_with_placeholders_and_each_gets_its_own_values_back() {
    let bench = Bench::start(json!({"input": {"pii": "redact"}})).await;
    let first = run(&bench, "Hello ann@example.org!").await;
    assert_eq!((answer(&first).as_str(), first.tollgate.cache), ("Hello ann@example.org!", CacheUse::Miss));
    bench.kept_answers(1).await;
    let second = run(&bench, "Hello bob@example.net!").await;
    assert_eq!((answer(&second).as_str(), second.tollgate.cache), ("Hello bob@example.net!", CacheUse::Hit));
    assert_eq!((bench.sent(), second.tollgate.cost_nanousd.0), (1, 0));
    assert_eq!(hits(&second), ["email request redact 1"]);
    let kept = bench.all_of(tollgate_types::subjects::CACHE_STREAM).await;
    assert!(kept.contains("<EMAIL_1>") && !kept.contains("ann@example"), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_redacted_in_an_answer_is_kept_so_and_what_is_blocked_is_not_kept() {
    let bench = Bench::start(json!({"output": {"payment_card": "redact"}})).await;
    run(&bench, &format!("Say {CARD}")).await;
    bench.kept_answers(1).await;
    assert!(!bench.all_of(tollgate_types::subjects::CACHE_STREAM).await.contains(CARD));

    bench.set(json!({"output": {"payment_card": "block"}})).await;
    let prompt = format!("Tell {CARD}");
    for calls in [2, 3] {
        let result = run(&bench, &prompt).await;
        assert_eq!(result.error.as_ref().map(|error| error.code), Some(ErrorCode::AnswerBlocked), "{result:?}");
        assert_eq!(bench.sent(), calls, "a blocked answer is given to nobody, and asked for again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_now_hold_for_what_was_kept_before() {
    let bench = Bench::start(json!({})).await;
    let prompt = format!("Say {CARD}");
    assert_eq!(answer(&run(&bench, &prompt).await), prompt);
    bench.kept_answers(1).await;
    bench.set(json!({"output": {"payment_card": "block"}})).await;
    let blocked = run(&bench, &prompt).await;
    assert_eq!((blocked.tollgate.status, blocked.tollgate.cache), (Status::Blocked, CacheUse::Hit), "{blocked:?}");
    assert_eq!((bench.sent(), blocked.tollgate.saved_nanousd.0), (1, 0), "{blocked:?}");
}
