//! Response bodies: whole, in pieces, or broken on purpose; watched, so that the log knows what was sent.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::body::{Body, Frame, SizeHint};

use crate::ending::Ending;
use crate::server::{Connection, Shared};

/// How long a break comes after what was sent before it: long enough for the client to have read that.
const BREAK_PAUSE: Duration = Duration::from_millis(20);
/// Bytes of one dripped piece.
const DRIP_BYTES: usize = 1;

type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The bytes of a response.
pub(crate) enum Source {
    /// All there, sent with a `content-length`.
    Whole(Bytes),
    /// Made while being sent; an error closes the connection.
    Pieces {
        stream: Pieces,
        /// The bytes that are announced and not sent; `None` sends in chunks without a `content-length`.
        left: Option<u64>,
    },
    /// All taken.
    Over,
}

/// What comes after the part of a body that is sent.
pub(crate) enum Break {
    /// A TCP reset.
    Reset,
    /// An orderly close that is too early.
    Close,
    /// Silence.
    Stall,
}

impl Source {
    pub(crate) fn pieces(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self::Pieces { stream: Box::pin(stream), left: None }
    }

    /// Announces a length, which may be more than is sent.
    pub(crate) fn announcing(self, length: u64) -> Self {
        match self {
            Self::Pieces { stream, .. } => Self::Pieces { stream, left: Some(length) },
            other => other,
        }
    }

    /// Sends `part`, then breaks.
    pub(crate) fn broken(part: Bytes, how: Break, connection: Connection, shared: std::sync::Arc<Shared>) -> Self {
        let end = async move {
            tokio::time::sleep(BREAK_PAUSE).await;
            match how {
                Break::Reset => never(connection.reset().await),
                Break::Close => Err(io::Error::other("scripted early end")),
                Break::Stall => never(connection.hold(&shared).await),
            }
        };
        Self::pieces(stream::iter((!part.is_empty()).then_some(Ok(part))).chain(stream::once(end)))
    }

    /// Sends `bytes` one by one.
    pub(crate) fn dripping(bytes: Bytes, every: Duration) -> Self {
        Self::pieces(stream::unfold(bytes, move |mut rest| async move {
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(every).await;
            let piece = rest.split_to(DRIP_BYTES);
            Some((Ok(piece), rest))
        }))
    }
}

fn never<T>(never: Infallible) -> T {
    match never {}
}

/// A body that tells its [`Ending`] what was taken of it.
pub(crate) struct WatchedBody {
    source: Source,
    ending: Ending,
}

impl WatchedBody {
    pub(crate) fn new(source: Source, mut ending: Ending) -> Self {
        let source = match source {
            // Nobody polls a body that is known to be empty.
            Source::Whole(bytes) if bytes.is_empty() => {
                ending.finished();
                Source::Over
            }
            other => other,
        };
        Self { source, ending }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let piece = match &mut this.source {
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.source = Source::Over;
                this.ending.finished();
                Some(Ok(bytes))
            }
            Source::Pieces { stream, left } => {
                let piece = std::task::ready!(stream.as_mut().poll_next(cx));
                let over = match (&piece, left) {
                    (Some(Ok(bytes)), Some(left)) => {
                        *left -= bytes.len() as u64;
                        // Nobody polls a body beyond its announced length.
                        *left == 0
                    }
                    (Some(Ok(_)), None) => false,
                    (Some(Err(_)) | None, _) => true,
                };
                if over {
                    this.source = Source::Over;
                    this.ending.finished();
                }
                piece
            }
            Source::Over => None,
        };
        if let Some(Ok(bytes)) = &piece {
            this.ending.sent(bytes.len());
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Pieces { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Over => SizeHint::with_exact(0),
        }
    }
}
