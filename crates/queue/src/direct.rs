//! Reading stored messages in batches without a consumer: direct gets as in ADR-31 of NATS.
//!
//! A stored message carries whatever its producer wrote, also a status line like the server's own. The server appends
//! its headers to each stored message, so the last `Nats-Sequence` and `Nats-Subject` are the server's, and only what
//! lacks them is a word of the server itself.

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;
use tollgate_types::UnixMillis;

use crate::api::{ANSWER_TIMEOUT, ApiError};

/// One stored message.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) at: UnixMillis,
    /// The headers as they came, and behind them the server's own.
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// What one question brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Stored>,
    /// How many more match behind the last one.
    pub(crate) pending: u64,
}

/// Asks a stream once and gathers the answer. Cancel safe.
pub(crate) async fn batch(client: &Client, stream: &str, question: &impl Serialize) -> Result<Batch, ApiError> {
    let mut batch = Batch::default();
    gather(client, stream, question, std::future::pending(), &mut batch).await?;
    Ok(batch)
}

/// Asks a stream once and puts the answer into `batch`, also as much of it as came before something went wrong, or
/// before `lost` said that no more will come.
pub(crate) async fn gather(
    client: &Client,
    stream: &str,
    question: &impl Serialize,
    lost: impl Future<Output = ()>,
    batch: &mut Batch,
) -> Result<(), ApiError> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|_| ApiError::Unknown)?;
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let payload = serde_json::to_vec(question).expect("texts and numbers always serialise");
    let asked = client.publish_with_reply(subject.clone(), inbox, Bytes::from(payload)).await;
    asked.map_err(|_| ApiError::Unknown)?;
    let mut lost = std::pin::pin!(lost);
    loop {
        let answer = tokio::select! {
            // What came before the loss is still handed out.
            biased;
            answer = timeout(ANSWER_TIMEOUT, answers.next()) => answer.ok().flatten(),
            () = &mut lost => None,
        };
        let message = answer.ok_or(ApiError::Unknown)?;
        if let Some((stored, pending)) = stored(&message) {
            batch.messages.push(stored);
            batch.pending = pending;
            continue;
        }
        return match message.status.map(|status| status.as_u16()) {
            Some(204) => {
                batch.pending = last(message.headers.as_ref(), PENDING).unwrap_or(0);
                Ok(())
            }
            Some(404) => {
                batch.pending = 0;
                Ok(())
            }
            Some(503) => Err(ApiError::Absent { subject }),
            Some(code) => {
                Err(ApiError::Refused { code: u64::from(code), description: message.description.unwrap_or_default() })
            }
            None => Err(ApiError::Unreadable("a message without the server's headers".to_owned())),
        };
    }
}

const PENDING: &str = "Nats-Num-Pending";

/// A stored message, if it is one, and how many more match behind it.
fn stored(message: &Message) -> Option<(Stored, u64)> {
    let headers = message.headers.as_ref()?;
    let sequence = last(Some(headers), "Nats-Sequence")?;
    let subject: String = last(Some(headers), "Nats-Subject")?;
    let stamp: String = last(Some(headers), "Nats-Time-Stamp")?;
    let at = OffsetDateTime::parse(&stamp, &Rfc3339).map(UnixMillis::from).ok()?;
    let pending = last(Some(headers), PENDING).unwrap_or(0);
    let (headers, payload) = (headers.clone(), message.payload.clone());
    Some((Stored { sequence, subject, at, headers, payload }, pending))
}

fn last<T: std::str::FromStr>(headers: Option<&HeaderMap>, name: &str) -> Option<T> {
    headers?.get_last(name)?.as_str().parse().ok()
}
