//! What is sent back: the answer, or what its fault makes of it.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, HeaderValue, LOCATION};
use axum::response::Response;
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::body::{Break, Source};
use crate::bomb;
use crate::calls::Reported;
use crate::completion::{Choice, Completion, Message};
use crate::ending::{Ending, HTML, JSON, SSE};
use crate::faults::{Fault, ResetAt};
use crate::model::Answer;
use crate::refusal::Refusal;
use crate::request::ChatRequest;
use crate::server::{Connection, Shared};
use crate::sse::{Events, Script};

const ELSEWHERE: &str = "http://redirected.invalid/v1/chat/completions";
const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>";
const BROKEN_EVENTS: &str = "data: {\"choices\":[{\"delta\":\n\ndata: \u{fffd}\u{fffd}\n\ndata: [DONE]\n\n";

/// One call whose course is decided.
pub(crate) struct Exchange {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Connection,
    pub(crate) chat: ChatRequest,
    pub(crate) answer: Answer,
    pub(crate) fault: Fault,
    /// The bearer key, for the fault that repeats it.
    pub(crate) key: Option<String>,
    pub(crate) ending: Ending,
}

impl Exchange {
    /// Lets the decided course happen. Dropping it is what a client that leaves does.
    pub(crate) async fn play(self) -> Response {
        if let Some(delay) = self.chat.directive.as_ref().and_then(|directive| directive.delay) {
            tokio::time::sleep(delay).await;
        }
        if self.fault.generates() { self.generate().await } else { self.withhold().await }
    }

    /// The faults in which the model never runs.
    async fn withhold(self) -> Response {
        match &self.fault {
            Fault::Hang => match self.connection.hold(&self.shared).await {},
            Fault::ResetBeforeHeaders => match self.connection.reset().await {},
            Fault::Html => {
                self.ending.respond(StatusCode::OK, HTML, Source::Whole(Bytes::from_static(PAGE.as_bytes())))
            }
            Fault::Redirect { to } => {
                let to = HeaderValue::from_str(to.as_deref().unwrap_or(ELSEWHERE));
                let mut response = self.ending.respond(StatusCode::FOUND, HTML, Source::Whole(Bytes::new()));
                response.headers_mut().insert(LOCATION, to.expect("the grammar allows printable ASCII only"));
                response
            }
            Fault::Error200 if self.chat.stream => {
                self.ending.respond(StatusCode::OK, SSE, Source::Whole(Refusal::server_error().event().into()))
            }
            Fault::Error200 => self.ending.refuse(&Refusal::server_error()),
            Fault::Quota => self.ending.refuse(&Refusal::quota()),
            Fault::ContextLength => self.ending.refuse(&Refusal::context_length(self.chat.prompt_tokens)),
            Fault::InvalidKey => self.ending.refuse(&Refusal::invalid_key()),
            Fault::EchoKey => self.ending.refuse(&Refusal::echo_key(self.key.as_deref())),
            Fault::Status { code, retry_after } => {
                self.ending.refuse(&Refusal::of_status(*code, retry_after.as_ref(), OffsetDateTime::now_utc()))
            }
            generating => unreachable!("{generating} runs the model"),
        }
    }

    async fn generate(mut self) -> Response {
        let tokens_max = match self.fault {
            Fault::AbortStream { after } => self.answer.usage.reasoning_tokens + u64::from(after),
            _ => self.answer.usage.completion_tokens,
        };
        self.ending.model_runs(&self.answer, tokens_max.min(self.answer.usage.completion_tokens));
        let started = Instant::now();
        let ready =
            if self.chat.stream { self.answer.ttft } else { self.answer.due(self.answer.usage.completion_tokens) };
        if !ready.is_zero() {
            tokio::time::sleep_until(started + ready).await;
        }
        match self.fault {
            Fault::Garbage | Fault::Empty | Fault::Bomb { .. } => self.replace(),
            Fault::Reset(_) | Fault::Truncate | Fault::Stall | Fault::Drip { .. } => self.spoil(),
            _ if self.chat.stream => self.stream(started),
            _ => self.whole(),
        }
    }

    /// The whole answer as one JSON body.
    fn whole(mut self) -> Response {
        let reported = self.reported();
        let body = self.body(reported);
        self.ending.reports(reported);
        self.ending.respond(StatusCode::OK, JSON, Source::Whole(body))
    }

