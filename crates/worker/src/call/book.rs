//! What a call used and cost, whatever became of it.

use std::time::Duration;

use tollgate_policy::failure;
use tollgate_policy::price::Service;
use tollgate_providers::{Called, tokens};
use tollgate_types::{AttemptOutcome, AttemptRecord, Billed, JobSpec, NanoUsd, Tokens, UnixMillis, UsageSource};

use crate::context::Context;
use crate::routes::Priced;
use crate::run::Run;

/// What an attempt used and cost.
pub(super) async fn book(called: &Called, job: &JobSpec, priced: &Priced, started_at: UnixMillis) -> AttemptRecord {
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
        first_byte_ms: super::first_token(called).map_or(0, millis),
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

/// Learns how long the answers of a team and model are.
pub(super) fn learn(attempts: &[AttemptRecord], run: &Run, job: &JobSpec, cx: &Context) {
    let answered = attempts.last().filter(|attempt| attempt.outcome == AttemptOutcome::Ok);
    if let Some(attempt) = answered {
        let answer = attempt.tokens.completion() / job.request.n.max(1);
        let mut estimates = cx.estimates.lock().expect("no holder panics");
        estimates.observe(&run.team, &job.request.model, answer);
    }
}
