//! Which of several deployments is called: in order, by weight, by cost, or by latency; never one that takes no calls.
//!
//! All strategies agree on who comes first of all: deployments that are well. One that has become slow comes after those,
//! except for a call now and then that shows whether it is over; one whose breaker is half open gets the one call that
//! tries it, from whoever comes by; one that is full or shut gets none.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_types::NanoUsd;

use crate::health::{Health, Reading, Standing};

/// How the deployments of a model share its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The first that is well gets all; the others stand by.
    #[default]
    Ordered,
    /// Each gets its part, by its weight.
    Weighted,
    /// The one at which the job costs least.
    LowestCost,
    /// The less loaded of two that chance picks (power of two choices over peak EWMA latency).
    LowestLatency,
}

/// A deployment that could serve a job.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its part with [`Strategy::Weighted`], against the others; 0 gets calls only when nobody else is well.
    pub weight: u32,
    /// The most that a call can cost here.
    pub cost: NanoUsd,
    /// How it is doing.
    pub health: &'a Health,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whom to call, by the place in the list: the first, or if it has no permit the next, and so on.
    Call(Vec<usize>),
    /// Nobody takes calls; one may from then on, or as soon as a call ends.
    Nobody {
        /// When it is worth another look.
        until: Duration,
    },
}

/// Chooses among candidates for one call. `chance` gives numbers from 0 to 1, without 1.
pub fn choose(
    strategy: Strategy,
    candidates: &[Candidate<'_>],
    reading: Reading,
    now: Duration,
    chance: &mut dyn FnMut() -> f64,
) -> Choice {
    let mut tiers: [Vec<usize>; 3] = Default::default();
    let mut until = Duration::MAX;
    for (at, candidate) in candidates.iter().enumerate() {
        match candidate.health.standing(now) {
            // First of all: it takes one call, and that call is how everybody learns that it is back.
            Standing::Probe => tiers[0].push(at),
            Standing::Slow if candidate.health.slow_try_is_due(now) => tiers[0].push(at),
            Standing::Ready => tiers[1].push(at),
            Standing::Slow => tiers[2].push(at),
            Standing::Full => until = until.min(now),
            Standing::Shut { until: then } => until = until.min(then),
        }
    }
    let [doubtful, ready, slow] = tiers.map(|tier| arrange(strategy, candidates, tier, reading, now, chance));
    // A doubtful one is tried by one call, and only where it would be preferred if it were well.
    let wanted = |at: usize| ready.first().is_none_or(|&best| would_be_preferred(strategy, candidates, at, best));
    let order: Vec<usize> =
        doubtful.into_iter().filter(|&at| wanted(at)).take(1).chain(ready.iter().copied()).chain(slow).collect();
    if order.is_empty() { Choice::Nobody { until } } else { Choice::Call(order) }
}

fn would_be_preferred(strategy: Strategy, candidates: &[Candidate<'_>], at: usize, to: usize) -> bool {
    match strategy {
        Strategy::Ordered => at < to,
        Strategy::LowestCost => (candidates[at].cost, at) < (candidates[to].cost, to),
        Strategy::Weighted => candidates[at].weight > 0,
        Strategy::LowestLatency => true,
    }
}

fn arrange(
    strategy: Strategy,
    candidates: &[Candidate<'_>],
    mut those: Vec<usize>,
    reading: Reading,
    now: Duration,
    chance: &mut dyn FnMut() -> f64,
) -> Vec<usize> {
    match strategy {
        Strategy::Ordered => {}
        Strategy::LowestCost => those.sort_by_key(|&at| candidates[at].cost),
        Strategy::Weighted => by_weight(candidates, &mut those, chance),
        Strategy::LowestLatency => {
            let load = |at: usize| candidates[at].health.load(reading, now);
            those.sort_by(|&a, &b| load(a).total_cmp(&load(b)));
            // Two of all by chance, and of these the less loaded: so that not all workers run to the same one.
            if those.len() > 2 {
                let picked = |n: usize, chance: f64| (chance * n as f64) as usize;
                let one = picked(those.len(), chance());
                let other = (one + 1 + picked(those.len() - 1, chance())) % those.len();
                let best = those.remove(one.min(other));
                those.insert(0, best);
            }
        }
    }
    those
}

/// Draws one after the other, each by its weight among those that are left.
fn by_weight(candidates: &[Candidate<'_>], those: &mut [usize], chance: &mut dyn FnMut() -> f64) {
    for from in 0..those.len() {
        let left = &those[from..];
        let total: f64 = left.iter().map(|&at| f64::from(candidates[at].weight)).sum();
        let mut mark = chance() * total;
        let drawn = left.iter().position(|&at| {
            mark -= f64::from(candidates[at].weight);
            mark < 0.0
        });
        those.swap(from, from + drawn.unwrap_or(0));
    }
}

#[cfg(test)]
mod recovery;
#[cfg(test)]
mod tests;
