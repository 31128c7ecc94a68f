//! A deployment that becomes slow loses its calls and gets them back: simulated, with calls that overlap.

use std::collections::BTreeMap;

use super::*;
use crate::health::{Outcome, Ticket};

/// So many calls a second, evenly.
const A_SECOND: u64 = 40;

struct Sim {
    now: Duration,
    healths: [Health; 2],
    /// Calls under way by when they end.
    running: BTreeMap<(Duration, u64), (usize, Ticket, Duration)>,
    calls: u64,
    seed: u64,
}

impl Sim {
    fn chance(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn end_what_is_over(&mut self) {
        while let Some(entry) = self.running.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let ((at, _), (who, ticket, takes)) = entry.remove_entry();
            self.healths[who].end(ticket, Outcome::Answered { first_token: takes }, at);
        }
    }

    /// Goes on for so long with these latencies in milliseconds; returns how many calls each got.
    fn go_on(&mut self, seconds: u64, strategy: Strategy, latency_ms: [f64; 2]) -> [u64; 2] {
        let mut got = [0; 2];
        for _ in 0..seconds * A_SECOND {
            self.now += Duration::from_secs(1) / A_SECOND as u32;
            self.end_what_is_over();
            let mut draws = [self.chance(), self.chance()].into_iter().cycle();
            let candidates = self.healths.each_ref().map(|health| Candidate { weight: 1, cost: NanoUsd(1), health });
            let choice =
                choose(strategy, &candidates, Reading::Whole, self.now, &mut || draws.next().expect("it goes round"));
            let Choice::Call(order) = choice else { continue };
            for other in (0..2).filter(|&at| at != order[0]) {
                if self.healths[other].standing(self.now) == Standing::Slow {
                    self.healths[other].passed_over();
                }
            }
            let who = order[0];
            got[who] += 1;
            self.calls += 1;
            let takes = Duration::from_secs_f64(latency_ms[who] * (0.8 + 0.4 * self.chance()) / 1e3);
            let ticket = self.healths[who].begin(Reading::Whole, true, self.now);
            self.running.insert((self.now + takes, self.calls), (who, ticket, takes));
        }
        got
    }
}

#[test]
fn a_slow_one_keeps_a_fortieth_of_its_calls_and_has_its_part_back_seconds_after_it_is_well() {
    for (strategy, part) in [(Strategy::Ordered, 0.95), (Strategy::LowestLatency, 0.3), (Strategy::Weighted, 0.3)] {
        for seed in 0..50 {
            let healths = [Health::default(), Health::default()];
            let now = Duration::from_secs(1_000);
            let mut sim = Sim { now, healths, running: BTreeMap::new(), calls: 0, seed };
            sim.go_on(10, strategy, [150.0, 150.0]);
            sim.go_on(6, strategy, [1_500.0, 150.0]);
            let [slow, _] = sim.go_on(12, strategy, [1_500.0, 150.0]);
            assert!(slow <= 12 * A_SECOND / 30, "{strategy:?} {seed}: {slow} calls at the slow one");
            sim.go_on(15, strategy, [150.0, 150.0]);
            let [back, other] = sim.go_on(10, strategy, [150.0, 150.0]);
            let got = back as f64 / (back + other) as f64;
            assert!(got >= part, "{strategy:?} {seed}: {got} of the calls 15 s after it is well");
        }
    }
}
