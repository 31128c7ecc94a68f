//! The turn: one more call may be made, in time, paid for, at a deployment that takes calls, with a permit.

use std::time::Duration;

use tokio::time::Instant;
use tollgate_types::{ErrorCode, Gate};

use super::trip::Trip;
use super::{Stop, WAIT_IN_SLOT, cancellation, parking, reading};
use crate::admit;
use crate::board::Entrance;
use crate::end::End;
use crate::fleet::{Under, Way};
use crate::hold::{self, Decision, Held};
use crate::limiter::{Limited, Need, Pass, Short};
use crate::park::{Parking, Until};
use crate::route::{self, When};
use crate::running::Cancelled;

/// A call that may begin, and has begun in the fleet's books.
pub(super) struct Turn {
    /// Which deployment of the leg.
    pub(super) at: usize,
    pub(super) under: Under,
    pub(super) pass: Option<Pass>,
}

/// What there is instead of a turn.
enum NotYet {
    /// Something changed meanwhile: look again.
    Again,
    /// It does not go on.
    Stop(Stop),
}

/// How often a door that nobody announces is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for a turn, for a short while.
pub(super) async fn ready(trip: &mut Trip<'_>, held: &mut Held, cancelled: &Cancelled) -> Result<Turn, Stop> {
    let patience = Instant::now() + WAIT_IN_SLOT;
    loop {
        if cancelled.is_cancelled() {
            return Err(Stop::End(cancellation()));
        }
        if trip.remaining() == Some(Duration::ZERO) {
            return Err(Stop::End(admit::expiry(trip.job)));
        }
        if let Some(at) = trip.not_before.filter(|at| *at > Instant::now()) {
            let wait = at - Instant::now();
            if wait > WAIT_IN_SLOT {
                return Err(Stop::Park(parking(held, wait, waits(trip, held), trip.cx)));
            }
            pause(wait, trip, cancelled).await;
            continue;
        }
        match choose(trip, held) {
            Choice::OtherModel => {}
            Choice::End(end) => return Err(Stop::End(end)),
            Choice::Nobody { wait } if Instant::now() + wait > patience => {
                return Err(Stop::Park(parking(held, wait, waits(trip, held), trip.cx)));
            }
            // One that is full takes calls again whenever a call ends, which is announced.
            Choice::Nobody { wait } if wait.is_zero() => pause(LOOK, trip, cancelled).await,
            Choice::Nobody { wait } => pause(wait.min(LOOK), trip, cancelled).await,
            Choice::Call(order) => {
                cover(trip, held).await?;
                match permit(trip, held, &order, cancelled).await {
                    Ok(turn) => {
                        held.entrance = Entrance::default();
                        trip.not_before = None;
                        return Ok(turn);
                    }
                    Err(NotYet::Again) => {}
                    Err(NotYet::Stop(stop)) => return Err(stop),
                }
            }
        }
    }
}

enum Choice {
    Call(Vec<usize>),
    OtherModel,
    Nobody { wait: Duration },
    End(End),
}

/// Whom to call. What the team may use is asked once more: it may have changed since the way was found.
fn choose(trip: &mut Trip<'_>, held: &Held) -> Choice {
    let cx = trip.cx;
    let access = cx.directory.team(&trip.team).map(|record| record.access.clone()).unwrap_or_default();
    let left = trip.ways(held);
    if left.is_empty() {
        let longer = trip.stands_in(held, When::ContextLength);
        return if longer { Choice::OtherModel } else { Choice::End(trip.too_long(held)) };
    }
    let allowed: Vec<_> = left.into_iter().filter(|(_, priced, _)| route::may_serve(priced, &access)).collect();
    if allowed.is_empty() {
        let message = format!("the team may use no deployment of the model any more: {access}");
        return Choice::End(End::refused(ErrorCode::ForbiddenModel, message));
    }
    let ways: Vec<Way<'_>> = allowed.iter().map(|&(_, priced, cost)| (priced, cost)).collect();
    match cx.fleet.choose(trip.leg(held).strategy, &ways, reading(trip.job)) {
        Ok(order) => {
            let mut order: Vec<usize> = order.into_iter().map(|at| allowed[at].0).collect();
            if let Some(preferred) = order.iter().position(|at| Some(*at) == trip.prefer) {
                order[..=preferred].rotate_right(1);
            }
            Choice::Call(order)
        }
        // Not for one that is only full: it takes calls again as soon as one ends.
        Err(wait) if !wait.is_zero() && trip.stands_in(held, When::Failed) => Choice::OtherModel,
        Err(wait) => Choice::Nobody { wait },
    }
}

