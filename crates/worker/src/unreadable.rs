//! Jobs that our NATS client cannot even read, and jobs that no lane can carry: answered, kept as dead letters, and
//! removed, so that one hostile header block does not cut every worker's connection for ever.

use tollgate_queue::ApiError;
use tollgate_queue::quarantine::{self, Unreadable};
use tollgate_types::{Class, ErrorCode, JobId, LaneKey};

use crate::context::Context;
use crate::verdict::{self, Passed, Waiting};

/// After a lost connection: as many leased jobs as a lane can reasonably have.
pub(crate) const LOST: u64 = 5_000;
/// Before the first pull: what ended the last worker was never acked, so it is among the oldest.
pub(crate) const OPENING: u64 = 256;

/// Looks through the oldest leased jobs of a lane for such that cannot be read, and ends them.
pub(crate) async fn clear_lane(lane: &LaneKey, leased_max: u64, cx: &Context) {
    let message = "the message headers cannot be read; send UTF-8 lines of the form `Name: value`";
    match quarantine::inspect(&cx.connection, lane, leased_max).await {
        Ok(found) => end_all(lane, &found, ErrorCode::BadHeader, message, cx).await,
        Err(error) => tracing::warn!(%lane, %error, "lane not inspected"),
    }
}

/// Ends the jobs of a lane that gets no consumer.
pub(crate) async fn clear_stray(lane: &LaneKey, cx: &Context) {
    let shown = lane.plain();
    let (code, message) = if lane.known_class().is_none() {
        let known = Class::ALL.map(Class::as_str).join(", ");
        (ErrorCode::UnknownClass, format!("'{}' is not a class; the classes are {known}", shown.class))
    } else {
        (ErrorCode::UnknownTeam, format!("'{}' is not a team's name", shown.team))
    };
    match quarantine::strays(&cx.connection, lane).await {
        Ok(found) => end_all(lane, &found, code, &message, cx).await,
        Err(error) => tracing::warn!(lane = %shown, %error, "stray jobs not read"),
    }
}

async fn end_all(lane: &LaneKey, found: &[Unreadable], code: ErrorCode, message: &str, cx: &Context) {
    for job in found {
        if let Err(error) = end(lane, job, code, message, cx).await {
            tracing::error!(%error, sequence = job.sequence, "an undeliverable job could not be ended");
        }
    }
}

/// Killed between any two steps: the next look repeats them; the result is create-only, the dead letter has an id.
async fn end(lane: &LaneKey, found: &Unreadable, code: ErrorCode, message: &str, cx: &Context) -> Result<(), ApiError> {
    let own = JobId::from_sequence(cx.lanes.stream_created_ns(), found.sequence);
    let job = found.id.clone().unwrap_or_else(|| own.clone());
    let lane_shown = lane.plain();
    tracing::warn!(%job, team = lane_shown.team, %code, "an undeliverable job is answered and kept as a dead letter");
    cx.dead.bury_unreadable(lane, found, &job, code).await?;
    let waiting = Waiting {
        lane: lane_shown,
        job,
        own,
        payload: found.payload.clone(),
        key: String::new(),
        accepted_at: found.accepted_at,
        in_flight: None,
    };
    // The message is removed next, so nobody else would copy a result whose copy a crash prevented.
    if let Passed::WasOver(line) = verdict::pass(&waiting, code, message, cx).await {
        verdict::reply_again(&waiting, line, cx).await;
    }
    quarantine::remove(&cx.connection, found.sequence).await
}
