use std::time::Duration;

use tollgate_types::Tokens;

use super::*;
use proptest::prelude::*;

use Standing::{Closed, Held, Idle, Ready};

/// An order of one class with a Ready lane for each weight.
fn ready(weights: &[u32]) -> (Order, Vec<LaneId>) {
    let mut order = Order::default();
    let lanes: Vec<LaneId> = weights.iter().map(|&weight| order.enter(0, weight)).collect();
    lanes.iter().for_each(|&lane| order.stand(lane, Ready));
    (order, lanes)
}

/// Picks `n` times at a cost of 1,000 and says which lanes, as their numbers.
fn picks(order: &mut Order, n: usize) -> Vec<u32> {
    (0..n).map_while(|_| order.next(|_| 1_000)).map(|lane| lane.0).collect()
}

#[test]
fn lanes_go_by_weight_spread_out_and_ties_by_entry() {
    let (mut order, _) = ready(&[3, 1, 1]);
    assert_eq!(picks(&mut order, 10), [0, 1, 2, 0, 0, 0, 1, 2, 0, 0]);
}

#[test]
fn a_lane_of_dear_jobs_goes_less_often() {
    let (mut order, lanes) = ready(&[1, 1]);
    let cost = |lane| if lane == lanes[0] { 10_000 } else { 1_000 };
    let cheap = (0..110).filter(|_| order.next(cost) == Some(lanes[1])).count();
    assert_eq!(cheap, 100);
}

#[test]
fn classes_share_by_their_weights_however_many_lanes_they_have() {
    let mut order = Order::default();
    order.weigh_class(2, 3);
    let alone = order.enter(2, 1);
    let crowd: Vec<LaneId> = (0..50).map(|_| order.enter(0, 7)).collect();
    crowd.iter().chain([&alone]).for_each(|&lane| order.stand(lane, Ready));
    let first = (0..400).filter(|_| order.next(|_| 5) == Some(alone)).count();
    assert_eq!(first, 300);
}

#[test]
fn nobody_is_picked_unless_ready() {
    let (mut order, lanes) = ready(&[1, 1, 1]);
    for (&lane, standing) in lanes.iter().zip([Idle, Closed, Held]) {
        order.stand(lane, standing);
    }
    assert_eq!(order.next(|_| 1), None);
    order.stand(lanes[1], Ready);
    assert_eq!(order.next(|_| 1), Some(lanes[1]));
}

#[test]
fn jobs_that_are_expected_to_cost_nothing_do_not_starve_others() {
    let (mut order, lanes) = ready(&[1, u32::MAX]);
    assert!((0..10).any(|_| order.next(|lane| if lane == lanes[0] { 0 } else { 1 }) == Some(lanes[1])));
}

/// How many of the next ten picks the second of two equal lanes gets after it stood `away` while the first was picked
/// a hundred times.
fn after(away: Standing) -> usize {
    let (mut order, lanes) = ready(&[1, 1]);
    picks(&mut order, 2);
    order.stand(lanes[1], away);
    picks(&mut order, 100);
    order.stand(lanes[1], Ready);
    picks(&mut order, 10).into_iter().filter(|&lane| lane == 1).count()
}

#[test]
fn a_lane_that_was_idle_or_closed_has_saved_no_credit() {
    assert_eq!(after(Idle), 5);
    assert_eq!(after(Closed), 5);
}

#[test]
fn a_lane_that_was_held_keeps_its_place() {
    assert_eq!(after(Held), 10);
}

#[test]
fn the_place_that_a_held_lane_keeps_is_worth_128_of_its_jobs() {
    let (mut order, lanes) = ready(&[1, 1]);
    picks(&mut order, 2);
    order.stand(lanes[1], Held);
    picks(&mut order, 1_000);
    order.stand(lanes[1], Ready);
    let in_a_row = picks(&mut order, 1_000).into_iter().skip_while(|&lane| lane == 0).take_while(|&lane| lane == 1);
    assert_eq!(in_a_row.count(), 129, "128 to catch up, and its turn");
}

