//! Whole workloads, each over many seeds.

use tollgate_policy::order::Standing;

use crate::lag::{Errors, Lag};
use crate::sim::{Lane, Rng, Seen, Sim, Work};

fn weights(lanes: &[Lane]) -> Vec<u32> {
    lanes.iter().map(|lane| lane.weight).collect()
}

/// Runs saturated lanes of one class and checks the bound over all stretches, and the shares in every window.
///
/// Answers how much of the bound was used.
fn check_saturated(seed: u64, lanes: &[Lane], (workers, slots): (usize, usize)) -> f64 {
    let mut lag = Lag::new(&weights(lanes));
    let mut sim = Sim::new(Rng::new(seed), lanes.to_vec(), &[1], (workers, slots), false);
    let (mut windows, orders) = (0, workers as i128);
    while windows < 2 {
        sim.step(|seen, _| {
            if let Seen::Started { lane, cost, .. } = seen {
                lag.add(lane, cost);
            }
        });
        if let Some(jain) = lag.window(orders, |_| 0) {
            assert!(jain >= 0.99, "seed {seed}: {jain}");
            windows += 1;
        }
    }
    lag.check(orders, |_| 0)
}

/// Two to eight lanes of one class, of weights 1 to 10.
fn some_lanes(rng: &mut Rng) -> Vec<Lane> {
    (0..rng.between(2, 8)).map(|_| Lane::saturated(0, rng.between(1, 10) as u32)).collect()
}

#[test]
fn saturated_lanes_share_by_weight_within_the_bound_at_one_worker() {
    let mut most = 0f64;
    for seed in 0..1_500 {
        let mut rng = Rng::new(seed);
        let lanes = some_lanes(&mut rng);
        most = most.max(check_saturated(seed, &lanes, (1, rng.one_of(&[1, 4, 16, 64]))));
    }
    assert!(most > 0.9, "the bound says little if nothing comes near to it: {most}");
}

#[test]
fn saturated_lanes_share_by_weight_within_the_sum_of_the_bounds_of_several_workers() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let lanes = some_lanes(&mut rng);
        check_saturated(seed, &lanes, (rng.between(2, 4) as usize, rng.one_of(&[1, 4, 16])));
    }
}

#[test]
fn jobs_a_hundred_times_as_large_buy_no_larger_share() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let small = Lane { costs: (2_500, 7_500), ..Lane::saturated(0, 1) };
        let large = Lane { costs: (250_000, 750_000), ..small };
        check_saturated(seed, &[small, large, small], (1, rng.one_of(&[4, 16])));
        check_saturated(seed, &[small, large], (2, 8));
    }
}

#[test]
fn classes_share_by_weight_and_their_lanes_within_them() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let class_weights: Vec<u32> = (0..rng.between(2, 4)).map(|_| rng.between(1, 16) as u32).collect();
        let mut lanes = Vec::new();
        for class in 0..class_weights.len() {
            let of_class = (0..rng.between(2, 4)).map(|_| Lane::saturated(class as u8, rng.between(1, 10) as u32));
            lanes.extend(of_class.collect::<Vec<_>>());
        }
        let class = |lane: usize| usize::from(lanes[lane].class);
        let mut among_classes = Lag::new(&class_weights);
        let first: Vec<usize> = (0..class_weights.len()).map(|c| (0..).position(|l| class(l) == c).unwrap()).collect();
        let of = |c: usize| lanes.iter().copied().filter(move |lane| usize::from(lane.class) == c).collect::<Vec<_>>();
        let mut within: Vec<Lag> = (0..class_weights.len()).map(|c| Lag::new(&weights(&of(c)))).collect();
        let mut sim = Sim::new(rng, lanes.clone(), &class_weights, (1, 16), false);
        let mut windows = 0;
        while windows < 2 {
            sim.step(|seen, _| {
                if let Seen::Started { lane, cost, .. } = seen {
                    among_classes.add(class(lane), cost);
                    within[class(lane)].add(lane - first[class(lane)], cost);
                }
            });
            for lag in &mut within {
                assert!(lag.window(1, |_| 0).is_none_or(|jain| jain >= 0.99), "seed {seed}");
            }
            if let Some(jain) = among_classes.window(1, |_| 0) {
                assert!(jain >= 0.99, "seed {seed}: {jain}");
                windows += 1;
            }
        }
        among_classes.check(1, |_| 0);
        for lag in &within {
            lag.check(1, |_| 0);
        }
    }
}

