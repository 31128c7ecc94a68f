//! `/v1/models`: what a key may ask for, in the shape of whoever asks.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::call::parts;
use crate::refused::{Refused, Shape};
use crate::router::{id_of, shape_of};
use crate::{Shared, auth};

/// The names that a key may ask for.
fn allowed(shared: &Shared, headers: &HeaderMap) -> Result<Vec<String>, Refused> {
    let parts = parts(shared)?;
    let caller = auth::caller(headers, parts)?;
    let access = parts.directory.team(caller.team()).map(|team| team.access.clone()).unwrap_or_default();
    let may = |name: &&String| access.model(name) && caller.record.model(name);
    Ok(shared.config.models.iter().filter(may).cloned().collect())
}

/// One model. Nobody knows when it was made.
fn model(shape: Shape, id: &str) -> Value {
    match shape {
        Shape::OpenAi => json!({ "id": id, "object": "model", "created": 0, "owned_by": "tollgate" }),
        Shape::Anthropic => {
            json!({ "type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z" })
        }
    }
}

/// `GET /v1/models`.
pub(crate) async fn list(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let shape = shape_of(&request);
    let names = match allowed(&shared, request.headers()) {
        Ok(names) => names,
        Err(refused) => return refused.response(shape, id_of(&request)),
    };
    let data: Vec<Value> = names.iter().map(|name| model(shape, name)).collect();
    let list = match shape {
        Shape::OpenAi => json!({ "object": "list", "data": data }),
        Shape::Anthropic => {
            json!({ "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last() })
        }
    };
    Json(list).into_response()
}

/// `GET /v1/models/{id}`; names of models may hold slashes.
pub(crate) async fn one(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let shape = shape_of(&request);
    let found = allowed(&shared, request.headers()).and_then(|names| {
        let why = "there is no such model, or this API key may not ask for it";
        let missing = || Refused::new(StatusCode::NOT_FOUND, "model_not_found", why);
        names.into_iter().find(|name| *name == id).ok_or_else(missing)
    });
    match found {
        Ok(name) => Json(model(shape, &name)).into_response(),
        Err(refused) => refused.response(shape, id_of(&request)),
    }
}
