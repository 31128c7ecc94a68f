//! `/v1/batches`: batches of uploaded files, as OpenAI's clients know them.
//!
//! A call writes one record, the order ([`create`]); the broker reads the file, checks it and submits it
//! (`tollgate-orders`). [`object`] is what is known of a batch, in OpenAI's words. A batch belongs to the team of the key
//! that it was ordered with.

mod create;
mod object;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tollgate_queue::Batches;
use tollgate_types::BatchId;
use tollgate_types::batch::{self, Stop, StopReason};

use crate::auth::Caller;
use crate::files::{answered, caller, unanswered};
use crate::page::Page;
use crate::refused::Refused;
use crate::router::id_of;
use crate::{Parts, Shared};

use object::Known;

/// What `limit` is in a list of batches where nothing is said, and may be: as OpenAI has it.
const LIST: (usize, usize) = (20, 100);
/// Batches of a list that are looked up at a time.
const AT_ONCE: usize = 8;

fn unknown() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "batch_not_found", "there is no such batch, or not any more")
}

fn batches(parts: &Parts) -> Batches {
    Batches::new(parts.switchboard.connection().client.clone())
}

async fn known(parts: &Parts, caller: &Caller, id: &str) -> Result<Known, Refused> {
    let id: BatchId = id.parse().map_err(|_| unknown())?;
    Known::find(parts, caller, &id).await?.ok_or_else(unknown)
}

/// `POST /v1/batches`.
pub(crate) async fn make(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let made = async {
        let (known, replayed) = create::create(&shared, request).await?;
        let mut response = Json(known.object()).into_response();
        if replayed {
            response.headers_mut().insert("x-tollgate-replayed", HeaderValue::from_static("true"));
        }
        Ok(response)
    };
    answered("batches", made.await, &request_id)
}

/// `GET /v1/batches`: those that were ordered here, the newest first.
pub(crate) async fn list(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let (head, _) = request.into_parts();
    let listed = async {
        let (parts, caller) = caller(&shared, &head.headers)?;
        let page = Page::read(&head.uri, LIST, &[])?;
        let all = batches(parts).orders(caller.team()).await.map_err(|error| unanswered(&error))?;
        let (ids, more) = page.cut(all, BatchId::to_string);
        let look = |id: BatchId| {
            let caller = &caller;
            async move { Known::find(parts, caller, &id).await }
        };
        let found = stream::iter(ids).map(look).buffered(AT_ONCE).try_collect::<Vec<Option<Known>>>().await?;
        Ok(Json(Page::list(found.iter().flatten().map(Known::object).collect(), more)).into_response())
    };
    answered("batches", listed.await, &request_id)
}

/// `GET /v1/batches/{id}`.
pub(crate) async fn one(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let (head, _) = request.into_parts();
    let found = async {
        let (parts, caller) = caller(&shared, &head.headers)?;
        Ok(Json(known(parts, &caller, &id).await?.object()).into_response())
    };
    answered("batches", found.await, &request_id)
}

/// `POST /v1/batches/{id}/cancel`.
pub(crate) async fn cancel(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let (head, _) = request.into_parts();
    let cancelled = async {
        let (parts, caller) = caller(&shared, &head.headers)?;
        let found = known(parts, &caller, &id).await?;
        if let Some(ended) = found.ended() {
            let why = format!("Cannot cancel a batch with status '{}'.", ended.as_str());
            let refused = Refused::new(StatusCode::CONFLICT, "batch_has_ended", why);
            return Err(Refused { retry: Some(false), ..refused });
        }
        let stop = Stop { version: batch::VERSION, reason: StopReason::Cancelled, at: parts.clock.now() };
        let said = batches(parts).say_stop((caller.team(), &found.order.id), &stop).await;
        said.map_err(|error| unanswered(&error))?;
        Ok(Json(known(parts, &caller, &id).await?.object()).into_response())
    };
    answered("batches", cancelled.await, &request_id)
}
