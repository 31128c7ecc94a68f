//! One request to JetStream and its answer: the bottom of everything here.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Client, HeaderMap, HeaderName, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tollgate_types::headers;

/// How long one answer may take. A healthy server answers within milliseconds; a restart takes half a second.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a request to JetStream brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No answer came: whether the request had its effect is unknown.
    #[error("no answer from the server in time")]
    Unknown,
    /// Nobody serves the subject: the stream or consumer does not exist, or JetStream is off.
    #[error("nothing answers on {subject}; does the stream exist? run `tollgate init`")]
    Absent {
        /// The subject that was asked.
        subject: String,
    },
    /// The message is larger than the server takes.
    #[error("the message is larger than the server's max_payload")]
    TooLarge,
    /// The server refused.
    #[error("the server refused: {description} (error {code})")]
    Refused {
        /// JetStream's error code.
        code: u64,
        /// JetStream's words.
        description: String,
    },
    /// The answer could not be read.
    #[error("the server's answer could not be read: {0}")]
    Unreadable(String),
}

#[derive(Deserialize)]
struct Reply {
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Sends one request and returns the raw answer. Cancel safe; a cancelled request may still have its effect.
pub(crate) async fn raw(
    client: &Client,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, ApiError> {
    let mut request = Request::new().payload(payload).timeout(Some(ANSWER_TIMEOUT));
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    client.send_request(subject.clone(), request).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => ApiError::Absent { subject },
        RequestErrorKind::MaxPayloadExceeded => ApiError::TooLarge,
        RequestErrorKind::TimedOut | RequestErrorKind::InvalidSubject | RequestErrorKind::Other => ApiError::Unknown,
    })
}

/// Asks the JetStream API and reads its JSON answer.
pub(crate) async fn ask<T: DeserializeOwned>(client: &Client, subject: String, payload: Bytes) -> Result<T, ApiError> {
    read(&raw(client, subject, None, payload).await?.payload)
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    let unreadable = |error: serde_json::Error| ApiError::Unreadable(error.to_string());
    let reply: Reply = serde_json::from_slice(payload).map_err(unreadable)?;
    match reply.error {
        Some(error) => Err(ApiError::Refused { code: error.err_code, description: error.description }),
        None => serde_json::from_slice(payload).map_err(unreadable),
    }
}

/// A message by the JSON interface, where whatever bytes a producer wrote are harmless: headers and payload as base64.
#[derive(Deserialize)]
pub(crate) struct StoredMessage {
    pub(crate) seq: u64,
    pub(crate) subject: String,
    #[serde(default)]
    pub(crate) hdrs: String,
    #[serde(default)]
    pub(crate) data: String,
    pub(crate) time: String,
}

/// JetStream's code for a stream that does not exist.
pub(crate) const NO_STREAM: u64 = 10059;
/// JetStream's code for "no message found".
const NO_MESSAGE: u64 = 10037;

/// Asks a stream for one message by the JSON interface; `None` if there is none.
pub(crate) async fn stored_message(
    client: &Client,
    stream: &str,
    question: &serde_json::Value,
) -> Result<Option<StoredMessage>, ApiError> {
    #[derive(Deserialize)]
    struct Found {
        message: StoredMessage,
    }
    let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
    match ask::<Found>(client, subject, question.to_string().into()).await {
        Ok(found) => Ok(Some(found.message)),
        Err(ApiError::Refused { code: NO_MESSAGE, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The last message on a subject as the stream's leader has it; `None` if there is none, or no such stream.
pub(crate) async fn last_of_leader(client: &Client, stream: &str, subject: &str) -> Result<Option<Bytes>, ApiError> {
    let question = serde_json::json!({ "last_by_subj": subject });
    let found = match stored_message(client, stream, &question).await {
        Err(ApiError::Refused { code: NO_STREAM, .. }) => None,
        found => found?,
    };
    let decoded = found.map(|found| BASE64_STANDARD.decode(found.data)).transpose();
    decoded.map(|payload| payload.map(Bytes::from)).map_err(|error| ApiError::Unreadable(error.to_string()))
}

/// The same as a direct get: from whichever replica answers, and from the leader where that one has none. Cancel safe.
pub(crate) async fn last(client: &Client, stream: &str, subject: &str) -> Result<Option<Bytes>, ApiError> {
    let asked = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
    let message = raw(client, asked, None, Bytes::new()).await?;
    match message.status.map(|status| status.as_u16()) {
        None => Ok(Some(message.payload)),
        // A replica that is behind says so too; the leader knows.
        Some(404) => last_of_leader(client, stream, subject).await,
        Some(code) => {
            Err(ApiError::Refused { code: u64::from(code), description: message.description.unwrap_or_default() })
        }
    }
}

/// Removes what a filter matches, and says how many messages there were.
pub(crate) async fn purge(client: &Client, stream: &str, filter: &str) -> Result<u64, ApiError> {
    #[derive(Deserialize)]
    struct Purged {
        purged: u64,
    }
    let question = serde_json::json!({ "filter": filter });
    let subject = format!("$JS.API.STREAM.PURGE.{stream}");
    let Purged { purged } = ask(client, subject, question.to_string().into()).await?;
    Ok(purged)
}

/// What a create-only publish did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The message is stored.
    New,
    /// Another message was there first.
    Taken,
}

#[derive(Deserialize)]
struct PubAck {
    /// Its presence is what makes the answer an acknowledgement.
    seq: u64,
}

const EXPECTED: HeaderName = HeaderName::from_static(headers::EXPECTED_LAST_SUBJECT_SEQUENCE);

/// JetStream's codes for "expected last subject sequence does not hold".
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// Publishes only if `expected` is the last sequence on the subject; `0` means that there is none yet.
///
/// After [`ApiError::Unknown`] the message may be stored: publish again and compare what is there.
pub(crate) async fn publish_expecting(
    client: &Client,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
    expected: u64,
) -> Result<Stored, ApiError> {
    publish_numbered(client, subject, headers, payload, expected).await.map(|(stored, _)| stored)
}

/// The same, with the sequence that the message was stored under; 0 if it was not.
pub(crate) async fn publish_numbered(
    client: &Client,
    subject: String,
    mut headers: HeaderMap,
    payload: Bytes,
    expected: u64,
) -> Result<(Stored, u64), ApiError> {
    headers.insert(EXPECTED, expected.to_string());
    let answer = raw(client, subject, Some(headers), payload).await?;
    match read::<PubAck>(&answer.payload) {
        Ok(PubAck { seq }) => Ok((Stored::New, seq)),
        Err(ApiError::Refused { code, .. }) if WRONG_LAST_SEQUENCE.contains(&code) => Ok((Stored::Taken, 0)),
        Err(error) => Err(error),
    }
}

/// Publishes and awaits the server's acknowledgement.
pub(crate) async fn acknowledged(
    client: &Client,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<(), ApiError> {
    let answer = raw(client, subject, Some(headers), payload).await?;
    read::<PubAck>(&answer.payload).map(|_| ())
}
