//! What each team and each class got of what was served, and how even that was: what [`fairness`] says of one run.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_types::{Class, LaneKey, UsageEvent};

use super::fairness::{self, Drought, Served, Share, percentile};
use super::replay::Lane;

/// The weights between classes, as the worker's dispatch has them.
fn class_weight(class: Class) -> f64 {
    match class {
        Class::Interactive => 16.0,
        Class::Standard => 4.0,
        Class::Batch => 1.0,
    }
}

/// What is kept of each result: when the job came, when it started, and what it cost.
#[derive(Clone, Debug, Default)]
pub(in crate::commands::demo) struct Samples {
    lanes: BTreeMap<LaneKey, usize>,
    served: Vec<Served>,
}

impl Samples {
    /// Takes in the first result of a job.
    pub(in crate::commands::demo) fn take(&mut self, event: &UsageEvent) {
        let key = LaneKey { class: event.class.clone(), team: event.team.clone() };
        let next = self.lanes.len();
        let lane = *self.lanes.entry(key).or_insert(next);
        let accepted_ms = event.accepted_at.0;
        let started_ms = accepted_ms.saturating_add_unsigned(event.queued_ms);
        self.served.push(Served { lane, accepted_ms, started_ms, cost: fairness::token_cost(&event.tokens()) });
    }

    /// The jobs by the indices of `lanes`; those of others are left out.
    fn by(&self, lanes: &[Lane]) -> Vec<Served> {
        let mut index = vec![None; self.lanes.len()];
        for (at, lane) in lanes.iter().enumerate() {
            if let Some(&own) = self.lanes.get(&LaneKey::new(lane.class, &lane.team)) {
                index[own] = Some(at);
            }
        }
        renumbered(&self.served, |own| index[own])
    }
}

/// How long jobs waited, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Waits {
    /// The longest of the shorter half.
    pub(super) p50: u64,
    /// What 95 in 100 did not exceed.
    pub(super) p95: u64,
    /// The longest.
    pub(super) max: u64,
}

impl Waits {
    fn of(jobs: &[Served]) -> Self {
        let wait = |job: &Served| job.started_ms.saturating_sub(job.accepted_ms).unsigned_abs();
        let mut sorted: Vec<u64> = jobs.iter().map(wait).collect();
        sorted.sort_unstable();
        let [p50, p95, max] = [50, 95, 100].map(|percent| percentile(&sorted, percent));
        Waits { p50, p95, max }
    }
}

/// What a team, or a class as a whole, got.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Got {
    /// Nothing for a class as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) team: Option<String>,
    /// The class.
    pub(super) class: Class,
    /// Its weight against its siblings: the teams of its class, or the other classes.
    pub(super) weight: f64,
    /// Jobs with a result.
    pub(super) jobs: usize,
    /// What those cost.
    pub(super) token_cost: u64,
    /// Its part of what was served to saturated siblings while it was saturated beside one.
    pub(super) share: Option<f64>,
    /// The part that its weight promises.
    pub(super) weight_share: Option<f64>,
    /// How long its jobs waited.
    pub(super) queued_ms: Waits,
    /// Nothing for a class as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drought: Option<Dry>,
}

impl Got {
    fn new(team: Option<String>, class: Class, weight: f64, jobs: &[Served], share: &Share) -> Self {
        let (share, weight_share) = share.parts().unzip();
        Got {
            team,
            class,
            weight,
            jobs: jobs.len(),
            token_cost: jobs.iter().map(|job| job.cost).sum(),
            share: share.map(|part| rounded(part, 1e4)),
            weight_share: weight_share.map(|part| rounded(part, 1e4)),
            queued_ms: Waits::of(jobs),
            drought: None,
        }
    }

    /// A team of that name without jobs.
    #[cfg(test)]
    pub(super) fn of_nothing(team: &str, class: Class) -> Self {
        Got::new(Some(team.to_owned()), class, 1.0, &[], &Share::default())
    }

    /// The lane or the class.
    pub(super) fn name(&self) -> String {
        self.team.as_ref().map_or_else(|| self.class.to_string(), |team| format!("{}.{team}", self.class))
    }
}

/// The most token cost that others were served while a lane waited and got nothing.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Dry {
    token_cost: u64,
    fair_bound: u64,
    /// Whether it was longer than an order's grain explains.
    pub(super) starved: bool,
}

