//! What is said of a batch that ended: an event as OpenAI's webhooks have it
//! (<https://platform.openai.com/docs/guides/webhooks>), so that its clients read it, with our facts beside it.

use bytes::Bytes;
use serde_json::json;
use tollgate_queue::{ApiError, Batches};
use tollgate_types::order::Ended;
use tollgate_types::{BatchId, Team};

/// An event that can be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id that it is posted under, whenever it is.
    pub id: String,
    /// The record that makes it: `done`, or `outcome` if nothing was ever submitted.
    pub record: &'static str,
    /// The body.
    pub body: Bytes,
}

/// The event of a batch; `None` if it has not ended.
///
/// # Errors
/// Why the server did not say.
pub async fn of(batches: &Batches, team: &Team, batch: &BatchId) -> Result<Option<Event>, ApiError> {
    let name = team.as_str();
    let order = batches.order(name, batch).await?.map(|(order, _)| order);
    let outcome = batches.outcome(name, batch).await?;
    let submitted = batches.spec(name, batch).await?.is_some();
    let done = batches.done(name, batch).await?;
    let Some(ended) = Ended::of(order.as_ref(), outcome.as_ref(), (submitted, done.as_ref())) else { return Ok(None) };
    let id = format!("{team}:{batch}:done");
    let record = if done.is_some() { "done" } else { "outcome" };
    let at = done.as_ref().map(|done| done.ended_at).or(outcome.as_ref().map(|outcome| outcome.at)).unwrap_or_default();
    let body = json!({
        "id": id,
        "object": "event",
        "created_at": at.0.div_euclid(1000),
        "type": format!("batch.{}", ended.as_str()),
        "data": { "id": batch },
        "tollgate": {
            "team": team,
            "done": done,
            "errors": outcome.map(|outcome| outcome.errors),
            "metadata": order.map(|order| order.metadata),
        },
    });
    Ok(Some(Event { id, record, body: body.to_string().into() }))
}
