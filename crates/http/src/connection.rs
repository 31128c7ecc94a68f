//! One connection, and how long its peer may keep it busy without doing anything.
//!
//! A peer that sends a request's head byte by byte, or takes no byte of an answer, holds a place that others want. So a
//! head has a time from its first byte, and what is written must move. A connection between two requests costs little; it
//! may rest for longer than the balancers that stand before us keep theirs, so that they never use one we just closed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// How long a peer is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long a connection may rest between requests.
    rest: Duration,
    /// How long a head may take from its first byte.
    head: Duration,
    /// How long an answer may wait for its reader to take a byte.
    stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            // The usual balancers close theirs after sixty seconds.
            rest: Duration::from_secs(75),
            // One comes in a packet or two.
            head: Duration::from_secs(10),
            stall: Duration::from_secs(60),
        }
    }
}

/// The most headers, and the most bytes of a head.
const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Answers on a connection until its peer leaves, breaks a rule, or `stop`; then what is under way is finished.
pub(crate) async fn serve(socket: TcpStream, routes: Router, patience: Patience, stop: CancellationToken) {
    // Small pieces of a stream leave at once.
    let _ = socket.set_nodelay(true);
    let phase = Phase::default();
    let io = TokioIo::new(Patient::new(socket, phase.clone(), patience));
    let service = service_fn(move |request: Request<Incoming>| {
        phase.set(Phase::ANSWERING);
        let (mut routes, phase) = (routes.clone(), phase.clone());
        async move {
            let answer = routes.call(request).await;
            answer.map(|answer: Response<Body>| answer.map(|body| Ending { body, phase }))
        }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(patience.rest)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(server.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// How far a connection is with its request.
#[derive(Clone, Default)]
struct Phase(Arc<AtomicU8>);

impl Phase {
    const RESTING: u8 = 0;
    const HEAD: u8 = 1;
    const ANSWERING: u8 = 2;

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }
}

/// A body whose end, however it comes, ends the answer.
struct Ending {
    body: Body,
    phase: Phase,
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.phase.set(Phase::RESTING);
    }
}

/// A socket that gives its peer up.
struct Patient {
    socket: TcpStream,
    phase: Phase,
    patience: Patience,
    head: Pin<Box<Sleep>>,
    stall: Pin<Box<Sleep>>,
    stalled: bool,
}

impl Patient {
    fn new(socket: TcpStream, phase: Phase, patience: Patience) -> Patient {
        let (head, stall) = (Box::pin(sleep(patience.head)), Box::pin(sleep(patience.stall)));
        Patient { socket, phase, patience, head, stall, stalled: false }
    }

    /// Passes on what came of a write, or that nothing has moved for too long.
    fn moved<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !std::mem::replace(&mut self.stalled, true) {
            let until = Instant::now() + self.patience.stall;
            self.stall.as_mut().reset(until);
        }
        ready!(self.stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before && self.phase.is(Phase::RESTING) {
            self.phase.set(Phase::HEAD);
            let until = Instant::now() + self.patience.head;
            self.head.as_mut().reset(until);
        }
        if self.phase.is(Phase::HEAD) && self.head.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.moved(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.moved(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.moved(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// A busy machine needs longer than we are patient.
    const LONG: Duration = Duration::from_secs(30);

    /// A connection whose server has little patience, and its end.
    async fn connected() -> (TcpStream, JoinSet<()>) {
        let patience = Patience {
            rest: Duration::from_secs(20),
            head: Duration::from_millis(300),
            stall: Duration::from_millis(300),
        };
        let endless = || async {
            let piece = Bytes::from(vec![b'x'; 64 * 1024]);
            Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone())))
        };
        let routes = Router::new().route("/short", get(|| async { "short" })).route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let mut server = JoinSet::new();
        server.spawn(serve(socket, routes, patience, CancellationToken::new()));
        (peer, server)
    }

    async fn ended(mut server: JoinSet<()>) {
        tokio::time::timeout(LONG, server.join_next()).await.expect("the server gives the peer up");
    }

    #[tokio::test]
    async fn who_sends_half_a_head_is_hung_up_on() {
        let (mut peer, server) = connected().await;
        peer.write_all(b"GET /short HTTP/1.1\r\nho").await.unwrap();
        ended(server).await;
        let mut said = Vec::new();
        // What came before the end, if the end was not a reset.
        let _ = peer.read_to_end(&mut said).await;
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{said:?}");
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_is_hung_up_on() {
        let (mut peer, server) = connected().await;
        peer.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        ended(server).await;
    }

    #[tokio::test]
    async fn a_connection_rests_between_requests_for_longer_than_a_head_may_take() {
        let (mut peer, mut server) = connected().await;
        for _ in 0..3 {
            peer.write_all(b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"short") {
                let read = tokio::time::timeout(LONG, peer.read_buf(&mut said)).await.expect("an answer").unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&said));
            }
            let ended = tokio::time::timeout(Duration::from_millis(500), server.join_next()).await;
            assert!(ended.is_err(), "the connection stays");
        }
    }
}
