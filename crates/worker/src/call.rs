//! The call: try the deployments in order, wait where waiting helps, book every attempt.
//!
//! A call needs a permit of its deployment, and money for one more call than was paid for. A wait that is short is kept
//! in the job's slot; for a long one the job is parked.

use std::time::Duration;

use tollgate_policy::failure::{self, Next, Tried};
use tollgate_policy::price::Service;
use tollgate_providers::{Answer, Call, Called, tokens};
use tollgate_queue::Delivery;
use tollgate_types::{
    AttemptOutcome, AttemptRecord, Billed, ErrorCode, Failure, FailureKind, Gate, JobSpec, NanoUsd, Tokens, UnixMillis,
    UsageSource, headers,
};

use crate::admit;
use crate::board::Entrance;
use crate::context::Context;
use crate::delays::Delays;
use crate::end::{End, Outcome};
use crate::hold::{self, Decision, Held};
use crate::limiter::{Limited, Need, Pass, Short};
use crate::park::{Parking, Until};
use crate::routes::Priced;
use crate::run::Run;
use crate::running::Cancelled;

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

/// No slot is kept longer than this for a permit or a provider's hint.
const WAIT_IN_SLOT: Duration = Duration::from_secs(5);

/// Calls until there is an answer, nothing is left to try, or the job must wait for long.
pub(crate) async fn call(
    delivery: &Delivery,
    job: &JobSpec,
    run: &Run,
    held: &mut Held,
    cancelled: &Cancelled,
    cx: &Context,
) -> Came {
    let mut attempts: Vec<AttemptRecord> = Vec::new();
    let mut delays = Delays::new();
    let (mut at, mut here) = (0, 0);
    loop {
        let (chosen, pass) = match ready(job, held, at, &attempts, cancelled, cx).await {
            Ok(ready) => ready,
            Err(stop) => return stop.with(attempts),
        };
        held.entrance = Entrance::default();
        if chosen != at {
            (at, here) = (chosen, 0);
        }
        let priced = &held.route.deployments[at];
        here += 1;
        let started_at = cx.clock.now();
        let request = request(delivery, job, run, attempts.len() + 1, remaining(job, cx));
        let called = tokio::select! {
            called = cx.caller.call(&priced.deployment, &request) => called,
            // Dropping the call closes its connection: the provider stops working, and may bill what it did.
            () = cancelled.cancelled() => aborted(started_at, cx),
        };
        attempts.push(book(&called, job, priced, started_at).await);
        let used = attempts.last().map(|attempt| attempt.tokens.total()).unwrap_or_default();
        pass.into_iter().for_each(|pass| pass.used(used));
        learn(&attempts, run, job, cx);
        let failure = match called.outcome {
            Ok(answer) => return Came::End(answered(answer, called.request_id, attempts)),
            Err(failure) => failure,
        };
        if cancelled.is_cancelled() {
            return Came::End(End { attempts, ..cancellation() });
        }
        let tried = Tried {
            attempts_here: here,
            attempts_total: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
            other_deployment: at + 1 < held.route.deployments.len(),
        };
        match failure::decide(&failure, tried, &cx.config.limits, delays.next(), self::remaining(job, cx)) {
            Next::Retry { after } if after > WAIT_IN_SLOT => {
                let why = closed_for(after, &held.route.deployments[at], cx);
                return Came::Park(Parking { until: behind(job, held), why }, attempts);
            }
            Next::Retry { after } => pause(after, cancelled).await,
            Next::OtherDeployment => (at, here) = (at + 1, 0),
            Next::Final(code) => return Came::End(gave_up(code, failure, attempts)),
        }
    }
}

/// Why there is no further call.
enum Stop {
    End(End),
    Park(Parking),
}

impl Stop {
    fn with(self, attempts: Vec<AttemptRecord>) -> Came {
        match self {
            Stop::End(end) => Came::End(End { attempts, ..end }),
            Stop::Park(parking) => Came::Park(parking, attempts),
        }
    }
}

/// Makes sure that one more call may be made, and says where: in time, paid for, and with a permit.
async fn ready(
    job: &JobSpec,
    held: &mut Held,
    at: usize,
    attempts: &[AttemptRecord],
    cancelled: &Cancelled,
    cx: &Context,
) -> Result<(usize, Option<Pass>), Stop> {
    if cancelled.is_cancelled() {
        return Err(Stop::End(cancellation()));
    }
    if remaining(job, cx) == Some(Duration::ZERO) {
        return Err(Stop::End(admit::expiry(job)));
    }
    let spent: NanoUsd = attempts.iter().map(|attempt| attempt.cost_nanousd).sum();
    if spent > NanoUsd::ZERO {
        match hold::for_another_call(held, spent, cx).await {
            Ok(()) => {}
            Err(Decision::Park(parking)) => return Err(Stop::Park(parking)),
            Err(Decision::End(end)) => return Err(Stop::End(end)),
            Err(Decision::Go(_)) => unreachable!("money is raised in place"),
        }
    }
    turn(job, held, at, cancelled, cx).await
}

