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

/// How long a connection may rest between requests; the usual balancers close theirs after sixty seconds.
const REST_MAX: Duration = Duration::from_secs(75);
/// How long a head may take from its first byte: one comes in a packet or two.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long an answer may wait for its reader to take a byte.
const STALL_MAX: Duration = Duration::from_secs(60);
/// The most headers, and the most bytes of a head.
const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Answers on a connection until its peer leaves, breaks a rule, or `stop`; then what is under way is finished.
pub(crate) async fn serve(socket: TcpStream, routes: Router, stop: CancellationToken) {
    // Small pieces of a stream leave at once.
    let _ = socket.set_nodelay(true);
    let phase = Phase::default();
    let io = TokioIo::new(Patient::new(socket, phase.clone()));
    let service = service_fn(move |request: Request<Incoming>| {
        phase.set(Phase::ANSWERING);
        let (mut routes, phase) = (routes.clone(), phase.clone());
        async move {
            let answer = routes.call(request).await;
            answer.map(|answer: Response<Body>| answer.map(|body| Ending { body, phase }))
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REST_MAX).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
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
    head: Pin<Box<Sleep>>,
    stall: Pin<Box<Sleep>>,
    stalled: bool,
}

impl Patient {
    fn new(socket: TcpStream, phase: Phase) -> Patient {
        Patient { socket, phase, head: Box::pin(sleep(HEAD_MAX)), stall: Box::pin(sleep(STALL_MAX)), stalled: false }
    }

    /// Passes on what came of a write, or that nothing has moved for too long.
    fn moved<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !std::mem::replace(&mut self.stalled, true) {
            self.stall.as_mut().reset(Instant::now() + STALL_MAX);
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
            self.head.as_mut().reset(Instant::now() + HEAD_MAX);
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
