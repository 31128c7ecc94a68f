//! How fairly an order served what waited: shares, Jain's index, droughts. Pure arithmetic over what was recorded.
//!
//! A *lane* here is whatever the order chooses between: the classes, or the teams of one class. It is *saturated* while
//! a job of it has waited for longer than [`SEEN_AFTER_MS`]; only then does a weight promise anything. What a job costs
//! counts when the job starts, because that is what an order decides.
//!
//! For start-time fair queueing over saturated lanes `i` and `j` with the weights `w` and the dearest jobs `l`, what
//! they were served differs over any interval by at most `l_i/w_i + l_j/w_j`, each per weight (Goyal, Vin and Cheng,
//! "Start-time Fair Queueing", 1996). Over windows of ten times that, Jain's index of a fair order is above 0.99; over
//! shorter ones a low index says nothing.

use tollgate_types::Tokens;

/// How long a job waits before it counts as waiting: a worker that has nothing to do looks this often whether there is
/// work (see the worker's dispatch loop), and what starts within it met no order.
pub(super) const SEEN_AFTER_MS: i64 = 100;
/// A window is so many times the bound; a lane starved if others were served so many times the bound before its turn.
const BOUNDS: f64 = 10.0;

/// A job as the order dealt with it; times in milliseconds of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The lane's index.
    pub(super) lane: usize,
    /// When it was accepted.
    pub(super) accepted_ms: i64,
    /// When it started.
    pub(super) started_ms: i64,
    /// What it cost, see [`token_cost`].
    pub(super) cost: u64,
}

/// What a job counts for: a token of the prompt once, a token of the answer four times, which is about how prices differ.
pub(super) fn token_cost(tokens: &Tokens) -> u64 {
    tokens.prompt().saturating_add(tokens.completion().saturating_mul(4))
}

/// The nearest rank: the smallest of the sorted values that at least so many in a hundred do not exceed; 0 of none.
pub(in crate::commands::demo) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Jain's index: 1 if all have the same, down to one over their number if one has everything; 1 of nothing.
pub(super) fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 }
}

/// What a lane got while it and another one were saturated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    /// Token cost that it was served.
    pub(super) served: u64,
    /// Token cost that its weight entitled it to.
    pub(super) entitled: f64,
    /// Token cost that all saturated lanes were served meanwhile; 0 if it was never saturated beside another.
    pub(super) of: u64,
}

impl Share {
    /// What it got and what its weight promised, as parts of 1; `None` if it was never saturated beside another.
    pub(super) fn parts(&self) -> Option<(f64, f64)> {
        let of = self.of as f64;
        (self.of > 0).then(|| (self.served as f64 / of, self.entitled / of))
    }
}

/// The share of each lane, summed over every start of a saturated lane beside another saturated one.
pub(super) fn shares(jobs: &[Served], weights: &[f64]) -> Vec<Share> {
    let mut shares = vec![Share::default(); weights.len()];
    walk(jobs, weights.len(), |lane, cost, waiting| {
        let saturated = || (0..weights.len()).filter(|&lane| waiting[lane] > 0);
        if waiting[lane] == 0 || saturated().nth(1).is_none() {
            return;
        }
        let together: f64 = saturated().map(|lane| weights[lane]).sum();
        for beside in saturated() {
            shares[beside].of += cost;
            shares[beside].entitled += cost as f64 * weights[beside] / together;
        }
        shares[lane].served += cost;
    });
    shares
}

/// Ten times the bound for these lanes: the shortest window over which an index means something. 0 for fewer than two
/// lanes with jobs.
///
/// Each of `workers` is fair by itself, so their deviations may add up.
pub(super) fn window(jobs: &[Served], weights: &[f64], workers: usize) -> u64 {
    let dearest = dearest(jobs, weights.len());
    let together = together(&dearest, weights);
    let per_weight = |lane: usize| dearest[lane] as f64 * together / weights[lane];
    let mut turns: Vec<f64> = (0..weights.len()).filter(|&lane| dearest[lane] > 0).map(per_weight).collect();
    turns.sort_by(|a, b| b.total_cmp(a));
    let [first, second, ..] = turns[..] else { return 0 };
    (BOUNDS * workers as f64 * (first + second)).ceil() as u64
}

fn dearest(jobs: &[Served], lanes: usize) -> Vec<u64> {
    let mut dearest = vec![0; lanes];
    for job in jobs {
        dearest[job.lane] = job.cost.max(dearest[job.lane]);
    }
    dearest
}

