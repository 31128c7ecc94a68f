//! What nobody well-meaning sends. Each gets the right status or is hung up on, and the next caller is served as if
//! nothing had been.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Setup, WorkerHandle, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Doors, Key, chat, told};

/// A busy machine needs longer than the broker.
const LONG: Duration = Duration::from_secs(45);

struct Attacked {
    doors: Doors,
    key: Key,
    _worker: WorkerHandle,
}

impl Attacked {
    async fn new() -> Attacked {
        let doors = Doors::with(Setup::default(), |config| config.body_pause_max = Duration::from_secs(1)).await;
        let (worker, key) = (doors.worker().await, doors.key(|_| {}).await);
        Attacked { doors, key, _worker: worker }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.doors.addr).await.unwrap()
    }

    /// What comes back for these bytes, up to the end of the connection or of an answer of known length.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // One that hangs up in the middle has said what it thinks.
        let _hung_up = stream.write_all(bytes).await;
        self.read(&mut stream).await
    }

    async fn read(&self, stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let reading = async {
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => answer.extend_from_slice(&buffer[..read]),
                }
                if is_whole(&answer) {
                    return;
                }
            }
        };
        tokio::time::timeout(LONG, reading).await.expect("an answer, or the end");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The head of a call up to its body, with the headers that are given.
    fn head(&self, headers: &str) -> String {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{headers}\r\n",
            self.key.text
        )
    }

    async fn check(&self, what: &str, bytes: &[u8], expected: &[u16]) {
        let answer = self.send(bytes).await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).unwrap_or(0);
        assert!(expected.contains(&status), "{what}: {status} is not of {expected:?}: {answer}");
        assert!(!answer.contains("panicked") && !answer.contains(".rs:"), "{what}: {answer}");
    }

    /// Somebody else is served as ever.
    async fn still_serves(&self) {
        let (status, body) = told(self.doors.post("/v1/chat/completions", &self.key, &chat("Hi", None))).await;
        assert_eq!(status, 200, "{body}");
    }
}

/// Whether an answer with a length is complete.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

fn with_length(attacked: &Attacked, body: &[u8]) -> Vec<u8> {
    let mut request = attacked.head(&format!("content-length: {}\r\n", body.len())).into_bytes();
    request.extend_from_slice(body);
    request
}

