//! The life of one request: it arrives, is read, decided upon, written down, and only then answered.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode, request};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::answer::Exchange;
use crate::body::Source;
use crate::calls::Received;
use crate::ending::{Ending, JSON};
use crate::faults::Fault;
use crate::further;
use crate::model::{Answer, Question};
use crate::refusal::Refusal;
use crate::request::ChatRequest;
use crate::server::{Connection, Shared};

/// What is kept of a header or a name that the client chose.
const TEXT_BYTES_MAX: usize = 256;

/// `POST /v1/chat/completions`.
pub(crate) async fn completions(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let arrival = Arrival::of(&parts, &shared, &connection);
    let body = read(&parts.headers, body, shared.config.body_bytes_max).await;
    let course = decide(&shared, &parts.headers, &body);
    let ending = arrival.written_down(&body, course.as_ref().ok());
    shared.log.keep_pace().await;
    match course {
        Ok(Course { chat, fault: Fault::Ok, .. }) if chat.tool.is_some() => {
            further::tool_call(&chat, chat.tool.as_deref().unwrap_or_default(), ending)
        }
        Ok(Course { chat, answer, fault, .. }) => {
            let key = bearer(&parts.headers).map(str::to_owned);
            Exchange { shared, connection, chat, answer, fault, key, ending }.play().await
        }
        Err(refusal) => ending.refuse(&refusal),
    }
}

/// `POST /v1/embeddings`.
pub(crate) async fn embeddings(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    other(shared, connection, request, further::embeddings).await
}

/// `POST /v1/responses`.
pub(crate) async fn responses(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    other(shared, connection, request, further::responses).await
}

async fn other(
    shared: Arc<Shared>,
    connection: Connection,
    request: Request,
    answer: fn(&[u8], Ending) -> Response,
) -> Response {
    let (parts, body) = request.into_parts();
    let arrival = Arrival::of(&parts, &shared, &connection);
    let body = read(&parts.headers, body, shared.config.body_bytes_max).await;
    let ending = arrival.written_down(&body, None);
    shared.log.keep_pace().await;
    match (authorize(&shared, &parts.headers), &body.whole) {
        (Err(refusal), _) => ending.refuse(&refusal),
        (Ok(()), Ok(whole)) => answer(whole, ending),
        (Ok(()), Err(_)) => ending.refuse(&Refusal::invalid(None, None, "The body did not arrive whole.")),
    }
}

/// `GET /v1/models`.
pub(crate) async fn models(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let arrival = Arrival::of(&parts, &shared, &connection);
    let body = read(&parts.headers, body, shared.config.body_bytes_max).await;
    let ending = arrival.written_down(&body, None);
    shared.log.keep_pace().await;
    if let Err(refusal) = authorize(&shared, &parts.headers) {
        return ending.refuse(&refusal);
    }
    let model = |id: &String| json!({"id": id, "object": "model", "created": 0, "owned_by": "sim"});
    let list = json!({"object": "list", "data": shared.config.models.iter().map(model).collect::<Vec<_>>()});
    ending.respond(StatusCode::OK, JSON, Source::Whole(list.to_string().into()))
}

/// Anything else.
pub(crate) async fn unknown(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let arrival = Arrival::of(&parts, &shared, &connection);
    let body = read(&parts.headers, body, shared.config.body_bytes_max).await;
    let ending = arrival.written_down(&body, None);
    shared.log.keep_pace().await;
    ending.refuse(&Refusal::not_found(parts.method.as_str(), parts.uri.path()))
}

/// What will happen to a well-formed request.
struct Course {
    chat: ChatRequest,
    answer: Answer,
    fault: Fault,
    attempt: u32,
}

/// Decides by the request, the seed, and how often its content was seen.
fn decide(shared: &Shared, headers: &HeaderMap, body: &ReadBody) -> Result<Course, Refusal> {
    authorize(shared, headers)?;
    let whole = match &body.whole {
        Ok(whole) => whole,
        Err(Unread::TooLarge) => return Err(Refusal::too_large(shared.config.body_bytes_max)),
        Err(Unread::Broken) => return Err(Refusal::invalid(None, None, "The body did not arrive whole.")),
    };
    let chat = ChatRequest::parse(whole)?;
    let attempt = shared.attempts.count(chat.counted_as);
    let question = Question {
        seed: shared.config.seed,
        content: chat.content,
        attempt,
        prompt_tokens: chat.prompt_tokens,
        tokens_max: chat.tokens_max,
        tokens_exact: chat.directive.as_ref().and_then(|directive| directive.tokens),
    };
    let behaviour = shared.behaviour();
    let fault = match &chat.directive {
        Some(directive) => directive.fault(attempt).clone(),
        None => behaviour.faults.draw(&mut question.chance("fault"), chat.stream),
    };
    let mut answer = Answer::to(&question, &behaviour.profile);
    if let Some(text) = &chat.echo {
        answer = answer.saying(text, chat.tokens_max);
    }
    Ok(Course { answer, chat, fault, attempt })
}

