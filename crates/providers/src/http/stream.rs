//! A streamed answer: takes its events as they come, gives each delta on, and judges how it ended.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::time::{Instant, timeout, timeout_at};
use tollgate_types::{Billed, Failure, FailureKind, Tokens, UsageSource};

use super::exchange::{Clock, Seen, broken, failure, limited, too_large};
use super::{Call, OnDelta, Usage};
use crate::adapter::{Read, Sent, Unusable};
use crate::deployment::Deployment;
use crate::keys::ApiKey;
use crate::refusal::refuse_in_stream;
use crate::scrub::scrub;
use crate::sse::{Event, Parser, TooLong};
use crate::stream::{Broken, Partial, Reader, Stage, Streaming};
use crate::tokens;

/// The longest event: a picture comes as one.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many bytes may come for each that may be kept: a token of four bytes comes in an event of some 250.
const WIRE_FACTOR: usize = 64;
/// How long what was used is waited for after the model was done.
const USAGE_WAIT: Duration = Duration::from_secs(5);
/// How long the end of the response is waited for after the vendor's last event, to use the connection again.
const END_WAIT: Duration = Duration::from_millis(50);

/// Whether a response is a stream. A server that cannot stream answers with JSON, a gateway with a page; what does not
/// say what it is came because a stream was asked for.
pub(super) fn is_one(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    !matches!(essence.as_str(), "application/json" | "text/html")
}

/// A call whose answer comes as a stream.
pub(super) struct Streamed<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) call: &'a Call<'a>,
    /// The key that was sent.
    pub(super) key: Option<&'a ApiKey>,
    pub(super) clock: &'a Clock,
    pub(super) sent: &'a Sent<'a>,
}

impl Streamed<'_> {
    /// Reads a stream up to its end. What one that broke off has used is left in `seen`.
    pub(super) async fn read(
        &self,
        mut response: Response,
        streaming: &Streaming,
        seen: &mut Seen,
    ) -> Result<Result<Read, Unusable>, Failure> {
        let mut reader = (streaming.reader)();
        let ended = self.events(&mut response, &mut *reader, seen).await;
        seen.end = Some(Instant::now());
        if let Err(failure) = ended {
            // The provider shall not go on writing while we count.
            drop(response);
            seen.failed_usage = self.used(reader.partial(self.sent)).await;
            return Err(failure);
        }
        // The answer is whole, and what it cost to wait for the connection is not its latency.
        let _ = timeout(END_WAIT, response.chunk()).await;
        Ok(reader.finish(self.sent))
    }

    async fn events(&self, response: &mut Response, reader: &mut dyn Reader, seen: &mut Seen) -> Result<(), Failure> {
        let max = self.deployment.response_bytes_max;
        let mut parser = Parser::new(EVENT_BYTES_MAX);
        let mut events = Vec::new();
        let mut came: usize = 0;
        loop {
            let chunk = match self.next(response, reader.stage(), seen).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // What breaks after the model was done takes nothing from its answer.
                Err(_) if reader.stage() != Stage::Open => return Ok(()),
                Err(failure) => return Err(failure),
            };
            came += chunk.len();
            parser.feed(&chunk, &mut events).map_err(|TooLong| {
                let message = format!("an event of more than {EVENT_BYTES_MAX} bytes");
                failure(FailureKind::BadResponse, Billed::Maybe, &message)
            })?;
            for event in events.drain(..) {
                self.take(&event, reader, seen)?;
                if reader.stage() == Stage::Over {
                    return Ok(());
                }
            }
            if reader.kept_bytes() > max || came / WIRE_FACTOR > max {
                return Err(too_large(max));
            }
        }
        // The end came in order, so what is left may be whole; if it is not, it is no event.
        if let Some(last) = parser.finish().filter(|last| !is_cut(last)) {
            self.take(&last, reader, seen)?;
        }
        match reader.stage() {
            Stage::Open => Err(failure(FailureKind::Reset, Billed::Maybe, "the stream ended without an end")),
            Stage::Answered | Stage::Over => Ok(()),
        }
    }

    /// The next bytes; `None` at the end of the response.
    async fn next(&self, response: &mut Response, stage: Stage, seen: &Seen) -> Result<Option<bytes::Bytes>, Failure> {
        let timeouts = &self.deployment.timeouts;
        let silence = match (stage, seen.first_token) {
            (Stage::Open, None) => timeouts.stall.max(timeouts.first_byte),
            (Stage::Open, Some(_)) => timeouts.stall,
            (Stage::Answered | Stage::Over, _) => timeouts.stall.min(USAGE_WAIT),
        };
        // One timer and not two: nearly every token comes here.
        let end = self.clock.end();
        let stalled = Instant::now().checked_add(silence).filter(|stalled| *stalled < end.0);
        let chunk = match stalled {
            Some(stalled) => timeout_at(stalled, response.chunk()).await.map_err(|_| {
                let message = format!("the stream stalled: nothing came for {silence:?}");
                failure(FailureKind::TotalTimeout, Billed::Maybe, &message)
            })?,
            None => limited(end, response.chunk()).await?,
        };
        chunk.map_err(|error| broken(error, self.deployment))
    }

    fn take(&self, event: &Event, reader: &mut dyn Reader, seen: &mut Seen) -> Result<(), Failure> {
        let deltas = reader.push(event).map_err(|broken| {
            let keys = self.deployment.keys.secrets(self.key);
            match broken {
                Broken::Error => refuse_in_stream(&event.data, &keys, self.deployment.vendor.adapter().refuse),
                Broken::Unreadable(what) => failure(FailureKind::BadResponse, Billed::Maybe, &scrub(&what, &keys)),
            }
        })?;
        for delta in deltas {
            if delta.writes && seen.first_token.is_none() {
                seen.first_token = Some(self.clock.started.elapsed());
            }
            self.call.deltas.into_iter().for_each(|on_delta: OnDelta<'_>| on_delta(delta.json.clone()));
        }
        Ok(())
    }

    /// What a stream that broke off has used: as the provider says, if it said so when the model was done; else what it
    /// said so far, and what the model wrote as we count it. `None` if neither is there.
    async fn used(&self, partial: Partial) -> Option<Usage> {
        let Partial { text, reported, is_total } = partial;
        let raw = reported.raw;
        match reported.tokens {
            Some(tokens) if is_total => return Some(Usage { tokens, source: UsageSource::Provider, raw }),
            None if text.is_empty() => return None,
            Some(_) | None => {}
        }
        let counted = tokens::estimate(self.call.body.clone(), text, &self.deployment.model).await;
        let tokens = match reported.tokens {
            // Usage of an answer under way lags behind what was written.
            Some(said) => Tokens { output: said.output.max(counted.output.saturating_sub(said.reasoning)), ..said },
            None => counted,
        };
        Some(Usage { tokens, source: UsageSource::Estimated, raw })
    }
}

/// Whether an event without its empty line is the part of one.
fn is_cut(event: &Event) -> bool {
    !event.data.starts_with(b"[DONE]") && serde_json::from_slice::<serde::de::IgnoredAny>(&event.data).is_err()
}
