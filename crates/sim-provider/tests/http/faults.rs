//! Every fault as a client sees it, and as the log tells it.

use std::io::ErrorKind;

use sim_provider::{Outcome, Reported};

use super::*;

#[tokio::test]
async fn error_faults_are_refusals_in_the_vendors_form_and_never_billed() {
    let check = async |directive: &str, status: u16, kind: &str, code: Option<&str>| {
        let sim = start(Config::default()).await;
        let response = post(&sim, &chat("hello", directive)).await;
        assert_eq!(response.status(), status, "{directive}");
        let error = json_of(response).await["error"].clone();
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), code), "{directive}");
        let ended = only_end(&sim).await;
        assert_eq!((ended.outcome, ended.status, ended.billable), (Outcome::Completed, Some(status), false));
    };
    check("429", 429, "rate_limit_error", Some("rate_limit_exceeded")).await;
    check("quota", 429, "insufficient_quota", Some("insufficient_quota")).await;
    check("status=500", 500, "server_error", None).await;
    check("status=503", 503, "service_unavailable_error", Some("server_is_overloaded")).await;
    check("status=404", 404, "invalid_request_error", Some("model_not_found")).await;
    check("invalid-key", 401, "invalid_request_error", Some("invalid_api_key")).await;
    check("context-length", 400, "invalid_request_error", Some("context_length_exceeded")).await;
    check("error-200", 200, "server_error", Some("server_error")).await;
    check("explode", 400, "invalid_request_error", Some("bad_directive")).await;
}

#[tokio::test]
async fn waits_are_asked_for_in_every_form() {
    let sim = start(Config::default()).await;
    for text in ["2", "0.5", "-1", "1000000000", "soon", "Wed, 21 Oct 2065 07:28:00 GMT"] {
        let response = post(&sim, &chat("hello", &format!("429:retry-after={text}"))).await;
        assert_eq!(response.headers()["retry-after"], text);
        assert_eq!(response.headers()["x-ratelimit-remaining-requests"], "0");
    }
    let response = post(&sim, &chat("hello", "429:retry-after=http-date+30")).await;
    assert!(response.headers()["retry-after"].to_str().unwrap().ends_with(" GMT"));
    let response = post(&sim, &chat("hello", "status=503:retry-after-ms=250")).await;
    assert_eq!(response.headers()["retry-after-ms"], "250");
}

#[tokio::test]
async fn a_fault_for_two_calls_is_over_at_the_third() {
    let sim = start(Config::default()).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(post(&sim, &chat("hello", "status=503*2;then=429")).await.status().as_u16());
    }
    assert_eq!(statuses, [503, 503, 429, 429]);
    assert_eq!(post(&sim, &chat("another", "status=503*2;then=429")).await.status(), 503);
    let attempts: Vec<_> = sim.calls().iter().map(|call| call.received.content_attempt).collect();
    assert_eq!(attempts, [Some(0), Some(1), Some(2), Some(3), Some(0)]);
}

#[tokio::test]
async fn false_and_missing_usage_is_sent_while_the_log_keeps_the_truth() {
    for directive in ["no-usage", "wrong-usage=negative", "wrong-usage=absurd", "wrong-usage=string"] {
        for body in [chat("hello", directive), streamed("hello", directive)] {
            let sim = start(Config::default()).await;
            let text = post(&sim, &body).await.text().await.unwrap();
            let ended = only_end(&sim).await;
            assert!(ended.billable && ended.usage_true.completion_tokens > 0, "{directive}");
            let sent = match directive {
                "no-usage" => !text.contains("usage"),
                "wrong-usage=negative" => text.contains("\"completion_tokens\":-"),
                "wrong-usage=absurd" => text.contains("\"completion_tokens\":10000000000000"),
                _ => text.contains("\"completion_tokens\":\""),
            };
            assert!(sent, "{directive}: {text}");
            match ended.usage_reported {
                Reported::Nothing => assert_eq!(directive, "no-usage"),
                Reported::Wrong(..) => assert!(directive.starts_with("wrong-usage")),
                Reported::Counts(_) => panic!("{directive} reported the truth"),
            }
        }
    }
}

#[tokio::test]
async fn bodies_that_are_no_answers_come_with_status_200() {
    let sim = start(Config::default()).await;
    for make in [chat, streamed] {
        let text = post(&sim, &make("hello", "garbage")).await.text().await.unwrap();
        let first = text.strip_prefix("data: ").unwrap_or(&text).lines().next().unwrap();
        assert!(serde_json::from_str::<Value>(first).is_err(), "{text}");
        let response = post(&sim, &make("hello", "empty")).await;
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, ""));
        let response = post(&sim, &make("hello", "html")).await;
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(response.text().await.unwrap().starts_with("<!DOCTYPE html>"));
        let filtered = post(&sim, &make("hello", "content-filter")).await.text().await.unwrap();
        assert!(filtered.contains("\"finish_reason\":\"content_filter\""));
    }
    let text = post(&sim, &streamed("hello", "error-200")).await.text().await.unwrap();
    assert!(text.starts_with("data: {\"error\":"), "{text}");
    wait_for(&sim, |calls| calls.iter().all(|call| call.ended.is_some())).await;
    let outcomes = sim.stats().by_outcome;
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [(Outcome::Completed, 9)]);
}

#[tokio::test]
async fn the_key_is_echoed_to_the_client_and_kept_out_of_the_log() {
    let sim = start(Config::default()).await;
    let response = post(&sim, &chat("hello", "echo-key")).await;
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("sk-test"));
    let calls = sim.calls();
    assert!(!format!("{calls:?}").contains("sk-test"));
    assert_eq!(calls[0].received.key_hash.as_ref().unwrap().len(), 12);
}

