//! What is expected of a job before it is known: how long its answer will be, and what it will cost.
//!
//! Deterministic and bounded; nothing here is exact, and nothing needs to be: the fair order charges what is expected
//! when a job starts and corrects it when it ends. An estimate too low lets a lane take too much for as long as its
//! jobs run, so answers are expected longer than most are.

use std::collections::{BTreeMap, HashMap};

use crate::order::Cost;

/// How many (team, model) pairs are remembered: some hundred teams with every model that they use, in about 4 MB.
const PAIRS_MAX: usize = 10_000;
/// How many answers a pair remembers: a change of prompts is learned within so many, and a rank among so many is sure
/// to about seven percentiles.
const ANSWERS: usize = 32;
/// The mean cost of a lane looks back about so many jobs.
const JOBS: i128 = 16;
/// Fractions of a cost unit in a mean, as a shift, so that small differences are not rounded away.
const FRACTION_BITS: u32 = 8;

/// Learned lengths of answers: for each team and model, the 80th percentile of the last 32.
///
/// Remembers 10,000 pairs; for another, the pair whose last answer came longest ago is forgotten.
#[derive(Clone, Debug)]
pub struct OutputEstimates {
    default: u64,
    pairs_max: usize,
    pairs: HashMap<String, Pair>,
    /// Each pair once, by when it last had an answer.
    by_age: BTreeMap<u64, String>,
    answers: u64,
}

#[derive(Clone, Debug)]
struct Pair {
    last_answer: u64,
    lengths: Lengths,
}

impl OutputEstimates {
    /// Knows nothing yet; pairs without an answer are expected to write `default` tokens.
    pub fn new(default: u64) -> Self {
        OutputEstimates::bounded(default, PAIRS_MAX)
    }

    /// The same, for at most `pairs_max` pairs instead of 10,000.
    pub fn bounded(default: u64, pairs_max: usize) -> Self {
        OutputEstimates { default, pairs_max, pairs: HashMap::new(), by_age: BTreeMap::new(), answers: 0 }
    }

    /// How many tokens an answer is expected to have: what was learned or the default, `max_tokens` at most.
    pub fn expected(&self, team: &str, model: &str, max_tokens: Option<u64>) -> u64 {
        let learned = self.pairs.get(&key(team, model)).map_or(self.default, |pair| pair.lengths.long());
        learned.min(max_tokens.unwrap_or(u64::MAX))
    }

    /// Learns how long an answer was, reasoning included.
    pub fn observe(&mut self, team: &str, model: &str, output_tokens: u64) {
        self.answers += 1;
        let key = key(team, model);
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.lengths.push(output_tokens);
            self.by_age.remove(&pair.last_answer);
            pair.last_answer = self.answers;
        } else {
            let pair = Pair { last_answer: self.answers, lengths: Lengths::of(output_tokens) };
            self.pairs.insert(key.clone(), pair);
        }
        self.by_age.insert(self.answers, key);
        while self.pairs.len() > self.pairs_max {
            let (_, oldest) = self.by_age.pop_first().expect("every pair is in it");
            self.pairs.remove(&oldest);
        }
    }

    /// How many pairs are remembered.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// A subject's token holds no white space, so two pairs never share a key.
fn key(team: &str, model: &str) -> String {
    format!("{team} {model}")
}

/// The last lengths of a pair's answers.
#[derive(Clone, Debug)]
struct Lengths {
    last: [u32; ANSWERS],
    count: usize,
    oldest: usize,
}

impl Lengths {
    fn of(first: u64) -> Self {
        let mut lengths = Lengths { last: [0; ANSWERS], count: 0, oldest: 0 };
        lengths.push(first);
        lengths
    }

    fn push(&mut self, length: u64) {
        self.last[self.oldest] = u32::try_from(length).unwrap_or(u32::MAX);
        self.oldest = (self.oldest + 1) % ANSWERS;
        self.count = (self.count + 1).min(ANSWERS);
    }

    /// The 80th percentile: the smallest length that at least four fifths do not exceed.
    fn long(&self) -> u64 {
        let mut last = self.last;
        let rank = (4 * self.count).div_ceil(5) - 1;
        u64::from(*last[..self.count].select_nth_unstable(rank).1)
    }
}

