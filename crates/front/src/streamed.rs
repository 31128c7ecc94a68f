//! An answer in pieces, as server-sent events.
//!
//! The pieces come over NATS while the model writes them and are not stored; the result is whole all the same. So a piece
//! that is lost, an attempt that began anew, or a caller who reads too slowly costs nothing but time: what was not said
//! yet is taken from the result. What was said and is not how the result begins cannot be taken back: then the stream ends
//! with an error. What waits for a slow caller is bounded; who takes nothing for long loses his connection.

mod backlog;
pub(crate) mod chat;
mod said;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tollgate_client::{Deltas, Piece, Producer};
use tollgate_queue::switchboard::Outcome;
use tollgate_types::{Door, ResultFacts};

use crate::answer::{self, Said};
use crate::auth::Caller;
use crate::call::{Waiting, goes_on, shape, stopped};
use crate::order::{Asked, Order};
use crate::refused::{Refused, Shape};
use crate::{Parts, Shared, messages, responses};
use backlog::Backlog;

pub(crate) use said::Rest;

/// Writes a stream in a vendor's events.
pub(crate) trait Speaker: Send {
    /// The events of a `chat.completion.chunk`.
    fn piece(&mut self, chunk: Value) -> Vec<String>;
    /// The events of all that was not said yet of the whole answer, and the end.
    ///
    /// # Errors
    /// What was said is not how the answer begins.
    fn finish(&mut self, answer: &Value) -> Result<Vec<String>, Refused>;
    /// The event that says why no more comes.
    fn fail(&mut self, refused: &Refused, request_id: &str) -> String;
}

/// What keeps a silent connection open, and says nothing.
const BEAT: &str = ": heartbeat\n\n";
/// Events that wait between the writer and the connection.
const WRITING_MAX: usize = 16;

/// Listens for the pieces of a job that is not submitted yet. Without them the answer comes whole, at its end.
pub(crate) async fn listen(order: &Order, caller: &Caller, parts: &Parts) -> Option<Deltas> {
    let producer = Producer::new(parts.switchboard.connection().client.clone(), caller.record.team.clone());
    match producer.deltas(&order.job).await {
        Ok(deltas) => Some(deltas),
        Err(error) => {
            tracing::warn!(%error, "the pieces of a stream are not heard");
            None
        }
    }
}

fn speaker(order: &Order, asked: &Asked) -> Box<dyn Speaker> {
    match order.door {
        Door::Messages => Box::new(messages::Events::new(&order.spec.request.model, asked.thoughts)),
        Door::Responses => Box::new(responses::Events::default()),
        Door::Chat | Door::Embeddings => Box::new(chat::Chunks::new(asked.usage)),
    }
}

/// What happens while a caller waits.
enum Happened {
    /// The model wrote something.
    Piece(Value),
    /// What came before is void, or something is missing: the result must say the rest.
    Torn,
    /// The job has its result.
    Outcome(Outcome),
    /// The caller has waited long enough.
    TimeUp,
    /// The process stops.
    Stopping,
}

/// What a stream is read from.
struct Reading {
    waiting: Waiting,
    deltas: Option<Deltas>,
    patience: Duration,
    until: Instant,
    shared: Arc<Shared>,
}

