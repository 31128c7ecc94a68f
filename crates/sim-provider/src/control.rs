//! The routes under `/__sim`: the log, the counts, and changes while running.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ending::JSON;
use crate::faults::FaultPlan;
use crate::model::Profile;
use crate::server::Shared;
use crate::stats::Stats;

/// Calls taken from the log at a time, so that a long log is neither locked nor copied at once.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// The last ordinal that the caller has seen; calls above it are listed.
    #[serde(default)]
    since: u64,
}

/// `GET /__sim/calls?since=<ordinal>`: a JSON array of the calls after that ordinal, sent page by page.
pub(crate) async fn calls(State(shared): State<Arc<Shared>>, Query(Since { since }): Query<Since>) -> Response {
    let pages = stream::unfold(Some((shared, since, "[")), |state| async move {
        let (shared, since, opening) = state?;
        let page = shared.log.since(since, PAGE);
        let Some(last) = page.last() else {
            let end = if opening == "[" { "[]" } else { "]" };
            return Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(end.as_bytes())), None));
        };
        let last = last.received.ordinal;
        let mut text = serde_json::to_vec(&page).expect("records of plain fields always serialise");
        // An array's elements without its end, and after the first page with a comma in place of its beginning.
        text.pop();
        text[0] = opening.as_bytes()[0];
        Some((Ok(text.into()), Some((shared, last, ","))))
    });
    ([(CONTENT_TYPE, JSON)], Body::from_stream(pages)).into_response()
}

/// `GET /__sim/stats`.
pub(crate) async fn stats(State(shared): State<Arc<Shared>>) -> Json<Stats> {
    Json(shared.log.stats())
}

/// `POST /__sim/profile`: a profile, or the name of a preset as a JSON string. For calls that arrive from now on.
pub(crate) async fn profile(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let profile = match serde_json::from_slice(&body) {
        Ok(Value::String(name)) => name.parse::<Profile>().map_err(|error| error.to_string()),
        Ok(other) => serde_json::from_value::<Profile>(other).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match profile.and_then(|profile| profile.check().map(|()| profile).map_err(str::to_owned)) {
        Ok(profile) => {
            shared.change(|behaviour| behaviour.profile = profile.clone());
            Json(profile).into_response()
        }
        Err(why) => refused(&why),
    }
}

/// `POST /__sim/faults`: a plan, or its text as a JSON string. For calls that arrive from now on.
pub(crate) async fn faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let plan = match serde_json::from_slice(&body) {
        Ok(Value::String(text)) => text.parse::<FaultPlan>().map_err(|error| error.to_string()),
        Ok(other) => serde_json::from_value::<FaultPlan>(other).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match plan.and_then(|plan| plan.check().map(|()| plan).map_err(|error| error.to_string())) {
        Ok(plan) => {
            shared.change(|behaviour| behaviour.faults = plan.clone());
            Json(plan).into_response()
        }
        Err(why) => refused(&why),
    }
}

/// `POST /__sim/reset-log`: forgets the calls in memory, the counts, and how often each content was seen.
pub(crate) async fn reset_log(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.log.reset();
    shared.attempts.reset();
    StatusCode::NO_CONTENT
}

/// `GET /healthz`.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

fn refused(why: &str) -> Response {
    let body = json!({"error": {"message": why, "type": "invalid_request_error", "param": null, "code": null}});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