#[test]
fn a_class_whose_lanes_were_all_away_has_saved_no_credit() {
    for (away, catches_up) in [(Idle, false), (Closed, false), (Held, true)] {
        let mut order = Order::default();
        let (one, other) = (order.enter(0, 1), order.enter(1, 1));
        order.stand(one, Ready);
        order.stand(other, Ready);
        picks(&mut order, 2);
        order.stand(other, away);
        picks(&mut order, 100);
        order.stand(other, Ready);
        let got = (0..10).filter(|_| order.next(|_| 1_000) == Some(other)).count();
        assert_eq!(got, if catches_up { 10 } else { 5 }, "{away:?}");
    }
}

#[test]
fn debt_is_kept_while_others_work_and_ends_when_all_rest() {
    let (mut order, lanes) = ready(&[1, 1]);
    assert_eq!(picks(&mut order, 1), [0]);
    order.correct(lanes[0], 9_000);
    order.stand(lanes[0], Idle);
    assert!(!order.may_leave(lanes[0]));
    order.stand(lanes[0], Ready);
    assert_eq!(picks(&mut order, 11), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], "ten thousand units of debt are ten jobs");
    order.correct(lanes[0], 9_000);
    lanes.iter().for_each(|&lane| order.stand(lane, Idle));
    assert!(lanes.iter().all(|&lane| order.may_leave(lane)));
    lanes.iter().for_each(|&lane| order.stand(lane, Ready));
    assert_eq!(picks(&mut order, 4), [0, 1, 0, 1]);
}

#[test]
fn a_debt_that_is_found_after_all_rest_ends_too() {
    let (mut order, lanes) = ready(&[1]);
    picks(&mut order, 1);
    order.stand(lanes[0], Idle);
    order.correct(lanes[0], 50_000);
    assert!(order.may_leave(lanes[0]));
}

#[test]
fn an_unused_grant_given_back_leaves_no_trace() {
    let (mut order, lanes) = ready(&[3, 1, 7]);
    let mut other = order.clone();
    let picked = order.next(|_| 12_345).unwrap();
    order.stand(picked, Held);
    order.correct(picked, -12_345);
    order.stand(picked, Ready);
    assert_eq!(picked, lanes[0]);
    assert_eq!(picks(&mut order, 50), picks(&mut other, 50));
}

#[test]
fn what_is_given_back_for_jobs_before_a_pause_is_no_credit_after_it() {
    let (mut order, lanes) = ready(&[1, 1]);
    assert_eq!((0..2).filter_map(|_| order.next(|_| 50_000)).collect::<Vec<_>>(), lanes);
    order.stand(lanes[1], Closed);
    picks(&mut order, 500);
    order.stand(lanes[1], Ready);
    order.correct(lanes[1], -50_000);
    let got = picks(&mut order, 10).into_iter().filter(|&lane| lane == 1).count();
    assert_eq!(got, 5);
}

#[test]
fn whoever_begins_beside_a_lane_that_was_charged_too_much_does_not_wait_for_what_it_gets_back() {
    let (mut order, lanes) = ready(&[1]);
    let small = order.enter(0, 1);
    picks(&mut order, 100);
    order.correct(lanes[0], -90_000);
    order.stand(small, Ready);
    assert_eq!(picks(&mut order, 6), [0, 1, 0, 1, 0, 1]);
}

#[test]
fn jobs_on_lent_slots_count_and_move_virtual_time() {
    let (mut order, lanes) = ready(&[1, 1]);
    lanes.iter().for_each(|&lane| order.stand(lane, Idle));
    order.charge(lanes[0], 1_000);
    order.stand(lanes[0], Closed);
    (0..9).for_each(|_| order.charge(lanes[0], 1_000));
    lanes.iter().for_each(|&lane| order.stand(lane, Ready));
    assert_eq!(picks(&mut order, 4), [1, 0, 1, 0], "the newcomer starts at the other's last job, not at its first");
}