/// What the jobs of a lane cost on average, to charge one before its content is seen.
///
/// The mean of the first 16, then one that forgets by a sixteenth with each job. The mean and not a high percentile:
/// errors that cancel out are corrected within a few jobs, and this estimate only has to last for one pull.
#[derive(Clone, Copy, Debug)]
pub struct LaneCost {
    mean: i128,
    jobs: i128,
}

impl LaneCost {
    /// Expects `first` until a job's cost is known.
    pub fn new(first: Cost) -> Self {
        LaneCost { mean: i128::from(first) << FRACTION_BITS, jobs: 0 }
    }

    /// What the next job is expected to cost.
    pub fn expected(&self) -> Cost {
        Cost::try_from(self.mean >> FRACTION_BITS).expect("a mean of costs lies between them")
    }

    /// Learns what a job cost.
    pub fn observe(&mut self, actual: Cost) {
        self.jobs = (self.jobs + 1).min(JOBS);
        self.mean += ((i128::from(actual) << FRACTION_BITS) - self.mean) / self.jobs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_without_answers_is_expected_to_write_the_default() {
        let estimates = OutputEstimates::new(500);
        assert_eq!(estimates.expected("search", "fast", None), 500);
        assert_eq!(estimates.expected("search", "fast", Some(200)), 200, "the job allows no more");
    }

    #[test]
    fn four_of_five_answers_are_no_longer_than_expected() {
        let mut estimates = OutputEstimates::new(500);
        for length in 0..1000u64 {
            estimates.observe("search", "fast", (length * 37) % 100);
        }
        let expected = estimates.expected("search", "fast", None);
        assert!((70..90).contains(&expected), "{expected}");
        assert_eq!(estimates.expected("search", "fast", Some(8192)), expected);
        assert_eq!(estimates.expected("search", "slow", None), 500, "another model is another matter");
        assert_eq!(estimates.expected("ads", "fast", None), 500, "and so is another team");
    }

    #[test]
    fn a_change_of_answers_is_learned_within_32_and_mostly_within_8() {
        let mut estimates = OutputEstimates::new(500);
        (0..100).for_each(|_| estimates.observe("search", "fast", 50));
        (0..8).for_each(|_| estimates.observe("search", "fast", 5000));
        assert_eq!(estimates.expected("search", "fast", None), 5000, "longer answers are believed soon");
        (0..26).for_each(|_| estimates.observe("search", "fast", 50));
        assert_eq!(estimates.expected("search", "fast", None), 50, "shorter ones later");
    }

    #[test]
    fn the_pair_whose_last_answer_is_oldest_makes_way() {
        let mut estimates = OutputEstimates::bounded(1, 3);
        for (team, length) in [("a", 10), ("b", 20), ("c", 30), ("a", 10), ("d", 40)] {
            estimates.observe(team, "m", length);
        }
        let known = ["a", "b", "c", "d"].map(|team| estimates.expected(team, "m", None));
        assert_eq!(known, [10, 1, 30, 40]);
        assert_eq!(estimates.len(), 3);
        assert_eq!(estimates.by_age.len(), 3);
    }

    #[test]
    fn absurd_lengths_are_taken_as_they_come() {
        let mut estimates = OutputEstimates::new(u64::MAX);
        assert_eq!(estimates.expected("a", "m", None), u64::MAX);
        estimates.observe("a", "m", u64::MAX);
        assert_eq!(estimates.expected("a", "m", None), u64::from(u32::MAX));
        estimates.observe("a", "m", 0);
        assert_eq!(estimates.expected("a", "m", Some(0)), 0);
    }

    #[test]
    fn a_lane_costs_the_mean_of_its_jobs() {
        let mut lane = LaneCost::new(7_000);
        assert_eq!(lane.expected(), 7_000);
        lane.observe(100);
        assert_eq!(lane.expected(), 100, "one job says more than none");
        lane.observe(300);
        assert_eq!(lane.expected(), 200);
        (0..200).for_each(|_| lane.observe(90_000));
        assert!(lane.expected().abs_diff(90_000) <= 1, "{}", lane.expected());
        (0..11).for_each(|_| lane.observe(0));
        assert!(lane.expected().abs_diff(45_000) < 1_500, "half of it is the last eleven jobs: {}", lane.expected());
    }

    #[test]
    fn a_lane_of_absurd_costs_does_not_overflow() {
        let mut lane = LaneCost::new(u64::MAX);
        for cost in [u64::MAX, 0, u64::MAX, u64::MAX, 0] {
            lane.observe(cost);
        }
        assert!(lane.expected() > u64::MAX / 2);
    }
}
