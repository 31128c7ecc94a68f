//! Bodies that do not fit a message: a prompt is fetched when its job may run, an answer is put before its result.
//!
//! A prompt's chunks are removed once the job has its end. Killed before that: the job is delivered again, is found
//! answered, and they are removed then. An answer's chunks are there before the result that names them; those of a run
//! that was killed in between, or that was not first, are dropped by their age, or when the job is forgotten.

use std::time::Duration;

use bytes::Bytes;
use tollgate_queue::blobs::Fetched;
use tollgate_queue::{ApiError, Commit};
use tollgate_types::{Claim, Digest, ErrorCode, JobId, JobResult, JobSpec, Rejection, UsageEvent};

use crate::context::Context;
use crate::end::{End, leaves_a_letter};
use crate::identify::{Identity, Whole};
use crate::park::Parking;
use crate::run::Run;

/// After how many seconds a job comes again that found no memory for its body: about as long as a call takes.
const AGAIN_AFTER: std::ops::Range<u64> = 2..6;

/// Why a job goes on without its body.
pub(crate) enum NotFetched {
    /// There is none: this is its end.
    End(End),
    /// There is no memory for it now.
    Later(Parking),
    /// The server did not say.
    Unknown(ApiError),
}

/// The job with its body, once there is memory for that.
pub(crate) async fn fetch<'a>(
    identity: &'a Identity,
    job: &'a JobSpec,
    run: &Run,
    cx: &Context,
) -> Result<&'a JobSpec, NotFetched> {
    let Some(claim) = job.elsewhere() else { return Ok(job) };
    let max = cx.config.payload_bytes_max as u64;
    if claim.bytes > max {
        let message = format!("the body has {} bytes; this broker takes {max}", claim.bytes);
        return Err(refused(ErrorCode::TooLarge, message));
    }
    let Some(room) = cx.blob_room.enter(&run.team, claim.bytes).await else {
        metrics::counter!("tollgate_bodies_waiting_total").increment(1);
        let again = cx.clock.now().plus(Duration::from_secs(rand::random_range(AGAIN_AFTER)));
        return Err(NotFetched::Later(Parking::until(
            again,
            "its team's large prompts have their share of the memory",
        )));
    };
    let body = match cx.blobs.fetch(&run.team, &run.job, claim).await {
        Ok(Fetched::Body(body)) => body,
        Ok(Fetched::Missing) => {
            let message = format!(
                "the body of {} bytes that `tollgate.body` names is not there: publish its {} chunks before the job, under its id",
                claim.bytes,
                claim.chunks()
            );
            return Err(refused(ErrorCode::PayloadMissing, message));
        }
        Ok(Fetched::Other) => {
            let message = "the chunks that `tollgate.body` names are not the body of that digest and length";
            return Err(refused(ErrorCode::PayloadDigest, message.to_owned()));
        }
        Err(error) => return Err(NotFetched::Unknown(error)),
    };
    let job = job.fetched(body).map_err(|rejection| NotFetched::End(rejection.into()))?;
    Ok(identity.fetched(Whole { job, _room: room }))
}

fn refused(code: ErrorCode, message: String) -> NotFetched {
    NotFetched::End(Rejection::new(code, message).into())
}

/// Removes the prompt of a job that has its end, unless the dead letter that it left is replayed with it; what stays is dropped
/// by its age.
pub(crate) async fn done(identity: &Identity, team: &str, ended: Option<ErrorCode>, cx: &Context) {
    if ended.is_some_and(leaves_a_letter) {
        return;
    }
    let Some(claim) = identity.spec().ok().and_then(|job| job.options.body.as_ref()) else { return };
    remove(team, &identity.job, claim, cx).await;
}

async fn remove(team: &str, job: &JobId, claim: &Claim, cx: &Context) {
    if let Err(error) = cx.blobs.remove(team, job, claim).await {
        tracing::warn!(%error, "the chunks of a prompt stay until they are too old");
    }
}

/// Commits a line; one that does not fit a message without its answer, which then lies beside it. Returns the line as it
/// was committed, or tried.
pub(crate) async fn commit(
    job: &JobId,
    digest: Digest,
    event: &UsageEvent,
    line: Bytes,
    cx: &Context,
) -> (Commit, Bytes) {
    let commit = cx.results.commit(job, digest, event, line.clone()).await;
    if !matches!(commit, Commit::TooLarge) {
        return (commit, line);
    }
    let Some((small, body)) = JobResult::checked_in(&line) else { return (commit, line) };
    match cx.blobs.put_within_share(&event.team, job, &body).await {
        Ok(_) => {
            cx.config.crash.point("C5b");
            (cx.results.commit(job, digest, event, small.clone()).await, small)
        }
        Err(error) => {
            tracing::warn!(%error, "an answer that does not fit a message could not be put beside it");
            (commit, line)
        }
    }
}
