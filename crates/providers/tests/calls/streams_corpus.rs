//! Entries 46 to 48, 50 and 62 of the corpus of faults, where the answer is a stream: odd in its pieces, slow, without
//! end, or with a lie about what it used. What breaks a stream off (49, 52) is with the other cut ones.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use sim_provider::Profile;
use tollgate_providers::Called;
use tollgate_types::{Billed, FailureKind, UsageSource};

use crate::server::{Server, raw};
use crate::streams::{job, simulated, streamed, text_of};
use crate::{KEY, deployment};

const SHORT: Duration = Duration::from_millis(400);

/// One chunk that says this.
fn says(text: &str) -> String {
    let choice = json!({ "index": 0, "delta": { "content": text }, "finish_reason": null });
    format!("data: {}\n\n", json!({ "id": "c", "object": "chat.completion.chunk", "choices": [choice] }))
}

/// The end of an answer.
fn end() -> String {
    let choice = json!({ "index": 0, "delta": {}, "finish_reason": "stop" });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": 2 } });
    format!("data: {}\n\ndata: {usage}\n\ndata: [DONE]\n\n", json!({ "id": "c", "choices": [choice] }))
}

/// A server whose stream comes in these pieces.
async fn in_pieces<S: Stream<Item = Bytes> + Send + 'static>(pieces: impl Fn() -> S + Send + Sync + 'static) -> Server {
    Server::http(move |_| {
        let body = Body::from_stream(pieces().map(Ok::<_, std::io::Error>));
        ([("content-type", "text/event-stream")], body).into_response()
    })
    .await
}

/// A beginning, and then the same for ever, a little at a time.
async fn for_ever(beginning: String, more: String, every: Duration) -> Server {
    in_pieces(move || {
        let (beginning, more) = (Bytes::from(beginning.clone()), Bytes::from(more.clone()));
        let rest = stream::unfold(tokio::time::interval(every), move |mut tick| {
            let more = more.clone();
            async move {
                tick.tick().await;
                Some((more, tick))
            }
        });
        stream::iter([beginning]).chain(rest)
    })
    .await
}

/// It failed so, and of what it wrote at least so many tokens are counted; of nothing nothing is.
fn check(called: &Called, kind: FailureKind, message: &str, counted_min: u64, what: &str) {
    let failure = called.outcome.as_ref().expect_err(what);
    assert_eq!((failure.kind, failure.billed), (kind, Billed::Maybe), "{what}: {}", failure.message);
    assert!(failure.message.contains(message) && !failure.message.contains(KEY), "{what}: {}", failure.message);
    let counted = called.failed_usage.as_ref().map(|usage| (usage.source, usage.tokens.output));
    match counted {
        None => assert_eq!(counted_min, 0, "{what}: nothing is counted"),
        Some((source, output)) => {
            assert!(source == UsageSource::Estimated && output >= counted_min.max(1), "{what}: {counted:?}");
        }
    }
}

#[tokio::test]
async fn whatever_pieces_a_stream_comes_in_it_says_the_same() {
    let text = format!("{}{}{}", says("wörld \u{1f980} "), says("日本"), end());
    let long = "word ".repeat(210_000);
    let of_a_megabyte = format!("{}{}", says(&long), end());
    for (what, text, piece, expected) in [
        ("46 every byte alone, characters cut", text.clone(), 1, "wörld \u{1f980} 日本"),
        ("46 three bytes", text.clone(), 3, "wörld \u{1f980} 日本"),
        ("46 without its last line", text.replace("data: [DONE]\n\n", ""), 7, "wörld \u{1f980} 日本"),
        ("46 a line of a megabyte", of_a_megabyte.clone(), usize::MAX, &long),
        ("46 a line of a megabyte, in pieces", of_a_megabyte, 1 << 14, &long),
    ] {
        let server = in_pieces(move || {
            let pieces: Vec<_> = text.as_bytes().chunks(piece).map(Bytes::copy_from_slice).collect();
            // Each piece is sent before the next is there.
            stream::iter(pieces).then(|piece| async {
                tokio::task::yield_now().await;
                piece
            })
        })
        .await;
        let (called, deltas) = streamed(&job("a", ""), &deployment(&server.base_url())).await;
        let answer = called.outcome.expect(what);
        assert!(text_of(&deltas) == expected, "{what}: the deltas say something else");
        let body: serde_json::Value = serde_json::from_str(answer.body.get()).expect("JSON");
        assert!(body["choices"][0]["message"]["content"] == expected, "{what}: the answer says something else");
        assert_eq!(answer.finish, "stop", "{what}");
    }
}

#[tokio::test]
async fn a_stream_without_end_is_cut_by_time_or_by_size_whatever_comes() {
    let often = Duration::from_millis(5);
    let comments = || ": keep-alive\n\n".to_owned();
    let (late, large) = (FailureKind::TotalTimeout, FailureKind::BadResponse);
    for (what, beginning, more, response_bytes_max, kind, message, counted_min) in [
        ("46 comments for ever", comments(), comments(), 1 << 20, late, "did not end in time", 0),
        ("46 a word, then comments", says("hello"), comments(), 1 << 20, late, "did not end in time", 1),
        ("46 events without words", comments(), says(""), 1 << 20, late, "did not end in time", 0),
        ("47 a byte at a time", says("hello"), "d".to_owned(), 1 << 20, late, "did not end in time", 1),
        ("48 words for ever", says("hello"), says(&"more ".repeat(500)), 20_000, large, "more than 20000 bytes", 500),
    ] {
        let server = for_ever(beginning, more, often).await;
        let mut to = deployment(&server.base_url());
        // A comment is a sign of life, so silence ends none of them.
        (to.timeouts.stall, to.timeouts.total) = (SHORT, if kind == late { 2 * SHORT } else { 50 * SHORT });
        to.response_bytes_max = response_bytes_max;
        let (called, _) = streamed(&job("a", ""), &to).await;
        check(&called, kind, message, counted_min, what);
        assert!(kind != late || called.latency >= 2 * SHORT, "{what}: {:?}", called.latency);
    }
}

#[tokio::test]
async fn counts_of_a_stream_that_cannot_be_are_counted_instead() {
    let sim = simulated(Profile::instant()).await;
    for directive in ["wrong-usage=negative", "wrong-usage=string", "wrong-usage=absurd", "no-usage"] {
        let (called, deltas) = streamed(&job("count", directive), &deployment(&sim.base_url())).await;
        let answer = called.outcome.expect(directive);
        let counted = tollgate_providers::tokens::count(text_of(&deltas), "model-7").await;
        assert_eq!((answer.usage_source, answer.tokens.output), (UsageSource::Estimated, counted), "50 {directive}");
    }
}

#[tokio::test]
async fn words_before_a_stream_are_passed_over() {
    let body = format!("{}{}", says("hello"), end());
    let length = body.len();
    let on = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n");
    let (at, _server) = raw(format!("{on}{head}{body}"), true).await;
    let (called, deltas) = streamed(&job("a", ""), &deployment(&format!("http://{at}/v1"))).await;
    called.outcome.expect("62: an answer");
    assert_eq!(text_of(&deltas), "hello");
}
