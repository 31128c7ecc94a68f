//! Hopeless: jobs that could never run, however long they wait.

use tollgate_types::{ErrorCode, JobSpec, event};

use crate::context::Context;
use crate::end::Outcome;
use crate::run::Named;
use crate::verdict::Waiting;
use crate::{hold, route};

/// Why the job can never run as things are, with the code of its end; `None` if it can.
///
/// Only what will not pass by waiting: an unknown team may be registered and an unknown model added any moment, so those
/// are answered when they are reached.
pub(crate) fn why(job: &JobSpec, waiting: &Waiting, cx: &Context) -> Option<(ErrorCode, String)> {
    cx.directory.team(&waiting.lane.team)?;
    let route = route::route(job, &waiting.lane.team, cx).ok()?;
    if let Some(Outcome::Refused(code, message)) = hold::above_its_own_cap(job, &route).map(|end| end.outcome) {
        return Some((code, message));
    }
    let named = Named::of(job);
    let scopes = event::scopes(&waiting.lane.team, &named.project, &named.user, &waiting.key);
    let never = cx.ledger.never_fits(&scopes, route.bound_of_one)?;
    Some((ErrorCode::OverBudget, never))
}
