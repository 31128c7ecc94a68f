//! Cancelling: the job's end is committed first, wherever it waits or runs; then whoever runs it is told.

use serde_json::json;
use tollgate_types::{ErrorCode, JobId};

use super::status;
use super::{Answer, Refusal};
use crate::context::Context;
use crate::verdict::{self, Passed};

/// Cancels a job that has no end yet.
///
/// Killed before the commit: nothing happened, and the producer has no answer. Killed between commit and announcement:
/// the job is cancelled, and a call that is under way ends by itself; what it cost is booked beside.
pub(super) async fn cancel(team: &str, job: &JobId, cx: &Context) -> Answer {
    let Some(place) = status::find(team, job, cx).await? else {
        // It ended, or nobody knows it; the status tells which.
        let mut answer = status::status(team, job, cx).await?;
        answer["cancelled"] = json!(false);
        return Ok(answer);
    };
    let passed = verdict::pass(&place.waiting, ErrorCode::Cancelled, "the job was cancelled", cx).await;
    tollgate_queue::control::announce_cancelled(&cx.connection, team, job)
        .await
        .map_err(|error| Refusal::unavailable(&error))?;
    match passed {
        Passed::Won => {
            metrics::counter!("tollgate_cancelled_total").increment(1);
            Ok(json!({ "job": job, "state": "ended", "status": "cancelled", "cancelled": true }))
        }
        Passed::WasOver(_) => {
            let mut answer = status::status(team, job, cx).await?;
            answer["cancelled"] = json!(false);
            Ok(answer)
        }
    }
}