/// The weights of all lanes that have jobs.
fn together(dearest: &[u64], weights: &[f64]) -> f64 {
    dearest.iter().zip(weights).filter(|(dearest, _)| **dearest > 0).map(|(_, weight)| weight).sum()
}

/// Jain's index of what lanes got per weight, for each window: a stretch through which at least two lanes were saturated
/// without a break, as long as those were served `size` of token cost together.
///
/// A lane that has nothing waiting drops out of the window that it was in; with fewer than two left, the window begins
/// anew.
pub(super) fn indices(jobs: &[Served], weights: &[f64], size: u64) -> Vec<f64> {
    let mut found = Vec::new();
    if size == 0 {
        return found;
    }
    // What each lane of the window was served in it.
    let mut window: Vec<Option<u64>> = Vec::new();
    walk(jobs, weights.len(), |lane, cost, waiting| {
        for (served, waiting) in window.iter_mut().zip(waiting) {
            *served = served.filter(|_| *waiting > 0);
        }
        if window.iter().flatten().count() < 2 {
            window = waiting.iter().map(|&waiting| (waiting > 0).then_some(0)).collect();
        }
        if let Some(served) = &mut window[lane] {
            *served += cost;
        }
        if window.iter().flatten().sum::<u64>() >= size && window.iter().flatten().nth(1).is_some() {
            let of = |(served, weight): (&Option<u64>, &f64)| served.map(|served| served as f64 / weight);
            found.push(jain(&window.iter().zip(weights).filter_map(of).collect::<Vec<_>>()));
            window.clear();
        }
    });
    found
}

/// How long a lane went without, in what others were served meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Drought {
    /// The most token cost that others were served while it was saturated and got nothing.
    pub(super) worst: u64,
    /// The most that a fair order serves to others before its turn comes.
    pub(super) bound: u64,
}

impl Drought {
    /// Whether that was ten times the bound: no order's grain, and no worker's delay, is as long.
    pub(super) fn starved(&self) -> bool {
        self.worst as f64 > BOUNDS * self.bound as f64
    }
}

/// The worst drought of each lane.
///
/// Before a lane's turn comes, others get at most their part of what keeps step with the lane's own dearest job, and a
/// dearest job each.
pub(super) fn droughts(jobs: &[Served], weights: &[f64], workers: usize) -> Vec<Drought> {
    let dearest = dearest(jobs, weights.len());
    let (all, together) = (dearest.iter().sum::<u64>(), together(&dearest, weights));
    let bound = |lane: usize| {
        let step = dearest[lane] as f64 * (together - weights[lane]).max(0.0) / weights[lane];
        (workers as f64 * (step + (all - dearest[lane]) as f64)).ceil() as u64
    };
    let mut droughts: Vec<Drought> = (0..weights.len()).map(|lane| Drought { worst: 0, bound: bound(lane) }).collect();
    let mut dry = vec![0; weights.len()];
    walk(jobs, weights.len(), |lane, cost, waiting| {
        for (other, dry) in dry.iter_mut().enumerate() {
            *dry = if other == lane || waiting[other] == 0 { 0 } else { *dry + cost };
            droughts[other].worst = droughts[other].worst.max(*dry);
        }
    });
    droughts
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A job has waited for long enough to count.
    Waits,
    /// A job starts, which counted as waiting or not.
    Starts { waited: bool, cost: u64 },
}

/// Tells `start` every start in order: the lane, the cost, and how many jobs of each lane waited just before.
fn walk(jobs: &[Served], lanes: usize, mut start: impl FnMut(usize, u64, &[usize])) {
    let mut events = Vec::with_capacity(2 * jobs.len());
    for job in jobs {
        let counts_from = job.accepted_ms.saturating_add(SEEN_AFTER_MS);
        let waited = job.started_ms > counts_from;
        if waited {
            events.push((counts_from, What::Waits, job.lane));
        }
        events.push((job.started_ms, What::Starts { waited, cost: job.cost }, job.lane));
    }
    // Stable: starts of the same millisecond stay in the order in which they were recorded.
    events.sort_by_key(|(at, what, _)| (*at, !matches!(what, What::Waits)));
    let mut waiting = vec![0; lanes];
    for (_, what, lane) in events {
        match what {
            What::Waits => waiting[lane] += 1,
            What::Starts { waited, cost } => {
                start(lane, cost, &waiting);
                waiting[lane] -= usize::from(waited);
            }
        }
    }
}

#[cfg(test)]
mod tests;