#[tokio::test]
async fn bodies_that_are_none_get_a_400_that_says_why() {
    let attacked = Attacked::new().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"model\":\"m\",\"messages\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let wide = format!("{{\"messages\":[{}0]}}", "0,".repeat(400_000));
    for (what, body) in [
        ("nothing", &b""[..]),
        ("white space", b"  \r\n"),
        ("no JSON", b"hello"),
        ("half of it", br#"{"model":"sim-small","messages":["#),
        ("more than one", br#"{"model":"m"}{"model":"n"}"#),
        ("a list", b"[]"),
        ("null", b"null"),
        ("a number", b"1e999999"),
        ("bad UTF-8", b"{\"model\":\"\xff\xfe\"}"),
        ("a lone surrogate", br#"{"model":"\ud800","messages":[1]}"#),
        ("a byte order mark", b"\xef\xbb\xbf{}"),
        ("UTF-16", b"\xff\xfe{\0}\0"),
        ("a zero byte", b"{\"model\":\"a\0b\"}"),
        ("the same field twice", br#"{"model":"a","model":"b","messages":[1]}"#),
        ("our object twice", br#"{"model":"a","messages":[1],"tollgate":{},"tollgate":{}}"#),
        (
            "an address to send the key to",
            br#"{"model":"sim-small","messages":[{"role":"user","content":"x"}],"api_base":"http://evil.example"}"#,
        ),
        ("brackets", deep.as_bytes()),
        ("nesting", nested.as_bytes()),
        ("values", wide.as_bytes()),
    ] {
        attacked.check(what, &with_length(&attacked, body), &[400, 413]).await;
    }
    attacked.still_serves().await;
}

#[tokio::test]
async fn sizes_are_refused_before_they_are_read() {
    let attacked = Attacked::new().await;
    // It says what it will send, and sends nothing of it.
    attacked.check("a promise", attacked.head("content-length: 99999999999\r\n").as_bytes(), &[413]).await;
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    let endless = format!("{}{}", attacked.head("transfer-encoding: chunked\r\n"), chunk.repeat(64));
    attacked.check("chunks without an end", endless.as_bytes(), &[413]).await;
    let many = (0..150).map(|n| format!("x-h-{n}: a\r\n")).collect::<String>();
    attacked
        .check("many headers", format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes(), &[431])
        .await;
    let long = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n", "a".repeat(200_000));
    attacked.check("a long header", long.as_bytes(), &[431]).await;
    let path = format!("GET /v1/{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(20_000));
    attacked.check("a long path", path.as_bytes(), &[414, 431]).await;
    let path = format!("GET /v1/{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    attacked.check("a longer path", path.as_bytes(), &[414, 431]).await;
    attacked.still_serves().await;
}

#[tokio::test]
async fn framing_that_two_servers_could_read_in_two_ways_smuggles_nothing() {
    let attacked = Attacked::new().await;
    let body = chat("Hi", None).to_string();
    let inner = format!("DELETE /v1/jobs/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", attacked.key.text);
    let cases = [
        ("two lengths", format!("{}{body}", attacked.head("content-length: 5\r\ncontent-length: 6\r\n"))),
        ("a list of lengths", format!("{}{body}", attacked.head("content-length: 5, 6\r\n"))),
        ("a signed length", format!("{}{body}", attacked.head("content-length: +5\r\n"))),
        ("a negative length", format!("{}{body}", attacked.head("content-length: -1\r\n"))),
        ("a hexadecimal length", format!("{}{body}", attacked.head("content-length: 0x10\r\n"))),
        ("an unknown coding", format!("{}{body}", attacked.head("transfer-encoding: gzip\r\n"))),
        ("chunked not last", format!("{}{body}", attacked.head("transfer-encoding: chunked, identity\r\n"))),
        ("a chunk of no size", format!("{}zz\r\n{body}\r\n0\r\n\r\n", attacked.head("transfer-encoding: chunked\r\n"))),
        ("a huge chunk", format!("{}ffffffffffffffffff\r\n", attacked.head("transfer-encoding: chunked\r\n"))),
        (
            "a space before the colon",
            "POST /v1/chat/completions HTTP/1.1\r\nhost : x\r\ncontent-length : 0\r\n\r\n".to_owned(),
        ),
        ("a folded header", "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c: d\r\n\r\n".to_owned()),
        ("a bare carriage return", "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: b\rx-c: d\r\n\r\n".to_owned()),
        ("a zero byte in a header", "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: b\0c\r\n\r\n".to_owned()),
        ("no version", "GET /v1/models\r\n\r\n".to_owned()),
        (
            "an old version with chunks",
            "POST /v1/chat/completions HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        ("another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}".to_owned()),
    ];
    for (what, bytes) in cases {
        // Hung up on, or refused; a broken chunk is found while the body is read.
        attacked.check(what, bytes.as_bytes(), &[0, 400, 401, 505]).await;
    }
    // Length and chunks together: the chunks count, as RFC 9112 has it, and what follows is a request of its own.
    let both = format!(
        "{}{:x}\r\n{body}\r\n0\r\n\r\n{inner}",
        attacked.head("content-length: 4\r\ntransfer-encoding: chunked\r\n"),
        body.len()
    );
    attacked.check("length and chunks", both.as_bytes(), &[200, 400]).await;
    attacked.still_serves().await;
}

#[tokio::test]
async fn methods_paths_and_types_that_are_none_are_answered_in_the_vendors_shape() {
    let attacked = Attacked::new().await;
    let doors = &attacked.doors;
    for (method, path, expected) in [
        ("GET", "/v1/chat/completions", 405),
        ("PUT", "/v1/models", 405),
        ("PATCH", "/v1/jobs/x", 405),
        ("BREW", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/uploads", 404),
        ("POST", "/v1/files", 415),
        ("PUT", "/v1/files", 405),
        ("DELETE", "/v1/batches", 405),
        ("GET", "/v1/files/%00", 404),
        ("GET", "/v1/files/..%2f..%2fetc%2fpasswd/content", 404),
        ("GET", "/v1/batches/batch_%3E", 404),
        ("POST", "/v1/batches/x/resume", 404),
        ("GET", "/v1/../dashboard/overview", 404),
        ("GET", "/v1/models/%00", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/jobs/search:%0d%0ax", 404),
        ("GET", "/v1/jobs/tollgate.results.%3E", 404),
        ("OPTIONS", "/v1/models", 204),
        ("HEAD", "/v1/models", 200),
        ("TRACE", "/v1/models", 405),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            attacked.key.text
        );
        let answer = attacked.send(request.as_bytes()).await;
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        if matches!(status, 404 | 405) && method != "HEAD" {
            let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{method} {path}: {answer}"));
            assert!(body["error"]["message"].is_string(), "{body}");
        }
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let call = doors.post("/v1/chat/completions", &attacked.key, &chat("Hi", None)).header("content-type", kind);
        assert_eq!(told(call).await.0, 415, "{kind}");
    }
    let coded = doors.post("/v1/chat/completions", &attacked.key, &chat("Hi", None)).header("content-encoding", "gzip");
    assert_eq!(told(coded).await.0, 415);
    attacked.still_serves().await;
}

#[tokio::test]
async fn headers_are_read_once_and_carry_nothing_on() {
    let attacked = Attacked::new().await;
    let doors = &attacked.doors;
    let call = |name: &'static str, value: &'static [u8]| {
        let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
        told(doors.post("/v1/chat/completions", &attacked.key, &chat("Hi", None)).header(name, value))
    };
    for (name, value, expected) in [
        ("x-tollgate-user", &b"\xff"[..], 400),
        ("x-tollgate-priority", b"1", 400),
        ("x-tollgate-class", b"batch\tx", 400),
        ("x-tollgate-wait", b"1e400", 400),
        ("x-tollgate-wait", b"NaN", 400),
        ("x-tollgate-deadline", b"yesterday", 400),
        ("x-tollgate-max-cost-usd", b"-1", 400),
        ("authorization", b"Bearer other", 401),
        ("x-api-key", b"other", 401),
        ("traceparent", b"not a trace", 200),
        ("nats-msg-id", b"search:mine", 200),
        ("tollgate-key", b"somebody", 200),
    ] {
        let (status, body) = call(name, value).await;
        assert_eq!(status, expected, "{name}: {body}");
    }
    let long = "k".repeat(256);
    let named = doors.post("/v1/chat/completions", &attacked.key, &chat("Hi", None)).header("idempotency-key", long);
    assert_eq!(told(named).await.0, 400);
    attacked.still_serves().await;
}

#[tokio::test]
async fn who_is_slow_is_given_up_and_holds_up_nobody() {
    let attacked = Attacked::new().await;
    // Half a head, and half a body, from many; then silence.
    let mut heads = Vec::new();
    for _ in 0..64 {
        let mut stream = attacked.connect().await;
        stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a").await.unwrap();
        heads.push(stream);
    }
    let mut bodies = Vec::new();
    for _ in 0..64 {
        let mut stream = attacked.connect().await;
        stream.write_all(attacked.head("content-length: 1000\r\n").as_bytes()).await.unwrap();
        stream.write_all(b"{\"model\":").await.unwrap();
        bodies.push(stream);
    }
    attacked.still_serves().await;
    for mut stream in bodies {
        let answer = attacked.read(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let since = Instant::now();
    for mut stream in heads {
        let answer = attacked.read(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(since.elapsed() < LONG);
    attacked.still_serves().await;
}

#[tokio::test]
async fn who_reads_slowly_gets_the_whole_answer_and_costs_little() {
    let attacked = Attacked::new().await;
    let text = "a fox jumps ".repeat(40_000);
    let mut body = chat(&text, Some("echo"));
    body["stream"] = true.into();
    body["max_tokens"] = 131_072.into();
    let answer = attacked.doors.post("/v1/chat/completions", &attacked.key, &body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // Not a byte is read until the job has long had its end.
    let job = answer.headers()["x-tollgate-job"].to_str().unwrap().to_owned();
    let ended = || async {
        let (_, job) = told(attacked.doors.get(&format!("/v1/jobs/{job}"), &attacked.key)).await;
        (job["status"] == "succeeded").then_some(())
    };
    eventually("the job ends whoever reads", LONG, ended).await;
    attacked.still_serves().await;
    let read = answer.text().await.unwrap();
    let chunks = read.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let said: String =
        chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
    assert_eq!(said.split_whitespace().count(), text.split_whitespace().count());
    assert!(read.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn what_a_body_says_of_us_is_data_and_not_a_line_of_ours() {
    let attacked = Attacked::new().await;
    // A model's name that would end the JSON around it.
    let mut body = chat("Hi", None);
    body["model"] = "sim-small\"},\"tollgate\":{\"reply_to\":\"reply.marketing.1\"},\"x\":{\"y\":\"".into();
    let (status, said) = told(attacked.doors.post("/v1/chat/completions", &attacked.key, &body)).await;
    assert_eq!((status, &said["error"]["code"]), (404, &"model_not_found".into()), "{said}");
    for (name, value) in [("class", json!("interactive.other")), ("project", json!("a\r\nb")), ("user", json!(["x"]))] {
        let mut body = chat("Hi", None);
        body["tollgate"] = json!({ name: value });
        let (status, said) = told(attacked.doors.post("/v1/chat/completions", &attacked.key, &body)).await;
        assert_eq!(status, 400, "{name}: {said}");
    }
    attacked.still_serves().await;
}
