//! The steps of one call, in order: prepare, send, read, judge.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response};
use tokio::time::{Instant, timeout_at};
use tollgate_types::{Billed, Endpoint, Failure, FailureKind, Tokens, UsageSource};

use super::stream::{self, Streamed};
use super::{Answer, Call, Usage};
use crate::adapter::{Adapter, Exchange, Read, Refusal, Sent, Unsendable, Unusable};
use crate::deployment::Deployment;
use crate::keys::ApiKey;
use crate::scrub::scrub;
use crate::stream::{Streaming, chunk_of_whole};
use crate::tokens;

/// The most bytes of an error body that are read; a message is a few hundred.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// How long an error body is waited for; the status, which is there, says most of it.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);
/// The longest request id that is kept, as a usage record has room for it.
const REQUEST_ID_CHARS_MAX: usize = 64;

const JOB: HeaderName = HeaderName::from_static("x-tollgate-job");
const RUN: HeaderName = HeaderName::from_static("x-tollgate-run");
const ATTEMPT: HeaderName = HeaderName::from_static("x-tollgate-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What was seen of a call, however it ends.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) http_status: Option<u16>,
    pub(super) request_id: String,
    pub(super) first_byte: Option<Duration>,
    pub(super) first_token: Option<Duration>,
    pub(super) end: Option<Instant>,
    pub(super) failed_usage: Option<Usage>,
}

/// The points in time at which a call ends.
pub(super) struct Clock {
    pub(super) started: Instant,
    first_byte: Instant,
    total: Instant,
    deadline: Option<Instant>,
}

/// A point in time, and what it means when it comes.
pub(super) type Limit = (Instant, FailureKind);

impl Clock {
    fn new(started: Instant, deployment: &Deployment, deadline_in: Option<Duration>) -> Self {
        // A timeout beyond what the clock can count is none.
        const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
        let after = |wait: Duration| started + wait.min(FOREVER);
        Clock {
            started,
            first_byte: after(deployment.timeouts.first_byte.min(deployment.timeouts.total)),
            total: after(deployment.timeouts.total),
            deadline: deadline_in.map(after),
        }
    }

    fn headers(&self) -> Limit {
        self.unless_deadline(self.first_byte, FailureKind::FirstByteTimeout)
    }

    pub(super) fn end(&self) -> Limit {
        self.unless_deadline(self.total, FailureKind::TotalTimeout)
    }

    fn unless_deadline(&self, at: Instant, kind: FailureKind) -> Limit {
        match self.deadline {
            Some(deadline) if deadline <= at => (deadline, FailureKind::Deadline),
            _ => (at, kind),
        }
    }
}

pub(super) async fn run(
    client: &Client,
    (deployment, key): (&Deployment, Option<&ApiKey>),
    call: &Call<'_>,
    started: Instant,
    seen: &mut Seen,
) -> Result<Answer, Failure> {
    if call.deadline_in == Some(Duration::ZERO) {
        return Err(failure(FailureKind::Deadline, Billed::No, "the job's time was over before the call"));
    }
    let adapter = deployment.vendor.adapter();
    let endpoint = call.request.endpoint;
    let there = adapter.exchange(endpoint).zip(deployment.address(endpoint));
    let (exchange, address) = there.ok_or_else(|| unsendable(Unsendable::no_endpoint(endpoint), deployment))?;
    // Only a body that asks for a stream has the place at which its answer is asked for as one.
    let asks = call.deltas.is_some() && call.request.stream_at.is_some();
    let streaming = exchange.streaming.as_ref().filter(|_| asks);
    let body = streaming.map_or(exchange.body, |streaming| streaming.body);
    let body = body(call.body, call.request, &deployment.to()).map_err(|why| unsendable(why, deployment))?;
    let address = streaming.map_or_else(|| address.clone(), |streaming| (streaming.endpoint)(address));
    let clock = Clock::new(started, deployment, call.deadline_in);

    let request = client.post(address).headers(headers(deployment, call, streaming)).body(body);
    let credential = key.map(|key| deployment.credential(key));
    let request = credential.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let response = limited(clock.headers(), request.send()).await?.map_err(|error| broken(error, deployment))?;
    let status = response.status();
    seen.first_byte = Some(started.elapsed());
    seen.http_status = Some(status.as_u16());
    seen.request_id = request_id(response.headers());

    if !status.is_success() {
        let failure = refused(adapter, (deployment, key), &clock, response).await;
        seen.end = Some(Instant::now());
        return Err(failure);
    }
    let at_status = |failure: Failure| Failure { http_status: Some(status.as_u16()), ..failure };
    let sent = Sent { body: call.body, max_tokens: call.request.max_tokens, n: call.request.n };
    let read = match streaming.filter(|_| stream::is_one(response.headers())) {
        Some(streaming) => {
            let streamed = Streamed { deployment, call, key, clock: &clock, sent: &sent };
            streamed.read(response, streaming, seen).await.map_err(at_status)?
        }
        None => {
            let bytes = limited(clock.end(), whole(response, deployment)).await.and_then(|read| read);
            seen.end = Some(Instant::now());
            let read = (exchange.read)(bytes.map_err(at_status)?, &sent);
            // A response that came whole is read whole.
            if let (Ok(read), Some(on_delta)) = (&read, call.deltas.filter(|_| endpoint == Endpoint::ChatCompletions)) {
                on_delta(chunk_of_whole(&read.body));
                seen.first_token = Some(started.elapsed());
            }
            read
        }
    };
    match read {
        Ok(read) => Ok(answer(read, exchange, deployment, call, status.as_u16()).await),
        Err(Unusable { kind, message, reported }) => {
            let source = UsageSource::Provider;
            seen.failed_usage = reported.tokens.map(|tokens| Usage { tokens, source, raw: reported.raw });
            let message = scrub(&message, &deployment.keys.secrets(key));
            Err(at_status(failure(kind, Billed::Maybe, &message)))
        }
    }
}