impl From<Drought> for Dry {
    fn from(drought: Drought) -> Self {
        Dry { token_cost: drought.worst, fair_bound: drought.bound, starved: drought.starved() }
    }
}

/// How even shares were over windows, between classes or between the teams of one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Evenness {
    /// The class whose teams are compared; nothing for the classes themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) teams_of: Option<Class>,
    /// How long each window is: ten times the bound.
    pub(super) window_token_cost: u64,
    /// How many there were.
    pub(super) windows: usize,
    /// Jain's index of the worst.
    pub(super) jain_min: Option<f64>,
    /// The mean of all.
    pub(super) jain_mean: Option<f64>,
}

impl Evenness {
    fn new(teams_of: Option<Class>, jobs: &[Served], weights: &[f64], workers: usize) -> Self {
        let size = fairness::window(jobs, weights, workers);
        let found = fairness::indices(jobs, weights, size);
        let some = !found.is_empty();
        Evenness {
            teams_of,
            window_token_cost: size,
            windows: found.len(),
            jain_min: some.then(|| rounded(found.iter().copied().fold(1.0, f64::min), 1e4)),
            jain_mean: some.then(|| rounded(found.iter().sum::<f64>() / found.len() as f64, 1e4)),
        }
    }
}

/// What everybody got. An order chooses on two levels, so shares and evenness are among siblings: the classes, and the
/// teams of one class.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// The teams, in the order of the replay's lanes.
    pub(super) lanes: Vec<Got>,
    /// The classes that have jobs.
    pub(super) classes: Vec<Got>,
    /// Of the classes, and of each class' teams; none where there is nothing to compare.
    pub(super) evenness: Vec<Evenness>,
}

impl Shares {
    /// From what `workers` served; each is fair by itself.
    pub(super) fn new(lanes: &[Lane], samples: &Samples, workers: usize) -> Self {
        let jobs = samples.by(lanes);
        let used = |class: &Class| lanes.iter().any(|lane| lane.class == *class);
        let classes: Vec<Class> = Class::ALL.into_iter().filter(used).collect();
        let weights: Vec<f64> = classes.iter().copied().map(class_weight).collect();
        let by_class = renumbered(&jobs, |lane| classes.iter().position(|class| *class == lanes[lane].class));
        let mut evenness = Vec::new();
        if classes.len() > 1 {
            evenness.push(Evenness::new(None, &by_class, &weights, workers));
        }
        let of_class = |(at, share): (usize, &Share)| {
            Got::new(None, classes[at], weights[at], &renumbered(&by_class, |own| (own == at).then_some(0)), share)
        };
        let got = fairness::shares(&by_class, &weights).iter().enumerate().map(of_class).collect();
        let mut teams = BTreeMap::new();
        for class in &classes {
            let siblings: Vec<usize> = (0..lanes.len()).filter(|&lane| lanes[lane].class == *class).collect();
            let weights: Vec<f64> = siblings.iter().map(|&lane| f64::from(lanes[lane].weight)).collect();
            let own = renumbered(&jobs, |lane| siblings.iter().position(|&sibling| sibling == lane));
            if siblings.len() > 1 {
                evenness.push(Evenness::new(Some(*class), &own, &weights, workers));
            }
            for (at, share) in fairness::shares(&own, &weights).iter().enumerate() {
                let (lane, jobs) = (siblings[at], renumbered(&own, |own| (own == at).then_some(0)));
                let team = Some(lanes[lane].team.to_string());
                teams.insert(lane, Got::new(team, *class, weights[at], &jobs, share));
            }
        }
        for (lane, drought) in fairness::droughts(&jobs, &flat_weights(lanes), workers).into_iter().enumerate() {
            teams.entry(lane).and_modify(|got| got.drought = Some(drought.into()));
        }
        Shares { lanes: teams.into_values().collect(), classes: got, evenness }
    }
}

/// What each lane is entitled to while all have work.
fn flat_weights(lanes: &[Lane]) -> Vec<f64> {
    let of_class = |class: Class| -> f64 {
        lanes.iter().filter(|lane| lane.class == class).map(|lane| f64::from(lane.weight)).sum()
    };
    lanes.iter().map(|lane| class_weight(lane.class) * f64::from(lane.weight) / of_class(lane.class)).collect()
}

/// The jobs with other numbers for their lanes; those of lanes without one are left out.
fn renumbered(jobs: &[Served], number: impl Fn(usize) -> Option<usize>) -> Vec<Served> {
    jobs.iter().filter_map(|job| Some(Served { lane: number(job.lane)?, ..*job })).collect()
}

