//! Deltas leave only as far as they are surely clean.

use std::time::Duration;

use serde_json::{Value, json};
use sim_provider::CheckerPlan;
use tollgate_client::{Deltas, Piece, text_of};
use tollgate_types::{Class, JobId, Status};

use crate::bench::{Bench, CARD, MAIL, answer, streamed};

async fn begin(bench: &Bench, prompt: &str) -> (JobId, Deltas) {
    begin_line(bench, json!({ "body": streamed(prompt) })).await
}

async fn begin_line(bench: &Bench, line: Value) -> (JobId, Deltas) {
    let id = bench.search.fresh_id();
    let deltas = bench.search.deltas(&id).await.expect("subscribed");
    bench.search.client().flush().await.expect("the server has the subscription");
    bench.search.submit(Class::Standard, line.to_string().into(), Some(id.clone())).await.expect("accepted");
    (id, deltas)
}

/// Every piece up to the end.
async fn read(deltas: &mut Deltas) -> Vec<String> {
    let mut pieces = Vec::new();
    loop {
        let piece = tokio::time::timeout(Duration::from_secs(30), deltas.next()).await;
        match piece.expect("a piece in time").expect("the connection stands") {
            Piece::Chunk(chunk) => pieces.push(text_of(&chunk).to_owned()),
            Piece::StartOver => pieces.clear(),
            Piece::Lost => panic!("a piece was lost"),
            Piece::End => return pieces,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_redacted_in_the_prompt_comes_back_in_the_pieces_too() {
    let bench = Bench::start(json!({"input": {"pii": "redact"}})).await;
    let prompt = format!("Write to {MAIL} about {CARD} today and then some more words follow it");
    let (id, mut deltas) = begin(&bench, &prompt).await;
    let pieces = read(&mut deltas).await;
    let result = bench.result(&id).await;
    assert_eq!((pieces.concat(), answer(&result)), (prompt.clone(), prompt), "{pieces:?}");
    assert!(pieces.len() > 3, "it still comes in pieces: {pieces:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_over_several_pieces_does_not_leave() {
    let bench = Bench::start(json!({"output": {"payment_card": "redact"}})).await;
    let prompt = format!("The number is {CARD} as you know it");
    let (id, mut deltas) = begin(&bench, &prompt).await;
    let text = read(&mut deltas).await.concat();
    assert_eq!(text, "The number is <PAYMENT_CARD_A1> as you know it");
    assert_eq!(answer(&bench.result(&id).await), text);

    bench.set(json!({"output": {"payment_card": "block"}})).await;
    let (id, mut deltas) = begin(&bench, &prompt).await;
    let text = read(&mut deltas).await.concat();
    assert!(!text.contains("4111") && "The number is".starts_with(text.trim_end()), "{text}");
    assert_eq!(bench.result(&id).await.tollgate.status, Status::Blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_held_to_the_same_while_it_is_written() {
    let bench = Bench::start(json!({"input": {"pii": "redact"}})).await;
    let begin = async |input: &str| {
        let body = json!({ "model": "fast", "input": input, "stream": true });
        begin_line(&bench, json!({ "url": "/v1/responses", "body": body })).await
    };
    let answer = async |id: &JobId| -> String {
        let result = bench.result(id).await;
        let body = result.response.as_ref().unwrap_or_else(|| panic!("no answer: {result:?}")).body.get();
        let body: Value = serde_json::from_str(body).expect("JSON");
        body["output"][0]["content"][0]["text"].as_str().expect("a text").to_owned()
    };
    let prompt = format!("Write to {MAIL} about {CARD} today and then some more words follow it");
    let (id, mut deltas) = begin(&prompt).await;
    let pieces = read(&mut deltas).await;
    assert_eq!((pieces.concat(), answer(&id).await), (prompt.clone(), prompt.clone()), "{pieces:?}");
    assert!(pieces.len() > 3, "it still comes in pieces: {pieces:?}");

    bench.set(json!({"output": {"payment_card": "redact"}})).await;
    let (id, mut deltas) = begin(&prompt).await;
    let text = read(&mut deltas).await.concat();
    assert!(text.contains("<PAYMENT_CARD_A1> today") && !text.contains("4111"), "{text}");
    assert_eq!(answer(&id).await, text, "the pieces are how the answer begins");

    bench.set(json!({"output": {"payment_card": "block"}})).await;
    let (id, mut deltas) = begin(&prompt).await;
    assert!(!read(&mut deltas).await.concat().contains("4111"));
    assert_eq!(bench.result(&id).await.tollgate.status, Status::Blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_before_a_checker_of_answers_has_judged_the_whole() {
    let bench = Bench::start(json!({"output": {"moderation": "block"}})).await;
    bench.checker(CheckerPlan { words: vec!["violence".into()], ..CheckerPlan::default() });
    let (id, mut deltas) = begin(&bench, "much violence here").await;
    assert_eq!(read(&mut deltas).await.concat(), "");
    assert_eq!(bench.result(&id).await.tollgate.status, Status::Blocked);
    let (_, mut deltas) = begin(&bench, "much peace here").await;
    assert_eq!(read(&mut deltas).await.concat(), "much peace here");
}
