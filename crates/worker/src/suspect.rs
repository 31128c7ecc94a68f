//! Suspects: jobs that were delivered again and again. One at a time, marked, until we know what they do.
//!
//! A worker that dies takes every job in flight with it, so being delivered again says little. From the third delivery
//! on a job runs in the one suspect slot, behind a mark that outlives the process. A mark that is found says that the
//! slot's last holder died there; after two such deaths the job is poison. Kills from outside make one too few.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tollgate_types::{Digest, ErrorCode, JobId};

use crate::context::Context;
use crate::end::End;
use crate::run::Run;

/// From this delivery on a job is a suspect.
pub(crate) const SUSPECT_FROM: u64 = 3;
/// A job is poison after this many deaths in the suspect slot.
const DEATHS_MAX: u64 = 2;

/// What a running suspect holds; `None` for a job above suspicion.
pub(crate) type Slot = Option<Marked>;

/// The suspect slot, and the mark that was left.
pub(crate) struct Marked {
    _permit: OwnedSemaphorePermit,
    /// The mark's revision, if it could be written.
    revision: Option<u64>,
}

/// Waits for the suspect slot and leaves the mark, if the job is a suspect; or says that it is poison.
pub(crate) async fn guard(run: &Run, cx: &Context) -> Result<Slot, End> {
    if run.delivery < SUSPECT_FROM {
        return Ok(None);
    }
    let permit = Arc::clone(&cx.suspect_slot).acquire_owned().await.expect("the slot is never closed");
    let key = key(&run.team, &run.job);
    let deaths = match cx.state.get(&key).await {
        Ok(Some((mark, _))) => deaths(&mark),
        Ok(None) => 0,
        // Without the mark the worst is one more death before the verdict.
        Err(error) => {
            tracing::warn!(%error, "suspect's mark not read");
            0
        }
    };
    if deaths >= DEATHS_MAX {
        metrics::counter!("tollgate_poison_total").increment(1);
        let message = format!("the job ended {deaths} workers when it ran alone; it is kept as a dead letter");
        return Err(End::refused(ErrorCode::Poison, message));
    }
    // Written before the run: killed after this and before `survived`, it is one death more.
    let mark = json!({ "deaths": deaths + 1 }).to_string();
    let revision = match cx.state.put(&key, mark.into()).await {
        Ok(revision) => Some(revision),
        Err(error) => {
            tracing::warn!(%error, "suspect not marked");
            None
        }
    };
    Ok(Some(Marked { _permit: permit, revision }))
}

/// Takes the mark away: the job has its result and we are still here. Killed before it, the mark stays and says nothing
/// any more, because a job with a result does not run.
pub(crate) async fn survived(slot: Slot, team: &str, job: &JobId, cx: &Context) {
    if let Some(Marked { revision: Some(revision), .. }) = slot
        && let Err(error) = cx.state.delete(&key(team, job), revision).await
    {
        tracing::warn!(%error, "suspect's mark not removed");
    }
}

/// Takes the mark away when the worker hands the job back in good order: that is no death.
pub(crate) async fn handed_back(team: &str, job: &JobId, delivered: u64, cx: &Context) {
    if delivered < SUSPECT_FROM {
        return;
    }
    let key = key(team, job);
    if let Ok(Some((mark, revision))) = cx.state.get(&key).await {
        let mark = json!({ "deaths": deaths(&mark).saturating_sub(1) }).to_string();
        if let Err(error) = cx.state.update(&key, mark.into(), revision).await {
            tracing::warn!(%error, "suspect's mark not lowered");
        }
    }
}

fn deaths(mark: &[u8]) -> u64 {
    let mark: Option<serde_json::Value> = serde_json::from_slice(mark).ok();
    mark.and_then(|mark| mark["deaths"].as_u64()).unwrap_or(0)
}

/// Keys allow fewer characters than ids.
fn key(team: &str, job: &JobId) -> String {
    format!("suspect.{}", Digest::of(&[team.as_bytes(), job.as_str().as_bytes()]).short())
}