#[tokio::test]
async fn a_redirect_leads_elsewhere() {
    let sim = start(Config::default()).await;
    let response = post(&sim, &chat("hello", "redirect")).await;
    assert_eq!(response.status(), 302);
    assert!(response.headers()["location"].to_str().unwrap().starts_with("http://redirected.invalid/"));
    let response = post(&sim, &chat("hello", "redirect:to=http://a.invalid/b")).await;
    assert_eq!(response.headers()["location"], "http://a.invalid/b");
}

#[tokio::test]
async fn a_bomb_is_small_on_the_wire_and_large_behind_it() {
    let sim = start(Config::default()).await;
    let mut response = post(&sim, &chat("hello", "bomb:mib=32")).await;
    let mut unpacked = 0;
    while let Some(piece) = response.chunk().await.unwrap() {
        unpacked += piece.len();
    }
    assert_eq!(unpacked, 32 << 20);
    let ended = only_end(&sim).await;
    assert!(ended.bytes_sent < 128 << 10, "{} bytes", ended.bytes_sent);
    assert_eq!(ended.outcome, Outcome::Completed);
}

#[tokio::test]
async fn resets_are_tcp_resets_at_the_place_asked_for() {
    let check = async |body: Value, headers: bool, part: bool| {
        let sim = start(Config::default()).await;
        let mut stream = raw_post(&sim, &body).await;
        let (text, end) = read_to_end(&mut stream).await;
        assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset), "{body}: {text}");
        assert_eq!(text.starts_with("HTTP/1.1 200 OK\r\n"), headers, "{body}: {text}");
        assert_eq!(text.contains("chatcmpl-"), part, "{body}: {text}");
        let ended = only_end(&sim).await;
        assert_eq!(ended.outcome, Outcome::Reset);
        assert_eq!(ended.status, headers.then_some(200));
        assert_eq!(ended.billable, headers, "the model ran before the headers");
        assert_eq!(ended.usage_reported, Reported::Nothing);
    };
    for make in [chat, streamed] {
        check(make("hello", "reset-before-headers"), false, false).await;
        check(make("hello", "reset:at=headers"), true, false).await;
        check(make("hello", "reset"), true, true).await;
    }
}

#[tokio::test]
async fn a_truncated_body_ends_in_order_but_too_early() {
    let sim = start(Config::default()).await;
    let mut stream = raw_post(&sim, &chat("hello", "truncate")).await;
    let (text, end) = read_to_end(&mut stream).await;
    end.expect("no reset");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(!body.is_empty() && body.len() < length.parse::<usize>().unwrap(), "{text}");
    let ended = only_end(&sim).await;
    assert_eq!((ended.outcome, ended.billable), (Outcome::Cut, true));
}

#[tokio::test]
async fn silence_lasts_until_the_client_leaves() {
    for (directive, status, billable) in [("hang", None, false), ("stall", Some(200), true)] {
        let sim = start(Config::default()).await;
        let stream = raw_post(&sim, &chat("hello", directive)).await;
        wait_for(&sim, |calls| calls.len() == 1).await;
        if status.is_some() {
            stream.readable().await.unwrap();
        }
        assert_eq!(sim.calls()[0].ended, None, "{directive}");
        drop(stream);
        let ended = only_end(&sim).await;
        assert_eq!((ended.outcome, ended.status, ended.billable), (Outcome::ClientLeft, status, billable));
    }
}

#[tokio::test]
async fn silence_ends_with_the_cap_and_with_the_server() {
    let sim = start(Config { hang_cap: Duration::from_millis(50), ..Config::default() }).await;
    let mut stream = raw_post(&sim, &chat("hello", "hang")).await;
    assert_eq!(read_to_end(&mut stream).await.1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(only_end(&sim).await.outcome, Outcome::Reset);

    let sim = start(Config { shutdown_grace: DEADLINE, ..Config::default() }).await;
    let stream = raw_post(&sim, &chat("hello", "hang")).await;
    wait_for(&sim, |calls| calls.len() == 1).await;
    let calls = tokio::time::timeout(DEADLINE / 2, sim.shutdown()).await.expect("a held call is not waited for");
    assert_eq!(calls[0].ended.as_ref().unwrap().outcome, Outcome::ServerStopped);
    drop(stream);
}

#[tokio::test]
async fn a_drip_takes_a_wait_for_every_byte_and_is_whole_in_the_end() {
    let sim = start(Config::default()).await;
    let started = std::time::Instant::now();
    let body = json_of(post(&sim, &chat("hello", "drip:every=1ms;tokens=5")).await).await;
    assert_eq!(body["usage"]["completion_tokens"], 5);
    let ended = only_end(&sim).await;
    assert!(started.elapsed() >= Duration::from_millis(ended.bytes_sent), "{:?}", started.elapsed());
    assert_eq!(ended.outcome, Outcome::Completed);
}

#[tokio::test]
async fn broken_off_streams_lack_their_end_and_bill_what_was_generated() {
    let sim = start(Config::default()).await;
    let text = post(&sim, &streamed("hello", "abort-stream:after=4;tokens=50")).await.text().await.unwrap();
    assert_eq!(text.matches("data: ").count(), 1 + 4, "{text}");
    assert!(!text.contains("[DONE]") && !text.contains("\"finish_reason\":\""), "{text}");
    let ended = only_end(&sim).await;
    assert_eq!((ended.outcome, ended.usage_true.completion_tokens), (Outcome::Cut, 4));
    assert_eq!((ended.billable, ended.usage_reported), (true, Reported::Nothing));
    let text = post(&sim, &streamed("hello", "no-done")).await.text().await.unwrap();
    assert!(text.contains("\"finish_reason\":\"stop\"") && !text.contains("[DONE]"), "{text}");
}
