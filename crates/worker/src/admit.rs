//! May it run at all: a known team, a reply that stays at home, pictures from the open, a deadline that has not passed, a
//! time that has come.
//!
//! Budgets and limits are the next step but one, [`crate::hold`].

use tollgate_providers::outbound::forbidden_reference;
use tollgate_queue::Delivery;
use tollgate_types::subjects::{self, ReplyTo};
use tollgate_types::{ErrorCode, JobSpec, UnixMillis};

use crate::context::Context;
use crate::end::End;
use crate::run::Run;

/// Admits a job, or says how it ends. Its class is known: other lanes are never pulled, see [`crate::unreadable`].
pub(crate) fn admit(job: &JobSpec, run: &Run, cx: &Context) -> Result<(), End> {
    if cx.directory.team(&run.team).is_none() {
        let message = format!(
            "'{}' is not a registered team; the operator adds teams with `tollgate team add`",
            shown(&run.team)
        );
        return Err(End::refused(ErrorCode::UnknownTeam, message));
    }
    let reply = job.options.reply_to.as_deref().map(|subject| subjects::reply_to(&run.team, subject));
    if reply == Some(ReplyTo::Forbidden) {
        // Somebody tried to make the broker publish where the team may not: the operator should see it.
        tracing::warn!(target: "tollgate::audit", team = run.team, job = %run.job, "reply_to outside the team's prefixes");
        metrics::counter!("tollgate_forbidden_replies_total").increment(1);
        let message = format!(
            "`tollgate.reply_to` must lie under `reply.{0}.` or `_INBOX_{0}.`; nothing was published",
            run.team
        );
        return Err(End::refused(ErrorCode::ForbiddenReply, message));
    }
    if let Some(why) = forbidden_reference(&job.body, job.request.endpoint, cx.config.reach) {
        return Err(End::refused(ErrorCode::ForbiddenUrl, why));
    }
    if expired(job, cx) { Err(expiry(job)) } else { Ok(()) }
}

/// Whether the job's deadline has passed, by the server's clock.
pub(crate) fn expired(job: &JobSpec, cx: &Context) -> bool {
    job.options.deadline.as_ref().is_some_and(|deadline| deadline.at <= cx.clock.now())
}

/// When the job may run, if that is still to come by the server's clock. A parked one has waited for it: the server
/// itself sent it on, or its time had come before it was parked for another reason.
pub(crate) fn its_time(job: &JobSpec, delivery: &Delivery, cx: &Context) -> Option<UnixMillis> {
    if delivery.gate.is_some() {
        return None;
    }
    let at = job.options.not_before.as_ref()?.at;
    (at > cx.clock.now()).then_some(at)
}

/// The end of a job whose deadline passed before it was called.
pub(crate) fn expiry(job: &JobSpec) -> End {
    End::refused(ErrorCode::DeadlineExceeded, expiry_message(job))
}

/// What its producer is told.
pub(crate) fn expiry_message(job: &JobSpec) -> String {
    let at = job.options.deadline.as_ref().map(|deadline| deadline.at.to_rfc3339()).unwrap_or_default();
    format!("the deadline {at} passed before the job ran")
}

fn shown(token: &str) -> String {
    token.chars().take(64).collect()
}
