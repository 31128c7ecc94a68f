//! Where the job may go: the deployments that serve its model and have a price, in order, and the most it can cost.

use tollgate_providers::tokens::prompt_bound;
use tollgate_types::{ErrorCode, JobSpec, NanoUsd};

use crate::context::Context;
use crate::end::End;
use crate::routes::Priced;

/// The way of one job.
pub(crate) struct Route {
    /// Where to try, in order; never empty.
    pub(crate) deployments: Vec<Priced>,
    /// The most that one run can cost: every allowed attempt at the dearest deployment.
    pub(crate) bound: NanoUsd,
    /// The most that one call can cost, at the dearest deployment: what is held.
    pub(crate) bound_of_one: NanoUsd,
}

/// Finds the way, or says how the job ends.
pub(crate) fn route(job: &JobSpec, cx: &Context) -> Result<Route, End> {
    by_model(&job.request.model, job, cx)
}

/// Finds the way by a model, which may be another than the job asked for.
pub(crate) fn by_model(model: &str, job: &JobSpec, cx: &Context) -> Result<Route, End> {
    let serving = cx.routes.of(model);
    if serving.is_empty() {
        let known: Vec<&str> = cx.routes.names().take(20).collect();
        let message = format!("no deployment serves the model '{}'; known: {}", shown(model), known.join(", "));
        return Err(End::refused(ErrorCode::UnknownModel, message));
    }
    let deployments: Vec<Priced> = serving.iter().filter(|priced| priced.price.is_some()).cloned().collect();
    if deployments.is_empty() {
        let message = format!(
            "the model '{}' has no price; the operator prices it or declares its deployment free",
            shown(model)
        );
        return Err(End::refused(ErrorCode::UnpricedModel, message));
    }
    let bound_of_one = deployments.iter().map(|priced| bound(job, priced)).max().unwrap_or_default();
    let attempts = i64::from(cx.config.limits.attempts_total);
    Ok(Route { deployments, bound: NanoUsd(bound_of_one.0.saturating_mul(attempts)), bound_of_one })
}

/// The most that one call can cost.
fn bound(job: &JobSpec, priced: &Priced) -> NanoUsd {
    let answer = job.request.max_tokens.unwrap_or(priced.output_tokens_max).saturating_mul(job.request.n);
    let price = priced.price.as_ref();
    price.map_or(NanoUsd::ZERO, |price| price.upper_bound(prompt_bound(job.body.len()), answer))
}

fn shown(model: &str) -> String {
    model.chars().take(64).collect()
}
