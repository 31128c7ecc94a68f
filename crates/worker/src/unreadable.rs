//! Jobs that our NATS client cannot even read: answered, kept as dead letters, and removed, so that one hostile header
//! block does not cut every worker's connection for ever.

use bytes::Bytes;
use tollgate_queue::ApiError;
use tollgate_queue::quarantine::{self, Unreadable};
use tollgate_types::event::{CacheUse, EventKind};
use tollgate_types::job::{VERSION, undecoded_digest};
use tollgate_types::result::JobError;
use tollgate_types::{ErrorCode, JobId, JobResult, LaneKey, ResultFacts, UsageEvent};

use crate::dispatch::Context;

/// Looks through the leased jobs of a lane for such that cannot be read, and ends them.
pub(crate) async fn clear_lane(lane: &LaneKey, cx: &Context) {
    match quarantine::inspect(&cx.client, lane).await {
        Ok(found) => {
            for job in found {
                if let Err(error) = end(lane, &job, cx).await {
                    tracing::error!(%error, sequence = job.sequence, "an unreadable job could not be ended");
                }
            }
        }
        Err(error) => tracing::warn!(%lane, %error, "lane not inspected"),
    }
}

/// Killed between any two steps: the next inspection repeats them; the result is create-only, the dead letter has an id.
async fn end(lane: &LaneKey, unreadable: &Unreadable, cx: &Context) -> Result<(), ApiError> {
    let job = JobId::from_sequence(cx.lanes.stream_created_ns(), unreadable.sequence);
    tracing::warn!(%job, %lane, "a job's headers cannot be read; it is answered and kept as a dead letter");
    cx.dead.bury_unreadable(lane, unreadable, &job, ErrorCode::BadHeader).await?;
    let event = event(lane, unreadable, &job, cx);
    let message = "the message headers cannot be read; send UTF-8 lines of the form `Name: value`".to_owned();
    let result = JobResult {
        id: job.clone(),
        custom_id: None,
        response: None,
        error: Some(JobError { code: ErrorCode::BadHeader, message }),
        tollgate: ResultFacts::from_event(&event, Vec::new()),
    };
    let line = Bytes::from(serde_json::to_vec(&result).expect("a result of texts and numbers always serialises"));
    let digest = undecoded_digest(unreadable.payload_base64.as_bytes());
    cx.results.commit(&job, digest, &event, line).await;
    quarantine::remove(&cx.client, unreadable.sequence).await
}

fn event(lane: &LaneKey, unreadable: &Unreadable, job: &JobId, cx: &Context) -> UsageEvent {
    UsageEvent {
        version: VERSION,
        kind: EventKind::Result,
        job: job.clone(),
        team: lane.team.clone(),
        class: lane.class.clone(),
        run: uuid::Uuid::now_v7().simple().to_string(),
        worker: cx.config.name.clone(),
        delivery: 1,
        status: ErrorCode::BadHeader.status(),
        error_code: Some(ErrorCode::BadHeader),
        project: String::new(),
        user: String::new(),
        key: String::new(),
        labels: Default::default(),
        model_requested: String::new(),
        attempts: Vec::new(),
        unknown_attempts: 0,
        unknown_nanousd: Default::default(),
        saved_nanousd: Default::default(),
        cache: CacheUse::Miss,
        stream: false,
        guardrails: Vec::new(),
        accepted_at: unreadable.accepted_at,
        queued_ms: 0,
        run_ms: 0,
    }
}