fn authorize(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    match &shared.config.api_keys {
        Some(keys) if !bearer(headers).is_some_and(|key| keys.contains(key)) => Err(Refusal::invalid_key()),
        _ => Ok(()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// A request body as far as it came.
struct ReadBody {
    whole: Result<Bytes, Unread>,
    bytes: u64,
}

enum Unread {
    TooLarge,
    Broken,
}

/// Reads the body up to `bytes_max`. What is beyond it is read and thrown away up to the same again, so that a client
/// that sends first and reads later gets its 413.
async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> ReadBody {
    let expected = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut kept = BytesMut::with_capacity(expected.unwrap_or(0).min(bytes_max).min(1 << 20));
    let mut bytes = 0_usize;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { return ReadBody { whole: Err(Unread::Broken), bytes: bytes as u64 } };
        bytes += piece.len();
        if bytes <= bytes_max {
            kept.extend_from_slice(&piece);
        } else if bytes > bytes_max.saturating_mul(2) {
            break;
        } else {
            kept = BytesMut::new();
        }
    }
    let whole = if bytes <= bytes_max { Ok(kept.freeze()) } else { Err(Unread::TooLarge) };
    ReadBody { whole, bytes: bytes as u64 }
}

/// A request that has arrived but is not written down. Dropped before that, because the client left while sending, it
/// writes itself down as far as it came.
struct Arrival {
    open: Option<Received>,
    arrived: Instant,
    shared: Arc<Shared>,
    connection: Connection,
}

impl Arrival {
    fn of(parts: &request::Parts, shared: &Arc<Shared>, connection: &Connection) -> Self {
        let arrived = Instant::now();
        let text = |name: &str| Some(shortened(parts.headers.get(name)?.to_str().ok()?));
        let received = Received {
            ordinal: 0,
            id: Uuid::new_v4().simple().to_string().into(),
            arrived_unix_ms: (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as u64,
            arrived_ns: (arrived - shared.started).as_nanos() as u64,
            method: shortened(parts.method.as_str()),
            path: shortened(parts.uri.path()),
            traceparent: text("traceparent"),
            job: text("x-tollgate-job"),
            attempt: text("x-tollgate-attempt"),
            run: text("x-tollgate-run"),
            key_hash: bearer(&parts.headers).map(|key| hex(&Sha256::digest(key)[..6])),
            model: None,
            stream: false,
            body_bytes: 0,
            body_sha256: None,
            content_attempt: None,
            fault: None,
        };
        Self { open: Some(received), arrived, shared: Arc::clone(shared), connection: connection.clone() }
    }

    /// Logs the request; the returned value logs its end.
    fn written_down(mut self, body: &ReadBody, course: Option<&Course>) -> Ending {
        let mut received = self.open.take().expect("taken here or in drop, which come once");
        received.body_bytes = body.bytes;
        received.body_sha256 = body.whole.as_ref().ok().map(|whole| hex(&Sha256::digest(whole)));
        if let Some(course) = course {
            received.model = Some(shortened(&course.chat.model));
            received.stream = course.chat.stream;
            received.content_attempt = Some(course.attempt);
            received.fault = Some(course.fault.clone());
        }
        let mut ending = self.log(received);
        if matches!(body.whole, Err(Unread::Broken)) {
            ending.abandoned();
        }
        ending
    }

    fn log(&self, received: Received) -> Ending {
        let id = received.id.clone();
        let ordinal = self.shared.log.received(received);
        Ending::new(Arc::clone(&self.shared), self.connection.clone(), ordinal, id, self.arrived)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(received) = self.open.take() {
            drop(self.log(received));
        }
    }
}

fn shortened(text: &str) -> Box<str> {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].into()
}

fn hex(bytes: &[u8]) -> Box<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
        .collect()
}