/// Holds money for one more call beside what the calls so far cost.
async fn cover(trip: &Trip<'_>, held: &mut Held) -> Result<(), Stop> {
    match hold::cover(held, trip.needs(held), trip.cx).await {
        Ok(()) => Ok(()),
        Err(Decision::Park(parking)) => Err(Stop::Park(parking)),
        Err(Decision::End(end)) => Err(Stop::End(end)),
        Err(Decision::Go(_)) => unreachable!("money is raised in place"),
    }
}

/// A permit of the first deployment that has one; if none has, a short wait for the first that may have one.
async fn permit(trip: &Trip<'_>, held: &Held, order: &[usize], cancelled: &Cancelled) -> Result<Turn, NotYet> {
    let cx = trip.cx;
    let need = Need { tokens: held.expected.tokens() };
    let (mut waits, mut never) = (None, None);
    for &at in order {
        match cx.limiter.pass(&Limited::of(trip.deployment(held, at)), need).await {
            Ok(pass) => return begin(trip, held, at, pass),
            Err(Short::Wait { .. }) => drop(waits.get_or_insert(at)),
            Err(Short::Never { message }) => drop(never.get_or_insert(message)),
        }
    }
    // It ends only if it is too large for each of them.
    let Some(at) = waits else {
        let message = never.expect("somebody takes calls");
        return Err(NotYet::Stop(Stop::End(End::refused(ErrorCode::OverLimit, message))));
    };
    let within = trip.remaining().map_or(WAIT_IN_SLOT, |left| left.min(WAIT_IN_SLOT));
    let limited = Limited::of(trip.deployment(held, at));
    let waited = tokio::select! {
        waited = cx.limiter.pass_within(&limited, need, within) => waited,
        () = cancelled.cancelled() => return Err(NotYet::Stop(Stop::End(cancellation()))),
    };
    match waited {
        Ok(pass) => begin(trip, held, at, pass),
        Err(Short::Never { message }) => Err(NotYet::Stop(Stop::End(End::refused(ErrorCode::OverLimit, message)))),
        Err(Short::Wait { .. }) if trip.remaining() == Some(Duration::ZERO) => Err(NotYet::Again),
        // The gate is that of the model that was asked for, and may be open while a stand-in has no permits.
        Err(Short::Wait { message }) if trip.leg > 0 => {
            Err(NotYet::Stop(Stop::Park(parking(held, Duration::ZERO, message, cx))))
        }
        Err(Short::Wait { message }) => {
            let until = Until::Gate(Gate::of_model(&held.route.legs[0].model));
            Err(NotYet::Stop(Stop::Park(Parking { until, why: message })))
        }
    }
}

fn begin(trip: &Trip<'_>, held: &Held, at: usize, pass: Option<Pass>) -> Result<Turn, NotYet> {
    let first = trip.attempts.is_empty();
    match trip.cx.fleet.begin(trip.deployment(held, at), reading(trip.job), first) {
        Some(under) => Ok(Turn { at, under, pass }),
        None => {
            // Nothing was sent.
            pass.into_iter().for_each(|pass| pass.used(0));
            Err(NotYet::Again)
        }
    }
}

/// Waits so long, or until something changes at the deployments.
async fn pause(wait: Duration, trip: &Trip<'_>, cancelled: &Cancelled) {
    let mut changes = trip.cx.fleet.changes();
    let waits_for_change = trip.not_before.is_none();
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        _ = changes.changed(), if waits_for_change => {}
        () = cancelled.cancelled() => {}
    }
}

fn waits(trip: &Trip<'_>, held: &Held) -> String {
    format!("no deployment of '{}' takes calls now", trip.leg(held).model)
}
