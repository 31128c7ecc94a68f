//! The table: envelope, identity, routing, time and size.

use serde_json::{Value, json};
use testkit::Setup;
use tollgate_types::{ErrorCode, Status};

use crate::bench::{Bench, End, Entry, Expect, check};

fn entry(number: u32, name: &'static str, payload: impl Into<Vec<u8>>, expect: Expect) -> Entry {
    Entry { number, name, class: b"standard", headers: Vec::new(), payload: payload.into(), expect }
}

impl Entry {
    fn class(self, class: &'static [u8]) -> Entry {
        Entry { class, ..self }
    }

    fn header(mut self, line: impl AsRef<[u8]>) -> Entry {
        self.headers.extend_from_slice(line.as_ref());
        self.headers.extend_from_slice(b"\r\n");
        self
    }
}

fn refused(code: ErrorCode, says: &'static str) -> Expect {
    Expect::End(End { status: code.status(), code: Some(code), says, calls: 0 })
}

fn runs(warning: &'static str) -> Expect {
    Expect::End(End { status: Status::Succeeded, code: None, says: warning, calls: 1 })
}

fn chat(content: &str) -> Value {
    json!({ "model": "sim-small", "messages": [{ "role": "user", "content": content }] })
}

/// A good body with more fields, as text, so that it can hold what no JSON library writes.
fn body_with(more: &str) -> String {
    format!(r#"{{"body":{{"model":"sim-small","messages":[{{"role":"user","content":"x"}}]{more}}}}}"#)
}

fn options(content: &str, tollgate: Value) -> String {
    json!({ "body": chat(content), "tollgate": tollgate }).to_string()
}

fn good(content: &str) -> String {
    options(content, json!({}))
}

/// What cannot be read, or is no job.
fn envelope() -> Vec<Entry> {
    use ErrorCode::*;
    let deep = format!("{{\"body\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let wide = format!("{{\"body\":{{\"a\":[{}1]}}}}", "1,".repeat(400_000));
    let mut keys = String::from("{\"body\":{");
    (0..36_000).for_each(|n| keys.push_str(&format!("\"k{n}\":[1,2,3,4,5,6,7,8,9],")));
    keys.push_str("\"z\":1}}");
    let messages = |value: &str| format!(r#"{{"body":{{"model":"sim-small","messages":{value}}}}}"#);
    let utf16: Vec<u8> = good("x").encode_utf16().flat_map(u16::to_le_bytes).collect();
    // `printf '{}' | gzip -n`
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0".to_vec();
    let mut list = vec![
        entry(1, "an empty payload", "", refused(BadRequest, "empty")),
        entry(2, "no JSON", "hello, world", refused(InvalidJson, "line 1")),
        entry(2, "no JSON, with an id", "hello", refused(InvalidJson, "line 1")).header("Nats-Msg-Id: search:not-json"),
        entry(3, "cut JSON", &good("x").as_bytes()[..40], refused(InvalidJson, "EOF")),
        entry(4, "10,000 levels", deep, refused(TooDeep, "64 levels")),
        entry(5, "400,001 elements", wide, refused(TooLarge, "values")),
        entry(5, "36,000 keys with arrays", keys, refused(TooLarge, "values")),
        entry(6, "a field twice", body_with(r#","model":"b""#), refused(DuplicateField, "`body.model`")),
        entry(7, "no messages", messages("[]"), refused(NoMessages, "`body.messages`")),
        entry(8, "messages are a text", messages("\"hi\""), refused(InvalidField, "`body.messages`")),
        entry(8, "messages are a number", messages("7"), refused(InvalidField, "not the number 7")),
        entry(8, "messages are null", messages("null"), refused(InvalidField, "not null")),
        entry(10, "NaN", body_with(r#","temperature":NaN"#), refused(InvalidJson, "column")),
        entry(10, "Infinity", body_with(r#","temperature":Infinity"#), refused(InvalidJson, "column")),
        entry(12, "a byte that is no UTF-8", b"{\"body\":\"\xff\"}".to_vec(), refused(BadEncoding, "UTF-8")),
        entry(12, "half a surrogate pair", body_with(r#","user":"\ud800""#), refused(InvalidJson, "column")),
        entry(13, "control characters in the prompt", good("a\0b\u{1b}[31m\r\nc"), runs("")),
        entry(14, "a byte order mark", format!("\u{feff}{}", good("x")), refused(BadEncoding, "byte order mark")),
        entry(14, "UTF-16", utf16, refused(BadEncoding, "UTF-16")),
        entry(15, "a misspelt field", r#"{"mesages":[]}"#, refused(UnknownField, "did you mean `body.messages`")),
        entry(16, "version 2", options("x", json!({ "version": 2 })), refused(UnsupportedVersion, "speaks 1")),
        entry(17, "gzip", gzip.clone(), refused(BadEncoding, "gzip")),
        entry(17, "gzip that says so", gzip, refused(BadEncoding, "gzip")).header("Content-Encoding: gzip"),
    ];
    for value in ["-1", "0", "1e308", "\"12\"", "18446744073709551616"] {
        let payload = body_with(&format!(",\"max_tokens\":{value}"));
        list.push(entry(9, "a bad max_tokens", payload, refused(InvalidField, "`body.max_tokens`")));
    }
    list
}

/// Who it is from and where it may go.
fn identity() -> Vec<Entry> {
    use ErrorCode::*;
    let reply = |to: &str| options("x", json!({ "reply_to": to }));
    let id = "Nats-Msg-Id: search:twice";
    let mut list = vec![
        entry(18, "a class that is none", good("x"), refused(UnknownClass, "'urgent'")).class(b"urgent"),
        entry(18, "a class that is a wildcard", good("x"), refused(UnknownClass, "'_'")).class(b"*"),
        entry(18, "a class that matches all", good("x"), refused(UnknownClass, "'_'")).class(b">"),
        entry(18, "a class with a no-break space", good("x"), refused(UnknownClass, "a_b"))
            .class("a\u{a0}b".as_bytes()),
        entry(18, "a class with a vertical tab", good("x"), refused(UnknownClass, "a_b")).class(b"a\x0bb"),
        entry(18, "a class that is no UTF-8", good("x"), refused(UnknownClass, "a_b")).class(b"a\xffb"),
        entry(19, "a team in the payload", r#"{"team":"marketing","body":{}}"#, refused(ForbiddenField, "`team`")),
        entry(
            20,
            "an unknown model",
            r#"{"body":{"model":"gpt-9","messages":[1]}}"#,
            refused(UnknownModel, "there are: sim-"),
        ),
        entry(22, "an id", good("one"), runs("")).header(id),
        entry(22, "the same id, the same body", good("one"), runs("")).header(id),
        entry(23, "the same id, another body", good("two"), refused(Conflict, "search:twice")).header(id),
        entry(24, "an id of 10 KB", good("x"), refused(BadId, "10000"))
            .header(format!("Nats-Msg-Id: {}", "i".repeat(10_000))),
        entry(25, "no id", good("x"), runs("")),
        entry(29, "a reply to everything", reply(">"), runs("wildcard")),
        entry(29, "a reply to a wildcard", reply("a.*"), runs("wildcard")),
        entry(32, "a reply that nobody hears", reply("reply.search.nobody"), runs("")),
        entry(33, "a header of 60 KB", good("x"), refused(BadHeader, "16384"))
            .header(format!("A: {}", "a".repeat(60_000))),
        entry(33, "a header of 64 KB", good("x"), Expect::Refused("header size"))
            .header(format!("A: {}", "a".repeat(65_536))),
        entry(34, "a header with a line break", good("x"), runs("")).header("A: b\r\nInjected: c"),
        entry(34, "a header with a bare LF that smuggles an id", good("x"), runs(""))
            .header("A: b\nNats-Msg-Id: smuggled"),
    ];
    for bad in ["a.b", "a*", ">", "a b"] {
        list.push(
            entry(24, "an id that breaks a subject", good("x"), refused(BadId, "not a job id"))
                .header(format!("Nats-Msg-Id: {bad}")),
        );
    }
    for target in ["$SYS.REQ.SERVER.PING", "$JS.API.STREAM.DELETE.TOLLGATE_JOBS", "$JS.ACK.TOLLGATE_JOBS.x.1.1.1.1.1"] {
        list.push(entry(
            30,
            "a reply to the server itself",
            reply(target),
            refused(ForbiddenReply, "nothing was published"),
        ));
    }
    for target in ["_INBOX_marketing.stolen", "_INBOX.stolen", "reply.marketing.stolen", "tollgate.jobs.batch.search"] {
        list.push(entry(
            31,
            "a reply to somebody else",
            reply(target),
            refused(ForbiddenReply, "nothing was published"),
        ));
    }
    for field in ["\"priority\":999999", "\"base_url\":\"http://x\"", "\"api_key\":\"k\""] {
        let payload = format!("{{{field},{}", &good("x")[1..]);
        list.push(entry(36, "a field of the operator's", payload, refused(ForbiddenField, "may not be set")));
    }
    list
}

/// NATS' own headers from a producer, deadlines and sizes.
fn control() -> Vec<Entry> {
    use ErrorCode::*;
    let deadline = |value: Value| options("x", json!({ "deadline": value }));
    let bad = "not json";
    let mut list = vec![
        entry(
            26,
            "a deadline in the past",
            deadline(json!("2020-01-01T00:00:00Z")),
            refused(DeadlineExceeded, "passed"),
        ),
        entry(27, "a deadline in 9999", deadline(json!("9999-12-31T23:59:59Z")), runs("")),
        entry(
            27,
            "a deadline before 1970",
            deadline(json!("1969-01-01T00:00:00Z")),
            refused(DeadlineExceeded, "passed"),
        ),
        entry(
            27,
            "a deadline in seconds",
            deadline(json!(1_764_583_200)),
            refused(InvalidField, "`tollgate.deadline`"),
        ),
        entry(27, "a negative deadline", deadline(json!(-1)), refused(InvalidField, "`tollgate.deadline`")),
        entry(28, "a time of its own", good("x"), runs("")).header("Nats-Time-Stamp: 2020-01-01T00:00:00Z"),
        entry(35, "a rollup", good("x"), Expect::Refused("rollup")).header("Nats-Rollup: all"),
        entry(35, "a time to live", good("x"), Expect::Refused("TTL")).header("Nats-TTL: 1s"),
        entry(35, "a schedule", good("x"), Expect::Refused("schedules")).header("Nats-Schedule: @every 1s"),
        entry(35, "a wrong sequence", good("x"), Expect::Refused("sequence"))
            .header("Nats-Expected-Last-Sequence: 999999"),
        entry(35, "the right stream, for a job", good("x"), runs("")).header("Nats-Expected-Stream: TOLLGATE_JOBS"),
        entry(35, "the right stream, which a dead letter's is not", bad, refused(InvalidJson, "line 1"))
            .header("Nats-Expected-Stream: TOLLGATE_JOBS"),
        entry(35, "a trace into another team", good("x"), Expect::Refused("Permissions Violation"))
            .header("Nats-Trace-Dest: reply.marketing.trace"),
        entry(
            37,
            "one byte more than a message may have",
            vec![b' '; (1 << 20) + 1],
            Expect::Refused("Maximum Payload"),
        ),
    ];
    list.push(entry(40, "a million underscores", good(&"_".repeat(1_000_000)), runs("")));
    list
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_message_gets_its_typed_end_and_harms_nobody() {
    let mut bench = Bench::start(Setup::default()).await;
    bench.others_are_well().await;

    for entry in [envelope(), identity(), control()].into_iter().flatten() {
        check(&entry, &mut bench).await;
        if entry.number == 37 {
            // The server hung up on that producer, and on nobody else.
            bench.raw = bench.world.raw("search").await;
        }
    }

    bench.quiet().await;
    assert_eq!(bench.worker.health.borrow().losses, 0, "no entry cut the worker's connection");
    let sniffed = bench.sniffed();
    let replies: Vec<&String> = sniffed.iter().filter(|subject| subject.starts_with("reply.")).collect();
    assert_eq!(replies, ["reply.search.nobody"], "30, 31, 32: one reply, where it may go, once");
    let strangers: Vec<&String> = sniffed.iter().filter(|subject| !usual(subject)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

/// What the broker, its streams and the teams' imports publish in the broker's account.
fn usual(subject: &str) -> bool {
    let own = [
        "tollgate.jobs.",
        "tollgate.results.",
        "tollgate.dead.",
        "tollgate.control.reports",
        "reply.search.nobody",
        "$KV.TOLLGATE_",
    ];
    let server = ["$JS.ACK.TOLLGATE_JOBS.lane-", "_INBOX.", "$JS.EVENT.ADVISORY.", "_R_."];
    let asked = ["STREAM.INFO.", "STREAM.MSG.GET.", "STREAM.MSG.DELETE.", "CONSUMER.", "DIRECT.GET."];
    let api = subject.strip_prefix("$JS.API.").is_some_and(|call| asked.iter().any(|usual| call.starts_with(usual)));
    api || own.iter().chain(&server).any(|usual| subject.starts_with(usual)) && !subject.contains("stolen")
}

#[tokio::test]
async fn a_team_cannot_publish_into_another_lane_and_an_unregistered_one_is_told_so() {
    let bench = Bench::start(Setup::default()).await;
    let mut search = bench.world.raw("search").await;
    let denied = search.request(b"tollgate.jobs.standard.marketing", b"", good("x").as_bytes()).await;
    assert!(denied.expect_err("18: denied").contains("Permissions Violation"));

    let ghost = bench.world.producer("ghost").await;
    let result = bench.world.run(&ghost, tollgate_types::Class::Batch, good("x")).await;

    assert_eq!(result.error.map(|e| e.code), Some(ErrorCode::UnknownTeam));
    assert_eq!(bench.calls(&result.id), 0);
    bench.others_are_well().await;
}

#[tokio::test]
async fn an_answer_that_fits_no_message_is_an_end_with_its_cost() {
    let setup = Setup { payload_bytes_max: 64 << 10, ..Setup::default() };
    let mut bench = Bench::start(setup).await;
    let line = testkit::World::line("long", Some("tokens=40000"), json!({ "reply_to": "reply.search.long" }));
    let result = bench.world.run(&bench.search, tollgate_types::Class::Standard, line).await;

    assert_eq!(result.error.as_ref().map(|e| e.code), Some(ErrorCode::ResultTooLarge), "42: {result:?}");
    assert_eq!(result.tollgate.status, Status::Failed);
    assert!(result.tollgate.cost_nanousd.0 > 0 && result.tollgate.tokens.completion() >= 40_000, "its cost is booked");
    assert_eq!(bench.calls(&result.id), 1, "and it is not tried again");
    bench.others_are_well().await;
    bench.quiet().await;
    assert_eq!(bench.worker.health.borrow().losses, 0, "the connection stayed up");
}
