//! Park: a job whose gate is closed waits in a stream of its own, without a slot, a lease or an attempt.
//!
//! The copy is published create-only, then the delivery is acked. Killed before the publish: nothing happened, the job
//! is delivered again. Killed between publish and ack: it is delivered again too, and [`crate::life`] finds the copy and
//! only acks. So there is one copy at any time that anybody acts on.

use std::time::Duration;

use tollgate_queue::Delivery;
use tollgate_queue::{Kept, Parked};
use tollgate_types::{Gate, UnixMillis};

use crate::context::Context;
use crate::identify::Identity;
use crate::run::Run;

pub(crate) use tollgate_queue::Until;

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parking {
    /// The gate or the time.
    pub(crate) until: Until,
    /// In words, without any of the prompt.
    pub(crate) why: String,
}

/// How long a job waits for something that should be there at any moment.
const MOMENT: Duration = Duration::from_secs(2);

impl Parking {
    /// A short wait for something that should be there.
    pub(crate) fn moment(why: &str) -> Parking {
        Parking { until: Until::Time(UnixMillis(0)), why: why.to_owned() }
    }

    /// Until a point in time.
    pub(crate) fn until(at: UnixMillis, why: impl Into<String>) -> Parking {
        Parking { until: Until::Time(at), why: why.into() }
    }
}

/// The wait for a model that the operator paused; `None` if it is not.
pub(crate) fn behind_a_pause(model: &str, cx: &Context) -> Option<Parking> {
    let pause = cx.directory.model_pause(model)?;
    let why = format!("the model is paused by {}", pause.author);
    Some(Parking { until: Until::Gate(Gate::of_model(model)), why })
}

/// The wait of a job whose model is paused, or waited for by others of its lane already.
pub(crate) fn behind_its_model(model: &str, delivery: &Delivery, cx: &Context) -> Option<Parking> {
    behind_a_pause(model, cx).or_else(|| behind_others(Gate::of_model(model), delivery, cx))
}

/// The wait of a job behind others of its lane that wait at a gate already; `None` if it comes from there, or if none
/// wait.
pub(crate) fn behind_others(gate: Gate, delivery: &Delivery, cx: &Context) -> Option<Parking> {
    let comes_from_there = delivery.gate.as_ref() == Some(&gate);
    (!comes_from_there && cx.gates.someone_waits(&gate, &delivery.lane))
        .then(|| Parking { until: Until::Gate(gate), why: "others wait for the same already".to_owned() })
}

/// Keeps the job behind its gate, and says whether it is kept.
///
/// # Errors
/// The job could not be kept: it must stay where it is.
pub(crate) async fn park(
    delivery: &Delivery,
    identity: &Identity,
    run: &Run,
    parking: Parking,
    cx: &Context,
) -> Result<Kept, tollgate_queue::ApiError> {
    let Parking { mut until, why } = parking;
    if until == Until::Time(UnixMillis(0)) {
        until = Until::Time(cx.clock.now().plus(MOMENT));
    }
    tracing::debug!(why, "the job waits");
    metrics::counter!("tollgate_parked_total").increment(1);
    cx.config.crash.point("C7");
    if let Until::Gate(gate) = &until {
        cx.gates.parked_one(gate.clone(), (*delivery.lane).clone());
    }
    let parked = Parked {
        delivery,
        job: &identity.job,
        digest: identity.digest,
        until: &until,
        accepted_at: run.accepted_at,
        deliveries: run.delivery - 1,
        why: &why,
    };
    let kept = cx.wait.park(parked).await?;
    cx.config.crash.point("C8");
    Ok(kept)
}

/// Whether another copy of a redelivered job waits or runs: then this one was parked before, and only its ack is missing.
///
/// # Errors
/// The stream could not be asked; the job must not run.
pub(crate) async fn has_another_copy(
    delivery: &Delivery,
    identity: &Identity,
    cx: &Context,
) -> Result<bool, tollgate_queue::ApiError> {
    cx.wait.parked_elsewhere(delivery, &identity.job, identity.digest).await
}
