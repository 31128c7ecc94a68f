//! Already answered? The one question that keeps a job from being paid for twice.

use tollgate_queue::Existing;
use tollgate_types::{ErrorCode, JobId};

use crate::context::Context;
use crate::end::End;
use crate::identify::Identity;
use crate::life::Unfinished;
use crate::run::Run;

/// What the commit log says of a job's id.
pub(crate) enum Answered {
    /// It has no result.
    No(Run),
    /// It has one, for the same request.
    Same(Box<Existing>),
    /// It has one, for another request; the run goes on under an id of its own, to this end.
    Conflict(Run, End),
}

/// Looks the job up.
///
/// # Errors
/// When the log cannot be asked the job must not run: it stays in the queue.
pub(crate) async fn look(identity: &Identity, run: Run, cx: &Context) -> Result<Answered, Unfinished> {
    let found = cx.results.find(&run.team, &run.job).await.map_err(Unfinished::Lookup)?;
    Ok(match found {
        None => Answered::No(run),
        Some(existing) if existing.answers(&identity.digest) => Answered::Same(Box::new(existing)),
        Some(_) => {
            let end = conflict(&run.job);
            Answered::Conflict(run, end)
        }
    })
}

/// The end of a message whose id belongs to another request.
pub(crate) fn conflict(id: &JobId) -> End {
    End::refused(ErrorCode::Conflict, format!("the id {id} already has a result for another request; use a fresh id"))
}
