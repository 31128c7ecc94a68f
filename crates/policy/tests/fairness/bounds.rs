//! The bounds hold for arbitrary weights, costs and errors, in whichever order jobs end.

use proptest::prelude::*;
use tollgate_policy::order::{LaneId, Order, Standing};

use crate::lag::{Errors, Lag};

/// 500 to 32,000 prompt tokens.
const SIZES: std::ops::Range<u64> = 5_000..320_000;

/// An order of one class with a Ready lane for each weight.
fn ready(weights: &[u32]) -> (Order, Vec<LaneId>) {
    let mut order = Order::default();
    let lanes: Vec<LaneId> = weights.iter().map(|&weight| order.enter(0, weight)).collect();
    lanes.iter().for_each(|&lane| order.stand(lane, Standing::Ready));
    (order, lanes)
}

/// An order of a class for each weight, the first with one Ready lane, the next with two, and so on; with the class of
/// each lane.
fn ready_classes(weights: &[u32]) -> (Order, Vec<LaneId>, Vec<usize>) {
    let mut order = Order::default();
    let (mut lanes, mut class_of) = (Vec::new(), Vec::new());
    for (class, &weight) in (0u8..).zip(weights) {
        order.weigh_class(class, weight);
        for lane in 0..=u32::from(class) {
            lanes.push(order.enter(class, 1 + lane));
            class_of.push(usize::from(class));
        }
    }
    lanes.iter().for_each(|&lane| order.stand(lane, Standing::Ready));
    (order, lanes, class_of)
}

fn number(lanes: &[LaneId], picked: LaneId) -> usize {
    lanes.iter().position(|&lane| lane == picked).expect("only lanes that entered are picked")
}

/// A job's cost, its estimate in twentieths of that, and which of those in flight ends to make room for it.
type MisjudgedJob = (u64, u64, prop::sample::Index);

/// Estimates are between a twentieth of the cost and four times it; which job ends next is arbitrary.
fn misjudged_jobs() -> impl Strategy<Value = Vec<MisjudgedJob>> {
    prop::collection::vec((SIZES, 1u64..80, any::<prop::sample::Index>()), 400)
}

/// Runs `jobs` on `lanes` that are parts of members with such weights: lanes themselves, or classes.
fn check_misjudged(
    mut order: Order,
    lanes: &[LaneId],
    (member_of, weights): (&[usize], &[u32]),
    in_flight: usize,
    jobs: Vec<MisjudgedJob>,
) {
    let (mut lag, mut errors) = (Lag::new(weights), vec![Errors::default(); weights.len()]);
    let mut running: Vec<(usize, u64, u64)> = Vec::new();
    for (cost, twentieths, ends) in jobs {
        if running.len() == in_flight {
            let (lane, cost, expected) = running.swap_remove(ends.index(in_flight));
            order.correct(lanes[lane], cost as i64 - expected as i64);
            errors[member_of[lane]].ended(cost, expected);
        }
        let expected = cost * twentieths / 20;
        let picked = number(lanes, order.next(|_| expected).expect("all are ready"));
        running.push((picked, cost, expected));
        errors[member_of[picked]].started(cost, expected);
        lag.add(member_of[picked], cost);
    }
    lag.check(1, |member| errors[member].low + errors[member].high);
}

proptest! {
    #[test]
    fn lanes_with_exact_costs(
        weights in prop::collection::vec(1u32..1_000, 2..7), costs in prop::collection::vec(SIZES, 500),
    ) {
        let (mut order, lanes) = ready(&weights);
        let mut lag = Lag::new(&weights);
        for cost in costs {
            lag.add(number(&lanes, order.next(|_| cost).unwrap()), cost);
        }
        lag.check(1, |_| 0);
    }

    #[test]
    fn classes_with_exact_costs(
        weights in prop::collection::vec(1u32..1_000, 2..5), costs in prop::collection::vec(SIZES, 500),
    ) {
        let (mut order, lanes, class_of) = ready_classes(&weights);
        let mut lag = Lag::new(&weights);
        for cost in costs {
            lag.add(class_of[number(&lanes, order.next(|_| cost).unwrap())], cost);
        }
        lag.check(1, |_| 0);
    }

    #[test]
    fn lanes_with_wrong_estimates(
        weights in prop::collection::vec(1u32..50, 2..6), in_flight in 1usize..40, jobs in misjudged_jobs(),
    ) {
        let (order, lanes) = ready(&weights);
        let each: Vec<usize> = (0..lanes.len()).collect();
        check_misjudged(order, &lanes, (&each, &weights), in_flight, jobs);
    }

    #[test]
    fn classes_with_wrong_estimates(
        weights in prop::collection::vec(1u32..50, 2..5), in_flight in 1usize..40, jobs in misjudged_jobs(),
    ) {
        let (order, lanes, class_of) = ready_classes(&weights);
        check_misjudged(order, &lanes, (&class_of, &weights), in_flight, jobs);
    }
}

#[test]
fn ten_thousand_lanes_share_as_two_do() {
    let (mut order, lanes) = ready(&vec![1; 10_000]);
    let mut jobs = vec![0u32; lanes.len()];
    for at in 0..105_000 {
        let picked = order.next(|_| 1_000).unwrap();
        // Ids count up from the first lane that entered, so the position is the number.
        let number = at % lanes.len();
        assert_eq!(picked, lanes[number], "equal lanes take turns");
        jobs[number] += 1;
    }
    assert_eq!((jobs.iter().min(), jobs.iter().max()), (Some(&10), Some(&11)));
}
