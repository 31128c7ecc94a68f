//! Where the job may go: the legs of its way, each a model with the deployments that may serve the job, and the most it
//! can cost.
//!
//! What the team may use, and what the job asks for by tags, is decided here and nowhere else, so that it holds for the
//! model that was asked for, for every stand-in, and for the cheaper one that a budget puts in its place.

use tollgate_policy::routing::Strategy;
use tollgate_providers::tokens::prompt_bound;
use tollgate_queue::directory::Access;
use tollgate_types::{ErrorCode, FailureKind, JobSpec, NanoUsd, spelling};

use crate::context::Context;
use crate::end::End;
use crate::routes::{Priced, Serving};

/// What a prompt that is stored with the provider counts at most, where the model's context is not known.
const STORED_PROMPT_TOKENS: u64 = 1_000_000;

/// The way of one job.
pub(crate) struct Route {
    /// The model that was asked for, then those that stand in for it; never empty.
    pub(crate) legs: Vec<Leg>,
    /// The most that one run can cost: every allowed attempt at the dearest deployment.
    pub(crate) bound: NanoUsd,
    /// The most that one call of the first leg can cost: what is held to begin with.
    pub(crate) bound_of_one: NanoUsd,
}

/// A model that can serve the job.
pub(crate) struct Leg {
    /// Its name.
    pub(crate) model: String,
    /// When it is taken.
    pub(crate) when: When,
    /// How its deployments share calls.
    pub(crate) strategy: Strategy,
    /// Those that may serve the job and have a price, with the most that a call costs there; never empty.
    pub(crate) deployments: Vec<(Priced, NanoUsd)>,
    /// The most that one call can cost.
    pub(crate) bound_of_one: NanoUsd,
}

/// When a leg is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// To begin with.
    First,
    /// After an outage, or a refusal that another model need not share.
    Failed,
    /// When the prompt is too long.
    ContextLength,
    /// When the prompt is not welcome.
    ContentPolicy,
}

impl When {
    /// The stand-in that helps after such a failure.
    pub(crate) fn after(kind: FailureKind) -> When {
        match kind {
            FailureKind::ContextLength => When::ContextLength,
            FailureKind::ContentPolicy => When::ContentPolicy,
            FailureKind::Connect
            | FailureKind::FirstByteTimeout
            | FailureKind::TotalTimeout
            | FailureKind::Reset
            | FailureKind::RateLimited
            | FailureKind::QuotaExhausted
            | FailureKind::ServerError
            | FailureKind::NotAgain
            | FailureKind::Auth
            | FailureKind::NotFound
            | FailureKind::InvalidRequest
            | FailureKind::Unsupported
            | FailureKind::BadResponse
            | FailureKind::Deadline => When::Failed,
        }
    }
}

/// Finds the way, or says how the job ends.
pub(crate) fn route(job: &JobSpec, team: &str, cx: &Context) -> Result<Route, End> {
    by_model(&job.request.model, job, team, cx)
}

/// Finds the way by a model, which may be another than the job asked for.
pub(crate) fn by_model(model: &str, job: &JobSpec, team: &str, cx: &Context) -> Result<Route, End> {
    let access = cx.directory.team(team).map(|record| record.access.clone()).unwrap_or_default();
    // A model that the team may not use is to it as one that does not exist, in the same words.
    let Some(serving) = cx.routes.serving(model).filter(|_| access.model(model)) else {
        return Err(unknown(model, &access, cx));
    };
    let first = leg(model, When::First, serving, job, &access)?;
    let mut legs = vec![first];
    let stand_ins = [
        (When::Failed, &serving.stand_ins.fallbacks),
        (When::ContextLength, &serving.stand_ins.on_context_length),
        (When::ContentPolicy, &serving.stand_ins.on_content_policy),
    ];
    for (when, models) in stand_ins {
        // One that the team may not use, or that could cost more than the job allows itself, does not stand in.
        let found = models.iter().filter_map(|model| {
            let serving = cx.routes.serving(model).filter(|_| access.model(model))?;
            leg(model, when, serving, job, &access).ok().filter(|leg| affordable(job, leg))
        });
        legs.extend(found);
    }
    let dearest = legs.iter().map(|leg| leg.bound_of_one).max().unwrap_or_default();
    let attempts = i64::from(cx.config.limits.attempts_total);
    let bound_of_one = legs[0].bound_of_one;
    Ok(Route { legs, bound: NanoUsd(dearest.0.saturating_mul(attempts)), bound_of_one })
}

