//! As much of a browser as these tests need: bytes over a connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any page may take, on a busy machine in a debug build.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let of_line = |line: &str| line.split_once(": ").map(|(found, value)| (found.to_lowercase(), value.len()));
        for line in self.head.lines() {
            if of_line(line).is_some_and(|(found, _)| found == name) {
                return line.split_once(": ").map_or("", |(_, value)| value);
            }
        }
        ""
    }

    /// The value of the first hidden field of that name.
    pub(crate) fn field(&self, name: &str) -> String {
        let before = format!(r#"name="{name}" value=""#);
        let rest = self.body.split_once(&before).map_or("", |(_, rest)| rest);
        rest.split('"').next().unwrap_or_default().replace("&amp;", "&")
    }
}

/// Somebody with a cookie, or nobody.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) addr: SocketAddr,
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Sends a form as a page of ours would.
    pub(crate) async fn post(&self, path: &str, form: &str) -> Answer {
        let origin = format!("http://{}", self.addr);
        self.ask("POST", path, &[("origin", &origin), ("sec-fetch-site", "same-origin")], form).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str(&format!("host: {}\r\n", self.addr));
        }
        if let Some(cookie) = &self.cookie {
            head.push_str(&format!("cookie: {cookie}\r\n"));
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let asked = async {
            let mut stream = TcpStream::connect(self.addr).await.expect("the server listens");
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("it is sent");
            let mut answer = Vec::new();
            // A server that refuses a large body may close before it has read all.
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer =
            tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{method} {path} took too long"));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Signs in as somebody.
    pub(crate) async fn signed_in(addr: SocketAddr, name: &str, password: &str) -> Browser {
        let nobody = Browser { addr, cookie: None };
        let form = format!("name={name}&password={password}&next=/dashboard/queues");
        let answer = nobody.post("/dashboard/sign-in", &form).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/dashboard/queues"), "{answer:?}");
        let cookie = answer.header("set-cookie").split(';').next().expect("a cookie").to_owned();
        Browser { addr, cookie: Some(cookie) }
    }

    /// The first event of a stream.
    pub(crate) async fn first_event(&self, path: &str) -> String {
        let cookie = self.cookie.as_deref().unwrap_or_default();
        let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\n\r\n", self.addr);
        let read = async {
            let mut stream = TcpStream::connect(self.addr).await.expect("the server listens");
            stream.write_all(head.as_bytes()).await.expect("it is sent");
            let (mut all, mut part) = (String::new(), [0; 4096]);
            while !all.contains("event: panel") {
                let read = stream.read(&mut part).await.expect("the stream goes on");
                assert!(read > 0, "the stream ended: {all}");
                all.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            all
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an event comes")
    }
}
