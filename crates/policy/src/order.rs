//! Who goes next: shares free slots among the lanes that have work.
//!
//! Smooth weighted round robin, by jobs. Over any stretch in which the same lanes have work, a lane of weight `w` out
//! of a sum `W` gets its `w/W` of the slots, and never waits for more than `W/w` rounds beyond its share; no lane
//! starves, because every weight is at least one. A lane without work saves up no credit.

use std::collections::{HashMap, HashSet};

/// A lane that could take slots now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The caller's number for the lane; it stays the same while the lane exists.
    pub lane: usize,
    /// Its weight; zero counts as one.
    pub weight: u32,
    /// How many jobs it has to run.
    pub available: usize,
}

/// The order's memory between decisions: what each lane is owed.
#[derive(Clone, Debug, Default)]
pub struct Order {
    owed: HashMap<usize, i64>,
}

impl Order {
    /// Shares up to `slots` among `candidates`, as `(lane, slots)` in the order of first grant.
    ///
    /// No lane gets more than it has available, and no slot stays idle while one has work.
    pub fn grant(&mut self, candidates: &[Candidate], slots: usize) -> Vec<(usize, usize)> {
        let mut open: Vec<Candidate> = candidates.iter().copied().filter(|c| c.available > 0).collect();
        // A lane without work saves up no credit.
        let with_work: HashSet<usize> = open.iter().map(|c| c.lane).collect();
        self.owed.retain(|lane, _| with_work.contains(lane));
        let mut granted = Granted::default();
        let mut left = slots;
        while left > 0 && !open.is_empty() {
            if let [only] = open[..] {
                granted.add(only.lane, left.min(only.available));
                break;
            }
            let chosen = self.next(&open);
            granted.add(open[chosen].lane, 1);
            left -= 1;
            open[chosen].available -= 1;
            if open[chosen].available == 0 {
                self.owed.remove(&open[chosen].lane);
                open.swap_remove(chosen);
            }
        }
        granted.in_order
    }

    /// One step of smooth weighted round robin: everybody is owed its weight, the one who is owed most pays the sum.
    fn next(&mut self, open: &[Candidate]) -> usize {
        let mut sum = 0;
        let mut chosen = (0, i64::MIN);
        for (at, candidate) in open.iter().enumerate() {
            let weight = i64::from(candidate.weight.max(1));
            sum += weight;
            let owed = self.owed.entry(candidate.lane).or_insert(0);
            *owed += weight;
            if *owed > chosen.1 {
                chosen = (at, *owed);
            }
        }
        *self.owed.get_mut(&open[chosen.0].lane).expect("every open lane was just entered") -= sum;
        chosen.0
    }
}

/// What was granted so far, in the order of first grant.
#[derive(Default)]
struct Granted {
    in_order: Vec<(usize, usize)>,
    at: HashMap<usize, usize>,
}

impl Granted {
    fn add(&mut self, lane: usize, slots: usize) {
        let at = *self.at.entry(lane).or_insert_with(|| {
            self.in_order.push((lane, 0));
            self.in_order.len() - 1
        });
        self.in_order[at].1 += slots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lanes(of: &[(u32, usize)]) -> Vec<Candidate> {
        let candidate = |(lane, &(weight, available))| Candidate { lane, weight, available };
        of.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn slots_follow_the_weights_one_by_one() {
        let mut order = Order::default();
        let open = lanes(&[(5, 1000), (1, 1000), (1, 1000)]);
        let first: Vec<usize> = (0..7).map(|_| order.grant(&open, 1)[0].0).collect();
        assert_eq!(first, [0, 0, 1, 0, 2, 0, 0], "spread out, not in bursts");
    }

    #[test]
    fn what_one_lane_cannot_use_the_others_get() {
        let mut order = Order::default();
        let mut granted = order.grant(&lanes(&[(100, 2), (1, 50), (1, 0)]), 20);
        granted.sort_unstable();
        assert_eq!(granted, [(0, 2), (1, 18)]);
    }

    proptest! {
        #[test]
        fn every_lane_gets_its_share_within_one_round(weights in prop::collection::vec(1u32..20, 2..12), slots in 1usize..400) {
            let mut order = Order::default();
            let open = lanes(&weights.iter().map(|&w| (w, usize::MAX)).collect::<Vec<_>>());
            let mut got = vec![0usize; weights.len()];
            for _ in 0..slots {
                for (lane, n) in order.grant(&open, 1) {
                    got[lane] += n;
                }
            }
            let sum: u32 = weights.iter().sum();
            for (lane, &weight) in weights.iter().enumerate() {
                let share = slots as f64 * f64::from(weight) / f64::from(sum);
                prop_assert!((got[lane] as f64 - share).abs() <= weights.len() as f64, "lane {lane}: {} of {share}", got[lane]);
            }
        }

        #[test]
        fn all_slots_are_used_while_there_is_work(work in prop::collection::vec((1u32..9, 0usize..30), 1..20), slots in 0usize..200) {
            let open = lanes(&work);
            let granted: usize = Order::default().grant(&open, slots).iter().map(|&(_, n)| n).sum();
            let there: usize = work.iter().map(|&(_, n)| n).sum();
            prop_assert_eq!(granted, slots.min(there));
        }
    }
}
