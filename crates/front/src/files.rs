//! `/v1/files`: files of requests for batches, and the results of batches as files.
//!
//! A file belongs to the team of the key that it came in with. [`upload`] takes one in; the results of a batch are no
//! stored files but are written when they are read ([`results`]).

pub(crate) mod results;
pub(crate) mod upload;
pub(crate) mod uploads;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tollgate_queue::{ApiError, Files};
use tollgate_types::{FileName, FileRecord, UnixMillis};

use crate::auth::{self, Caller};
use crate::call::parts;
use crate::page::Page;
use crate::refused::{Refused, Shape};
use crate::router::id_of;
use crate::{Parts, Shared};

/// What `limit` may be in a list of files, and is where nothing is said: as OpenAI has it.
const LIST: (usize, usize) = (10_000, 10_000);

/// A file as OpenAI's clients know it.
pub(crate) fn object(record: &FileRecord) -> Value {
    json!({
        "id": record.id, "object": "file", "bytes": record.bytes, "created_at": seconds(record.created_at),
        "expires_at": seconds(record.expires_at), "filename": record.name, "purpose": record.purpose,
        "status": "processed", "status_details": null,
    })
}

/// A point in time as OpenAI writes it.
pub(crate) fn seconds(at: UnixMillis) -> i64 {
    at.0.div_euclid(1000)
}

/// There is no such file, or it is another team's: which of the two is not told.
pub(crate) fn unknown() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "file_not_found", "there is no such file, or not any more")
}

pub(crate) fn unanswered(error: &ApiError) -> Refused {
    tracing::warn!(%error, "a question about files or batches was not answered");
    Refused::later("files and batches cannot be reached now; try again")
}

/// Who asks, if his key may use files and batches.
pub(crate) fn caller<'a>(shared: &'a Shared, headers: &HeaderMap) -> Result<(&'a Parts, Caller), Refused> {
    let parts = parts(shared)?;
    let caller = auth::caller(headers, parts)?;
    caller.may_use_batches()?;
    Ok((parts, caller))
}

/// An answer, or its refusal in OpenAI's words; both are counted.
pub(crate) fn answered(endpoint: &'static str, answer: Result<Response, Refused>, request_id: &str) -> Response {
    let response = answer.unwrap_or_else(|refused| refused.response(Shape::OpenAi, request_id));
    metrics::counter!("tollgate_front_calls_total", "endpoint" => endpoint,
        "status" => response.status().as_str().to_owned())
    .increment(1);
    response
}

/// The files of the broker that `parts` reaches.
pub(crate) fn files(parts: &Parts) -> Files {
    Files::new(&parts.switchboard.connection().client)
}

/// `POST /v1/files`.
pub(crate) async fn create(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let uploaded = upload::upload(&shared, request).await;
    answered("files", uploaded.map(|record| Json(object(&record)).into_response()), &request_id)
}

/// `GET /v1/files`: what was uploaded, the newest first.
pub(crate) async fn list(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let (head, _) = request.into_parts();
    let listed = async {
        let (parts, caller) = caller(&shared, &head.headers)?;
        let page = Page::read(&head.uri, LIST, &["purpose"])?;
        let all = files(parts).list(caller.team(), parts.clock.now()).await.map_err(|error| unanswered(&error))?;
        let wanted = page.other("purpose");
        let all = all.into_iter().filter(|record| wanted.is_none_or(|wanted| wanted == record.purpose)).collect();
        let (found, more) = page.cut(all, |record: &FileRecord| record.id.to_string());
        Ok(Json(Page::list(found.iter().map(object).collect(), more)).into_response())
    };
    answered("files", listed.await, &request_id)
}

/// `GET /v1/files/{id}`.
pub(crate) async fn one(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let (head, _) = request.into_parts();
    let found = async {
        let (parts, caller) = caller(&shared, &head.headers)?;
        let told = match FileName::read(&id).ok_or_else(unknown)? {
            FileName::Uploaded(id) => {
                let found = files(parts).record(caller.team(), &id, parts.clock.now()).await;
                object(&found.map_err(|error| unanswered(&error))?.ok_or_else(unknown)?)
            }
            FileName::Results(batch, side) => results::find(parts, &caller, &batch, side).await?.object(),
        };
        Ok(Json(told).into_response())
    };
    answered("files", found.await, &request_id)
}

/// `DELETE /v1/files/{id}`.
pub(crate) async fn delete(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let (head, _) = request.into_parts();
    let deleted = async {
        let (parts, caller) = caller(&shared, &head.headers)?;
        let FileName::Uploaded(id) = FileName::read(&id).ok_or_else(unknown)? else {
            let why = "the results of a batch cannot be deleted here; they go when their team's `results_keep` is over";
            return Err(Refused::bad("results_not_deletable", why));
        };
        let (files, team) = (files(parts), caller.team());
        let found = files.record(team, &id, parts.clock.now()).await.map_err(|error| unanswered(&error))?;
        found.ok_or_else(unknown)?;
        // Killed in between: it is gone, and the sweep removes the rest.
        files.remove(team, &id).await.map_err(|error| unanswered(&error))?;
        Ok(Json(json!({ "id": id, "object": "file", "deleted": true })).into_response())
    };
    answered("files", deleted.await, &request_id)
}

/// `GET /v1/files/{id}/content`.
pub(crate) async fn content(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let (head, _) = request.into_parts();
    let content = async {
        let (parts, caller) = caller(&shared, &head.headers)?;
        let permit = shared.downloads.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Refused::later("too many files are being read at once; try again"))?;
        match FileName::read(&id).ok_or_else(unknown)? {
            FileName::Uploaded(id) => {
                let (files, team) = (files(parts), caller.team());
                let found = files.record(team, &id, parts.clock.now()).await.map_err(|error| unanswered(&error))?;
                let record = found.ok_or_else(unknown)?;
                let body = files.read(team, &record).map(move |piece| {
                    let _held = &permit;
                    piece
                });
                let mut response = download(Body::from_stream(body), &record.name);
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(record.bytes));
                Ok(response)
            }
            FileName::Results(batch, side) => {
                let found = results::find(parts, &caller, &batch, side).await?;
                let name = found.name();
                let lines = found.lines(parts, caller.team()).await?.map(move |line| {
                    let _held = &permit;
                    line.inspect_err(|error| {
                        let error: &dyn std::error::Error = error;
                        tracing::warn!(error, "the results of a batch were not read to their end");
                    })
                });
                Ok(download(Body::from_stream(lines), &name))
            }
        }
    };
    answered("files", content.await, &request_id)
}

/// Bytes that somebody keeps.
fn download(body: Body, name: &str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "._- ".contains(*c)).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{plain}\"")) {
        headers.insert(HeaderName::from_static("content-disposition"), value);
    }
    response
}