/// Of lanes that come and go at will, each that comes back without debt goes after at most one job of each other.
///
/// Answers how often one did.
fn check_no_starvation(seed: u64) -> u32 {
    let mut rng = Rng::new(seed);
    let lane = |rng: &mut Rng| Lane {
        work: match rng.between(0, 2) {
            0 => Work::Always,
            1 => Work::Every(rng.between(1_000, 20_000)),
            _ => Work::OnOff(rng.between(1_000, 60_000), rng.between(1_000, 60_000)),
        },
        ..Lane::saturated(0, rng.between(1, 10) as u32)
    };
    let lanes: Vec<Lane> = (0..rng.between(3, 8)).map(|_| lane(&mut rng)).collect();
    let slots = rng.one_of(&[1, 4, 16]);
    let n = lanes.len();
    let mut waits: Vec<Option<Vec<u32>>> = vec![None; n];
    let mut checked = 0;
    let mut sim = Sim::new(rng, lanes, &[1], (1, slots), false);
    for _ in 0..3_000 {
        sim.step(|seen, standings| match seen {
            Seen::Arrived { lane, caught_up } => waits[lane] = caught_up.then(|| vec![0; n]),
            Seen::Started { lane, .. } => {
                checked += u32::from(waits[lane].take().is_some());
                for (waiting, jobs) in waits.iter_mut().enumerate() {
                    // A lane whose gate closed, or whose jobs others took, does not wait.
                    let Some(jobs) = jobs.as_mut().filter(|_| standings[waiting] == Standing::Ready) else { continue };
                    jobs[lane] += 1;
                    assert!(jobs[lane] <= 1, "seed {seed}: {waiting} waited for {} jobs of {lane}", jobs[lane]);
                }
            }
            Seen::Ended { .. } => {}
        });
    }
    checked
}

#[test]
fn a_lane_that_comes_back_without_debt_goes_after_one_job_of_each_other_at_most() {
    let checked: u32 = (0..800).map(check_no_starvation).sum();
    assert!(checked > 10_000, "hardly anybody ever came back without debt: {checked}");
}

/// The longest that a job of a trickle waited, in ms, beside `flood`.
fn trickle_waits(seed: u64, flood: &[Lane], workers: (usize, usize), capped: bool) -> u64 {
    let trickle = Lane { work: Work::Every(30_000), costs: (5_000, 40_000), ..Lane::saturated(0, 1) };
    let lanes: Vec<Lane> = [trickle].into_iter().chain(flood.iter().copied()).collect();
    let mut sim = Sim::new(Rng::new(seed), lanes, &[1], workers, capped);
    let (mut longest, mut jobs) = (0, 0);
    while jobs < 50 {
        sim.step(|seen, _| {
            if let Seen::Started { lane: 0, waited, .. } = seen {
                longest = longest.max(waited);
                jobs += 1;
            }
        });
    }
    longest
}

#[test]
fn a_trickle_waits_for_one_job_of_a_flood_at_most() {
    // One and a half times 8 s is the longest that a job of the flood runs.
    const LONGEST: u64 = 12_001;
    for seed in 0..50 {
        for workers in [(1, 1), (1, 4), (3, 4)] {
            let waited = trickle_waits(seed, &[Lane::saturated(0, 1)], workers, true);
            assert!(waited <= LONGEST, "seed {seed}, {workers:?}: {waited}");
        }
        // The weight of the flood does not matter to a lane that uses less than its share.
        let waited = trickle_waits(seed, &[Lane::saturated(0, 10)], (1, 4), true);
        assert!(waited <= LONGEST, "seed {seed}: {waited}");
    }
}

