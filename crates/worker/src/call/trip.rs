//! The trip of one run over the deployments: where it is, what was tried, and what is left.

use std::time::Duration;

use tokio::time::Instant;
use tollgate_policy::failure::{Left, Tried};
use tollgate_providers::{Answer, tokens};
use tollgate_types::{AttemptRecord, Endpoint, ErrorCode, Failure, FailureKind, JobSpec, NanoUsd};

use crate::context::Context;
use crate::delays::Delays;
use crate::end::{End, Outcome};
use crate::hold::Held;
use crate::route::{Leg, When};
use crate::routes::Priced;

/// Where a run is on its way.
pub(super) struct Trip<'a> {
    pub(super) job: &'a JobSpec,
    pub(super) team: String,
    pub(super) cx: &'a Context,
    /// The calls so far.
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) delays: Delays,
    /// The deployment that is tried again, if it takes calls.
    pub(super) prefer: Option<usize>,
    /// Not before then.
    pub(super) not_before: Option<Instant>,
    /// When it began, by the fleet's clock.
    began: Duration,
    /// The leg that it is on; the first is the model that was asked for.
    pub(super) leg: usize,
    /// Legs that were taken.
    taken: Vec<bool>,
    /// Of each deployment of the leg: calls, and whether it is not called any more.
    here: Vec<(u32, bool)>,
    /// What the prompt counts, where it may be too long for a deployment.
    prompt_tokens: Option<u64>,
    /// An answer that a content policy cut or emptied, while another model is asked.
    pub(super) filtered: Option<End>,
    /// The first failure that was not for want of a feature: what the producer hears if all others are.
    first: Option<(ErrorCode, String)>,
}

/// A prompt counts as too long for a model when what we counted of it is above its context by this part: other vendors'
/// tokenizers count less than ours by up to a fifth.
const COUNT_MARGIN: f64 = 1.25;

