//! The end of a call: one value that goes along with it and writes the truth when it is dropped, however that comes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::Response;
use tokio::time::Instant;

use crate::body::{Source, WatchedBody};
use crate::calls::{Ended, Outcome, Reported};
use crate::model::Answer;
use crate::refusal::Refusal;
use crate::server::{Connection, Shared};
use crate::usage::Usage;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const SSE: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
pub(crate) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Owns the duty to log the end of one received call.
pub(crate) struct Ending {
    shared: Arc<Shared>,
    connection: Connection,
    ordinal: u64,
    id: Box<str>,
    arrived: Instant,
    status: Option<u16>,
    bytes_sent: u64,
    reported: Reported,
    run: Option<Run>,
    scripted: Outcome,
    outcome: Option<Outcome>,
}

/// The model at work.
struct Run {
    answer: Answer,
    started: Instant,
    /// The most tokens that a fault lets it generate.
    tokens_max: u64,
}

impl Ending {
    pub(crate) fn new(
        shared: Arc<Shared>,
        connection: Connection,
        ordinal: u64,
        id: Box<str>,
        arrived: Instant,
    ) -> Self {
        Self {
            shared,
            connection,
            ordinal,
            id,
            arrived,
            status: None,
            bytes_sent: 0,
            reported: Reported::Nothing,
            run: None,
            scripted: Outcome::Completed,
            outcome: None,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Starts the model's clock.
    pub(crate) fn model_runs(&mut self, answer: &Answer, tokens_max: u64) {
        self.run = Some(Run { answer: answer.clone(), started: Instant::now(), tokens_max });
    }

    /// States the usage that the response carries if it is sent whole.
    pub(crate) fn reports(&mut self, reported: Reported) {
        self.reported = reported;
    }

    /// States that the end of the body, by script, is not the end of the answer.
    pub(crate) fn is_cut_by_script(&mut self) {
        self.scripted = Outcome::Cut;
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_sent += bytes as u64;
    }

    /// The body was handed over up to its end.
    pub(crate) fn finished(&mut self) {
        self.outcome.get_or_insert(self.scripted);
    }

    /// The client left before its request was whole; whatever is still sent to it, nobody reads.
    pub(crate) fn abandoned(&mut self) {
        self.outcome = Some(Outcome::ClientLeft);
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, refusal: &Refusal) -> Response {
        let body = Source::Whole(refusal.body().into());
        let mut response = self.respond(refusal.status, JSON, body);
        if let Some((name, value)) = refusal.header.as_deref().cloned() {
            response.headers_mut().insert(name, value);
        }
        if refusal.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert("x-ratelimit-remaining-requests", HeaderValue::from_static("0"));
        }
        response
    }

    /// Answers; from here on the body carries the duty.
    pub(crate) fn respond(mut self, status: StatusCode, content_type: HeaderValue, body: Source) -> Response {
        self.status = Some(status.as_u16());
        let id = HeaderValue::from_str(&self.id).expect("an id is hex digits");
        let processing_ms = HeaderValue::from(self.arrived.elapsed().as_millis() as u64);
        let prompt_tokens = self.run.as_ref().map_or(0, |run| run.answer.usage.prompt_tokens);
        let mut response = Response::new(Body::new(WatchedBody::new(body, self)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert("x-request-id", id);
        headers.insert("openai-processing-ms", processing_ms);
        headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
        for (name, value) in RATE_LIMITS {
            headers.insert(name, value);
        }
        headers.insert("x-ratelimit-remaining-tokens", TOKENS_A_MINUTE.saturating_sub(prompt_tokens).into());
        response
    }

    fn usage_true(&self, outcome: Outcome) -> Usage {
        let Some(run) = &self.run else { return Usage::default() };
        let generated = match outcome {
            Outcome::Completed | Outcome::Cut | Outcome::Reset => run.tokens_max,
            Outcome::ClientLeft | Outcome::ServerStopped => {
                run.answer.generated(run.started.elapsed()).min(run.tokens_max)
            }
        };
        run.answer.usage.cut(generated)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let outcome = match self.outcome {
            Some(outcome) => outcome,
            None if self.shared.stop.is_cancelled() => Outcome::ServerStopped,
            None if self.connection.is_reset() => Outcome::Reset,
            None => Outcome::ClientLeft,
        };
        let usage_true = self.usage_true(outcome);
        self.shared.log.ended(Ended {
            ordinal: self.ordinal,
            ended_ns: self.shared.started.elapsed().as_nanos() as u64,
            outcome,
            status: self.status,
            bytes_sent: self.bytes_sent,
            usage_reported: if outcome == Outcome::Completed { self.reported } else { Reported::Nothing },
            usage_true,
            billable: usage_true.completion_tokens > 0,
        });
    }
}

const TOKENS_A_MINUTE: u64 = 2_000_000;

/// The limits that every response states. They are not enforced: a 429 comes from a fault only.
const RATE_LIMITS: [(HeaderName, HeaderValue); 5] = [
    (HeaderName::from_static("x-ratelimit-limit-requests"), HeaderValue::from_static("10000")),
    (HeaderName::from_static("x-ratelimit-limit-tokens"), HeaderValue::from_static("2000000")),
    (HeaderName::from_static("x-ratelimit-remaining-requests"), HeaderValue::from_static("9999")),
    (HeaderName::from_static("x-ratelimit-reset-requests"), HeaderValue::from_static("6ms")),
    (HeaderName::from_static("x-ratelimit-reset-tokens"), HeaderValue::from_static("1m0s")),
];