fn leg(model: &str, when: When, serving: &Serving, job: &JobSpec, access: &Access) -> Result<Leg, End> {
    let priced: Vec<&Priced> = serving.deployments.iter().filter(|priced| priced.price.is_some()).collect();
    if priced.is_empty() {
        let message = format!(
            "the model '{}' has no price; the operator prices it or declares its deployment free",
            shown(model)
        );
        return Err(End::refused(ErrorCode::UnpricedModel, message));
    }
    let allowed: Vec<&Priced> = priced.into_iter().filter(|priced| may_serve(priced, access)).collect();
    if allowed.is_empty() {
        let message = format!("the team may use no deployment of the model '{}': {access}", shown(model));
        return Err(End::refused(ErrorCode::ForbiddenModel, message));
    }
    let tagged = allowed.into_iter().filter(|priced| job.options.tags.is_subset(&priced.tags));
    let deployments: Vec<_> = tagged.map(|priced| (priced.clone(), bound(job, priced))).collect();
    if deployments.is_empty() {
        let tags: Vec<&str> = job.options.tags.iter().map(String::as_str).collect();
        let message = format!("no deployment of the model '{}' has all of the tags {}", shown(model), tags.join(", "));
        return Err(End::refused(ErrorCode::UnknownTag, message));
    }
    let bound_of_one = deployments.iter().map(|&(_, bound)| bound).max().unwrap_or_default();
    Ok(Leg { model: model.to_owned(), when, strategy: serving.strategy, deployments, bound_of_one })
}

/// How many names of models a message lists.
const NAMES_SHOWN: usize = 12;

/// The end of a job of a model that nobody serves, with the names that are nearest to it.
fn unknown(model: &str, access: &Access, cx: &Context) -> End {
    let model = shown(model);
    let mut known: Vec<&str> = cx.routes.names().filter(|name| access.model(name)).collect();
    known.sort_by_cached_key(|name| spelling::distance(name, &model));
    let more = if known.len() > NAMES_SHOWN { ", …" } else { "" };
    known.truncate(NAMES_SHOWN);
    let message = format!("no deployment serves the model '{model}'; there are: {}{more}", known.join(", "));
    End::refused(ErrorCode::UnknownModel, message)
}

/// Whether a team may be served by a deployment at all.
pub(crate) fn may_serve(priced: &Priced, access: &Access) -> bool {
    access.provider(&priced.deployment.provider) && access.region(&priced.deployment.region)
}

fn affordable(job: &JobSpec, leg: &Leg) -> bool {
    job.options.max_cost_usd.as_ref().is_none_or(|max| leg.bound_of_one <= max.0)
}

/// The most that one call can cost.
fn bound(job: &JobSpec, priced: &Priced) -> NanoUsd {
    let answer = job.request.max_tokens.unwrap_or(priced.output_tokens_max).saturating_mul(job.request.n);
    let price = priced.price.as_ref();
    // What is stored with the provider is as long as the model can read.
    let stored = if job.request.prompt_elsewhere { priced.context_tokens.unwrap_or(STORED_PROMPT_TOKENS) } else { 0 };
    let prompt = prompt_bound(job.body.len()).saturating_add(stored);
    price.map_or(NanoUsd::ZERO, |price| price.upper_bound(prompt, answer))
}

fn shown(model: &str) -> String {
    model.chars().take(64).collect()
}
