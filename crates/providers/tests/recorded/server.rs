//! A server on a free port that remembers one request and gives one reply.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::file::Reply;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Log = Arc<Mutex<Option<Seen>>>;

/// A server that answers until it is dropped.
pub(crate) struct Server {
    seen: Log,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.seen.lock().expect("no panic under the lock").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves; without a reply it must not be asked.
pub(crate) async fn reply_once(reply: Option<Reply>) -> (SocketAddr, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    let seen = Log::default();
    let app = axum::Router::new().fallback(answer).with_state((reply, seen.clone()));
    let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    (at, Server { seen, task })
}

async fn answer(
    State((reply, log)): State<(Option<Reply>, Log)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<axum::body::Body> {
    let target = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    *log.lock().expect("no panic under the lock") = Some(Seen { target, headers, body });
    let reply = reply.expect("a request that must not be sent");
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(reply.text().to_owned().into()).expect("a response")
}
