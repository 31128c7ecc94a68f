//! One budget for retries and fallbacks, so that an outage is not amplified.
//!
//! The first call of each run earns a fifth of a further one, and time earns one a second; a retry here, or a fallback
//! from here to elsewhere, spends one. So in any ten seconds the tries beyond the first are at most a fifth of the first
//! ones, and one a second, and what was saved up (the retry budget of Finagle, and of Google's SRE book, chapter 22).

use std::time::Duration;

/// What may be tried beyond first calls.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    tries: f64,
    at: Duration,
}

/// The most that is saved up, and what a fresh deployment starts with.
const SAVED_MAX: f64 = 10.0;
const PER_CALL: f64 = 0.2;
const PER_SECOND: f64 = 1.0;

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget { tries: SAVED_MAX, at: Duration::ZERO }
    }
}

impl RetryBudget {
    /// How much is left.
    pub fn left(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        (self.tries + passed * PER_SECOND).min(SAVED_MAX)
    }

    /// A first call was made.
    pub(super) fn earn(&mut self, now: Duration) {
        self.tries = (self.left(now) + PER_CALL).min(SAVED_MAX);
        self.at = self.at.max(now);
    }

    /// Spends one try, if it is there.
    pub(super) fn spend(&mut self, now: Duration) -> bool {
        let left = self.left(now);
        self.at = self.at.max(now);
        self.tries = left;
        if left < 1.0 {
            return false;
        }
        self.tries = left - 1.0;
        true
    }
}
