//! The life of one call. Read this file first.
//!
//! ```text
//! authenticate → may it enter → read → make a job of it → answered before? → submit → wait → answer
//!                                                                                   ├── its wait ends: 202, and where
//!                                                                                   │   the job goes on
//!                                                                                   └── in pieces: `streamed`
//! ```
//!
//! The job is durable from its submission on. A caller who goes away changes nothing about it, unless he asked for that;
//! a process that ends sends its callers away with the address of their job. Killed before the submission, nothing
//! happened; killed after it, the job runs and its result is kept, and who calls again with the same idempotency key gets
//! that result.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tollgate_queue::service;
use tollgate_queue::switchboard::{Outcome, Place, Submission, SubmitError};
use tollgate_types::{Door, JobId};

use crate::auth::{self, Caller};
use crate::order::{At, Order};
use crate::refused::{Refused, Shape};
use crate::router::id_of;
use crate::{Parts, Shared, answer, jobs, limits, read, streamed};

/// Takes a call, and answers it whatever happens.
pub(crate) async fn call(shared: Arc<Shared>, door: Door, request: Request) -> Response {
    let shape = shape(door);
    let request_id = id_of(&request).to_owned();
    let mut told = HeaderMap::new();
    let mut response = match live(&shared, door, request, (&request_id, &mut told)).await {
        Ok(response) => response,
        Err(refused) => refused.response(shape, &request_id),
    };
    metrics::counter!("tollgate_front_calls_total", "endpoint" => door.as_str(),
        "status" => response.status().as_str().to_owned())
    .increment(1);
    response.headers_mut().extend(told);
    response
}

/// Whose words a door speaks.
pub(crate) fn shape(door: Door) -> Shape {
    match door {
        Door::Messages => Shape::Anthropic,
        Door::Chat | Door::Embeddings | Door::Responses => Shape::OpenAi,
    }
}

/// What the broker is reached by.
pub(crate) fn parts(shared: &Shared) -> Result<&Parts, Refused> {
    if shared.stop.is_cancelled() {
        return Err(Refused::later("this process is stopping; try again"));
    }
    shared.parts.get().ok_or_else(|| Refused::later("this process does not reach NATS yet; try again"))
}

async fn live(
    shared: &Arc<Shared>,
    door: Door,
    request: Request,
    (request_id, told): (&str, &mut HeaderMap),
) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let parts = parts(shared)?;
    let caller = auth::caller(&head.headers, parts)?;
    caller.may_enter(door)?;
    limits::tell(told, shape(door), &caller, (parts, &shared.standings)).await;
    let (mut order, held) = read_order(shared, door, (&head.headers, body), &caller).await?;

    let busy = |_| Refused::later("too many calls are waiting at once; try again");
    let permit = Arc::clone(&shared.calls).try_acquire_owned().map_err(busy)?;
    told.insert("x-tollgate-job", HeaderValue::from_str(order.job.as_str()).expect("an id is plain"));
    // Before the job is submitted, so that nothing is missed.
    let place = parts.switchboard.place(caller.team(), &order.job);
    let before = if order.named { look_back(&order, &caller, parts).await? } else { Before::Nothing };
    if let Before::Answered(outcome) = before {
        told.insert("x-tollgate-replayed", HeaderValue::from_static("true"));
        return Ok(match &order.stream {
            None => answer::response(&order, outcome, request_id),
            Some(asked) => streamed::replay(&order, asked, outcome, request_id),
        });
    }
    let deltas = match &order.stream {
        Some(_) => streamed::listen(&order, &caller, parts).await,
        None => None,
    };
    let mut waiting = Waiting { place, leaving: Leaving::new(shared, &order, &caller), permit };
    // One that is under way sends its copy to whoever submitted it.
    if matches!(before, Before::UnderWay) || submit(&order, &caller, &head.headers, parts).await? {
        waiting.place.look_soon();
    }
    // The room among all bodies is free again: what waits now holds none.
    order.submitted();
    drop(held);
    let patience = order.wish.wait.unwrap_or(shared.config.wait).min(shared.config.wait);
    match &order.stream {
        Some(asked) => streamed::respond(&order, asked, (waiting, deltas), (request_id, patience), shared).await,
        None => wait(&order, waiting, (request_id, patience), shared).await,
    }
}

/// Reads the body and makes a job of it.
async fn read_order<'a>(
    shared: &'a Shared,
    door: Door,
    (headers, body): (&HeaderMap, Body),
    caller: &'a Caller,
) -> Result<(Order, read::Held<'a>), Refused> {
    let parts = parts(shared)?;
    // What does not fit a message is put beside its line.
    let bytes_max = shared.config.body_bytes_max;
    read::judge(headers, bytes_max)?;
    let held = read::body(body, bytes_max, &shared.config, (&shared.bodies, caller.team())).await?;
    let line_bytes_max = shared.config.body_bytes_max;
    let at = At { caller, now: parts.clock.now(), usual: shared.config.class, line_bytes_max };
    let order = Order::read(door, headers, &held.bytes, &at)?;
    Ok((order, held))
}

/// What became of an idempotency key before.
enum Before {
    /// Nothing: the job is to be submitted.
    Nothing,
    /// Its job was submitted, and has no result yet.
    UnderWay,
    /// Its job has this result.
    Answered(Outcome),
}

/// How long a question about what was before may take.
const LOOK_BACK_MAX: Duration = Duration::from_secs(10);
/// How long workers may look for a job that was submitted before; if they take longer, it is believed to be there.
const FIND_MAX: Duration = Duration::from_secs(2);

