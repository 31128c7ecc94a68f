//! Two servers on free ports: one that speaks HTTP properly, and one that writes whatever bytes it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) peer: SocketAddr,
}

type Reply = Arc<dyn Fn(&Seen) -> Response + Send + Sync>;

/// A server that answers until it is dropped.
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn http(reply: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let app = axum::Router::new().fallback(answer).with_state((Arc::new(reply) as Reply, seen.clone()));
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Server { at, seen, task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic under the lock").clone()
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.at)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State((reply, log)): State<(Reply, Arc<Mutex<Vec<Seen>>>)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let seen = Seen { path, headers, body, peer };
    log.lock().expect("no panic under the lock").push(seen.clone());
    reply(&seen)
}

/// Accepts one connection, reads one request, writes `bytes`, and then keeps the connection open or closes it. Returns
/// whether the client closed first.
pub(crate) async fn raw(bytes: impl Into<Vec<u8>>, close: bool) -> (SocketAddr, JoinHandle<bool>) {
    let bytes = bytes.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        read_request(&mut stream).await;
        let written = stream.write_all(&bytes).await;
        if close {
            return written.is_err();
        }
        let mut rest = [0; 64];
        // The end of the stream, or a reset: the client is gone.
        let gone = async { while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        tokio::time::timeout(Duration::from_secs(20), gone).await.is_ok()
    });
    (at, task)
}

async fn read_request(stream: &mut TcpStream) {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = stream.read(&mut chunk).await.expect("a request");
        assert!(n > 0, "the client closed before its request was whole");
        text.extend_from_slice(&chunk[..n]);
        let request = String::from_utf8_lossy(&text);
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.and_then(|n| n.parse().ok()).unwrap_or(0) {
            return;
        }
    }
}
