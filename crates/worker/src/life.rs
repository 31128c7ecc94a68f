//! The life of one job, from delivery to settlement. Read this file first.
//!
//! ```text
//! deliver → identify → decode → already answered? (and noted as in flight) → admit (team, deadline, reply) → route
//!         → suspect? → call (retry, fallback) → commit result with usage → reply → ack
//! ```
//!
//! A crash at any arrow is repaired by redelivery: a job with a committed result only replays its tail (reply, ack); a
//! job without one runs again, and what earlier deliveries may have cost is counted as unknown, never as cost.

use tollgate_queue::{Delivery, Settlement};
use tracing::Instrument;

use crate::answered::Answered;
use crate::context::Context;
use crate::end::End;
use crate::identify::Identity;
use crate::run::{Run, Unknown};
use crate::{admit, answered, call, commit, identify, reply, route, suspect};

/// Why a job is left without a result for now; it is delivered again when its lease ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfinished {
    /// The commit log could not be asked: running the job might pay twice.
    #[error("cannot tell whether the job has a result")]
    Lookup(#[source] tollgate_queue::ApiError),
    /// The dead letter could not be kept.
    #[error("cannot keep the dead letter")]
    DeadLetter(#[source] tollgate_queue::ApiError),
}

/// Runs one delivery to its end and settles it, once. Returns whether the job left the queue.
///
/// When the worker gives up its jobs, the run is dropped where it stands and the job is handed to another worker.
pub(crate) async fn live(delivery: Delivery, cx: &Context) -> bool {
    let identity = identify::identify(&delivery, cx);
    let span = tracing::info_span!("job", job = %identity.job, team = delivery.lane.team, class = delivery.lane.class,
        delivery = delivery.place.delivered, traceparent = delivery.traceparent());
    async {
        let job = identity.job.clone();
        let settlement = tokio::select! {
            biased;
            () = cx.giving_up.cancelled() => {
                suspect::handed_back(&delivery.lane.team, &job, delivery.place.delivered, cx).await;
                Settlement::Release
            }
            outcome = run(&delivery, identity, cx) => match outcome {
                Ok(()) => Settlement::Done,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "job not completed");
                    Settlement::Abandon
                }
            },
        };
        delivery.settle(settlement).await;
        cx.config.crash.point("C10");
        settlement == Settlement::Done
    }
    .instrument(span)
    .await
}

async fn run(delivery: &Delivery, identity: Identity, cx: &Context) -> Result<(), Unfinished> {
    let run = Run::begin(delivery, identity.job.clone(), cx);
    cx.config.crash.point("C1");

    // Before anything that could cost: an id that has its result gets that result again, and that this job is in
    // flight is kept where a crash cannot reach it. Both questions go out at once.
    let (looked, _entry) =
        tokio::join!(answered::look(&identity, run, cx), cx.in_flight.enter(delivery.place.sequence));
    let run = match looked? {
        Answered::No(run) => run,
        Answered::Same(existing) => {
            reply::send(identity.reply_to(&delivery.lane.team), existing.payload, cx).await;
            return Ok(());
        }
        // The id belongs to another request: this message is answered under an id of its own.
        Answered::Conflict(run, end) => return finish(delivery, &identity, run, Work::only(end), cx).await,
    };

    cx.config.crash.point("C2");
    let work = work(delivery, &identity, &run, cx).await;
    finish(delivery, &identity, run, work, cx).await
}

/// What came of the steps before the commit.
struct Work {
    end: End,
    unknown: Unknown,
    /// Held until the commit: what an answer does to the worker that commits it counts too.
    slot: suspect::Slot,
}

impl Work {
    /// An end before anything could have been paid, on any delivery.
    fn only(end: End) -> Work {
        Work { end, unknown: Unknown::default(), slot: None }
    }
}

/// Everything between "it has no result" and "this is its end".
async fn work(delivery: &Delivery, identity: &Identity, run: &Run, cx: &Context) -> Work {
    let job = match &identity.spec {
        Ok(job) => job,
        Err(rejection) => return Work::only(rejection.clone().into()),
    };
    if let Err(end) = admit::admit(job, run, cx) {
        return Work::only(end);
    }
    let route = match route::route(job, cx) {
        Ok(route) => route,
        Err(end) => return Work::only(end),
    };
    let mut unknown = Unknown { callable: true, bound: route.bound, journaled: false };
    if admit::expired(job, cx) {
        return Work { end: admit::expiry(job), unknown, slot: None };
    }

    // A job that was given up again and again runs one at a time, marked, so that what kills the worker is known.
    let slot = match suspect::guard(run, cx).await {
        Ok(slot) => slot,
        Err(end) => return Work { end, unknown, slot: None },
    };

    // A first delivery that dies is counted by the next; a later one counts itself before it pays.
    if run.redelivered() {
        cx.config.crash.point("C3");
        commit::journal(identity, run, unknown, cx).await;
        unknown.journaled = true;
    }
    cx.config.crash.point("C4");
    let end = call::call(delivery, job, run, &route, cx).await;
    cx.config.crash.point("C5");
    Work { end, unknown, slot }
}

/// The tail: commit, copy, and only then may the delivery be acked.
async fn finish(
    delivery: &Delivery,
    identity: &Identity,
    run: Run,
    Work { end, unknown, slot }: Work,
    cx: &Context,
) -> Result<(), Unfinished> {
    if let Some(reason) = end.dead_letter(identity.spec.is_ok()) {
        cx.dead.bury(delivery, &run.job, reason).await.map_err(Unfinished::DeadLetter)?;
    }
    let committed = commit::commit(delivery, identity, run, unknown, end, cx).await;
    cx.config.crash.point("C6");
    suspect::survived(slot, &delivery.lane.team, &identity.job, cx).await;
    reply::send(identity.reply_to(&delivery.lane.team), committed, cx).await;
    cx.config.crash.point("C9");
    Ok(())
}
