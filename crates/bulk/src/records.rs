//! The records of batches as their team reads and writes them: direct gets by subject, and publishes that the server
//! acknowledges. No consumer, no stream, no bucket is needed.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tollgate_client::Producer;
use tollgate_types::headers::EXPECTED_LAST_SUBJECT_SEQUENCE;
use tollgate_types::subjects::BATCHES_STREAM;

/// How long one answer may take, and how often it is asked for.
const ANSWER: (Duration, u32) = (Duration::from_secs(5), 4);
/// JetStream's codes for "expected last subject sequence does not hold".
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// Why a record was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Nobody answers: the stream is missing, or the account does not import it.
    #[error(
        "nothing answers on {0}; was `tollgate init` run with this version, and does the team's account import it?"
    )]
    Absent(String),
    /// No answer came.
    #[error("no answer from the server in time")]
    Unknown,
    /// The server refused.
    #[error("the server refused: {0}")]
    Refused(String),
    /// What is there cannot be understood.
    #[error("the record on {0} cannot be read; is it of a newer version?")]
    Unreadable(String),
}

/// The last record on a subject. Cancel safe.
pub(crate) async fn get<T: DeserializeOwned>(producer: &Producer, subject: &str) -> Result<Option<T>, RecordError> {
    let ask = format!("$JS.API.DIRECT.GET.{BATCHES_STREAM}.{subject}");
    let found = request(producer, ask, None, Bytes::new()).await?;
    if found.status == Some(StatusCode::NOT_FOUND) {
        return Ok(None);
    }
    let read = serde_json::from_slice(&found.payload);
    read.map(Some).map_err(|_| RecordError::Unreadable(subject.to_owned()))
}

/// Writes a record whatever is there. Asked again after a lost answer, it says the same.
pub(crate) async fn put(producer: &Producer, subject: String, record: &impl Serialize) -> Result<(), RecordError> {
    publish(producer, subject, record, None).await.map(|_| ())
}

/// Writes a record where there is none; whether it was written.
///
/// After a lost answer it may find its own record: compare what is there.
pub(crate) async fn create(producer: &Producer, subject: String, record: &impl Serialize) -> Result<bool, RecordError> {
    publish(producer, subject, record, Some(0)).await
}

async fn publish(
    producer: &Producer,
    subject: String,
    record: &impl Serialize,
    expected: Option<u64>,
) -> Result<bool, RecordError> {
    #[derive(Deserialize)]
    struct Ack {
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        err_code: u64,
        #[serde(default)]
        description: String,
    }
    let payload = serde_json::to_vec(record).expect("texts, numbers and JSON always serialise");
    let headers = expected.map(|expected| {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        headers
    });
    let answer = request(producer, subject.clone(), headers, payload.into()).await?;
    match serde_json::from_slice::<Ack>(&answer.payload) {
        Ok(Ack { error: None }) => Ok(true),
        Ok(Ack { error: Some(refusal) }) if WRONG_LAST_SEQUENCE.contains(&refusal.err_code) => Ok(false),
        Ok(Ack { error: Some(refusal) }) => {
            Err(RecordError::Refused(format!("{} (error {})", refusal.description, refusal.err_code)))
        }
        Err(_) => Err(RecordError::Unreadable(subject)),
    }
}

async fn request(
    producer: &Producer,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, RecordError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut request = Request::new().payload(payload.clone()).timeout(Some(ANSWER.0));
        request.headers = headers.clone();
        match producer.client().send_request(subject.clone(), request).await {
            Ok(answer) => return Ok(answer),
            Err(error) if tries == ANSWER.1 => {
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => RecordError::Absent(subject),
                    RequestErrorKind::TimedOut
                    | RequestErrorKind::InvalidSubject
                    | RequestErrorKind::MaxPayloadExceeded
                    | RequestErrorKind::Other => RecordError::Unknown,
                });
            }
            // A server that just restarted knows its streams a moment later.
            Err(_) => tokio::time::sleep(Duration::from_millis(100 << tries)).await,
        }
    }
}
