//! Ordering a batch: what is asked for is judged by the same rules as a single call, and written down once.
//!
//! Killed before the order is written, nothing happened; killed after it, the batch is made, and who calls again with the
//! same idempotency key gets it.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use tollgate_operate::Period;
use tollgate_queue::ApiError;
use tollgate_queue::batches::Swapped;
use tollgate_types::order::{VERSION, door_of};
use tollgate_types::{BatchId, BatchOrder, Class, Digest, Endpoint, FileId, JobSpec, UnixMillis};

use super::batches;
use super::object::Known;
use crate::auth::Caller;
use crate::call::reused;
use crate::files::{caller, files, unanswered};
use crate::order::{idempotency_key, line, own_part};
use crate::refused::Refused;
use crate::wish::Wish;
use crate::{Parts, Shared, read};

/// The largest body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Batches of a team that are known at a time.
const ORDERS_MAX: u64 = 10_000;
/// How long a batch may take: longer than its results are kept by default helps nobody.
const WINDOW: (Period, Period) = (Period::secs(60), Period::secs(7 * 24 * 3600));
/// Notes of a caller, and their lengths, as OpenAI has them.
const METADATA: (usize, usize, usize) = (16, 64, 512);
/// Tries of the one write.
const TRIES: u32 = 4;

/// What a call may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// Orders a batch; says whether it was ordered before under the same idempotency key.
pub(super) async fn create(shared: &Shared, request: Request) -> Result<(Known, bool), Refused> {
    let (parts, caller) = caller(shared, request.headers())?;
    let (head, body) = request.into_parts();
    read::judge(&head.headers, BODY_BYTES_MAX)?;
    let held = read::body(body, BODY_BYTES_MAX, &shared.config, (&shared.bodies, caller.team())).await?;
    let (id, named) = id_of(&head.headers, &caller)?;
    let digest = digest_of(&head.headers, &held.bytes);
    if named && let Some(known) = Known::find(parts, &caller, &id).await? {
        return same(known, &digest);
    }
    let order = judged(&head.headers, &held.bytes, &caller, (id, digest, parts.clock.now()))?;
    let found = files(parts).record(caller.team(), &order.input, parts.clock.now()).await;
    if found.map_err(|error| unanswered(&error))?.is_none() {
        let why = "there is no such file, or not any more; upload it with `purpose` `batch`";
        let refused = Refused::new(StatusCode::NOT_FOUND, "file_not_found", why);
        return Err(Refused { param: Some("input_file_id".to_owned()), ..refused });
    }
    let count = batches(parts).orders_count(caller.team()).await.map_err(|error| unanswered(&error))?;
    if count >= ORDERS_MAX {
        let why =
            format!("this team has {count} batches that are known still, which is the most; they go by their age");
        return Err(Refused::bad("too_many_batches", why));
    }
    written(parts, &caller, order).await
}

/// Writes the order, or finds the one that was there first.
async fn written(parts: &Parts, caller: &Caller, order: BatchOrder) -> Result<(Known, bool), Refused> {
    let (batches, team) = (batches(parts), caller.team());
    let mut attempt = 0;
    loop {
        attempt += 1;
        match batches.say_order(team, &order).await {
            Ok(Swapped::Stored(_)) => return Ok((Known::new(order), false)),
            // Another try of this call, or our own whose answer was lost.
            Ok(Swapped::Conflict) => {
                let known = Known::find(parts, caller, &order.id).await?;
                let known = known.ok_or_else(|| Refused::later("the batch could not be ordered; try again"))?;
                return same(known, &order.digest);
            }
            Err(ApiError::Unknown | ApiError::Absent { .. }) if attempt < TRIES => {
                tokio::time::sleep(std::time::Duration::from_millis(50 << attempt)).await;
            }
            Err(error) => return Err(unanswered(&error)),
        }
    }
}

fn same(known: Known, digest: &str) -> Result<(Known, bool), Refused> {
    if known.order.digest == digest { Ok((known, true)) } else { Err(reused()) }
}

