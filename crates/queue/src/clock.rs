//! One clock, the server's: each process knows its offset from it and uses no other for deadlines and ages.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tollgate_types::UnixMillis;

/// The server's time, from the offset that [`ServerClock::observe`] keeps. Cheap to clone; clones share the offset.
#[derive(Clone, Debug)]
pub struct ServerClock {
    /// Server's wall clock at `origin`, ms.
    base: Arc<AtomicI64>,
    /// Uncertainty of `base` in µs, growing is not modelled: a better observation replaces it.
    uncertainty: Arc<AtomicI64>,
    /// A monotonic origin: steps of the local wall clock do not move the server's time.
    origin: Instant,
    /// How far the local wall clock is made to be wrong, ms; 0 outside of tests.
    wrong_by: i64,
}

/// An observation this much worse than the best is ignored; queues on a busy client make answers late, never early.
const WORSE_BY: f64 = 4.0;

impl ServerClock {
    /// A clock that trusts the local wall clock until the first observation.
    pub fn new() -> Self {
        ServerClock::with_wall_clock_wrong_by(0)
    }

    /// A clock whose local wall clock is ahead by so many milliseconds, or behind: for tests, which cannot set the
    /// machine's. Nothing but this file reads the wall clock, so the whole process believes it until it knows better.
    pub fn with_wall_clock_wrong_by(wrong_by: i64) -> Self {
        ServerClock {
            base: Arc::new(AtomicI64::new(wall_clock(wrong_by))),
            uncertainty: Arc::new(AtomicI64::new(i64::MAX)),
            origin: Instant::now(),
            wrong_by,
        }
    }

    /// Takes in that the server said `stamp` between the local instants `asked` and `answered`.
    pub fn observe(&self, asked: Instant, answered: Instant, stamp: UnixMillis) {
        let round_trip = answered.duration_since(asked);
        let micros = i64::try_from(round_trip.as_micros()).unwrap_or(i64::MAX);
        let best = self.uncertainty.load(Ordering::Relaxed);
        if best != i64::MAX && micros as f64 > (best.max(500)) as f64 * WORSE_BY {
            // Let the bound relax, so that a clock that drifts away is corrected in time.
            self.uncertainty.store(best.saturating_add(best / 16 + 1), Ordering::Relaxed);
            return;
        }
        let middle = asked.duration_since(self.origin) + round_trip / 2;
        self.base.store(stamp.0.saturating_sub(millis(middle)), Ordering::Relaxed);
        self.uncertainty.store(micros, Ordering::Relaxed);
    }

    /// The server's time now.
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.base.load(Ordering::Relaxed).saturating_add(millis(self.origin.elapsed())))
    }

    /// How far the local wall clock is ahead of the server's, ms; `None` before the first observation.
    pub fn local_ahead_ms(&self) -> Option<i64> {
        let known = self.uncertainty.load(Ordering::Relaxed) != i64::MAX;
        known.then(|| wall_clock(self.wrong_by).saturating_sub(self.now().0))
    }
}

fn wall_clock(wrong_by: i64) -> i64 {
    UnixMillis::from(OffsetDateTime::now_utc()).0.saturating_add(wrong_by)
}

impl Default for ServerClock {
    fn default() -> Self {
        ServerClock::new()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_time_is_followed_whatever_the_local_clock_says() {
        let clock = ServerClock::new();
        let t = Instant::now();
        let stamp = UnixMillis(1_000_000);
        clock.observe(t, t + Duration::from_micros(200), stamp);
        let ahead = clock.now().since(stamp);
        assert!(clock.now() >= stamp && ahead < Duration::from_secs(60), "{ahead:?}");
    }

    #[test]
    fn a_late_answer_does_not_spoil_a_good_one() {
        let clock = ServerClock::new();
        let t = Instant::now();
        clock.observe(t, t + Duration::from_micros(200), UnixMillis(1_000_000));
        clock.observe(t, t + Duration::from_secs(4), UnixMillis(1_000_000));
        assert!(clock.now() >= UnixMillis(1_000_000), "the late answer would have set the clock two seconds back");
    }
}
