//! `/v1/jobs/{id}`: where a call goes on whose wait ended. A key sees the jobs that came in with it, and no others.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tollgate_queue::service::{self, Cancelling};
use tollgate_queue::{ApiError, Existing};
use tollgate_types::{Door, JobId, JobResult};

use crate::auth::{self, Caller};
use crate::call::{parts, shape};
use crate::refused::{Refused, Shape};
use crate::router::{id_of, shape_of};
use crate::wish::Wish;
use crate::{Parts, Shared, answer};

/// The address of a job.
pub(crate) fn url(job: &JobId) -> String {
    format!("/v1/jobs/{job}")
}

/// A job that has no end yet.
pub(crate) fn pending(job: &JobId, status: &str) -> Value {
    json!({ "id": job, "object": "tollgate.job", "status": status, "url": url(job), "response": null, "error": null })
}

/// A job that ended: its answer as the call would have got it, or why there is none.
fn ended(door: Door, job: &JobId, line: &[u8], request_id: &str) -> Value {
    let Ok(result) = serde_json::from_slice::<JobResult>(line) else {
        return pending(job, "unreadable");
    };
    let mut value = pending(job, result.tollgate.status.as_str());
    value["tollgate"] = serde_json::to_value(&result.tollgate).expect("facts always serialise");
    match answer::read_line(line) {
        answer::Said::Answer(result) => {
            let status = result.response.as_ref().map_or(200, |response| response.status_code);
            let body: Value = serde_json::from_str(&answer::body(door, &result)).unwrap_or_default();
            value["response"] = json!({ "status_code": status, "body": body });
        }
        answer::Said::Refused(refused, _) => {
            value["error"] = refused.body(shape(door), request_id)["error"].clone();
            value["response"] =
                json!({ "status_code": refused.status.as_u16(), "body": refused.body(shape(door), request_id) });
        }
    }
    value
}

fn unknown() -> Refused {
    let why = "this API key has no such job: it came in with another key, or it is older than results are kept";
    Refused::new(StatusCode::NOT_FOUND, "unknown_job", why)
}

/// Whose job it is, and by which door it came in.
fn owned<'a>(shared: &'a Shared, id: &str, headers: &HeaderMap) -> Result<(&'a Parts, Caller, JobId, Door), Refused> {
    let parts = parts(shared)?;
    let caller = auth::caller(headers, parts)?;
    let job: JobId = id.parse().map_err(|_| unknown())?;
    let door = caller.door_of(&job).ok_or_else(unknown)?;
    Ok((parts, caller, job, door))
}

fn unanswered(error: &ApiError) -> Refused {
    tracing::warn!(%error, "a question about a job was not answered");
    Refused::later("nobody could say where the job is; try again")
}

/// `GET /v1/jobs/{id}`, which waits for its end if it is asked to.
pub(crate) async fn look(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let (shape, request_id) = (shape_of(&request), id_of(&request).to_owned());
    let looked = look_at(&shared, &id, request.headers(), &request_id).await;
    answered(looked, shape, &request_id)
}

fn answered(job: Result<Value, Refused>, shape: Shape, request_id: &str) -> Response {
    match job {
        Ok(job) => {
            let waits = job["response"].is_null();
            let mut response = Json(job).into_response();
            if waits {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            response
        }
        Err(refused) => refused.response(shape, request_id),
    }
}

async fn look_at(shared: &Shared, id: &str, headers: &HeaderMap, request_id: &str) -> Result<Value, Refused> {
    let (parts, caller, job, door) = owned(shared, id, headers)?;
    let wish = Wish::of_headers(headers, parts.clock.now())?;
    let found = |existing: Existing| ended(door, &job, &existing.payload, request_id);
    let result = async || parts.switchboard.result(caller.team(), &job).await.map_err(|error| unanswered(&error));
    if let Some(existing) = result().await? {
        return Ok(found(existing));
    }
    if let Some(patience) = wish.wait.map(|wait| wait.min(shared.config.wait)).filter(|wait| !wait.is_zero()) {
        let busy = |_| Refused::later("too many calls are waiting at once; try again");
        let _permit = shared.calls.try_acquire().map_err(busy)?;
        let mut place = parts.switchboard.place(caller.team(), &job);
        // Another process may have submitted it.
        place.look_soon();
        tokio::select! {
            outcome = place.outcome() => return Ok(ended(door, &job, &outcome.line, request_id)),
            () = tokio::time::sleep(patience) => {}
            () = shared.stop.cancelled() => {}
        }
    }
    let status = service::status(parts.switchboard.connection(), caller.team(), &job).await;
    match status.map_err(|error| unanswered(&error))? {
        // It ended between the two questions.
        Some(told) if told["state"] == "ended" => result().await?.map(found).ok_or_else(unknown),
        Some(told) => {
            let mut value = pending(&job, told["state"].as_str().unwrap_or("accepted"));
            value["parked_for"] = told["parked_for"].clone();
            Ok(value)
        }
        None => result().await?.map(found).ok_or_else(unknown),
    }
}

/// `DELETE /v1/jobs/{id}`.
pub(crate) async fn cancel(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let (shape, request_id) = (shape_of(&request), id_of(&request).to_owned());
    let headers = request.headers();
    let cancelled = async {
        let (parts, caller, job, door) = owned(&shared, &id, headers)?;
        let asked = service::cancel(parts.switchboard.connection(), caller.team(), std::slice::from_ref(&job)).await;
        match asked.map_err(|error| unanswered(&error))?.get(&job) {
            Some(Cancelling::Cancelled | Cancelling::Ended) => {
                let found = parts.switchboard.result(caller.team(), &job).await;
                let existing = found.map_err(|error| unanswered(&error))?.ok_or_else(unknown)?;
                Ok(ended(door, &job, &existing.payload, &request_id))
            }
            Some(Cancelling::Unread) => Err(Refused::later("too many jobs wait to find this one; try again")),
            Some(Cancelling::Unknown) | None => Err(unknown()),
        }
    };
    let cancelled = cancelled.await;
    answered(cancelled, shape, &request_id)
}
