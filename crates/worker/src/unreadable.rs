//! Jobs that our NATS client cannot even read, and jobs that no lane can carry: answered, kept as dead letters, and
//! removed, so that one hostile header block does not cut every worker's connection for ever.

use bytes::Bytes;
use tollgate_queue::quarantine::{self, Unreadable};
use tollgate_queue::{ApiError, Commit};
use tollgate_types::event::{CacheUse, EventKind};
use tollgate_types::job::{VERSION, undecoded_digest};
use tollgate_types::result::JobError;
use tollgate_types::{Class, ErrorCode, JobId, JobResult, JobSpec, LaneKey, ResultFacts, UsageEvent, subjects};

use crate::context::Context;
use crate::reply;

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
    let mut job = found.id.clone().unwrap_or_else(|| own.clone());
    let team = lane.plain().team;
    tracing::warn!(%job, team, %code, "an undeliverable job is answered and kept as a dead letter");
    cx.dead.bury_unreadable(lane, found, &job, code).await?;
    let decoded = JobSpec::decode(&found.payload, cx.config.payload_bytes_max);
    let (custom_id, reply_to, digest) = match decoded {
        Ok(job) => (job.custom_id, job.options.reply_to, job.digest),
        Err(rejection) => (rejection.custom_id, rejection.reply_to, undecoded_digest(&found.payload)),
    };
    let line = loop {
        let event = event(lane.plain(), found, &job, code, cx);
        let result = JobResult {
            id: job.clone(),
            custom_id: custom_id.clone(),
            response: None,
            error: Some(JobError { code, message: message.to_owned() }),
            tollgate: ResultFacts::from_event(&event, Vec::new()),
        };
        let line = Bytes::from(serde_json::to_vec(&result).expect("a result of texts and numbers always serialises"));
        match cx.results.commit(&job, digest, &event, line.clone()).await {
            Commit::Won | Commit::TooLarge => break line,
            // The id belongs to another request: this one is answered under an id of its own.
            Commit::Lost(existing) if existing.digest != digest.to_string() && job != own => job = own.clone(),
            Commit::Lost(existing) => break existing.payload,
        }
    };
    reply::send(reply_to.map(|subject| subjects::reply_to(&team, &subject)), line, cx).await;
    quarantine::remove(&cx.connection, found.sequence).await
}

fn event(lane: LaneKey, found: &Unreadable, job: &JobId, code: ErrorCode, cx: &Context) -> UsageEvent {
    UsageEvent {
        version: VERSION,
        kind: EventKind::Result,
        job: job.clone(),
        team: lane.team,
        class: lane.class,
        run: uuid::Uuid::now_v7().simple().to_string(),
        worker: cx.config.name.clone(),
        delivery: 1,
        status: code.status(),
        error_code: Some(code),
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
        hold: None,
        downgraded_to: String::new(),
        accepted_at: found.accepted_at,
        queued_ms: 0,
        run_ms: 0,
    }
}
