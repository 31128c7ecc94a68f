//! What is asked under `/v1`, and what every answer says.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tollgate_types::Door;

use crate::call::call;
use crate::refused::{Refused, Shape};
use crate::{Shared, batches, count, files, jobs, models};

/// The id of a request, as its answer says it.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The longest address; no route of ours is near it.
const URI_BYTES_MAX: usize = 8 * 1024;

/// Everything under `/v1`.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let door = |door: Door| post(move |state: State<Arc<Shared>>, request: Request| call(state.0, door, request));
    let v1 = Router::new()
        .route("/chat/completions", door(Door::Chat))
        .route("/embeddings", door(Door::Embeddings))
        .route("/responses", door(Door::Responses))
        .route("/messages", door(Door::Messages))
        .route("/messages/count_tokens", post(count::tokens_of))
        .route("/models", get(models::list))
        .route("/models/{*id}", get(models::one))
        .route("/jobs/{id}", get(jobs::look).delete(jobs::cancel))
        .route("/files", get(files::list).post(files::create))
        .route("/files/{id}", get(files::one).delete(files::delete))
        .route("/files/{id}/content", get(files::content))
        .route("/batches", get(batches::list).post(batches::make))
        .route("/batches/{id}", get(batches::one))
        .route("/batches/{id}/cancel", post(batches::cancel))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(from_fn(framed))
        .with_state(shared);
    Router::new().nest("/v1", v1)
}

/// Gives every request its id, and every answer what it always says.
async fn framed(mut request: Request, next: Next) -> Response {
    let id = format!("req_{}", uuid::Uuid::now_v7().simple());
    let of_path = request.uri().path().starts_with("/messages");
    let shape = if of_path { Shape::Anthropic } else { Shape::of(request.headers()) };
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(shape);
    let mut response = if request.uri().to_string().len() > URI_BYTES_MAX {
        Refused::new(StatusCode::URI_TOO_LONG, "uri_too_long", "the address is too long").response(shape, &id)
    } else if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(&id).expect("letters and digits");
    // The one is OpenAI's name of it, the other Anthropic's.
    headers.insert(HeaderName::from_static("x-request-id"), id.clone());
    headers.insert(HeaderName::from_static("request-id"), id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn unknown(request: Request) -> Response {
    let why = "there is no such endpoint here; there are: chat/completions, embeddings, responses, messages, models, \
               jobs, files, batches";
    let refused = Refused::new(StatusCode::NOT_FOUND, "unknown_url", why);
    refused.response(shape_of(&request), id_of(&request))
}

async fn wrong_method(request: Request) -> Response {
    let why = "this endpoint is not asked like that; the Allow header says how";
    let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", why);
    refused.response(shape_of(&request), id_of(&request))
}

/// Whose words an answer is in.
pub(crate) fn shape_of(request: &Request) -> Shape {
    request.extensions().get::<Shape>().copied().unwrap_or(Shape::OpenAi)
}

/// The id of a request.
pub(crate) fn id_of(request: &Request) -> &str {
    request.extensions().get::<RequestId>().map(|id| id.0.as_str()).unwrap_or_default()
}
