//! Messages that our NATS client cannot even read.
//!
//! A header block that is not UTF-8, or has a line without a colon, makes the client drop its connection; the job would
//! be delivered again after its ack wait and drop it again, for ever. So after each lost connection the leased jobs are
//! read through the server's JSON interface, where such bytes are harmless, and those that cannot be read are handed
//! over to be answered and removed.

use std::str::FromStr;

use async_nats::{Client, HeaderName};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::{LaneKey, UnixMillis, subjects};

use crate::api::{self, ApiError};
use crate::lanes::consumer_name;

/// A job whose headers cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its sequence in the jobs stream.
    pub sequence: u64,
    /// When the server accepted it.
    pub accepted_at: UnixMillis,
    /// The payload as it came, base64.
    pub payload_base64: String,
    /// The header block as it came, base64.
    pub headers_base64: String,
}

/// The most leased messages that one inspection reads per lane; each costs about 0.1 ms.
const INSPECTED_MAX: u64 = 5_000;

#[derive(Deserialize)]
struct ConsumerInfo {
    delivered: Position,
    ack_floor: Position,
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct Position {
    stream_seq: u64,
}

#[derive(Deserialize)]
struct Stored {
    message: StoredMessage,
}

#[derive(Deserialize)]
struct StoredMessage {
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// Reads the lane's leased jobs and returns those that the client cannot read.
///
/// # Errors
/// Returns why the server could not be asked.
pub async fn inspect(client: &Client, lane: &LaneKey) -> Result<Vec<Unreadable>, ApiError> {
    let info = format!("$JS.API.CONSUMER.INFO.{}.{}", subjects::JOBS_STREAM, consumer_name(lane));
    let info: ConsumerInfo = match api::ask(client, info, bytes::Bytes::new()).await {
        Err(ApiError::Refused { code: 10014, .. }) => return Ok(Vec::new()),
        answer => answer?,
    };
    if info.num_ack_pending == 0 {
        return Ok(Vec::new());
    }
    let subject = subjects::jobs(lane);
    let mut next = info.ack_floor.stream_seq + 1;
    let mut unreadable = Vec::new();
    for _ in 0..INSPECTED_MAX {
        if next > info.delivered.stream_seq {
            break;
        }
        let question = serde_json::json!({ "seq": next, "next_by_subj": subject });
        let get = format!("$JS.API.STREAM.MSG.GET.{}", subjects::JOBS_STREAM);
        let stored: Stored = match api::ask(client, get, question.to_string().into()).await {
            Err(ApiError::Refused { code: 10037, .. }) => break,
            answer => answer?,
        };
        next = stored.message.seq + 1;
        if !readable(&stored.message.hdrs) {
            unreadable.push(Unreadable {
                sequence: stored.message.seq,
                accepted_at: OffsetDateTime::parse(&stored.message.time, &Rfc3339).map(Into::into).unwrap_or_default(),
                payload_base64: stored.message.data,
                headers_base64: stored.message.hdrs,
            });
        }
    }
    Ok(unreadable)
}

/// Removes a job from the queue by its sequence. Idempotent.
///
/// # Errors
/// Returns why the server did not.
pub async fn remove(client: &Client, sequence: u64) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Deleted {}
    let subject = format!("$JS.API.STREAM.MSG.DELETE.{}", subjects::JOBS_STREAM);
    let question = serde_json::json!({ "seq": sequence, "no_erase": true }).to_string();
    match api::ask::<Deleted>(client, subject, question.into()).await {
        // 10043: no message there; somebody else removed it.
        Ok(Deleted {}) | Err(ApiError::Refused { code: 10043 | 10057, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether async-nats can parse the header block: the same rules as its reader.
fn readable(headers_base64: &str) -> bool {
    let Ok(block) = BASE64_STANDARD.decode(headers_base64) else { return false };
    if block.is_empty() {
        return true;
    }
    let Ok(text) = std::str::from_utf8(&block) else { return false };
    let mut lines = text.lines().peekable();
    if !lines.next().is_some_and(|version| version.starts_with("NATS/1.0")) {
        return false;
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, _)) = line.split_once(':') else { return false };
        if HeaderName::from_str(name).is_err() {
            return false;
        }
        while lines.next_if(|line| line.starts_with(char::is_whitespace)).is_some() {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_cannot_read_is_recognised() {
        // base64 of "NATS/1.0\r\nA: b\r\n\r\n", of the same with a byte 0xff, and of one with a line without a colon.
        assert!(readable("TkFUUy8xLjANCkE6IGINCg0K"));
        assert!(readable(""));
        assert!(!readable("TkFUUy8xLjANCkE6IP8NCg0K"));
        assert!(!readable("TkFUUy8xLjANCkEgYg0KDQo="));
    }
}
