//! The call: one deployment after the other, other models where the operator named them; every attempt booked.
//!
//! ```text
//! turn (who takes calls, permit, money) → call → book → tell the fleet → decide
//!   ↑                                                                     │
//!   └── again, with another key, another deployment, or another model ────┤
//!                                                    wait: park ──────────┤
//!                                                    an end ──────────────┘
//! ```
//!
//! What follows a failure is [`tollgate_policy::failure`]'s decision; who is called is the [`fleet`](crate::fleet)'s
//! choice. A wait that is short is kept in the job's slot; for a long one the job is parked.

mod book;
mod trip;
mod turn;

use std::time::Duration;

use tollgate_policy::failure::{self, Left, Next};
use tollgate_policy::health::{Outcome as Health, Reading};
use tollgate_providers::{Call, Called};
use tollgate_queue::Delivery;
use tollgate_types::{AttemptRecord, Billed, ErrorCode, Failure, FailureKind, Gate, JobSpec, UnixMillis, headers};

use crate::board::Doors as _;
use crate::context::Context;
use crate::deltas;
use crate::end::{End, Outcome};
use crate::hold::Held;
use crate::identify;
use crate::park::{Parking, Until};
use crate::route::When;
use crate::routes::Priced;
use crate::run::Run;
use crate::running::Cancelled;
use crate::screen::Passed;
use trip::Trip;
use turn::Turn;

/// What came of the calls.
pub(crate) enum Came {
    /// The job's end.
    End(End),
    /// It must wait longer than a slot may be kept; with the calls so far.
    Park(Parking, Vec<AttemptRecord>),
}

impl Came {
    /// The calls that were made.
    pub(crate) fn attempts(&self) -> &[AttemptRecord] {
        match self {
            Came::End(end) => &end.attempts,
            Came::Park(_, attempts) => attempts,
        }
    }
}

/// Why there is no further call.
enum Stop {
    End(End),
    Park(Parking),
}

impl Stop {
    fn answers(&self) -> bool {
        matches!(self, Stop::End(End { outcome: Outcome::Answered(..), .. }))
    }
}

/// No slot is kept longer than this for a permit, a provider's hint, or a deployment that takes calls again.
const WAIT_IN_SLOT: Duration = Duration::from_secs(5);
/// A deployment without any key that works is looked at again after this: its keys know better whether one may be tried,
/// and may have been changed meanwhile.
const NO_KEY: Duration = Duration::from_secs(15);
/// A job that may not be tried again now, because too many are, waits so long at least.
const TOO_MANY_TRIES: Duration = Duration::from_secs(1);
/// A job that waits for a time and not behind a gate waits at least so long, and up to as long again by chance.
const WAIT_MIN: Duration = Duration::from_secs(2);

/// Calls until there is an answer, nothing is left to try, or the job must wait for long.
pub(crate) async fn call(
    delivery: &Delivery,
    screened: &Passed<'_>,
    run: &Run,
    held: &mut Held,
    cancelled: &Cancelled,
    cx: &Context,
) -> Came {
    let job = &*screened.job;
    let mut trip = Trip::begin(job, &run.team, held, cx).await;
    let stop = loop {
        let turn = match turn::ready(&mut trip, held, cancelled).await {
            Ok(turn) => turn,
            Err(stop) => break stop,
        };
        let started_at = cx.clock.now();
        let request = request(delivery, screened, run, trip.attempts.len() + 1, trip.remaining());
        let priced = trip.deployment(held, turn.at);
        let called = tokio::select! {
            called = deltas::call(priced, &request, screened, run, cx) => called,
            // Dropping the call closes its connection: the provider stops working, and may bill what it did.
            () = cancelled.cancelled() => aborted(started_at, cx),
        };
        match made(&mut trip, held, turn, called, started_at, run).await {
            Err(stop) => break stop,
            Ok(()) if cancelled.is_cancelled() => break Stop::End(cancellation()),
            Ok(()) => {}
        }
    };
    // A spoilt answer is better than none, and was paid for: nothing but a cancellation or a better one replaces it.
    let stop = match trip.filtered.take() {
        Some(spoilt) if !stop.answers() && !cancelled.is_cancelled() => Stop::End(spoilt),
        Some(_) | None => stop,
    };
    let attempts = trip.attempts;
    match stop {
        Stop::End(end) => Came::End(End { attempts, ..end }),
        Stop::Park(parking) => Came::Park(parking, attempts),
    }
}

