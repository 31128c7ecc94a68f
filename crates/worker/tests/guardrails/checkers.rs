//! External checkers as rules.

use std::time::Duration;

use serde_json::json;
use sim_provider::CheckerPlan;
use tollgate_types::{ErrorCode, Status};

use crate::bench::{Bench, MAIL, answer, echo, hits};

fn objects_to(word: &str) -> CheckerPlan {
    CheckerPlan { words: vec![word.to_owned()], ..CheckerPlan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checker_stops_prompts_and_answers_and_sees_only_what_patterns_left() {
    let bench = Bench::start(json!({"input": {"pii": "redact", "moderation": "block"}})).await;
    bench.checker(objects_to("violence"));
    let result = bench.run(echo(&format!("violence at {MAIL}"))).await;
    assert_eq!((result.tollgate.status, bench.sent()), (Status::Blocked, 0), "{result:?}");
    assert!(hits(&result).contains(&"moderation request block 1".to_owned()), "{:?}", hits(&result));
    let seen = bench.world.sim.checked();
    assert!(!seen.is_empty() && !seen.iter().any(|text| text.contains("ann.smith")), "{seen:?}");

    bench.set(json!({"output": {"moderation": "block"}})).await;
    let result = bench.run(echo("violence")).await;
    assert_eq!(result.error.as_ref().map(|error| error.code), Some(ErrorCode::AnswerBlocked), "{result:?}");
    assert!(result.tollgate.cost_nanousd.0 > 0);
    let clean = bench.run(echo("peace")).await;
    assert_eq!(answer(&clean), "peace");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_checker_finds_are_redacted_and_put_back() {
    let bench = Bench::start(json!({"input": {"own": "redact"}, "restore": false})).await;
    bench
        .checker(CheckerPlan {
            names: vec!["Ann Smith".into(), "Jürgen \"J\" Groß".into()], ..CheckerPlan::default()
        });
    let prompt = "Ann Smith met Jürgen \"J\" Groß, and Ann Smith left";
    let result = bench.run(echo(prompt)).await;
    let seen = answer(&result);
    assert!(!seen.contains("Smith") && !seen.contains("Groß") && seen.matches("<PERSON_").count() == 3, "{seen}");
    bench.set(json!({"input": {"own": "redact"}})).await;
    assert_eq!(answer(&bench.run(echo(prompt)).await), prompt);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_checker_nothing_passes_unless_the_team_says_so() {
    let bench = Bench::start(json!({"input": {"moderation": "block"}})).await;
    bench.checker(CheckerPlan { status: Some(503), ..CheckerPlan::default() });
    let result = bench.run(echo("hello")).await;
    assert_eq!(result.error.as_ref().map(|error| error.code), Some(ErrorCode::GuardrailFailed), "{result:?}");
    assert_eq!((result.tollgate.status, bench.sent()), (Status::Blocked, 0));

    bench.set(json!({"input": {"moderation": "block"}, "on_failure": "allow"})).await;
    let result = bench.run(echo("hello")).await;
    assert_eq!(answer(&result), "hello");
    assert_eq!(hits(&result), ["moderation request passed 1"]);
    assert!(result.tollgate.warnings.iter().any(|warning| warning.contains("moderation")), "{result:?}");

    bench.checker(CheckerPlan { delay: Duration::from_secs(60), ..CheckerPlan::default() });
    let result = bench.run(echo("hello")).await;
    assert_eq!(hits(&result), ["moderation request passed 1"], "a checker that hangs is not waited for");
    bench.set(json!({"input": {"nobody": "block"}})).await;
    let result = bench.run(echo("hello")).await;
    assert!(result.error.expect("a reason").message.contains("knows no checker"), "one that this worker does not know");
}
