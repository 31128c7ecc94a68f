//! How long to wait before another try: the only place that uses the `backoff` crate, and only to compute.
//!
//! `backoff` is unmaintained (RUSTSEC-2025-0012). It jitters after capping, so that a delay can exceed its own
//! `max_interval` by half; and it gives up after fifteen minutes unless told not to. Both are ours to decide, so the
//! cap is applied again here and the deadline lives with the caller.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

/// The first delay, before jitter.
const FIRST: Duration = Duration::from_millis(500);
/// No delay is longer; a job that must wait longer should not hold a slot.
pub(crate) const CAP: Duration = Duration::from_secs(30);

/// Growing, jittered delays of one run.
pub(crate) struct Delays(backoff::ExponentialBackoff);

impl Delays {
    /// Starts small.
    pub(crate) fn new() -> Self {
        let policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_interval(CAP)
            .with_max_elapsed_time(None)
            .build();
        Delays(policy)
    }

    /// The next delay.
    pub(crate) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(CAP).min(CAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_never_exceed_the_cap() {
        let mut delays = Delays::new();
        let all: Vec<Duration> = (0..40).map(|_| delays.next()).collect();
        assert!(all[0] <= FIRST * 3 / 2);
        assert!(all.iter().all(|d| *d <= CAP));
        assert!(all[30..].iter().all(|d| *d >= CAP / 3), "they have grown");
    }
}