/// Why nothing is sent, in words for the producer.
fn unsendable(why: Unsendable, deployment: &Deployment) -> Failure {
    match why {
        Unsendable::AnotherBody => {
            failure(FailureKind::InvalidRequest, Billed::No, "the request was read from another body")
        }
        Unsendable::Unsupported(what) => {
            let message = format!("{} cannot do this: {what}", deployment.vendor.as_str());
            failure(FailureKind::Unsupported, Billed::No, &scrub(&message, &[]))
        }
    }
}

fn headers(deployment: &Deployment, call: &Call<'_>, streaming: Option<&Streaming>) -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    let mut headers = deployment.headers.clone();
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, streaming.map_or(json, |_| HeaderValue::from_static("text/event-stream")));
    // A trace context that cannot be a header is not worth failing a job for.
    let mut pass_on = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if let Some(traceparent) = call.traceparent {
        pass_on(TRACEPARENT, traceparent);
        if let Some(tracestate) = call.tracestate {
            pass_on(TRACESTATE, tracestate);
        }
    }
    if deployment.correlation_headers {
        pass_on(JOB, call.job);
        pass_on(RUN, call.run);
        headers.insert(ATTEMPT, HeaderValue::from(call.attempt));
    }
    headers
}

pub(super) async fn limited<T>((at, kind): Limit, work: impl Future<Output = T>) -> Result<T, Failure> {
    let message = match kind {
        FailureKind::Deadline => "the job's time ended during the call",
        FailureKind::FirstByteTimeout => "no response began in time",
        _ => "the response did not end in time",
    };
    timeout_at(at, work).await.map_err(|_| failure(kind, Billed::Maybe, message))
}

/// What a transport error means. Only what fails before the request is sent is surely not billed.
pub(super) fn broken(error: reqwest::Error, deployment: &Deployment) -> Failure {
    let (kind, billed) = match &error {
        error if error.is_connect() => (FailureKind::Connect, Billed::No),
        error if is_garbled(error) => (FailureKind::BadResponse, Billed::Maybe),
        _ => (FailureKind::Reset, Billed::Maybe),
    };
    let error = error.without_url();
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    failure(kind, billed, &scrub(&message, &deployment.keys.secrets(None)))
}

/// Whether the body came and cannot be decompressed. reqwest calls a broken connection a decoding error too, so only the
/// decompressor's own word counts.
fn is_garbled(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(io, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)) {
            return true;
        }
        source = cause.source();
    }
    false
}

fn request_id(headers: &HeaderMap) -> String {
    let names = ["x-request-id", "request-id", "apim-request-id"];
    let value = names.into_iter().find_map(|name| headers.get(name)).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(REQUEST_ID_CHARS_MAX).collect()
}

/// A refusal. Its status counts even if its body breaks off, is too long, or takes too long.
async fn refused(
    adapter: &Adapter,
    (deployment, key): (&Deployment, Option<&ApiKey>),
    clock: &Clock,
    mut response: Response,
) -> Failure {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > ERROR_BYTES_MAX {
                break;
            }
        }
    };
    // What came before the time was over is judged all the same.
    let _ = timeout_at(clock.end().0.min(Instant::now() + ERROR_BODY_WAIT), read).await;
    let keys = &deployment.keys.secrets(key);
    (adapter.refuse)(&Refusal { status, headers: &headers, body: &body, keys })
}

/// The whole body, counted as it comes out of decompression, so that a small body cannot become a large one unseen.
async fn whole(mut response: Response, deployment: &Deployment) -> Result<Vec<u8>, Failure> {
    let max = deployment.response_bytes_max;
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > max {
        return Err(too_large(max));
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(error, deployment))? {
        if body.len() + chunk.len() > max {
            return Err(too_large(max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn too_large(max: usize) -> Failure {
    failure(FailureKind::BadResponse, Billed::Maybe, &format!("an answer of more than {max} bytes"))
}

async fn answer(read: Read, exchange: &Exchange, deployment: &Deployment, call: &Call<'_>, http_status: u16) -> Answer {
    let said = read.reported.tokens.filter(|tokens| counts_what_is_there(tokens, read.answer_text_bytes));
    let (tokens, usage_source) = match said {
        Some(tokens) => (tokens, UsageSource::Provider),
        None => {
            let text = (exchange.answer_text)(&read.body);
            (tokens::estimate(call.body.clone(), text, &deployment.model).await, UsageSource::Estimated)
        }
    };
    Answer {
        body: read.body,
        http_status,
        tokens,
        usage_source,
        raw_usage: read.reported.raw,
        finish: read.finish,
        answer_text_bytes: read.answer_text_bytes,
    }
}

/// Whether what must have been used is not said to be nothing, as a proxy says that does not count: all would be free.
/// Asked of whole answers alone, because the counts of a stream under way may lag behind what it wrote.
fn counts_what_is_there(tokens: &Tokens, answer_text_bytes: usize) -> bool {
    tokens.prompt() > 0 && (tokens.completion() > 0 || answer_text_bytes == 0)
}

pub(super) fn failure(kind: FailureKind, billed: Billed, message: &str) -> Failure {
    Failure { kind, http_status: None, retry_after: None, billed, message: message.to_owned() }
}
