//! Orders whose fairness is known beforehand.

use super::*;

/// Jobs of `cost` that were all accepted at 0 and started one a millisecond from the second on, in this order of lanes.
fn in_order(lanes: &[usize], cost: impl Fn(usize) -> u64) -> Vec<Served> {
    let job = |(n, &lane): (usize, &usize)| Served {
        lane,
        accepted_ms: 0,
        started_ms: 1000 + i64::try_from(n).expect("few"),
        cost: cost(lane),
    };
    lanes.iter().enumerate().map(job).collect()
}

/// Start-time fair queueing by the book: who has the least start tag goes next.
fn fair(counts: &[usize], weights: &[f64], cost: impl Fn(usize) -> u64) -> Vec<usize> {
    let mut left = counts.to_vec();
    let mut tags = vec![0.0_f64; counts.len()];
    let mut order = Vec::new();
    while let Some(next) = (0..left.len()).filter(|&lane| left[lane] > 0).min_by(|&a, &b| tags[a].total_cmp(&tags[b])) {
        left[next] -= 1;
        tags[next] += cost(next) as f64 / weights[next];
        order.push(next);
    }
    order
}

#[test]
fn a_token_of_the_answer_counts_four_times() {
    let tokens = Tokens { input: 100, cache_read: 10, cache_write: 1, output: 20, reasoning: 5 };
    assert_eq!(token_cost(&tokens), 111 + 4 * 25);
    assert_eq!(token_cost(&Tokens { output: u64::MAX, ..Tokens::default() }), u64::MAX, "no overflow");
}

#[test]
fn percentiles_are_nearest_ranks() {
    let check = |values: &[u64], expected: [u64; 3]| {
        assert_eq!([50, 95, 100].map(|percent| percentile(values, percent)), expected, "{values:?}");
    };
    check(&(1..=100).collect::<Vec<_>>(), [50, 95, 100]);
    check(&[1, 2, 3], [2, 3, 3]);
    check(&[7], [7, 7, 7]);
    check(&[], [0, 0, 0]);
}

#[test]
fn jains_index_is_one_for_equals_and_falls_to_one_over_their_number() {
    let check = |shares: &[f64], expected: f64| assert!((jain(shares) - expected).abs() < 1e-12, "{shares:?}");
    check(&[3.0, 3.0, 3.0], 1.0);
    check(&[1.0, 0.0, 0.0, 0.0], 0.25);
    check(&[1.0, 3.0], 16.0 / 20.0);
    check(&[0.0, 0.0], 1.0);
    check(&[], 1.0);
}

#[test]
fn shares_of_a_fair_order_are_those_of_the_weights() {
    let (weights, cost) = ([1.0, 3.0], |lane: usize| [70, 130][lane]);
    let jobs = in_order(&fair(&[400, 400], &weights, cost), cost);
    let shares = shares(&jobs, &weights);
    for (lane, expected) in [0.25, 0.75].into_iter().enumerate() {
        let (got, promised) = shares[lane].parts().expect("both were saturated");
        assert!((got - expected).abs() < 0.01 && (promised - expected).abs() < 1e-9, "{shares:?}");
    }
}

#[test]
fn what_is_served_to_a_lane_alone_or_at_once_promises_nothing() {
    // Lane 1 has two jobs, the rest is lane 0's alone.
    let jobs = in_order(&[&[0, 1, 1][..], &[0; 50]].concat(), |_| 10);
    let shares = shares(&jobs, &[1.0, 1.0]);
    assert_eq!(shares[0], Share { served: 10, entitled: 15.0, of: 30 });
    assert_eq!(shares[1], Share { served: 20, entitled: 15.0, of: 30 });
    // Lane 1's jobs start within the time that it takes to see them: it never waits.
    let quick = |n: i64| Served { lane: 1, accepted_ms: 1000 + n, started_ms: 1000 + n + SEEN_AFTER_MS, cost: 10 };
    let jobs: Vec<Served> = in_order(&[0; 50], |_| 10).into_iter().chain((0..50).map(quick)).collect();
    assert!(super::shares(&jobs, &[1.0, 1.0]).iter().all(|share| share.parts().is_none()));
    assert!(indices(&jobs, &[1.0, 1.0], 10).is_empty());
}

#[test]
fn over_ten_times_the_bound_a_fair_order_has_an_index_above_99_and_a_greedy_one_has_not() {
    let (weights, cost) = ([1.0, 2.0, 5.0], |lane: usize| [900, 100, 400][lane]);
    let counts = [2000, 9000, 8000];
    let jobs = in_order(&fair(&counts, &weights, cost), cost);
    let size = window(&jobs, &weights, 1);
    assert_eq!(size, 10 * (900 * 8 + 400 * 8 / 5), "the two dearest turns");
    let found = indices(&jobs, &weights, size);
    assert!(found.len() > 30 && found.iter().all(|index| *index > 0.99), "{found:?}");
    // One job each in turn is far from these weights.
    let turns: Vec<usize> = (0..3000).map(|n| n % 3).collect();
    let found = indices(&in_order(&turns, cost), &weights, size);
    assert!(found.len() > 5 && found.iter().all(|index| *index < 0.7), "{found:?}");
}

#[test]
fn a_window_is_longer_with_more_workers_and_none_with_one_lane() {
    let jobs = in_order(&[0, 1], |_| 100);
    assert_eq!(window(&jobs, &[1.0, 1.0], 1), 10 * (200 + 200));
    assert_eq!(window(&jobs, &[1.0, 1.0], 4), 4 * 10 * (200 + 200));
    assert_eq!(window(&jobs[..1], &[1.0, 1.0], 1), 0);
    assert!(indices(&jobs, &[1.0, 1.0], 0).is_empty());
}

#[test]
fn a_lane_that_runs_dry_leaves_its_window_and_a_pair_of_others_stays() {
    // Lane 2 has three jobs, then only 0 and 1 go on in turn.
    let lanes: Vec<usize> = [0, 1, 2, 0, 1, 2, 0, 1, 2].into_iter().chain((0..40).map(|n| n % 2)).collect();
    let found = indices(&in_order(&lanes, |_| 10), &[1.0, 1.0, 1.0], 200);
    assert_eq!(found, [1.0, 1.0]);
}

#[test]
fn a_drought_is_what_others_got_meanwhile_and_ends_with_the_lanes_turn() {
    let lanes = [0, 0, 1, 0, 0, 0, 1, 0];
    let droughts = droughts(&in_order(&lanes, |_| 10), &[1.0, 1.0], 1);
    assert_eq!(droughts[1], Drought { worst: 30, bound: 20 });
    assert_eq!(droughts[0], Drought { worst: 10, bound: 20 });
    assert!(!droughts[1].starved());
}

#[test]
fn a_fair_order_starves_nobody_and_one_by_priority_does() {
    let (weights, cost) = ([1.0, 20.0], |lane: usize| [900, 100][lane]);
    let counts = [100, 9000];
    let fair = droughts(&in_order(&fair(&counts, &weights, cost), cost), &weights, 1);
    assert!(fair.iter().all(|drought| drought.worst <= drought.bound), "{fair:?}");
    let first: Vec<usize> = [vec![1; 9000], vec![0; 100]].concat();
    let last = droughts(&in_order(&first, cost), &weights, 1);
    assert_eq!((last[0].starved(), last[1].starved()), (true, false), "{last:?}");
}