#[test]
fn a_lane_that_was_off_gets_no_more_than_its_share_when_it_is_back() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let on_off = Lane { work: Work::OnOff(200_000, 400_000), ..Lane::saturated(0, rng.between(1, 10) as u32) };
        let lanes: Vec<Lane> = [on_off].into_iter().chain(some_lanes(&mut rng)).collect();
        let slots = rng.one_of(&[1, 4, 16]);
        let mut lag = Lag::new(&weights(&lanes));
        let (mut times_on, mut on) = (0, false);
        let mut sim = Sim::new(rng, lanes, &[1], (1, slots), false);
        while times_on < 5 {
            sim.step(|seen, standings| match seen {
                Seen::Arrived { lane: 0, .. } => {
                    lag.begin(0);
                    times_on += 1;
                }
                Seen::Started { lane, cost, .. } => {
                    if on && standings[0] != Standing::Ready {
                        lag.check(1, |_| 0);
                    }
                    on = standings[0] == Standing::Ready;
                    lag.add(lane, cost);
                    if !on {
                        lag.begin(0);
                    }
                }
                Seen::Arrived { .. } | Seen::Ended { .. } => {}
            });
        }
    }
}

/// What came of lanes one of whose answers are expected a quarter as long as they are.
struct Misjudged {
    /// The most by which the misjudged lane was ahead of a lane that was Ready, in the dearest jobs of both.
    ahead: f64,
    jain: f64,
}

fn misjudged(seed: u64, slots: usize, capped: bool) -> Misjudged {
    let mut rng = Rng::new(seed);
    let mut lanes: Vec<Lane> = (0..6).map(|_| Lane::saturated(0, rng.between(1, 10) as u32)).collect();
    lanes[0].estimate = 25;
    lanes[1].estimate = 200;
    let n = lanes.len();
    let (mut lag, mut errors) = (Lag::new(&weights(&lanes)), vec![Errors::default(); n]);
    let mut sim = Sim::new(rng, lanes, &[1], (1, slots), capped);
    let (mut ahead, mut jain) = (0f64, None);
    while jain.is_none() {
        sim.step(|seen, standings| match seen {
            Seen::Started { lane, cost, expected, .. } => {
                lag.add(lane, cost);
                errors[lane].started(cost, expected);
                for other in (0..n).filter(|&other| other != lane && standings[other] == Standing::Ready) {
                    let bound = lag.bound_when_picked((lane, errors[lane].low), (other, errors[other].high));
                    let apart = lag.ahead(lane, other);
                    assert!(apart <= bound + 1, "seed {seed}: {lane} is {apart} ahead of {other}, of {bound}");
                    if lane == 0 {
                        ahead = ahead.max(apart as f64 / lag.bound_when_picked((lane, 0), (other, 0)) as f64);
                    }
                }
            }
            Seen::Ended { lane, cost, expected } => errors[lane].ended(cost, expected),
            Seen::Arrived { .. } => {}
        });
        jain = lag.window(1, |lane| errors[lane].low + errors[lane].high);
    }
    Misjudged { ahead, jain: jain.unwrap_or_default() }
}

#[test]
fn answers_four_times_as_long_as_expected_cost_others_only_what_is_in_flight() {
    for slots in [16, 64] {
        let (mut capped, mut free) = (0.0, 0.0);
        for seed in 0..70 {
            let run = misjudged(seed, slots, true);
            assert!(run.jain >= 0.99, "seed {seed}: {}", run.jain);
            capped += run.ahead;
            free += misjudged(seed, slots, false).ahead;
        }
        assert!(capped < free, "caps help: {capped} against {free}");
    }
}

#[test]
fn five_classes_of_two_hundred_teams_share_by_weight() {
    let class_weights = [64, 16, 4, 2, 1];
    let lanes: Vec<Lane> = (0..1_000).map(|lane| Lane::saturated((lane % 5) as u8, 1)).collect();
    let mut lag = Lag::new(&class_weights);
    let mut sim = Sim::new(Rng::new(5), lanes, &class_weights, (1, 256), false);
    let mut jain = None;
    while jain.is_none() {
        sim.step(|seen, _| {
            if let Seen::Started { lane, cost, .. } = seen {
                lag.add(lane % 5, cost);
            }
        });
        jain = lag.window(1, |_| 0);
    }
    lag.check(1, |_| 0);
    assert!(jain.is_some_and(|jain| jain >= 0.99), "{jain:?}");
}
