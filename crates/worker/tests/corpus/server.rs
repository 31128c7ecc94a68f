//! A provider that writes whatever bytes it is told to, and remembers who came.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// An answer as a provider gives it.
pub(crate) const GOOD: &str = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello world"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}}"#;

/// What is written for one request, and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Debug)]
enum Then {
    /// The next request is waited for.
    Stay,
    /// The connection is closed.
    Close,
    /// This is written without end.
    Forever(Vec<u8>),
}

impl Reply {
    /// Bytes as they are; then the next request is waited for.
    pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply { bytes: bytes.into(), then: Then::Stay }
    }

    /// A status, such as `200 OK`, header lines without their ends, and a body of an announced length.
    pub(crate) fn http(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
        Reply::bytes([head.as_bytes(), b"\r\n", body].concat())
    }

    /// JSON with the status of an answer.
    pub(crate) fn json(body: impl AsRef<[u8]>) -> Reply {
        Reply::http("200 OK", &["content-type: application/json"], body)
    }

    /// A good answer.
    pub(crate) fn good() -> Reply {
        Reply::json(GOOD)
    }

    /// The same, and the connection is closed after it.
    pub(crate) fn and_close(self) -> Reply {
        Reply { then: Then::Close, ..self }
    }

    /// The same, and more of this for as long as somebody reads.
    pub(crate) fn and_forever(self, more: impl Into<Vec<u8>>) -> Reply {
        Reply { then: Then::Forever(more.into()), ..self }
    }
}

/// One request, or one connection without any.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) at: Instant,
    /// The request's head and body; empty while none came whole.
    pub(crate) text: String,
}

/// A server until it is dropped.
pub(crate) struct Raw {
    port: u16,
    connections: Arc<Mutex<Vec<Instant>>>,
    requests: Arc<Mutex<Vec<Came>>>,
    _task: JoinSet<()>,
}

/// What a request is answered with, by its ordinal from 0.
type Replies = Box<dyn Fn(usize) -> Reply + Send + Sync>;

/// The state that the connections share.
struct Shared {
    replies: Replies,
    requests: Arc<Mutex<Vec<Came>>>,
}

impl Raw {
    /// Answers the first request with the first reply, and so on; the last one is for all that follow.
    pub(crate) async fn replying(replies: Vec<Reply>) -> Raw {
        Raw::by(move |ordinal| replies[ordinal.min(replies.len() - 1)].clone()).await
    }

    /// Answers each request by its ordinal, from 0.
    pub(crate) async fn by(replies: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Raw {
        Raw::start(Box::new(replies), None).await
    }

    /// Gives a good answer under TLS.
    pub(crate) async fn under_tls(acceptor: TlsAcceptor) -> Raw {
        Raw::start(Box::new(|_| Reply::good()), Some(acceptor)).await
    }

    async fn start(replies: Replies, tls: Option<TlsAcceptor>) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let connections = Arc::<Mutex<Vec<Instant>>>::default();
        let requests = Arc::<Mutex<Vec<Came>>>::default();
        let shared = Arc::new(Shared { replies, requests: Arc::clone(&requests) });
        let accepted = Arc::clone(&connections);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                locked(&accepted).push(Instant::now());
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                served.spawn(async move {
                    match tls {
                        None => serve(stream, &shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared).await;
                            }
                        }
                    }
                });
            }
        });
        Raw { port, connections, requests, _task: task }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there were, with or without a request.
    pub(crate) fn connections(&self) -> usize {
        locked(&self.connections).len()
    }

    pub(crate) fn requests(&self) -> Vec<Came> {
        locked(&self.requests).clone()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().expect("no panic under the lock")
}

/// Serves one connection until one side has enough. A client that leaves is what some entries are about.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    while let Some(text) = request(&mut stream).await {
        let ordinal = {
            let mut requests = locked(&shared.requests);
            requests.push(Came { at: Instant::now(), text });
            requests.len() - 1
        };
        let reply = (shared.replies)(ordinal);
        if stream.write_all(&reply.bytes).await.is_err() {
            return;
        }
        match reply.then {
            Then::Stay => {}
            Then::Close => return,
            Then::Forever(more) => while stream.write_all(&more).await.is_ok() {},
        }
    }
}

/// The next request; `None` when the client is gone.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut chunk)).await.ok()?.ok()?;
        if n == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.and_then(|n| n.parse().ok()).unwrap_or(0) {
            return Some(text.into_owned());
        }
    }
}