impl<'a> Trip<'a> {
    pub(super) async fn begin(job: &'a JobSpec, team: &str, held: &Held, cx: &'a Context) -> Trip<'a> {
        let legs = &held.route.legs;
        let smallest =
            legs.iter().flat_map(|leg| &leg.deployments).filter_map(|(priced, _)| priced.context_tokens).min();
        // Each input of an embedding is read for itself.
        let smallest = smallest.filter(|_| job.request.endpoint != Endpoint::Embeddings);
        // Mostly the bytes alone say that it fits, and nothing is counted.
        let prompt_tokens = match smallest.is_some_and(|context| tokens::prompt_bound(job.body.len()) > context) {
            true => Some(tokens::prompt_at_least(job.body.clone(), &job.request.model).await),
            false => None,
        };
        let mut trip = Trip {
            job,
            team: team.to_owned(),
            cx,
            attempts: Vec::new(),
            delays: Delays::new(),
            prefer: None,
            not_before: None,
            began: cx.fleet.point(),
            leg: 0,
            taken: vec![false; legs.len()],
            here: Vec::new(),
            prompt_tokens,
            filtered: None,
            first: None,
        };
        trip.take(held, 0);
        trip
    }

    /// Goes on with this leg.
    pub(super) fn take(&mut self, held: &Held, leg: usize) {
        (self.leg, self.prefer, self.not_before) = (leg, None, None);
        self.taken[leg] = true;
        self.here = held.route.legs[leg].deployments.iter().map(|(priced, _)| (0, self.is_too_small(priced))).collect();
    }

    fn is_too_small(&self, priced: &Priced) -> bool {
        let context = priced.context_tokens.map_or(f64::INFINITY, |context| context as f64);
        self.prompt_tokens.is_some_and(|prompt| prompt as f64 > context * COUNT_MARGIN)
    }

    pub(super) fn leg<'h>(&self, held: &'h Held) -> &'h Leg {
        &held.route.legs[self.leg]
    }

    pub(super) fn deployment<'h>(&self, held: &'h Held, at: usize) -> &'h Priced {
        &self.leg(held).deployments[at].0
    }

    /// The deployments of the leg that may still be called, by their place.
    pub(super) fn ways<'h>(&self, held: &'h Held) -> Vec<(usize, &'h Priced, NanoUsd)> {
        let all = self.leg(held).deployments.iter().enumerate();
        all.filter(|(at, _)| !self.here[*at].1).map(|(at, (priced, cost))| (at, priced, *cost)).collect()
    }

    /// What one more call needs to be covered for, with the calls so far.
    pub(super) fn needs(&self, held: &Held) -> NanoUsd {
        let spent: NanoUsd = self.attempts.iter().map(|attempt| attempt.cost_nanousd).sum();
        spent + self.leg(held).bound_of_one
    }

    /// The time that the job has left.
    pub(super) fn remaining(&self) -> Option<Duration> {
        self.job.options.deadline.as_ref().map(|deadline| deadline.at.since(self.cx.clock.now()))
    }

    /// A call was made.
    pub(super) fn booked(&mut self, at: usize, attempt: AttemptRecord) {
        self.here[at].0 += 1;
        self.attempts.push(attempt);
    }

    /// The end with an answer; none yet, if a content policy spoilt it and another model may be asked instead.
    pub(super) fn answered(&mut self, held: &Held, answer: Answer, request_id: String) -> Option<End> {
        let spoilt = answer.finish == "content_filter";
        let end = End { outcome: Outcome::Answered(Box::new(answer), request_id), attempts: Vec::new() };
        if spoilt && self.stands_in(held, When::ContentPolicy) {
            self.filtered = Some(end);
            return None;
        }
        Some(end)
    }

    /// Remembers why a call failed.
    pub(super) fn failed(&mut self, failure: &Failure) {
        if failure.kind != FailureKind::Unsupported && self.first.is_none() {
            self.first = Some((tollgate_policy::failure::code(failure.kind), failure.message.clone()));
        }
    }

    /// What was tried when a call to `at` failed, with what is left.
    pub(super) fn tried(&self, at: usize, left: Left) -> Tried {
        let attempts_total = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        Tried { attempts_here: self.here[at].0, attempts_total, left }
    }

    /// What is left of the leg beside `at`; keys and other models are not looked at.
    pub(super) fn left(&self, held: &Held, at: usize) -> Left {
        let fleet = &self.cx.fleet;
        let all = || self.leg(held).deployments.iter().map(|(priced, _)| priced);
        let others = self.ways(held).into_iter().filter(|&(other, ..)| other != at).map(|(_, priced, _)| priced);
        Left {
            deployment: fleet.any_open(others),
            open: fleet.any_open(all()),
            well: fleet.any_answered_since(self.began, all()),
            ..Left::default()
        }
    }

    /// The next model that stands in, takes calls, and is not paused.
    pub(super) fn stand_in(&self, held: &Held, when: When) -> Option<usize> {
        let legs = held.route.legs.iter().enumerate();
        let is_paused = |leg: &Leg| self.cx.directory.model_pause(&leg.model).is_some();
        let mut left = legs.filter(|(at, leg)| leg.when == when && !self.taken[*at] && !is_paused(leg));
        left.find(|(_, leg)| {
            let fits = leg.deployments.iter().map(|(priced, _)| priced).filter(|priced| !self.is_too_small(priced));
            self.cx.fleet.any_open(fits)
        })
        .map(|(at, _)| at)
    }

    /// Calls the same deployment again after a wait.
    pub(super) fn again(&mut self, at: usize, after: Duration) {
        (self.prefer, self.not_before) = (Some(at), Some(Instant::now() + after));
    }

    /// Does not call this deployment again.
    pub(super) fn rule_out(&mut self, at: usize) {
        self.here[at].1 = true;
        self.prefer = None;
    }

    /// Goes on with a model that stands in, if there is one that takes calls.
    pub(super) fn stands_in(&mut self, held: &Held, when: When) -> bool {
        let found = self.stand_in(held, when);
        found.into_iter().for_each(|leg| self.take(held, leg));
        found.is_some()
    }

    /// The end of a job that is given up. One that met an outage is not told that a field is unsupported elsewhere.
    pub(super) fn gave_up(&self, code: ErrorCode, failure: Failure) -> End {
        let (code, message) = match (&self.first, failure.kind) {
            (Some((code, message)), FailureKind::Unsupported) => (*code, message.clone()),
            _ => (code, failure.message),
        };
        let tries = self.attempts.len();
        let message = if tries > 1 { format!("{message} (after {tries} attempts)") } else { message };
        End { outcome: Outcome::Refused(code, message), attempts: Vec::new() }
    }

    /// The end of a job whose prompt fits no model.
    pub(super) fn too_long(&self, held: &Held) -> End {
        let contexts = self.leg(held).deployments.iter().filter_map(|(priced, _)| priced.context_tokens);
        let (largest, prompt) = (contexts.max().unwrap_or_default(), self.prompt_tokens.unwrap_or_default());
        let model = &self.leg(held).model;
        let message =
            format!("the prompt has about {prompt} tokens, and '{model}' reads at most {largest}; shorten it");
        End::refused(ErrorCode::ContextLengthExceeded, message)
    }
}
