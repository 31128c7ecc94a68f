//! Reads a stream from its beginning to what is its end now.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Info, Stream};
use futures_util::StreamExt as _;
use tollgate_types::UnixMillis;

/// How many are asked for at once, and how long the server may take for them.
const BATCH: (usize, Duration) = (500, Duration::from_secs(5));
/// A reader that is killed leaves its consumer behind for this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// What travels of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its headers alone.
    Headers,
}

/// A message.
pub struct Read<'a> {
    /// Its sequence in the stream.
    pub seq: u64,
    /// When the server stored it.
    pub at: UnixMillis,
    /// Where it was published.
    pub subject: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its payload; empty where the headers alone travel.
    pub payload: &'a [u8],
    /// How long the payload is in the stream.
    pub bytes: usize,
}

/// Why a stream was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server refused, or went away.
    #[error("the stream cannot be read")]
    Server(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not answer in time.
    #[error("the stream was not read to its end in time")]
    Late,
}

/// Hands out every message under a subject, the oldest first, by a consumer that the server forgets by itself.
///
/// Not for a work queue, on which such a consumer is not allowed.
///
/// # Errors
/// [`ReadError`], after some messages may have been handed out.
pub async fn each(
    stream: &Stream<Info>,
    filter: &str,
    part: Part,
    take: &mut impl FnMut(&Read<'_>),
) -> Result<(), ReadError> {
    each_from(stream, (filter, 1), part, take).await
}

/// The same, from a sequence on.
///
/// # Errors
/// As [`each`].
pub async fn each_from(
    stream: &Stream<Info>,
    (filter, from): (&str, u64),
    part: Part,
    take: &mut impl FnMut(&Read<'_>),
) -> Result<(), ReadError> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
        ack_policy: AckPolicy::None,
        filter_subject: filter.to_owned(),
        headers_only: part == Part::Headers,
        inactive_threshold: FORGOTTEN_AFTER,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| ReadError::Server(error.into()))?;
    let mut pending = consumer.cached_info().num_pending;
    let none = HeaderMap::new();
    while pending > 0 {
        let batch = consumer.fetch().max_messages(BATCH.0).expires(BATCH.1).messages().await;
        let mut batch = batch.map_err(|error| ReadError::Server(error.into()))?;
        let mut came = false;
        while let Some(message) = batch.next().await {
            let message = message.map_err(ReadError::Server)?;
            let info = message.info().map_err(ReadError::Server)?;
            let headers = message.headers.as_ref().unwrap_or(&none);
            // Without its payload, a message says how long that is.
            let size = headers.get("Nats-Msg-Size").and_then(|size| size.as_str().parse().ok());
            take(&Read {
                seq: info.stream_sequence,
                at: info.published.into(),
                subject: &message.subject,
                headers,
                payload: &message.payload,
                bytes: size.filter(|_| part == Part::Headers).unwrap_or(message.payload.len()),
            });
            pending = info.pending;
            came = true;
        }
        if !came {
            return Err(ReadError::Late);
        }
    }
    Ok(())
}
