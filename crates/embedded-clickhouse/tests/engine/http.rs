//! A bare HTTP/1.1 client, so that the tests say every byte themselves.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{PASSWORD, USER};

/// Requests with the same headers to one server, each on a connection of its own.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) addr: SocketAddr,
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// ClickHouse's code of a failure, 0 of a success.
    pub(crate) fn code(&self) -> u32 {
        let code = self.header("X-ClickHouse-Exception-Code").map_or(0, |code| code.parse().unwrap());
        assert_eq!(code == 0, self.status < 400, "{self:?}");
        code
    }
}

impl Http {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, headers: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn with_password(self) -> Self {
        self.header("X-ClickHouse-User", USER).header("X-ClickHouse-Key", PASSWORD)
    }

    /// Writes a request that announces `length` bytes of body and sends `body`.
    pub(crate) async fn open(&self, method: &str, target: &str, length: usize, body: &[u8]) -> TcpStream {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n");
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that refuses the body early may close while it is sent; its answer tells.
        let _ = stream.write_all(body).await;
        stream
    }

    /// Sends `body` and returns the whole answer. `query` is the URL's, percent-encoded.
    pub(crate) async fn send(&self, method: &str, query: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let mut stream = self.open(method, &format!("/?{query}"), body.len(), body).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        assert!(!answer.is_empty(), "no answer: {read:?}");
        parse(&answer)
    }

    pub(crate) async fn post(&self, query: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", query, body).await
    }

    /// Posts what should succeed, and returns the answer's body as text.
    pub(crate) async fn ok(&self, query: &str, body: impl AsRef<[u8]>) -> String {
        let answer = self.post(query, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Posts what should fail, and returns ClickHouse's code.
    pub(crate) async fn code(&self, query: &str, body: impl AsRef<[u8]>) -> u32 {
        self.post(query, body).await.code()
    }
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the headers end");
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status, headers: lines.filter_map(pair).collect(), body: answer[end + 4..].to_vec() }
}

/// `text` for a URL's query.
pub(crate) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