/// A permit of the first deployment from `at` on that has one; if none has, a short wait for the first of them.
async fn turn(
    job: &JobSpec,
    held: &Held,
    at: usize,
    cancelled: &Cancelled,
    cx: &Context,
) -> Result<(usize, Option<Pass>), Stop> {
    let (route, need) = (&held.route, Need { tokens: held.expected.tokens() });
    let mut first_short = None;
    for (number, priced) in route.deployments.iter().enumerate().skip(at) {
        match cx.limiter.pass(&Limited::of(priced), need).await {
            Ok(pass) => return Ok((number, pass)),
            Err(short) => drop(first_short.get_or_insert((number, short))),
        }
    }
    let (number, short) = first_short.expect("a route has deployments, and `at` is one of them");
    let priced = &route.deployments[number];
    if let Short::Never { message } = short {
        return Err(Stop::End(End::refused(ErrorCode::OverLimit, message)));
    }
    let within = remaining(job, cx).map_or(WAIT_IN_SLOT, |left| left.min(WAIT_IN_SLOT));
    let limited = Limited::of(priced);
    let waited = tokio::select! {
        waited = cx.limiter.pass_within(&limited, need, within) => waited,
        () = cancelled.cancelled() => return Err(Stop::End(cancellation())),
    };
    match waited {
        Ok(pass) => Ok((number, pass)),
        Err(Short::Never { message }) => Err(Stop::End(End::refused(ErrorCode::OverLimit, message))),
        Err(Short::Wait { .. }) if remaining(job, cx) == Some(Duration::ZERO) => Err(Stop::End(admit::expiry(job))),
        Err(Short::Wait { message }) => Err(Stop::Park(Parking { until: behind(job, held), why: message })),
    }
}

/// The gate of the model that serves the job: the one that it asked for, or the cheaper one.
fn behind(job: &JobSpec, held: &Held) -> Until {
    Until::Gate(Gate::of_model(held.downgraded_to.as_deref().unwrap_or(&job.request.model)))
}

/// A provider asked to be left alone for long: its deployment is closed, in the words that are returned.
fn closed_for(after: Duration, priced: &Priced, cx: &Context) -> String {
    let until = cx.clock.now().plus(after);
    cx.limiter.close(&Limited::of(priced), until);
    let deployment = &priced.deployment;
    format!("{} {} takes no calls until {}", deployment.provider, deployment.model, until.to_rfc3339())
}

async fn pause(wait: Duration, cancelled: &Cancelled) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = cancelled.cancelled() => {}
    }
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
    }
}

/// Learns how long the answers of a team and model are.
fn learn(attempts: &[AttemptRecord], run: &Run, job: &JobSpec, cx: &Context) {
    let answered = attempts.last().filter(|attempt| attempt.outcome == AttemptOutcome::Ok);
    if let Some(attempt) = answered {
        let answer = attempt.tokens.completion() / job.request.n.max(1);
        let mut estimates = cx.estimates.lock().expect("no holder panics");
        estimates.observe(&run.team, &job.request.model, answer);
    }
}

fn request<'a>(
    delivery: &'a Delivery,
    job: &'a JobSpec,
    run: &'a Run,
    number: usize,
    deadline_in: Option<Duration>,
) -> Call<'a> {
    Call {
        body: &job.body,
        request: &job.request,
        traceparent: delivery.traceparent(),
        tracestate: delivery.header(headers::TRACESTATE),
        job: run.job.as_str(),
        run: &run.id,
        attempt: u32::try_from(number).unwrap_or(u32::MAX),
        deadline_in,
        deltas: None,
    }
}

fn remaining(job: &JobSpec, cx: &Context) -> Option<Duration> {
    job.options.deadline.as_ref().map(|deadline| deadline.at.since(cx.clock.now()))
}

fn answered(answer: Answer, request_id: String, attempts: Vec<AttemptRecord>) -> End {
    End { outcome: Outcome::Answered(Box::new(answer), request_id), attempts }
}

fn gave_up(code: ErrorCode, failure: Failure, attempts: Vec<AttemptRecord>) -> End {
    let tries = attempts.len();
    let message = if tries > 1 { format!("{} (after {tries} attempts)", failure.message) } else { failure.message };
    End { outcome: Outcome::Refused(code, message), attempts }
}

/// What an attempt used and cost, whatever became of it.
async fn book(called: &Called, job: &JobSpec, priced: &Priced, started_at: UnixMillis) -> AttemptRecord {
    let (outcome, error) = match &called.outcome {
        Ok(_) => (AttemptOutcome::Ok, ""),
        Err(failure) => (failure::outcome(failure.kind), failure::code(failure.kind).as_str()),
    };
    let (tokens, usage_source, raw_usage) = used(called, job, priced).await;
    let price = priced.price.as_ref().filter(|_| usage_source != UsageSource::None);
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    AttemptRecord {
        provider: priced.deployment.provider.clone(),
        model: priced.deployment.model.clone(),
        region: priced.deployment.region.clone(),
        outcome,
        error: error.to_owned(),
        http_status: called.http_status.unwrap_or(0),
        started_at,
        latency_ms: millis(called.latency),
        first_byte_ms: called.first_byte.map_or(0, millis),
        tokens,
        usage_source,
        cost_nanousd: price.map_or(NanoUsd::ZERO, |price| price.cost(&tokens, Service::Standard)),
        price_version: priced.price.as_ref().map(|price| price.version().to_owned()).unwrap_or_default(),
        request_id: called.request_id.clone(),
        raw_usage,
    }
}

/// The tokens of an attempt: what the provider says; else, where it may have billed, what is known of it as we count it:
/// the prompt, and what came of a stream. What it may have written and did not send is not known, and not guessed.
async fn used(called: &Called, job: &JobSpec, priced: &Priced) -> (Tokens, UsageSource, String) {
    match &called.outcome {
        Ok(answer) => (answer.tokens, answer.usage_source, answer.raw_usage.clone()),
        Err(failure) => match (&called.failed_usage, failure.billed) {
            (Some(usage), _) => (usage.tokens, usage.source, usage.raw.clone()),
            (None, Billed::Maybe) => {
                let input = tokens::estimate_prompt(job.body.clone(), &priced.deployment.model).await;
                (Tokens { input, ..Tokens::default() }, UsageSource::Estimated, String::new())
            }
            (None, Billed::No) => (Tokens::default(), UsageSource::None, String::new()),
        },
    }
}