    /// The answer as a stream at its pace.
    fn stream(mut self, started: Instant) -> Response {
        let script = self.script();
        self.ending.reports(script.usage.unwrap_or(Reported::Nothing));
        if script.words_max.is_some() {
            self.ending.is_cut_by_script();
        }
        self.ending.respond(StatusCode::OK, SSE, Source::pieces(Events::new(script).paced(started)))
    }

    /// Something else in place of the answer.
    fn replace(self) -> Response {
        let content_type = if self.chat.stream { SSE } else { JSON };
        match self.fault {
            Fault::Bomb { mib } => {
                let body = Source::pieces(bomb::pieces(mib));
                let mut response = self.ending.respond(StatusCode::OK, content_type, body);
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                response
            }
            Fault::Garbage => {
                let body = match self.chat.stream {
                    true => Bytes::from_static(BROKEN_EVENTS.as_bytes()),
                    false => self.body(Reported::Nothing).slice(..20),
                };
                self.ending.respond(StatusCode::OK, content_type, Source::Whole(body))
            }
            _ => self.ending.respond(StatusCode::OK, content_type, Source::Whole(Bytes::new())),
        }
    }

    /// The answer over a bad connection.
    fn spoil(mut self) -> Response {
        let (content_type, reported, body) = match self.chat.stream {
            true => {
                let script = self.script();
                (SSE, script.usage.unwrap_or(Reported::Nothing), Events::new(script).collect())
            }
            false => (JSON, self.reported(), self.body(self.reported())),
        };
        let length = body.len();
        let half = body.slice(..length / 2);
        let broken = |part, how| Source::broken(part, how, self.connection.clone(), Arc::clone(&self.shared));
        let source = match self.fault {
            Fault::Reset(ResetAt::Headers) => broken(Bytes::new(), Break::Reset),
            Fault::Reset(ResetAt::Body) => broken(half, Break::Reset),
            Fault::Stall => broken(half, Break::Stall),
            Fault::Truncate => broken(half, Break::Close),
            Fault::Drip { every } => Source::dripping(body, every),
            _ => Source::Whole(body),
        };
        if self.fault == Fault::Truncate {
            self.ending.is_cut_by_script();
        }
        self.ending.reports(reported);
        let source = if self.chat.stream { source } else { source.announcing(length as u64) };
        self.ending.respond(StatusCode::OK, content_type, source)
    }

    fn script(&self) -> Script {
        Script {
            id: format!("chatcmpl-{}", self.ending.id()),
            created: unix_seconds(),
            model: self.chat.model.clone(),
            answer: self.answer.clone(),
            finish_reason: self.finish_reason(),
            usage: Some(self.reported()).filter(|reported| self.chat.include_usage && *reported != Reported::Nothing),
            words_max: if let Fault::AbortStream { after } = self.fault { Some(after) } else { None },
            done: self.fault != Fault::NoDone,
        }
    }

    fn body(&self, reported: Reported) -> Bytes {
        let content = self.answer.words().collect::<Vec<_>>().join(" ");
        let message = Message { role: "assistant", content, refusal: None };
        let body = Completion {
            id: format!("chatcmpl-{}", self.ending.id()),
            object: "chat.completion",
            created: unix_seconds(),
            model: &self.chat.model,
            choices: [Choice { index: 0, message, logprobs: None, finish_reason: self.finish_reason() }],
            usage: (reported != Reported::Nothing).then(|| reported.wire()),
            service_tier: "default",
            system_fingerprint: "fp_sim",
        };
        serde_json::to_vec(&body).expect("plain fields always serialise").into()
    }

    fn finish_reason(&self) -> &'static str {
        match self.fault {
            Fault::ContentFilter => "content_filter",
            _ if self.answer.cut_by_limit => "length",
            _ => "stop",
        }
    }

    fn reported(&self) -> Reported {
        match self.fault {
            Fault::NoUsage => Reported::Nothing,
            Fault::WrongUsage(how) => Reported::Wrong(how, self.answer.usage),
            _ => Reported::Counts(self.answer.usage),
        }
    }
}

fn unix_seconds() -> u64 {
    OffsetDateTime::now_utc().unix_timestamp().unsigned_abs()
}
