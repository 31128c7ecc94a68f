use super::*;
use crate::health::Outcome;

const NOW: Duration = Duration::from_secs(1_000);

fn well(latency_ms: u64) -> Health {
    let mut health = Health::default();
    for n in 0..40 {
        let began = NOW - Duration::from_secs(50 - n);
        let ticket = health.begin(Reading::Whole, true, began);
        let first_token = Duration::from_millis(latency_ms);
        health.end(ticket, Outcome::Answered { first_token }, began + first_token);
    }
    health
}

fn slow() -> Health {
    let mut health = well(100);
    for _ in 0..10 {
        let ticket = health.begin(Reading::Whole, true, NOW);
        health.end(ticket, Outcome::Answered { first_token: Duration::from_secs(2) }, NOW);
    }
    health
}

fn down(since: Duration) -> Health {
    let mut health = Health::default();
    for _ in 0..10 {
        let ticket = health.begin(Reading::Whole, true, since);
        health.end(ticket, Outcome::Failed, since);
    }
    health
}

fn half_open() -> Health {
    down(NOW - Duration::from_secs(1))
}

fn chosen(strategy: Strategy, those: &[(&Health, u32, i64)]) -> Choice {
    let candidates: Vec<Candidate<'_>> =
        those.iter().map(|&(health, weight, cost)| Candidate { weight, cost: NanoUsd(cost), health }).collect();
    choose(strategy, &candidates, Reading::Whole, NOW, &mut || 0.0)
}

#[test]
fn the_first_that_is_well_is_called_and_the_others_stand_by() {
    let (a, b, bad) = (well(100), well(100), down(NOW));
    let ordered = |those: &[&Health]| {
        let those: Vec<_> = those.iter().map(|&health| (health, 1, 1)).collect();
        chosen(Strategy::Ordered, &those)
    };
    assert_eq!(ordered(&[&a, &b]), Choice::Call(vec![0, 1]));
    assert_eq!(ordered(&[&bad, &b]), Choice::Call(vec![1]));
    assert_eq!(ordered(&[&slow(), &b]), Choice::Call(vec![1, 0]));
    assert_eq!(ordered(&[&slow()]), Choice::Call(vec![0]), "slow is better than none");
    assert_eq!(ordered(&[&half_open(), &b]), Choice::Call(vec![0, 1]), "somebody has to try it");
    assert_eq!(ordered(&[&a, &half_open()]), Choice::Call(vec![0]), "nobody needs to know");
    assert_eq!(ordered(&[&bad, &bad]), Choice::Nobody { until: NOW + Duration::from_secs(1) });
    assert_eq!(ordered(&[&bad, &half_open()]), Choice::Call(vec![1]));
}

#[test]
fn the_cheapest_that_is_well_is_called() {
    let (a, bad) = (well(100), down(NOW));
    let cheapest = |those: &[(&Health, i64)]| {
        let those: Vec<_> = those.iter().map(|&(health, cost)| (health, 1, cost)).collect();
        chosen(Strategy::LowestCost, &those)
    };
    assert_eq!(cheapest(&[(&a, 5), (&a, 3), (&a, 4)]), Choice::Call(vec![1, 2, 0]));
    assert_eq!(cheapest(&[(&a, 5), (&bad, 3)]), Choice::Call(vec![0]));
    assert_eq!(cheapest(&[(&a, 5), (&half_open(), 7)]), Choice::Call(vec![0]));
    assert_eq!(cheapest(&[(&a, 5), (&half_open(), 3)]), Choice::Call(vec![1, 0]));
}

#[test]
fn weights_are_kept_and_a_weight_of_nothing_is_the_last_resort() {
    let a = well(100);
    let mut state = 7_u64;
    let mut chance = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let candidates = [3, 1, 0].map(|weight| Candidate { weight, cost: NanoUsd(1), health: &a });
    let mut firsts = [0; 3];
    for _ in 0..10_000 {
        let Choice::Call(order) = choose(Strategy::Weighted, &candidates, Reading::Whole, NOW, &mut chance) else {
            panic!("all are well")
        };
        assert_eq!(order.len(), 3);
        firsts[order[0]] += 1;
    }
    assert!((7_300..7_700).contains(&firsts[0]), "{firsts:?}");
    assert_eq!(firsts[2], 0);
    let last = [Candidate { weight: 1, cost: NanoUsd(1), health: &down(NOW) }, candidates[2]];
    assert_eq!(choose(Strategy::Weighted, &last, Reading::Whole, NOW, &mut chance), Choice::Call(vec![1]));
}

#[test]
fn of_two_picked_by_chance_the_less_loaded_is_called() {
    let (fast, medium, sluggish) = (well(50), well(100), well(200));
    let candidates = [&sluggish, &fast, &medium].map(|health| Candidate { weight: 1, cost: NanoUsd(1), health });
    let mut firsts = [0; 3];
    for step in 0..300 {
        let mut draws = [f64::from(step % 3) / 3.0, f64::from(step / 3 % 2) / 2.0].into_iter();
        let mut chance = || draws.next().expect("two draws");
        let choice = choose(Strategy::LowestLatency, &candidates, Reading::Whole, NOW, &mut chance);
        let Choice::Call(order) = choice else { panic!("all are well") };
        firsts[order[0]] += 1;
    }
    assert_eq!(firsts[0], 0, "the slowest of three is never the better of two");
    assert!(firsts[1] > firsts[2], "{firsts:?}");

    let mut busy = fast.clone();
    let _running: Vec<_> = (0..9).map(|_| busy.begin(Reading::Whole, true, NOW)).collect();
    assert_eq!(chosen(Strategy::LowestLatency, &[(&busy, 1, 1), (&medium, 1, 1)]), Choice::Call(vec![1, 0]));
}