/// More digits than the clocks have would be noise.
pub(super) fn rounded(value: f64, per_one: f64) -> f64 {
    (value * per_one).round() / per_one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(team: &str, class: Class, weight: u32) -> Lane {
        Lane { team: team.parse().expect("a team"), class, weight, copies: 1 }
    }

    /// Jobs that were all accepted at 0 and started one a millisecond from the second on; each costs 100.
    fn samples(order: &[(&str, Class)]) -> Samples {
        let mut samples = Samples::default();
        for (n, (team, class)) in order.iter().enumerate() {
            let queued = 1000 + n;
            let json = format!(
                r#"{{"version":1,"kind":"result","job":"j{n}","team":"{team}","class":"{class}","run":"r","worker":"w",
                "delivery":1,"status":"succeeded","cache":"miss","accepted_at":0,"queued_ms":{queued},"run_ms":5,
                "attempts":[{{"provider":"p","model":"m","outcome":"ok","http_status":200,"started_at":0,"latency_ms":1,
                "first_byte_ms":1,"tokens":{{"input":60,"output":10}},"usage_source":"provider","cost_nanousd":1,
                "price_version":"1"}}]}}"#
            );
            samples.take(&serde_json::from_str(&json).expect("an event"));
        }
        samples
    }

    #[test]
    fn teams_are_compared_within_their_class_and_classes_as_wholes() {
        let [a, b, c] = [("a", Class::Interactive), ("b", Class::Interactive), ("c", Class::Batch)];
        let lanes = [lane("a", a.1, 3), lane("b", b.1, 1), lane("c", c.1, 5)];
        let order: Vec<_> = [a, a, a, b].repeat(4).into_iter().chain([c]).cycle().take(17 * 50).collect();
        let shares = Shares::new(&lanes, &samples(&order), 1);
        let parts = |got: &Got| (got.share, got.weight_share);
        for (lane, expected) in [(0, 0.75), (1, 0.25)] {
            let (share, promised) = parts(&shares.lanes[lane]);
            assert!((share.expect("saturated") - expected).abs() < 0.01, "{shares:?}");
            assert_eq!(promised, Some(expected));
        }
        assert_eq!(parts(&shares.lanes[2]), (None, None), "the only team of its class");
        let names: Vec<String> = shares.classes.iter().map(Got::name).collect();
        assert_eq!(names, ["interactive", "batch"]);
        let (share, promised) = parts(&shares.classes[1]);
        assert!((share.expect("saturated") - 1.0 / 17.0).abs() < 0.01 && promised == Some(0.0588), "{shares:?}");
        assert_eq!(shares.lanes[0].token_cost, 100 * shares.lanes[0].jobs as u64, "60 + 4 × 10 each");
        assert!(shares.lanes.iter().all(|got| got.drought.is_some_and(|dry| !dry.starved)), "{shares:?}");
        let compared: Vec<Option<Class>> = shares.evenness.iter().map(|evenness| evenness.teams_of).collect();
        assert_eq!(compared, [None, Some(Class::Interactive)]);
        assert!(shares.evenness.iter().all(|evenness| evenness.jain_min.is_some_and(|min| min > 0.99)), "{shares:?}");
    }

    #[test]
    fn a_class_that_comes_last_is_told_to_have_starved() {
        let (first, last) = (("a", Class::Interactive), ("c", Class::Batch));
        let lanes = [lane("a", first.1, 1), lane("c", last.1, 1)];
        let shares = Shares::new(&lanes, &samples(&[vec![first; 200], vec![last; 10]].concat()), 1);
        let starved: Vec<bool> =
            shares.lanes.iter().map(|got| got.drought.is_some_and(|drought| drought.starved)).collect();
        assert_eq!(starved, [false, true]);
        assert_eq!(shares.lanes[1].queued_ms, Waits { p50: 1204, p95: 1209, max: 1209 });
    }

    #[test]
    fn a_lane_without_results_is_there_with_zeros() {
        let lanes = [lane("a", Class::Batch, 1), lane("b", Class::Batch, 1)];
        let shares = Shares::new(&lanes, &samples(&[("a", Class::Batch)]), 1);
        assert_eq!((shares.lanes[1].jobs, shares.lanes[1].share), (0, None));
        assert_eq!((shares.evenness[0].windows, shares.evenness[0].jain_min), (0, None));
    }
}
