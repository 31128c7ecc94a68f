//! How well the slots are used: a slot that runs nothing while an open lane has work is idle.

use std::time::Instant;

/// Adds up slot-time.
#[derive(Debug, Default)]
pub(super) struct UseOfSlots {
    last: Option<Instant>,
    /// What was added up and is less than a millisecond, which is what the counters count in.
    rest: (f64, f64),
}

impl UseOfSlots {
    /// Takes in that since the last look `running` of `slots` ran jobs, and that `waiting` jobs of open lanes could have
    /// used the others.
    pub(super) fn look(&mut self, now: Instant, running: usize, slots: usize, waiting: usize) {
        let Some(last) = self.last.replace(now) else { return };
        let millis = now.duration_since(last).as_secs_f64() * 1e3;
        let idle = slots.saturating_sub(running).min(waiting);
        let all = whole(&mut self.rest.0, millis * slots as f64);
        let idle = whole(&mut self.rest.1, millis * idle as f64);
        metrics::counter!("tollgate_slot_milliseconds_total").increment(all);
        metrics::counter!("tollgate_idle_slot_milliseconds_total").increment(idle);
    }
}

/// Adds to a rest and takes the whole out of it.
fn whole(rest: &mut f64, more: f64) -> u64 {
    *rest += more;
    let whole = rest.floor();
    *rest -= whole;
    whole as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_millisecond_are_not_lost() {
        let mut rest = 0.0;
        let total: u64 = (0..1000).map(|_| whole(&mut rest, 0.75)).sum();
        assert_eq!(total, 750);
    }
}
