//! How much of a minute's limit may be granted now: a window that is never exceeded, and a pace that spreads it.

use serde::{Deserialize, Serialize};

use super::ring::{Ring, WINDOW};

/// A minute's limit as it is reckoned with: more is no limit, and sums and 64ths of it fit.
const PER_MINUTE_MAX: u64 = 1 << 55;

/// How fast a limit may be used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_minute: u64,
    /// The most in one second.
    share: u64,
    /// What may be granted at once after a time of rest; what follows comes at a window's share a second.
    burst: u64,
}

impl Pace {
    /// Of requests: a fiftieth of the minute in a second. Even when a minute allows for few, a few go one second after
    /// the other: a team that was idle does not wait long for its second job.
    pub(super) fn of_requests(per_minute: u32) -> Pace {
        let per_minute = u64::from(per_minute);
        let share = per_minute.div_ceil(50);
        Pace { per_minute, share, burst: share.max(per_minute.div_ceil(2).min(5)) }
    }

    /// Of tokens: a twentieth, because estimates are upper bounds more often than not; with a fiftieth, jobs that need
    /// half of their estimate would never use up what their corrections bring back.
    pub(super) fn of_tokens(per_minute: u64) -> Pace {
        let per_minute = per_minute.min(PER_MINUTE_MAX);
        let share = per_minute.div_ceil(20);
        Pace { per_minute, share, burst: share }
    }

    /// How many seconds bring so much to one of so many.
    pub(super) fn seconds_of(self, count: u64, of: u64) -> i64 {
        let seconds = u128::from(in_64ths(count).unsigned_abs()) * u128::from(of) / u128::from(self.per_minute.max(1));
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    /// What is ahead of the pace after so many seconds without a grant; by at most this much less than nothing.
    fn after(self, ahead: i64, seconds: i64, saved_max: i64) -> i64 {
        // Longer than the window and its burst can be ahead, so that the product fits.
        let seconds = seconds.clamp(0, 2 * WINDOW);
        ahead.saturating_sub(signed(self.per_minute) * seconds).max(-saved_max)
    }
}

/// What was granted of one limit.
///
/// The window decides what may be: no 64 seconds hold more than the limit. The pace spreads it over them: each grant puts
/// it ahead by what was granted, each second takes off a 64th of the limit, and it may be ahead by at most the burst. What
/// comes back counts for both: in the window in the second of its grant, in the pace now, so that a lasting
/// overestimate is made up for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meter {
    granted: Ring,
    /// How far grants are ahead of the pace, in 64ths of one request or token, at a second. Below zero it has saved up
    /// for something big that waits.
    ahead: i64,
    at: i64,
}

/// How much may be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// By the pace. The last of several may go beyond it: it is waited for afterwards.
    pub(super) pace: u64,
    /// By the window; never exceeded.
    pub(super) window: u64,
}

impl Room {
    pub(super) const UNLIMITED: Room = Room { pace: u64::MAX, window: u64::MAX };

    fn fits(self, count: u64) -> bool {
        count == 0 || self.pace > 0 && count <= self.window
    }
}

impl Meter {
    /// Whether it counts nothing.
    pub(super) fn is_none(&self) -> bool {
        *self == Meter::default()
    }

    /// Brings it to a second. `waits_for` is the most that somebody waits for: while the window empties for it, the pace
    /// saves up for it as well, or else everybody would wait for it twice, before and after.
    pub(super) fn bring_to(&mut self, second: i64, pace: Pace, waits_for: u64) {
        self.granted.drop_old(second);
        let saved_max = in_64ths(waits_for.min(pace.per_minute).saturating_sub(pace.burst));
        self.ahead = pace.after(self.ahead, second.saturating_sub(self.at), saved_max);
        self.ahead = self.ahead.min(in_64ths(pace.per_minute.saturating_add(pace.burst)));
        self.at = self.at.max(second);
        // With nothing to count there is no time that a clock could be behind.
        if self.granted.is_empty() && self.ahead == 0 {
            *self = Meter::default();
        }
    }

    /// The last second that anybody brought it to.
    pub(super) fn last(&self) -> i64 {
        self.granted.last().map_or(self.at, |last| last.max(self.at))
    }

    /// Makes all of it so many seconds earlier.
    pub(super) fn set_back(&mut self, by: i64) {
        self.granted.set_back(by);
        self.at = self.at.saturating_sub(by);
    }

    /// Counts `count` more; it has been brought to this second.
    pub(super) fn add(&mut self, second: i64, count: u64) {
        if count == 0 {
            return;
        }
        self.at = self.at.max(second);
        self.granted.add(second, count);
        self.ahead = self.ahead.saturating_add(in_64ths(count));
    }

    /// Counts up to `count` less that were granted in a second.
    pub(super) fn take_off(&mut self, second: i64, count: u64) {
        let taken = self.granted.take_off(second, count);
        self.ahead = self.ahead.saturating_sub(in_64ths(taken));
    }

    /// How much may be granted in a second, on top of what was.
    pub(super) fn room(&self, pace: Pace, second: i64) -> Room {
        let ahead = pace.after(self.ahead, second.saturating_sub(self.at), i64::MAX);
        let by_pace = in_64ths(pace.burst).saturating_sub(ahead).max(0) / WINDOW;
        let by_second = pace.share.saturating_sub(self.granted.since(second));
        let in_window = self.granted.since(second.saturating_sub(WINDOW - 1));
        Room {
            pace: by_second.min(u64::try_from(by_pace).expect("not negative, by its lower bound")),
            window: pace.per_minute.saturating_sub(in_window),
        }
    }

    /// What was granted in the minute that ends with a second.
    pub(super) fn in_a_minute(&self, second: i64) -> u64 {
        self.granted.since(second.saturating_sub(59))
    }

    /// The first second in which nothing of that minute counts any more; 0 if nothing was granted.
    pub(super) fn empty_at(&self) -> i64 {
        self.granted.last().map_or(0, |last| last.saturating_add(60))
    }

    /// The first second, from this one on, in which something of this size fits, if nothing else is granted until then.
    pub(super) fn next(&self, pace: Pace, second: i64, count: u64) -> i64 {
        let last = second.saturating_add(WINDOW);
        (second..last).find(|&at| self.room(pace, at).fits(count)).unwrap_or(last)
    }
}

fn in_64ths(count: u64) -> i64 {
    signed(count).saturating_mul(WINDOW)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
