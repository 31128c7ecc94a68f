//! Messages that our NATS client cannot even read, and messages that no lane can carry.
//!
//! A header block that is not UTF-8, or has a line without a colon, makes the client drop its connection; the job would
//! be delivered again after its ack wait and drop it again, for ever. So after each lost connection the leased jobs are
//! read through the server's JSON interface, where such bytes are harmless, and those that cannot be read are handed
//! over to be answered and removed. A bare carriage return in a header ends the client for good (a panic in async-nats
//! 0.51), and with it the worker; so a worker that starts looks at what is leased before it takes anything.
//!
//! A lane's tokens come from whoever publishes: a class `*` would make a consumer that takes the team's other lanes, a
//! class with a no-break space cuts the client's connection like a bad header. Such lanes get no consumer; what is in
//! them is read the same way.

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderName, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::{JobId, LaneKey, UnixMillis, headers, subjects};

use crate::api::{self, ApiError, StoredMessage, stored_message};
use crate::connect::Connection;
use crate::queue_key::QueueKey;

/// A job that cannot be delivered to our client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its sequence in the jobs stream.
    pub sequence: u64,
    /// When the server accepted it.
    pub accepted_at: UnixMillis,
    /// The payload as it came.
    pub payload: Bytes,
    /// The header block as it came, base64.
    pub headers_base64: String,
    /// The job's id, if the header block holds a good one.
    pub id: Option<JobId>,
}

/// The most stray jobs of one look: each can be as large as a message may be.
const STRAYS_MAX: usize = 16;

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

/// Reads up to `messages_max` of the lane's leased jobs, oldest first, and returns those that the client cannot read;
/// each costs about 0.1 ms.
///
/// # Errors
/// Returns why the server could not be asked.
pub async fn inspect(connection: &Connection, lane: &LaneKey, messages_max: u64) -> Result<Vec<Unreadable>, ApiError> {
    let client = &connection.client;
    let info =
        format!("$JS.API.CONSUMER.INFO.{}.{}", subjects::JOBS_STREAM, QueueKey::of_lane(lane.clone()).consumer());
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
    for _ in 0..messages_max {
        if next > info.delivered.stream_seq {
            break;
        }
        let Some(message) = read_next(connection, next, &subject).await? else { break };
        next = message.seq + 1;
        if !readable(&message.hdrs) {
            unreadable.push(message.into());
        }
    }
    Ok(unreadable)
}

/// Reads the first jobs of a lane that no consumer may carry: see [`LaneKey::is_stray`].
///
/// # Errors
/// Returns why the server could not be asked.
pub async fn strays(connection: &Connection, lane: &LaneKey) -> Result<Vec<Unreadable>, ApiError> {
    let subject = subjects::jobs(lane);
    // A wildcard token matches more than itself, and bytes that are no text reach us as replacement characters.
    let literal = |token: &str| !(token == "*" || token == ">" || token.contains('\u{fffd}'));
    let token = |token: &str| if literal(token) { token.to_owned() } else { "*".to_owned() };
    let filter = subjects::jobs(&LaneKey { class: token(&lane.class), team: token(&lane.team) });
    let (mut next, mut found) = (1, Vec::new());
    while found.len() < STRAYS_MAX {
        let Some(message) = read_next(connection, next, &filter).await? else { break };
        next = message.seq + 1;
        if message.subject == subject {
            found.push(message.into());
        }
    }
    Ok(found)
}

/// The first job from sequence `next` on whose subject matches `filter`.
async fn read_next(connection: &Connection, next: u64, filter: &str) -> Result<Option<StoredMessage>, ApiError> {
    let question = serde_json::json!({ "seq": next, "next_by_subj": filter });
    stored_message(&connection.client, subjects::JOBS_STREAM, &question).await
}

impl From<StoredMessage> for Unreadable {
    fn from(message: StoredMessage) -> Self {
        // The server writes this base64 itself.
        let block = BASE64_STANDARD.decode(&message.hdrs).unwrap_or_default();
        Unreadable {
            sequence: message.seq,
            accepted_at: OffsetDateTime::parse(&message.time, &Rfc3339).map(Into::into).unwrap_or_default(),
            payload: BASE64_STANDARD.decode(&message.data).unwrap_or_default().into(),
            headers_base64: message.hdrs,
            id: id_in(&block),
        }
    }
}

/// The job id in a header block that may be unreadable elsewhere: its producer waits for a result under it.
fn id_in(block: &[u8]) -> Option<JobId> {
    let lines = block.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case(headers::JOB_ID))?;
    value.trim().parse().ok()
}

/// Removes a job from the queue by its sequence. Idempotent.
///
/// # Errors
/// Returns why the server did not.
pub async fn remove(connection: &Connection, sequence: u64) -> Result<(), ApiError> {
    let client = &connection.client;
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

/// Whether async-nats can parse the header block.
fn readable(headers_base64: &str) -> bool {
    BASE64_STANDARD.decode(headers_base64).is_ok_and(|block| read_headers(&block).is_some())
}

/// Reads a header block by the rules of async-nats; `None` if that would fail over it.
pub(crate) fn read_headers(block: &[u8]) -> Option<HeaderMap> {
    let mut read = HeaderMap::new();
    if block.is_empty() {
        return Some(read);
    }
    let mut lines = std::str::from_utf8(block).ok()?.lines().peekable();
    let status = lines.next()?.strip_prefix("NATS/1.0")?.trim().split(' ').next().unwrap_or_default();
    if !status.is_empty() && StatusCode::from_str(status).is_err() {
        return None;
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_str(name).ok()?;
        let mut value = value.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        // async-nats 0.51 does not refuse this one: it panics, and the connection is gone for good.
        if value.trim().contains('\r') {
            return None;
        }
        read.append(name, value.trim());
    }
    Some(read)
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
        let status = |status: &str| BASE64_STANDARD.encode(format!("NATS/1.0{status}\r\nA: b\r\n\r\n"));
        assert!(readable(&status(" 503")) && readable(&status(" 503 words")));
        assert!(readable(&status("\r\nB: c\r")) && !readable(&status("\r\nB: c\rd")));
        assert!(!readable(&status(" abc")) && !readable(&status("7")));
    }

    #[test]
    fn an_id_is_found_in_a_block_that_cannot_be_read() {
        let id = |block: &[u8]| id_in(block).map(|id| id.to_string());
        assert_eq!(id(b"NATS/1.0\r\nA: \xff\r\nNats-Msg-Id: a:1\r\n\r\n").as_deref(), Some("a:1"));
        assert_eq!(id(b"NATS/1.0\r\nNats-Msg-Id: a.1\r\n\r\n"), None);
        assert_eq!(id(b""), None);
    }
}
