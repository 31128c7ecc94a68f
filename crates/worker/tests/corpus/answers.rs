//! 43 to 53 and 60: what comes with the status of an answer, and is none, or lies, or has no end.

use std::time::Duration;

use serde_json::json;
use tollgate_types::ErrorCode::{BadResponse, ContextLengthExceeded, DeadlineExceeded, ProviderTimeout};

use crate::bench::{KEY, check};
use crate::row::Paid::{Estimated, Nothing, Told};
use crate::row::{At, Row, always, row, sim};
use crate::server::{Raw, Reply};

/// An answer of two words with this usage.
fn answer(usage: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"hello world"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
    )
}

/// A bad answer, then a good answer.
fn bad_once(bad: Reply) -> At {
    At::Raw(vec![bad, Reply::good()])
}

/// 43 to 45: no answer at all. What may have been billed is booked, and tried once more.
fn none_at_all() -> Vec<Row> {
    let page = r#"<html><body>secret of the gateway</body></html>"#;
    let html = || Reply::http("200 OK", &["content-type: text/html"], page);
    let error = |error: &str| Reply::json(format!(r#"{{"error":{error}}}"#));
    let too_long = r#"{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}"#;
    let busy = format!(r#"{{"message":"busy, {KEY}-1","type":"server_error"}}"#);
    let limited = r#"{"message":"slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}"#;
    vec![
        row(43, "a page", sim("html")).fails(BadResponse, "an HTML page").tries([Estimated, Estimated]),
        row(43, "a page that stays", always(html()))
            .fails(BadResponse, "an HTML page (after 2 attempts)")
            .tries([Estimated, Estimated]),
        row(43, "a page, with another provider", sim("html")).backup().tries([Estimated, Estimated, Told]),
        row(43, "a page, once", bad_once(html())).tries([Estimated, Told]),
        row(44, "an error that passes", sim("error-200*2")).tries([Estimated, Estimated, Told]),
        row(44, "an error that names a key", bad_once(error(&busy))).tries([Estimated, Told]),
        row(44, "an error for the rate", bad_once(error(limited))).tries([Estimated, Told]),
        row(44, "an error about the prompt", always(error(too_long)))
            .fails(ContextLengthExceeded, "too long")
            .tries([Estimated]),
        row(44, "an error of no known kind", always(error("\"what\"")))
            .fails(BadResponse, "what")
            .tries([Estimated, Estimated]),
        row(45, "no JSON", sim("garbage")).fails(BadResponse, "JSON that breaks off").tries([Estimated, Estimated]),
        row(45, "no JSON, once", sim("garbage*1")).tries([Estimated, Told]),
        row(45, "nothing", sim("empty")).fails(BadResponse, "an empty body").tries([Estimated, Estimated]),
        row(45, "nothing, with another provider", sim("empty")).backup().tries([Estimated, Estimated, Told]),
        row(45, "JSON of another kind", always(Reply::json("[1]")))
            .fails(BadResponse, "no chat completion")
            .tries([Estimated, Estimated]),
        row(
            45,
            "an answer called a text",
            always(Reply::http("200 OK", &["content-type: text/plain"], answer("null"))),
        )
        .tries([Estimated]),
        row(46, "a stream that nobody asked for", {
            always(Reply::http(
                "200 OK",
                &["content-type: text/event-stream"],
                "data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
            ))
        })
        .fails(BadResponse, "no JSON")
        .tries([Estimated, Estimated]),
    ]
}

/// 47 to 49 and 52: too slow, too long, or cut.
fn without_end() -> Vec<Row> {
    let short = Duration::from_millis(700);
    let endless = Reply::bytes(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"",
    )
    .and_forever("more and ".repeat(1000));
    let zstd = zstd::bulk::compress(&vec![b' '; 64 << 20], 1).expect("memory takes it");
    let brotli = [0x5b, 0xff, 0xff, 0x3f, 0x00, 0x42, 0x02, 0xa4, 0x40, 0x00, 0x00, 0xe0, 0xff];
    let encoded =
        |name: &str, body: &[u8]| always(Reply::http("200 OK", &[name, "content-type: application/json"], body));
    vec![
        row(47, "a byte now and then", sim("drip:every=50ms"))
            .total(short)
            .fails(ProviderTimeout, "did not end in time")
            .tries([Estimated]),
        row(47, "a byte now and then, with another provider", sim("drip:every=50ms"))
            .total(short)
            .backup()
            .tries([Estimated, Told]),
        Row {
            deadline_in: Some(Duration::from_secs(2)),
            ..row(47, "a byte now and then, and a deadline", sim("drip:every=50ms"))
                .fails(DeadlineExceeded, "time ended during the call")
                .tries([Estimated])
        },
        row(48, "an answer without end", always(endless))
            .fails(BadResponse, "an answer of more than 1048576 bytes")
            .tries([Estimated, Estimated]),
        row(49, "a reset in the middle", sim("reset*1")).tries([Estimated, Told]),
        row(49, "a reset after the headers", sim("reset*1:at=headers")).tries([Estimated, Told]),
        row(49, "a reset before the headers", sim("reset-before-headers*1")).tries([Estimated, Told]),
        row(49, "half an answer", sim("truncate*1")).tries([Estimated, Told]),
        row(49, "resets, with another provider", sim("reset")).backup().tries([Estimated, Estimated, Told]),
        row(52, "a bomb of gzip", sim("bomb:mib=64"))
            .fails(BadResponse, "an answer of more than 1048576 bytes")
            .tries([Estimated, Estimated]),
        row(52, "a bomb of zstd", encoded("content-encoding: zstd", &zstd))
            .fails(BadResponse, "a body that is not UTF-8")
            .tries([Estimated, Estimated]),
        row(52, "a bomb of brotli", encoded("content-encoding: br", &brotli))
            .fails(BadResponse, "a body that is not UTF-8")
            .tries([Estimated, Estimated]),
        row(52, "no gzip, under its name", encoded("content-encoding: gzip", b"{\"choices\":[]}"))
            .fails(BadResponse, "")
            .tries([Estimated, Estimated]),
    ]
}

/// 50, 51 and 60: an answer, and what it says that it cost.
fn counts() -> Vec<Row> {
    let usage = |prompt: &str, completion: &str| {
        always(Reply::json(answer(&format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}"#))))
    };
    vec![
        row(50, "no counts", sim("no-usage")).tries([Estimated]),
        row(50, "negative counts", sim("wrong-usage=negative")).tries([Estimated]),
        row(50, "absurd counts", sim("wrong-usage=absurd")).tries([Estimated]),
        row(50, "counts as texts", sim("wrong-usage=string")).tries([Estimated]),
        row(50, "one count of two", usage("12", "null")).tries([Estimated]),
        row(50, "counts with a fraction", usage("12", "2.0")).tries([Estimated]),
        row(50, "counts that overflow", usage("12", "18446744073709551616")).tries([Estimated]),
        row(50, "more than was asked for", usage("12", "300")).more(json!({ "max_tokens": 100 })).tries([Estimated]),
        row(50, "no more than was asked for", usage("12", "90")).more(json!({ "max_tokens": 100 })).tries([Told]),
        row(51, "nothing for an answer", usage("12", "0")).tries([Estimated]),
        row(51, "nothing at all", usage("0", "0")).tries([Estimated]),
        row(51, "a prompt of ten times its bytes", usage("20000", "2")).tries([Estimated]),
        row(51, "an answer of thousands of times its text", usage("12", "140000")).tries([Estimated]),
        row(60, "a filtered answer", sim("content-filter")).finishes("content_filter").tries([Told]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_tried_again_within_bounds_and_what_may_have_been_billed_is_booked() {
    check([none_at_all(), without_end(), counts()].into_iter().flatten().collect()).await;
}

/// 53: a redirect is no answer; it is not followed, and neither the key nor the prompt goes to the other host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed() {
    let elsewhere = Raw::replying(vec![Reply::good()]).await;
    let there = format!("{}/chat/completions", elsewhere.base_url());
    let location = format!("location: {there}");
    let to = |status: &str| always(Reply::http(status, &[&location], ""));
    let says = "a redirect, which is not followed";
    let refused = |row: Row| row.fails(BadResponse, says).tries([Nothing, Nothing]);
    check(vec![
        refused(row(53, "302", sim(format!("redirect:to={there}")))),
        refused(row(53, "301", to("301 Moved Permanently"))),
        refused(row(53, "307", to("307 Temporary Redirect"))),
        refused(row(53, "308", to("308 Permanent Redirect"))),
        row(53, "302, with another provider", sim(format!("redirect:to={there}")))
            .backup()
            .tries([Nothing, Nothing, Told]),
    ])
    .await;
    assert_eq!(elsewhere.connections(), 0, "53: a redirect was followed");
}