async fn look_back(order: &Order, caller: &Caller, parts: &Parts) -> Result<Before, Refused> {
    let unknown = || Refused::later("it is not known what became of this Idempotency-Key; try again");
    let questions = async {
        let noted = parts.calls.submitted(&order.job).await.map_err(|_| unknown())?;
        // After the note: a job that ended in between is found answered.
        let result = parts.switchboard.result(caller.team(), &order.job).await.map_err(|_| unknown())?;
        Ok::<_, Refused>((noted, result))
    };
    match tokio::time::timeout(LOOK_BACK_MAX, questions).await.map_err(|_| unknown())?? {
        (_, Some(existing)) if !order.is_of(&existing.digest) => Err(reused()),
        (_, Some(existing)) => Ok(Before::Answered(Outcome { line: existing.payload, digest: Some(existing.digest) })),
        (Some(noted), None) if !order.is_of(&noted) => Err(reused()),
        (Some(_), None) => Ok(still_there(order, caller, parts).await),
        (None, None) => Ok(Before::Nothing),
    }
}

/// Whether a job that was submitted before is still on its way. It is not if its result is older than results are kept.
async fn still_there(order: &Order, caller: &Caller, parts: &Parts) -> Before {
    let asked = service::status(parts.switchboard.connection(), caller.team(), &order.job);
    match tokio::time::timeout(FIND_MAX, asked).await {
        Ok(Ok(None)) => Before::Nothing,
        // Nobody who could say it: what was submitted is believed to be there.
        Ok(Ok(Some(_)) | Err(_)) | Err(_) => Before::UnderWay,
    }
}

/// Another request came under the same idempotency key.
pub(crate) fn reused() -> Refused {
    let why = "this Idempotency-Key was used with another request; use a fresh one for a new request";
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", why)
}

/// Submits the job; says whether its id was there before.
async fn submit(order: &Order, caller: &Caller, headers: &HeaderMap, parts: &Parts) -> Result<bool, Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| text.len() <= 512);
    let trace = text("traceparent").map(|parent| (parent, text("tracestate").unwrap_or_default()));
    let submission = Submission {
        lane: &order.lane,
        job: &order.job,
        line: order.line(parts.switchboard.reply_to(caller.team(), &order.job)),
        key: caller.id.as_str(),
        trace,
    };
    let submitted = parts.switchboard.submit(&submission).await.map_err(|error| {
        tracing::warn!(job = %order.job, error = &error as &dyn std::error::Error, "a call's job was not submitted");
        match error {
            SubmitError::TooLarge => {
                Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the request is larger than a job may be")
            }
            SubmitError::OverShare => {
                let why = "large bodies of this team have their share of the room for them until their jobs have ended; try again later";
                let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", why);
                Refused { retry_after: Some(60), retry: Some(false), ..refused }
            }
            SubmitError::NotTaken(_) => Refused::later("the queue takes no more jobs now; try again"),
            // Without an idempotency key another try would be another job.
            SubmitError::Unknown => Refused {
                retry: Some(order.named),
                ..Refused::later("it is not known whether the job was accepted; look at it by its id")
            },
        }
    })?;
    if order.named
        && let Err(error) = parts.calls.note(&order.job, &order.spec.digest).await
    {
        // Then the server's own window is all that keeps a second copy out.
        tracing::warn!(job = %order.job, error = &error as &dyn std::error::Error, "a call is not noted");
    }
    Ok(submitted)
}

/// A caller who waits: where he hears of the result, what his leaving does, and his place among all callers.
pub(crate) struct Waiting {
    pub(crate) place: Place,
    pub(crate) leaving: Leaving,
    pub(crate) permit: OwnedSemaphorePermit,
}

async fn wait(
    order: &Order,
    Waiting { mut place, mut leaving, permit: _permit }: Waiting,
    (request_id, patience): (&str, Duration),
    shared: &Shared,
) -> Result<Response, Refused> {
    let ended = tokio::select! {
        biased;
        outcome = place.outcome() => Ok(answer::response(order, outcome, request_id)),
        () = tokio::time::sleep(patience) => Ok(goes_on(&order.job)),
        () = shared.stop.cancelled() => Err(stopped(order)),
    };
    leaving.stayed();
    ended
}

/// The wait ended before the job: where it goes on.
pub(crate) fn goes_on(job: &JobId) -> Response {
    let mut response = (StatusCode::ACCEPTED, axum::Json(jobs::pending(job, "accepted"))).into_response();
    let headers = response.headers_mut();
    let location = HeaderValue::from_str(&jobs::url(job)).expect("an id is plain");
    headers.insert(header::LOCATION, location);
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// The process stops before the job does.
pub(crate) fn stopped(order: &Order) -> Refused {
    let why = format!("this process is stopping; the job goes on, ask for it at {}", jobs::url(&order.job));
    // Without an idempotency key another try would be another job.
    Refused { retry: Some(order.named), ..Refused::later(why) }
}

/// What happens when the caller goes away: dropped before [`Leaving::stayed`], it cancels the job if that was asked for.
pub(crate) struct Leaving {
    cancel: Option<Cancel>,
}

/// A job to be cancelled, and who does that.
struct Cancel {
    by: mpsc::Sender<(String, JobId)>,
    team: String,
    job: JobId,
}

impl Leaving {
    fn new(shared: &Shared, order: &Order, caller: &Caller) -> Leaving {
        let what = || Cancel { by: shared.cancels.clone(), team: caller.team().to_owned(), job: order.job.clone() };
        Leaving { cancel: order.wish.cancel_on_disconnect.then(what) }
    }

    /// The caller has his answer.
    pub(crate) fn stayed(&mut self) {
        self.cancel = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(Cancel { by, team, job }) = self.cancel.take()
            && by.try_send((team, job)).is_err()
        {
            tracing::warn!("a job whose caller left is not cancelled, because too many are");
        }
    }
}
