//! Cancelling: the job's end is committed first, wherever it waits or runs; then whoever runs it is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tollgate_queue::service::{Cancelling, Together, Told};
use tollgate_types::{ErrorCode, JobId};

use super::status;
use super::{Answer, Refusal};
use crate::context::Context;
use crate::found::Found;
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
    match end(team, &place, cx).await? {
        Passed::Won => Ok(json!({ "job": job, "state": "ended", "status": "cancelled", "cancelled": true })),
        Passed::WasOver(_) => {
            let mut answer = status::status(team, job, cx).await?;
            answer["cancelled"] = json!(false);
            Ok(answer)
        }
    }
}

/// Cancels those of some jobs that have no end yet, with one look through the backlog.
///
/// Killed in between: some are cancelled, and whoever asked has no answer. Asked again, those have their end.
pub(super) async fn together(team: &str, jobs: &[JobId], cx: &Context) -> Answer {
    if jobs.len() > Together::MAX {
        let message = format!("bad_request: {} jobs are more than the {} of one question", jobs.len(), Together::MAX);
        return Err(Refusal::new(400, message));
    }
    let mut told = BTreeMap::new();
    let mut sought: BTreeSet<JobId> = jobs.iter().cloned().collect();
    for job in jobs {
        if status::ended(team, job, cx).await?.is_some() {
            sought.remove(job);
            told.insert(job.clone(), Cancelling::Ended);
        }
    }
    let (found, whole) = status::find_all(team, &sought, cx).await?;
    for (job, place) in &found {
        let cancelling = match end(team, place, cx).await? {
            Passed::Won => Cancelling::Cancelled,
            Passed::WasOver(_) => Cancelling::Ended,
        };
        told.insert(job.clone(), cancelling);
    }
    for job in sought.into_iter().filter(|job| !found.contains_key(job)) {
        let cancelling = match status::ended(team, &job, cx).await? {
            // It ended between the two looks.
            Some(_) => Cancelling::Ended,
            None if whole => Cancelling::Unknown,
            None => Cancelling::Unread,
        };
        told.insert(job, cancelling);
    }
    Ok(json!(Told { jobs: told }))
}

/// Gives a job its end, and tells whoever runs it.
pub(super) async fn end(team: &str, place: &Found, cx: &Context) -> Result<Passed, Refusal> {
    let passed = verdict::pass(&place.waiting, ErrorCode::Cancelled, "the job was cancelled", cx).await;
    tollgate_queue::control::announce_cancelled(&cx.connection, team, &place.waiting.job)
        .await
        .map_err(|error| Refusal::unavailable(&error))?;
    if passed == Passed::Won {
        metrics::counter!("tollgate_cancelled_total").increment(1);
    }
    Ok(passed)
}
