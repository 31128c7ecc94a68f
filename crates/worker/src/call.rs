//! The call: try the deployments in order, wait where waiting helps, book every attempt.

use std::time::Duration;

use tollgate_policy::failure::{self, Next, Tried};
use tollgate_policy::price::Service;
use tollgate_providers::{Answer, Call, Called, tokens};
use tollgate_queue::Delivery;
use tollgate_types::{
    AttemptOutcome, AttemptRecord, Billed, ErrorCode, Failure, JobSpec, NanoUsd, Tokens, UnixMillis, UsageSource,
    headers,
};

use crate::admit;
use crate::context::Context;
use crate::delays::Delays;
use crate::end::{End, Outcome};
use crate::route::Route;
use crate::routes::Priced;
use crate::run::Run;

/// Calls until there is an answer, or nothing is left to try.
pub(crate) async fn call(delivery: &Delivery, job: &JobSpec, run: &Run, route: &Route, cx: &Context) -> End {
    let mut attempts: Vec<AttemptRecord> = Vec::new();
    let mut delays = Delays::new();
    let mut at = 0;
    let mut here = 0;
    loop {
        let remaining = remaining(job, cx);
        if remaining == Some(Duration::ZERO) {
            return End { attempts, ..admit::expiry(job) };
        }
        let priced = &route.deployments[at];
        here += 1;
        let started_at = cx.clock.now();
        let request = request(delivery, job, run, attempts.len() + 1, remaining);
        let called = cx.caller.call(&priced.deployment, &request).await;
        attempts.push(book(&called, job, priced, started_at).await);
        let failure = match called.outcome {
            Ok(answer) => return answered(answer, called.request_id, attempts),
            Err(failure) => failure,
        };
        let tried = Tried {
            attempts_here: here,
            attempts_total: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
            other_deployment: at + 1 < route.deployments.len(),
        };
        match failure::decide(&failure, tried, &cx.config.limits, delays.next(), self::remaining(job, cx)) {
            Next::Retry { after } => tokio::time::sleep(after).await,
            Next::OtherDeployment => (at, here) = (at + 1, 0),
            Next::Final(code) => return gave_up(code, failure, attempts),
        }
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

/// The tokens of an attempt: what the provider says; else, where it may have billed, the prompt as we count it. What
/// it may have written before it broke off is not known, and not guessed.
async fn used(called: &Called, job: &JobSpec, priced: &Priced) -> (Tokens, UsageSource, String) {
    match &called.outcome {
        Ok(answer) => (answer.tokens, answer.usage_source, answer.raw_usage.clone()),
        Err(failure) => match (&called.failed_usage, failure.billed) {
            (Some(usage), _) => (usage.tokens, UsageSource::Provider, usage.raw.clone()),
            (None, Billed::Maybe) => {
                let input = tokens::estimate_prompt(job.body.clone(), &priced.deployment.model).await;
                (Tokens { input, ..Tokens::default() }, UsageSource::Estimated, String::new())
            }
            (None, Billed::No) => (Tokens::default(), UsageSource::None, String::new()),
        },
    }
}