impl Reading {
    /// Cancel safe.
    async fn next(&mut self) -> Happened {
        loop {
            let Reading { waiting, deltas, until, shared, .. } = self;
            let piece = async {
                match deltas {
                    Some(deltas) => deltas.next().await,
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! {
                // Pieces first: those that came before the result are said before it.
                biased;
                piece = piece => piece,
                outcome = waiting.place.outcome() => return Happened::Outcome(outcome),
                () = sleep_until(*until) => return Happened::TimeUp,
                () = shared.stop.cancelled() => return Happened::Stopping,
            };
            match piece {
                Some(Piece::Chunk(chunk)) => {
                    self.until = Instant::now() + self.patience;
                    return Happened::Piece(chunk);
                }
                // The result comes beside it.
                Some(Piece::End) => {}
                Some(Piece::StartOver | Piece::Lost) | None => {
                    self.deltas = None;
                    return Happened::Torn;
                }
            }
        }
    }
}

/// Answers with a stream as soon as there is something to say, or silence has lasted; what ends the job before that is
/// told by a status.
pub(crate) async fn respond(
    order: &Order,
    asked: &Asked,
    (waiting, deltas): (Waiting, Option<Deltas>),
    (request_id, patience): (&str, Duration),
    shared: &Arc<Shared>,
) -> Result<Response, Refused> {
    let until = Instant::now() + patience;
    let mut reading = Reading { waiting, deltas, patience, until, shared: shared.clone() };
    let quiet = async {
        loop {
            match reading.next().await {
                Happened::Torn => {}
                happened => return happened,
            }
        }
    };
    let first = timeout(shared.config.heartbeat, quiet).await.ok();
    let first = match first {
        Some(Happened::Outcome(outcome)) => {
            reading.waiting.leaving.stayed();
            if matches!(answer::read(order, &outcome), Said::Refused(..)) {
                return Ok(answer::response(order, outcome, request_id));
            }
            Some(Happened::Outcome(outcome))
        }
        Some(Happened::TimeUp) => {
            reading.waiting.leaving.stayed();
            return Ok(goes_on(&order.job));
        }
        Some(Happened::Stopping) => {
            reading.waiting.leaving.stayed();
            return Err(stopped(order));
        }
        first => first,
    };
    let told = Telling::new(order, asked, request_id);
    let (out, written) = mpsc::channel(WRITING_MAX);
    let mut writer = JoinSet::new();
    writer.spawn(told.write(reading, first, out));
    Ok(stream(Events { written, _writer: writer }))
}

/// Answers with a stream of an answer that is there.
pub(crate) fn replay(order: &Order, asked: &Asked, outcome: Outcome, request_id: &str) -> Response {
    if matches!(answer::read(order, &outcome), Said::Refused(..)) {
        return answer::response(order, outcome, request_id);
    }
    let mut told = Telling::new(order, asked, request_id);
    told.ended(&outcome);
    let events: Vec<Bytes> = told.backlog.drain();
    let body = futures_util::stream::iter(events.into_iter().map(Ok::<_, std::convert::Infallible>));
    as_events(Body::from_stream(body))
}

fn stream(events: Events) -> Response {
    as_events(Body::from_stream(events))
}

fn as_events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    // Proxies must not gather what is meant to be read as it comes.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One caller's stream while it is written.
struct Telling {
    speaker: Box<dyn Speaker>,
    backlog: Backlog,
    shape: Shape,
    request_id: String,
    ends: Ends,
}

/// What of an order a stream needs at its end.
struct Ends {
    digests: [String; 2],
    stopped: Refused,
    job: String,
}

impl Telling {
    fn new(order: &Order, asked: &Asked, request_id: &str) -> Telling {
        Telling {
            speaker: speaker(order, asked),
            backlog: Backlog::default(),
            shape: shape(order.door),
            request_id: request_id.to_owned(),
            ends: Ends { digests: order.digests.clone(), stopped: stopped(order), job: order.job.to_string() },
        }
    }

    /// Writes until the end, or until nobody reads.
    async fn write(mut self, mut reading: Reading, first: Option<Happened>, out: mpsc::Sender<Bytes>) {
        let heartbeat = reading.shared.config.heartbeat;
        let mut beat_at = Instant::now() + heartbeat;
        let mut done = false;
        match first {
            Some(happened) => done = self.take(happened),
            // Silence has lasted: the caller learns at least that his call was taken.
            None => self.backlog.push(BEAT.to_owned()),
        }
        while !(done && self.backlog.is_empty()) {
            tokio::select! {
                biased;
                room = out.reserve(), if !self.backlog.is_empty() => match room {
                    Ok(room) => {
                        room.send(self.backlog.pop().expect("it is not empty"));
                        beat_at = Instant::now() + heartbeat;
                    }
                    Err(_) => return,
                },
                happened = reading.next(), if !done => {
                    done = self.take(happened);
                    // Who reads slowly gets the rest from the result.
                    if self.backlog.is_full() {
                        reading.deltas = None;
                    }
                }
                () = sleep_until(beat_at), if !done && self.backlog.is_empty() => self.backlog.push(BEAT.to_owned()),
                () = out.closed() => return,
            }
        }
        reading.waiting.leaving.stayed();
    }

    /// Says what happened; says whether it was the last thing.
    fn take(&mut self, happened: Happened) -> bool {
        match happened {
            Happened::Piece(chunk) => {
                self.backlog.extend(self.speaker.piece(chunk));
                return false;
            }
            Happened::Torn => return false,
            Happened::Outcome(outcome) => self.ended(&outcome),
            Happened::TimeUp => {
                let why = format!("the wait is over; the job goes on, ask for it at /v1/jobs/{}", self.ends.job);
                self.fail(&Refused::new(StatusCode::GATEWAY_TIMEOUT, "still_running", why));
            }
            Happened::Stopping => self.fail(&self.ends.stopped.clone()),
        }
        true
    }

    fn ended(&mut self, outcome: &Outcome) {
        let foreign = |of: &String| *of != tollgate_types::headers::ANY_DIGEST && !self.ends.digests.contains(of);
        if outcome.digest.as_ref().is_some_and(foreign) {
            return self.fail(&crate::call::reused());
        }
        match answer::read_line(&outcome.line) {
            Said::Refused(refused, _) => self.fail(&refused),
            Said::Answer(result) => {
                let body = result.response.as_ref().map_or("null", |response| response.body.get());
                let answer: Value = serde_json::from_str(body).unwrap_or_default();
                self.backlog.push(comment(&result.tollgate));
                match self.speaker.finish(&answer) {
                    Ok(events) => self.backlog.extend(events),
                    Err(refused) => self.fail(&refused),
                }
            }
        }
    }

    fn fail(&mut self, refused: &Refused) {
        tracing::debug!(code = refused.code, shape = ?self.shape, "a stream ends with an error");
        let event = self.speaker.fail(refused, &self.request_id);
        self.backlog.push(event);
    }
}

/// What is known of the job, as a comment, because the headers have left.
fn comment(facts: &ResultFacts) -> String {
    let facts = serde_json::json!({
        "status": facts.status, "model": facts.model, "provider": facts.provider,
        "cost_nanousd": facts.cost_nanousd, "attempts": facts.attempts.len(), "cache": facts.cache,
    });
    format!(": tollgate {facts}\n\n")
}

/// The body of a stream: what its writer has written. Dropped, the writer ends.
struct Events {
    written: mpsc::Receiver<Bytes>,
    _writer: JoinSet<()>,
}

impl Stream for Events {
    type Item = Result<Bytes, std::convert::Infallible>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.written.poll_recv(cx).map(|event| event.map(Ok))
    }
}