#[test]
fn a_job_on_a_lent_slot_counts_from_the_present() {
    let (mut order, lanes) = ready(&[1, 1]);
    order.stand(lanes[1], Idle);
    picks(&mut order, 100);
    order.charge(lanes[1], 5_000);
    order.stand(lanes[1], Ready);
    assert_eq!(picks(&mut order, 6), [0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_lent_slot_does_not_carry_virtual_time_beyond_those_who_wait() {
    let (mut order, lanes) = ready(&[1, 1, 1]);
    order.stand(lanes[2], Idle);
    (0..10).for_each(|_| order.charge(lanes[0], 1_000));
    order.stand(lanes[2], Ready);
    assert_eq!(picks(&mut order, 4), [1, 2, 1, 2], "both are as far behind");
}

#[test]
fn a_new_weight_counts_from_now_on() {
    let (mut order, lanes) = ready(&[1, 1]);
    picks(&mut order, 100);
    order.weigh(lanes[0], 4);
    let got = picks(&mut order, 500).into_iter().filter(|&lane| lane == 0).count();
    assert_eq!(got, 400);
    order.weigh(lanes[0], 0);
    let got = picks(&mut order, 500).into_iter().filter(|&lane| lane == 0).count();
    assert!((249..=251).contains(&got), "zero counts as one: {got}");
}

#[test]
fn caps_are_twice_the_share_of_those_who_take_part() {
    let (mut order, lanes) = ready(&[1, 1, 2, 4]);
    let caps = |order: &Order, slots| lanes.iter().map(|&lane| order.in_flight_cap(lane, slots)).collect::<Vec<_>>();
    assert_eq!(caps(&order, 100), [25, 25, 50, 100]);
    assert_eq!(caps(&order, 5), [2, 2, 3, 5], "two at least, rounded up");
    assert_eq!(caps(&order, 2), [2, 2, 2, 2]);
    assert_eq!(caps(&order, 1), [1, 1, 1, 1], "never more than there are");
    order.stand(lanes[3], Closed);
    order.stand(lanes[2], Held);
    assert_eq!(caps(&order, 100), [50, 50, 100, 100], "who takes no part is reckoned as if it did");
    let (stranger, weight) = (order.enter(1, 9), 4);
    order.weigh_class(1, weight);
    order.stand(stranger, Ready);
    assert_eq!(order.in_flight_cap(lanes[0], 100), 10, "a quarter of the class's fifth");
    assert_eq!(order.in_flight_cap(stranger, 100), 100);
    lanes.iter().for_each(|&lane| order.stand(lane, Idle));
    order.stand(stranger, Idle);
    order.stand(lanes[0], Ready);
    assert_eq!(order.in_flight_cap(lanes[0], 100), 100, "alone");
}

#[test]
fn ids_of_lanes_that_left_are_reused_at_the_present() {
    let (mut order, lanes) = ready(&[1, 1]);
    picks(&mut order, 100);
    order.stand(lanes[0], Idle);
    picks(&mut order, 2);
    assert!(order.may_leave(lanes[0]) && !order.may_leave(lanes[1]));
    order.leave(lanes[0]);
    assert_eq!(order.len(), 1);
    let again = order.enter(0, 1);
    assert_eq!((again, order.len()), (lanes[0], 2));
    order.stand(again, Ready);
    let got = picks(&mut order, 10).into_iter().filter(|&lane| lane == 0).count();
    assert!((5..=6).contains(&got), "its share and at most the first turn: {got}");
    lanes.into_iter().for_each(|lane| order.leave(lane));
    assert!(order.is_empty());
    assert_eq!(order.next(|_| 1), None);
}

#[test]
fn absurd_costs_and_weights_do_not_overflow() {
    let (mut order, lanes) = ready(&[1, u32::MAX]);
    order.weigh_class(0, u32::MAX);
    order.weigh_class(255, 0);
    let other = order.enter(255, u32::MAX);
    order.stand(other, Ready);
    for _ in 0..100 {
        let picked = order.next(|_| u64::MAX).expect("all are ready");
        order.correct(picked, i64::MAX);
        order.correct(picked, i64::MIN);
    }
    for lane in lanes.into_iter().chain([other]) {
        assert!(order.in_flight_cap(lane, usize::MAX) >= 2);
    }
}

#[test]
fn tokens_are_weighed_by_what_vendors_ask_for_them() {
    let tokens = Tokens { input: 100, cache_read: 1_000, cache_write: 10, output: 20, reasoning: 5 };
    assert_eq!(cost(&tokens), 1_000 + 1_000 + 100 + 800 + 200);
    assert_eq!(expected_cost(100, 25), 2_000);
    assert_eq!(expected_cost(u64::MAX, u64::MAX), u64::MAX);
    let absurd = Tokens { input: u64::MAX, output: u64::MAX, ..tokens };
    assert_eq!(cost(&absurd), u64::MAX);
    assert_eq!(cost_of_time(Duration::from_secs(60)), 24_000, "a minute's wait for nothing is 2,400 prompt tokens");
    assert_eq!(cost_of_time(Duration::MAX), u64::MAX);
}

#[derive(Clone, Debug)]
enum Op {
    Enter { class: u8, weight: u32 },
    Stand { lane: usize, standing: Standing },
    Weigh { lane: usize, weight: u32 },
    WeighClass { class: u8, weight: u32 },
    Next { cost: Cost },
    Charge { lane: usize, cost: Cost },
    Correct { lane: usize, by: i64 },
    Leave { lane: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let lane = 0usize..12;
    let standing = prop_oneof![Just(Idle), Just(Closed), Just(Held), Just(Ready), Just(Ready)];
    prop_oneof![
        (0u8..4, 0u32..9).prop_map(|(class, weight)| Op::Enter { class, weight }),
        (lane.clone(), standing).prop_map(|(lane, standing)| Op::Stand { lane, standing }),
        (lane.clone(), 0u32..9).prop_map(|(lane, weight)| Op::Weigh { lane, weight }),
        (0u8..4, 0u32..9).prop_map(|(class, weight)| Op::WeighClass { class, weight }),
        (0u64..50_000).prop_map(|cost| Op::Next { cost }),
        (lane.clone(), 0u64..50_000).prop_map(|(lane, cost)| Op::Charge { lane, cost }),
        (lane.clone(), -50_000i64..50_000).prop_map(|(lane, by)| Op::Correct { lane, by }),
        lane.prop_map(|lane| Op::Leave { lane }),
    ]
}

fn check_consistent(order: &Order) {
    for (class, index) in order.classes.iter().zip(0u8..) {
        let lanes = order.lanes.iter().zip(0u32..).filter_map(|(lane, id)| Some((LaneId(id), lane.as_ref()?)));
        class.lanes.check(lanes.filter(|(_, lane)| lane.class == index).map(|(id, lane)| (id, &lane.member)));
        let mut member = class.member.clone();
        order.root.clone().stand(index, &mut member, class.lanes.standing());
        assert_eq!(format!("{member:?}"), format!("{:?}", class.member), "a class stands as its lanes do");
    }
    order.root.check((0u8..).zip(order.classes.iter().map(|class| &class.member)));
}

fn apply(order: &mut Order, lanes: &mut Vec<LaneId>, op: &Op) {
    let of = |at: usize| lanes.get(at % lanes.len().max(1)).copied();
    match *op {
        Op::Enter { class, weight } => lanes.push(order.enter(class, weight)),
        Op::WeighClass { class, weight } => order.weigh_class(class, weight),
        Op::Next { cost } => {
            let first = order.root.first().and_then(|class| order.classes[usize::from(class)].lanes.first());
            assert_eq!(order.next(|_| cost), first);
        }
        Op::Stand { lane, standing } => drop(of(lane).map(|lane| order.stand(lane, standing))),
        Op::Weigh { lane, weight } => drop(of(lane).map(|lane| order.weigh(lane, weight))),
        Op::Charge { lane, cost } => drop(of(lane).map(|lane| order.charge(lane, cost))),
        Op::Correct { lane, by } => drop(of(lane).map(|lane| order.correct(lane, by))),
        Op::Leave { lane } => {
            if let Some(lane) = of(lane) {
                order.leave(lane);
                lanes.retain(|&other| other != lane);
            }
        }
    }
    assert_eq!(order.len(), lanes.len());
}

proptest! {
    #[test]
    fn what_is_kept_beside_the_lanes_agrees_with_them(ops in prop::collection::vec(op(), 1..200)) {
        let (mut order, mut lanes) = (Order::default(), Vec::new());
        for op in &ops {
            apply(&mut order, &mut lanes, op);
            check_consistent(&order);
        }
    }
}