/// What follows a call: its record, what the fleet learns from it, and where the trip goes on, or why it does not.
async fn made(
    trip: &mut Trip<'_>,
    held: &Held,
    turn: Turn,
    called: Called,
    started_at: UnixMillis,
    run: &Run,
) -> Result<(), Stop> {
    let Turn { at, under, pass } = turn;
    let cx = trip.cx;
    let priced = trip.deployment(held, at).clone();
    under.end(health(&called));
    let sent = was_sent(&called);
    let mut used = 0;
    if sent {
        let attempt = book::book(&called, trip.job, &priced, started_at).await;
        used = attempt.tokens.total();
        trip.booked(at, attempt);
        book::learn(&trip.attempts, run, trip.job, cx);
    }
    pass.into_iter().for_each(|pass| pass.used(used));
    let failure = match called.outcome {
        Ok(answer) => return trip.answered(held, answer, called.request_id).map_or(Ok(()), |end| Err(Stop::End(end))),
        Err(failure) => failure,
    };
    if failure.kind == FailureKind::Deadline && trip.remaining() != Some(Duration::ZERO) {
        // The call was cut off; whoever did that says how the job ends.
        return Ok(());
    }
    // Before the wish is heeded: a short one is waited for in the slot.
    let stand_in = trip.stand_in(held, When::after(failure.kind));
    let left = Left { key: called.another_key, model: stand_in.is_some(), ..trip.left(held, at) };
    let tried = trip.tried(at, left);
    heed(&failure, &priced, called.another_key, trip);
    if !sent && failure.kind != FailureKind::Unsupported {
        // Nobody was asked: the deployment has no key that works, and is out until it has one.
        return Ok(());
    }
    let limits = &cx.config.limits;
    let mut next = failure::decide(&failure, tried, limits, trip.delays.next(), trip.remaining());
    let goes_on = matches!(next, Next::Retry { .. } | Next::OtherDeployment | Next::OtherModel);
    if goes_on && failure::is_an_outage(failure.kind) && !cx.fleet.may_try_more(&priced) {
        next = Next::Wait { after: TOO_MANY_TRIES };
    }
    trip.failed(&failure);
    match next {
        Next::OtherKey => trip.prefer = Some(at),
        Next::Retry { after } => trip.again(at, after),
        Next::OtherDeployment => trip.rule_out(at),
        // The one that was there when this was decided: another job may have shut it since, and then it is waited for.
        Next::OtherModel => trip.take(held, stand_in.expect("it was decided for this one")),
        Next::Wait { after } => return Err(Stop::Park(parking(held, after, words(&failure, &priced), cx))),
        Next::Final(code) => return Err(Stop::End(trip.gave_up(code, failure))),
    }
    Ok(())
}

/// Leaves alone who asked for it, or has no key left.
fn heed(failure: &Failure, priced: &Priced, another_key: bool, trip: &Trip<'_>) {
    let cx = trip.cx;
    match failure.kind {
        FailureKind::Auth | FailureKind::QuotaExhausted if another_key => {}
        FailureKind::Auth | FailureKind::QuotaExhausted => {
            cx.fleet.shut_here(priced, failure.retry_after.unwrap_or(NO_KEY).min(NO_KEY));
        }
        kind if failure::is_an_outage(kind) => {
            if let Some(hint) = failure.retry_after.filter(|hint| !hint.is_zero()) {
                cx.fleet.leave_alone(priced, hint.min(cx.config.limits.retry_after_max));
            }
        }
        _ => {}
    }
}

fn was_sent(called: &Called) -> bool {
    let never = |failure: &Failure| match failure.kind {
        FailureKind::Unsupported => true,
        FailureKind::Auth | FailureKind::QuotaExhausted => failure.http_status.is_none(),
        _ => false,
    };
    !called.outcome.as_ref().err().is_some_and(never)
}

fn health(called: &Called) -> Health {
    match &called.outcome {
        Ok(_) => Health::Answered { first_token: first_token(called).unwrap_or(called.latency) },
        Err(failure) => Health::of(failure.kind),
    }
}

/// From the start of the call to the first of what the model wrote: of a whole answer, to its headers.
fn first_token(called: &Called) -> Option<Duration> {
    called.first_token.or(called.first_byte)
}

/// Why a job waits after a failure, without the provider's own words: they could quote the prompt.
fn words(failure: &Failure, priced: &Priced) -> String {
    let deployment = &priced.deployment;
    let code = failure::code(failure.kind);
    format!("{} at {} does not answer now ({code}); it is tried again", deployment.model, deployment.provider)
}

/// The wait of a job that no deployment takes now: behind its model's gate, if that is closed; else for a time, because
/// an open gate would send it back at once.
fn parking(held: &Held, after: Duration, why: String, cx: &Context) -> Parking {
    let gate = Gate::of_model(&held.route.legs[0].model);
    let until = if cx.gates.gate(&gate).left(0) == 0 {
        Until::Gate(gate)
    } else {
        let wait = after.max(WAIT_MIN).mul_f64(rand::random_range(1.0..2.0));
        Until::Time(cx.clock.now().plus(wait))
    };
    Parking { until, why }
}

/// The end of a job that somebody cancelled.
pub(crate) fn cancellation() -> End {
    End::refused(ErrorCode::Cancelled, "the job was cancelled")
}

fn aborted(started_at: UnixMillis, cx: &Context) -> Called {
    let failure = Failure {
        kind: FailureKind::Deadline,
        http_status: None,
        retry_after: None,
        billed: Billed::Maybe,
        message: "the call was cut off".to_owned(),
    };
    Called {
        outcome: Err(failure),
        http_status: None,
        request_id: String::new(),
        latency: cx.clock.now().since(started_at),
        first_byte: None,
        first_token: None,
        failed_usage: None,
        key: String::new(),
        another_key: false,
    }
}

fn request<'a>(
    delivery: &'a Delivery,
    screened: &'a Passed<'_>,
    run: &'a Run,
    number: usize,
    deadline_in: Option<Duration>,
) -> Call<'a> {
    Call {
        body: &screened.job.body,
        request: &screened.job.request,
        traceparent: delivery.traceparent().filter(|id| identify::is_a_trace(id)),
        // It may say anything, and guardrails do not see it.
        tracestate: delivery.header(headers::TRACESTATE).filter(|_| !screened.is_guarded()),
        job: run.job.as_str(),
        run: &run.id,
        attempt: u32::try_from(number).unwrap_or(u32::MAX),
        deadline_in,
        deltas: None,
    }
}

/// How the answer of a job is read.
fn reading(job: &JobSpec) -> Reading {
    if deltas::are_wanted(job) { Reading::Streamed } else { Reading::Whole }
}
