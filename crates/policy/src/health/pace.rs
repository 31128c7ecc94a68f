//! How many calls at once a deployment bears: no limit until it says so, then additive up, multiplicative down.

use std::time::Duration;

/// The limit on calls at once of one worker.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    limit: Option<f64>,
    cut_at: Duration,
    /// The most calls at once that there were.
    most: f64,
}

/// What is left of the calls at once after a sign that they are too many.
const CUT: f64 = 0.7;
/// What is slow may be slow whatever we do: less than this part of the most calls at once is not reached by slowness alone.
const SLOW_FLOOR: f64 = 0.25;
/// A tenth of the limit more with each round of answers, and at least one call.
const GROWTH: f64 = 0.1;
/// Above so many the limit is not felt by any worker, and goes away.
const LIMIT_MAX: f64 = 4096.0;

impl Pace {
    /// The limit, if there is one.
    pub fn limit(&self) -> Option<usize> {
        self.limit.map(|limit| (limit as usize).max(1))
    }

    /// Whether another call may join so many.
    pub(super) fn has_room(&self, running: usize) -> bool {
        self.room(running) > 0
    }

    /// How many more may join so many.
    pub(super) fn room(&self, running: usize) -> usize {
        self.limit().map_or(usize::MAX, |limit| limit.saturating_sub(running))
    }

    /// A sign of too much, from a call that began then beside so many others: one cut for all the calls of a round.
    pub(super) fn back_off(&mut self, at_once: usize, began: Duration, now: Duration) {
        self.cut(at_once, began, 1.0, now);
    }

    /// A sign that it has become slow, perhaps by too much.
    pub(super) fn slow_down(&mut self, at_once: usize, began: Duration, now: Duration) {
        self.cut(at_once, began, self.most * SLOW_FLOOR, now);
    }

    fn cut(&mut self, at_once: usize, began: Duration, floor: f64, now: Duration) {
        if self.limit.is_some() && began <= self.cut_at {
            return;
        }
        let from = self.limit.unwrap_or(f64::INFINITY).min(at_once as f64);
        let to = (from * CUT).max(floor).max(1.0);
        if self.limit.is_none_or(|limit| to < limit) {
            self.limit = Some(to);
        }
        self.cut_at = now;
    }

    /// An answer in good time. The limit grows only where it is used.
    pub(super) fn answered(&mut self, at_once: usize) {
        self.most = self.most.max(at_once as f64);
        let (Some(limit), Some(whole)) = (self.limit, self.limit()) else { return };
        // Of whole calls: of 2.9 there are never more than two at once.
        if (at_once as f64) < whole as f64 * 0.8 {
            return;
        }
        let grown = limit + (limit * GROWTH).max(1.0) / limit;
        self.limit = (grown <= LIMIT_MAX).then_some(grown);
    }
}
