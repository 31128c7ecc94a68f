//! How many tokens a message would have, as Anthropic's clients ask: counted here, without a job. It is an estimate, by the
//! counters that count where a provider does not say ([`tollgate_providers::tokens`]).
//!
//! Source: <https://docs.anthropic.com/en/api/messages-count-tokens>.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollgate_providers::tokens;
use tollgate_types::{Door, strict};

use crate::call::parts;
use crate::order::{At, Order};
use crate::refused::{Refused, Shape};
use crate::router::id_of;
use crate::{Shared, auth, read};

/// Counts at a time. Workers in the same process count with the same two threads, and should not wait long for these.
pub(crate) const AT_ONCE: usize = 4;

/// `POST /v1/messages/count_tokens`.
pub(crate) async fn tokens_of(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let request_id = id_of(&request).to_owned();
    let response = match count(&shared, request).await {
        Ok(tokens) => Json(json!({ "input_tokens": tokens })).into_response(),
        Err(refused) => refused.response(Shape::Anthropic, &request_id),
    };
    metrics::counter!("tollgate_front_calls_total", "endpoint" => "count_tokens",
        "status" => response.status().as_str().to_owned())
    .increment(1);
    response
}

async fn count(shared: &Shared, request: Request) -> Result<u64, Refused> {
    let (head, body) = request.into_parts();
    let parts = parts(shared)?;
    let caller = auth::caller(&head.headers, parts)?;
    caller.may_enter(Door::Messages)?;
    let busy = |_| Refused::later("too many prompts are being counted at once; try again");
    let _permit = shared.counting.try_acquire().map_err(busy)?;
    let bytes_max = shared.config.body_bytes_max;
    read::judge(&head.headers, bytes_max)?;
    let held = read::body(body, bytes_max, &shared.config, (&shared.bodies, caller.team())).await?;
    let at = At { caller: &caller, now: parts.clock.now(), usual: shared.config.class, line_bytes_max: bytes_max };
    let order = Order::read(Door::Messages, &head.headers, &with_an_end(&held.bytes), &at)?;
    Ok(tokens::estimate_prompt(order.body(), &order.spec.request.model).await)
}

/// The request with a limit for its answer, which a question for tokens has none of. What is no request is left for who
/// reads it.
fn with_an_end(bytes: &Bytes) -> Bytes {
    let plain = std::str::from_utf8(bytes).is_ok_and(|text| strict::check(text).is_ok());
    match serde_json::from_slice::<Map<String, Value>>(bytes) {
        Ok(mut fields) if plain && !fields.contains_key("max_tokens") => {
            fields.insert("max_tokens".to_owned(), 1.into());
            serde_json::to_vec(&fields).expect("values always serialise").into()
        }
        Ok(_) | Err(_) => bytes.clone(),
    }
}
