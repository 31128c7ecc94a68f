//! Bodies that do not fit a message, in chunks beside it ([`tollgate_types::claim`]): prompts are put, answers fetched.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use tollgate_types::claim::{BODY_BYTES_MAX, CHUNK_BYTES};
use tollgate_types::{Claim, JobId, JobResult, headers, job, subjects};

use crate::{Producer, SubmitError, WaitError};

/// How many chunks are under way at once.
const AT_ONCE: usize = 8;
/// How often a chunk that is not there is asked for again, and after what pause.
const CHUNK_TRIES: u32 = 4;
const CHUNK_PAUSE: Duration = Duration::from_millis(150);
/// How long one chunk may take.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

impl Producer {
    /// The line as it fits a message, with room for the headers: without its body if that has to be put beside it.
    ///
    /// Killed before the line is published, the chunks are dropped by their age; submitted again, they are put again.
    pub(crate) async fn fitting(&self, line: Bytes, id: &JobId) -> Result<Bytes, SubmitError> {
        let max = self.client.max_payload();
        if line.len() + headers::JOB_HEADERS_MAX <= max {
            return Ok(line);
        }
        // What is no line with a body goes as it is, to be refused by whoever can say why.
        let Some((line, body)) = job::checked_in(&line) else { return Ok(line) };
        if body.len() as u64 > BODY_BYTES_MAX {
            return Err(SubmitError::TooLarge { bytes: body.len(), max: BODY_BYTES_MAX as usize });
        }
        let claim = Claim::of(&body);
        let chunks = (0..claim.chunks()).map(|n| {
            let chunk = body.slice(n * CHUNK_BYTES..body.len().min((n + 1) * CHUNK_BYTES));
            let subject = claim.subject(self.team.as_str(), id, n);
            async move { self.stored(&subject, HeaderMap::new(), chunk, id).await }
        });
        stream::iter(chunks).buffer_unordered(AT_ONCE).try_collect::<Vec<bool>>().await?;
        Ok(line)
    }

    /// A result's line with its answer, also if that lies beside it. Cancel safe.
    pub(crate) async fn whole(&self, id: &JobId, line: Bytes) -> Result<Bytes, WaitError> {
        let Some(claim) = JobResult::elsewhere(&line) else { return Ok(line) };
        let chunks = (0..claim.chunks()).map(|n| self.chunk(claim.subject(self.team.as_str(), id, n)));
        let mut chunks = stream::iter(chunks).buffered(AT_ONCE);
        let mut body = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk?);
            if body.len() as u64 > claim.bytes {
                return Err(WaitError::Answer("its chunks are longer than they should be"));
            }
        }
        if !claim.is_of(&body) {
            return Err(WaitError::Answer("its chunks do not have its digest"));
        }
        JobResult::whole(&line, body.freeze()).ok_or(WaitError::Answer("it is no JSON"))
    }

    /// A replica that is behind does not have it yet, so it is asked a few times.
    async fn chunk(&self, subject: String) -> Result<Bytes, WaitError> {
        for _ in 0..CHUNK_TRIES {
            match self.chunk_now(&subject).await {
                Err(WaitError::Answer(_)) => tokio::time::sleep(CHUNK_PAUSE).await,
                found => return found,
            }
        }
        self.chunk_now(&subject).await
    }

    async fn chunk_now(&self, subject: &str) -> Result<Bytes, WaitError> {
        let get = format!("$JS.API.DIRECT.GET.{}.{subject}", subjects::BLOBS_STREAM);
        let request = Request::new().timeout(Some(CHUNK_TIMEOUT));
        match self.client.send_request(get, request).await {
            Ok(message) if message.status.is_none() => Ok(message.payload),
            Ok(message) if message.status == Some(StatusCode::NOT_FOUND) => {
                Err(WaitError::Answer("it is not kept any more"))
            }
            Ok(message) => Err(WaitError::Lookup(message.description.unwrap_or_default())),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(WaitError::Lookup(
                "nothing answers; does the account import direct gets of its large bodies?".into(),
            )),
            Err(error) => Err(WaitError::Lookup(error.to_string())),
        }
    }
}
