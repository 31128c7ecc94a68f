//! Dead letters: jobs that cannot be run, with their original bytes and headers.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use tollgate_types::{ErrorCode, JobId, LaneKey, headers, subjects};

use crate::api::{self, ApiError};
use crate::delivery::Delivery;
use crate::quarantine::Unreadable;

/// The dead letter stream.
#[derive(Clone)]
pub struct DeadLetters {
    client: Client,
}

/// Tries of one dead letter; then the job is left to be delivered again.
const TRIES: u32 = 5;

impl DeadLetters {
    /// Over a connection; the stream must exist when something is buried.
    pub fn new(client: &Client) -> Self {
        DeadLetters { client: client.clone() }
    }

    /// Keeps a copy of the delivery. It comes before the job's result, so that a crash between the two repeats it; the
    /// message id makes the repetition one within the duplicate window.
    ///
    /// # Errors
    /// Returns why it could not be kept; then the job must not be settled.
    pub async fn bury(&self, delivery: &Delivery, job: &JobId, reason: ErrorCode) -> Result<(), ApiError> {
        let mut copy = HeaderMap::new();
        for (name, values) in delivery.headers.iter() {
            let name = harmless(name.as_ref());
            values.iter().for_each(|value| copy.append(name.as_str(), value.clone()));
        }
        self.keep(&delivery.lane, job, reason, copy, delivery.payload.clone()).await
    }

    /// Keeps a job that our client cannot read; its header block is kept as base64 in a header.
    ///
    /// # Errors
    /// Returns why it could not be kept; then the job must not be removed.
    pub async fn bury_unreadable(
        &self,
        lane: &LaneKey,
        unreadable: &Unreadable,
        job: &JobId,
        reason: ErrorCode,
    ) -> Result<(), ApiError> {
        let mut copy = HeaderMap::new();
        copy.insert(headers::DEAD_HEADERS, unreadable.headers_base64.as_str());
        if let Some(original) = &unreadable.id {
            copy.insert(headers::DEAD_MSG_ID, original.as_str());
        }
        self.keep(lane, job, reason, copy, unreadable.payload.clone()).await
    }

    async fn keep(
        &self,
        lane: &LaneKey,
        job: &JobId,
        reason: ErrorCode,
        mut copy: HeaderMap,
        payload: Bytes,
    ) -> Result<(), ApiError> {
        let subject = subjects::dead(&lane.plain());
        let mut tries = 0;
        loop {
            copy.insert(headers::JOB_ID, format!("{}/{job}", lane.team));
            copy.insert(headers::DEAD_REASON, reason.as_str());
            copy.insert(headers::DEAD_SUBJECT, subjects::jobs(lane));
            copy.insert(headers::DEAD_JOB, job.as_str());
            match api::acknowledged(&self.client, subject.clone(), copy.clone(), payload.clone()).await {
                Ok(()) => return Ok(()),
                // A job at the size limit leaves no room for more headers: the producer's own go, the bytes stay.
                Err(ApiError::TooLarge) if tries == 0 => copy = HeaderMap::new(),
                Err(error) if tries + 1 >= TRIES => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100 << tries)).await,
            }
            tries += 1;
        }
    }
}

/// A producer's `Nats-Expected-Stream` would have the copy refused for ever, its `Nats-Trace-Dest` would have the server
/// publish on our behalf.
fn harmless(name: &str) -> String {
    match name.get(..headers::NATS.len()) {
        Some(start) if start.eq_ignore_ascii_case(headers::NATS) => {
            format!("{}{}", headers::DEAD, &name[headers::NATS.len()..])
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_would_act_on_the_copy_are_kept_under_another_name() {
        assert_eq!(harmless("Nats-Msg-Id"), headers::DEAD_MSG_ID);
        assert_eq!(harmless("nats-expected-stream"), "Tollgate-Dead-expected-stream");
        assert_eq!(harmless("traceparent"), "traceparent");
    }
}
