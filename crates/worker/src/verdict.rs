//! A verdict: the end of a job that nobody holds, committed where it waits. Its queued copy is acked when it is reached.
//!
//! For jobs that cannot be delivered ([`crate::unreadable`]), that wait past their deadline or in vain
//! ([`crate::scout`]), or that somebody cancelled ([`crate::desk`]).

use bytes::Bytes;
use tollgate_queue::Commit;
use tollgate_types::event::{CacheUse, EventKind};
use tollgate_types::job::{VERSION, undecoded_digest};
use tollgate_types::result::JobError;
use tollgate_types::subjects;
use tollgate_types::{
    Digest, ErrorCode, JobId, JobResult, JobSpec, LaneKey, NanoUsd, ResultFacts, UnixMillis, UsageEvent,
};

use crate::context::Context;
use crate::reply;
use crate::run::Named;

/// A job as it waits somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The lane, with tokens that a subject may hold.
    pub(crate) lane: LaneKey,
    /// The id that its result will be kept under.
    pub(crate) job: JobId,
    /// The id to use if that one belongs to another request.
    pub(crate) own: JobId,
    /// The payload as it came.
    pub(crate) payload: Bytes,
    /// The id of the API key that it came in with.
    pub(crate) key: String,
    /// When the server accepted it.
    pub(crate) accepted_at: UnixMillis,
    /// If somebody has, or had, it in his hands: the most that his run can have cost. He may have paid, and this end does
    /// not know; if he lives and books his spend, that takes it back.
    pub(crate) in_flight: Option<NanoUsd>,
}

/// What the payload says, as far as it can be read.
struct Said {
    custom_id: Option<String>,
    reply_to: Option<String>,
    digest: Digest,
    named: Named,
}

impl Waiting {
    fn said(&self, cx: &Context) -> Said {
        match JobSpec::decode(&self.payload, cx.config.payload_bytes_max) {
            Ok(job) => {
                let named = Named::of(&job);
                Said { custom_id: job.custom_id, reply_to: job.options.reply_to, digest: job.digest, named }
            }
            Err(rejection) => Said {
                named: Named::of_rejected(&rejection),
                custom_id: rejection.custom_id,
                reply_to: rejection.reply_to,
                digest: undecoded_digest(&self.payload),
            },
        }
    }
}

/// What became of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It is the job's end, and was copied to the producer.
    Won,
    /// The job had its end already: this line. It was not copied again, because a message that is still queued does that
    /// when it is reached.
    WasOver(Bytes),
}

/// Commits the end of a job that nobody holds, and copies it to where the job asked for it.
///
/// Killed before the commit: nothing happened, and whoever judges looks again. Killed after it: the queued copy is found
/// answered when it is reached, which sends the reply again.
pub(crate) async fn pass(waiting: &Waiting, code: ErrorCode, message: &str, cx: &Context) -> Passed {
    let said = waiting.said(cx);
    let mut job = waiting.job.clone();
    let line = loop {
        let event = event(waiting, &said, &job, code, cx);
        let result = JobResult {
            id: job.clone(),
            custom_id: said.custom_id.clone(),
            response: None,
            error: Some(JobError { code, message: message.to_owned() }),
            tollgate: ResultFacts::from_event(&event, Vec::new()),
        };
        let line = Bytes::from(serde_json::to_vec(&result).expect("a result of texts and numbers always serialises"));
        match cx.results.commit(&job, said.digest, &event, line.clone()).await {
            Commit::Won | Commit::TooLarge => {
                cx.meters.finished(&event);
                break line;
            }
            Commit::WonAndEmptied(emptied) => {
                cx.meters.finished(&event);
                break emptied;
            }
            // The id belongs to another request: this one is answered under an id of its own.
            Commit::Lost(existing) if !existing.answers(&said.digest) && job != waiting.own => {
                job = waiting.own.clone()
            }
            Commit::Lost(existing) => return Passed::WasOver(existing.payload),
        }
    };
    copy(waiting, said.reply_to, line, cx).await;
    Passed::Won
}

/// Copies a result that was there before to where the job asked for it: when nobody else will.
pub(crate) async fn reply_again(waiting: &Waiting, line: Bytes, cx: &Context) {
    copy(waiting, waiting.said(cx).reply_to, line, cx).await;
}

async fn copy(waiting: &Waiting, reply_to: Option<String>, line: Bytes, cx: &Context) {
    let reply_to = reply_to.map(|subject| subjects::reply_to(&waiting.lane.team, &subject));
    reply::send(reply_to, line, cx).await;
}

fn event(waiting: &Waiting, said: &Said, job: &JobId, code: ErrorCode, cx: &Context) -> UsageEvent {
    let named = said.named.clone();
    let queued = cx.clock.now().since(waiting.accepted_at);
    UsageEvent {
        version: VERSION,
        kind: EventKind::Result,
        job: job.clone(),
        team: waiting.lane.team.clone(),
        class: waiting.lane.class.clone(),
        run: uuid::Uuid::now_v7().simple().to_string(),
        worker: cx.config.name.clone(),
        delivery: 1 + u64::from(waiting.in_flight.is_some()),
        status: code.status(),
        error_code: Some(code),
        project: named.project,
        user: named.user,
        key: waiting.key.clone(),
        labels: named.labels,
        model_requested: named.model,
        attempts: Vec::new(),
        unknown_attempts: i64::from(waiting.in_flight.is_some()),
        unknown_nanousd: waiting.in_flight.unwrap_or_default(),
        saved_nanousd: Default::default(),
        cache: CacheUse::Bypass,
        kept: None,
        stream: named.stream,
        guardrails: Vec::new(),
        risk: 0,
        hold: None,
        downgraded_to: String::new(),
        endpoint: named.endpoint,
        traceparent: String::new(),
        accepted_at: waiting.accepted_at,
        queued_ms: u64::try_from(queued.as_millis()).unwrap_or(u64::MAX),
        run_ms: 0,
    }
}