/// By chance, or made of the idempotency key, so that the same key is the same batch whichever process takes the call.
fn id_of(headers: &HeaderMap, caller: &Caller) -> Result<(BatchId, bool), Refused> {
    Ok(match idempotency_key(headers)? {
        None => (BatchId::from_bits(uuid::Uuid::now_v7().as_u128()), false),
        Some(key) => {
            let parts = [b"idempotency key of a batch", caller.team().as_bytes(), caller.id.as_str().as_bytes(), key];
            (BatchId::of(&parts), true)
        }
    })
}

/// A digest of all that a call says: its body, and its wishes by header.
fn digest_of(headers: &HeaderMap, body: &Bytes) -> String {
    let wishes = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-tollgate-"));
    let mut wishes: Vec<(&str, &[u8])> = wishes.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    wishes.sort_unstable();
    let mut parts: Vec<&[u8]> = vec![body];
    parts.extend(wishes.iter().flat_map(|(name, value)| [name.as_bytes(), value]));
    Digest::of(&parts).to_string()
}

/// The order, if everything about it is right but whether its file is there.
fn judged(
    headers: &HeaderMap,
    bytes: &Bytes,
    caller: &Caller,
    (id, digest, now): (BatchId, String, UnixMillis),
) -> Result<BatchOrder, Refused> {
    let (body, wish) = own_part(bytes, Wish::of_headers(headers, now)?, now)?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| of_json(&error))?;
    let known = Endpoint::ALL.map(Endpoint::as_str).join(", ");
    let endpoint = Endpoint::of_url(&asked.endpoint)
        .ok_or_else(|| Refused::of_field("endpoint", format!("`endpoint` must be one of {known}")))?;
    caller.may_enter(door_of(endpoint))?;
    let input: FileId = asked.input_file_id.parse().map_err(|why: String| Refused::of_field("input_file_id", why))?;
    let (least, most) = WINDOW;
    let window = Period::parse(&asked.completion_window).ok().filter(|window| (least.0..=most.0).contains(&window.0));
    let why = "`completion_window` must be a duration from 1m to 7d, such as 24h";
    let window = window.ok_or_else(|| Refused::of_field("completion_window", why))?;
    let metadata = asked.metadata.unwrap_or_default();
    judge_metadata(&metadata)?;
    let class = caller.class(wish.class, Class::Batch)?;
    let mut options = wish.options;
    let (deadline, options) = {
        let by_window = now.plus(window.0);
        let own = options.get("deadline").and_then(Value::as_str).and_then(UnixMillis::from_rfc3339);
        judge_options(&options)?;
        let deadline = own.map_or(by_window, |own| own.min(by_window));
        options.insert("deadline".to_owned(), deadline.to_rfc3339().into());
        (deadline, options)
    };
    Ok(BatchOrder {
        version: VERSION,
        id,
        input,
        endpoint,
        window: asked.completion_window,
        deadline,
        metadata,
        class,
        options,
        key: caller.id.clone(),
        models: caller.record.models.clone(),
        digest,
        created_at: now,
    })
}

/// Serde's words name the field; the field alone is told apart for clients.
fn of_json(error: &serde_json::Error) -> Refused {
    let text = error.to_string();
    let name = text.split('`').nth(1).unwrap_or_default().to_owned();
    if text.starts_with("missing field") {
        let why = format!("Missing required parameter: '{name}'.");
        return Refused { code: "missing_required_parameter", ..Refused::of_field(&name, why) };
    }
    if text.starts_with("unknown field") {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let why = format!("`{shown}` is not taken here");
        return Refused { code: "unknown_parameter", ..Refused::of_field(&shown, why) };
    }
    let why = "`input_file_id`, `endpoint` and `completion_window` must be texts, and `metadata` texts by name";
    Refused::bad("invalid_type", why)
}

fn judge_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Refused> {
    let (pairs, name_max, value_max) = METADATA;
    let fits = |text: &str, most: usize| text.chars().count() <= most;
    if metadata.len() <= pairs && metadata.iter().all(|(name, value)| fits(name, name_max) && fits(value, value_max)) {
        return Ok(());
    }
    let why =
        format!("`metadata` may have {pairs} pairs, with names of {name_max} and values of {value_max} characters");
    Err(Refused::of_field("metadata", why))
}

/// Judges the options as those of a job.
fn judge_options(options: &Map<String, Value>) -> Result<(), Refused> {
    let body = Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#);
    JobSpec::decode(&line(Endpoint::ChatCompletions, &body, options), usize::MAX)?;
    Ok(())
}
