//! How long a deployment lets wait, against its own recent normal.

use std::time::Duration;

/// The time to the first token: lately, usually, and its decaying peak.
///
/// Averages are of logarithms, because latencies spread by factors: one answer that takes ten times as long moves an
/// average of milliseconds, and should not.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    seen: u64,
    recent_ln: f64,
    usual_ln: f64,
    peak_ms: f64,
    peak_at: Duration,
}

/// So many answers make a normal.
const NORMAL_AFTER: u64 = 20;
/// The weight of one answer in what is recent: the last five or so count.
const RECENT: f64 = 0.25;
/// And in what is usual, while it is not slow; while it is, so little that half an hour's traffic makes it the new normal.
const USUAL: f64 = 0.02;
const USUAL_WHILE_SLOW: f64 = 0.0005;
/// Slow is this many times the normal, and at least so much above it: small numbers jump.
const TIMES: f64 = 3.0;
const ABOVE_MS: f64 = 50.0;
/// A peak is half forgotten after so long.
const PEAK_HALF_LIFE: Duration = Duration::from_secs(5);
/// What is assumed before the first answer: little, so that a new deployment is tried.
const UNKNOWN_MS: f64 = 1.0;

impl Latency {
    /// An answer began after so long.
    pub(super) fn observe(&mut self, first_token: Duration, now: Duration) {
        let ms = (first_token.as_secs_f64() * 1e3).max(0.1);
        self.peak_ms = ms.max(self.peak_ms(now) + (ms - self.peak_ms(now)) * RECENT);
        self.peak_at = now;
        self.seen += 1;
        let ln = ms.ln();
        if self.seen == 1 {
            (self.recent_ln, self.usual_ln) = (ln, ln);
            return;
        }
        self.recent_ln += (ln - self.recent_ln) * RECENT;
        // The first answers are averaged plainly, so that the very first does not count for more than the others.
        let usual = if self.is_slow() { USUAL_WHILE_SLOW } else { USUAL.max(1.0 / self.seen as f64) };
        self.usual_ln += (ln - self.usual_ln) * usual;
    }

    /// Whether what is recent is well above what is usual.
    pub(super) fn is_slow(&self) -> bool {
        self.seen > NORMAL_AFTER && above_normal(self.recent_ln.exp(), self.usual_ln.exp())
    }

    /// A call that has waited for longer than this is late; `None` while no normal is known.
    pub(super) fn late_after(&self) -> Option<Duration> {
        (self.seen > NORMAL_AFTER).then(|| {
            let usual = self.usual_ln.exp();
            Duration::from_secs_f64((usual * TIMES).max(usual + ABOVE_MS) / 1e3)
        })
    }

    /// The decayed peak, in milliseconds.
    pub(super) fn peak_ms(&self, now: Duration) -> f64 {
        if self.seen == 0 {
            return UNKNOWN_MS;
        }
        let lives = now.saturating_sub(self.peak_at).as_secs_f64() / PEAK_HALF_LIFE.as_secs_f64();
        let floor = self.recent_ln.exp().min(self.peak_ms);
        (self.peak_ms * 0.5_f64.powf(lives)).max(floor * 0.5_f64.powf(lives / 8.0)).max(UNKNOWN_MS)
    }

    /// The recent average.
    pub(super) fn recent(&self) -> Option<Duration> {
        (self.seen > 0).then(|| Duration::from_secs_f64(self.recent_ln.exp() / 1e3))
    }

    /// The usual average.
    pub(super) fn usual(&self) -> Option<Duration> {
        (self.seen > 0).then(|| Duration::from_secs_f64(self.usual_ln.exp() / 1e3))
    }
}

fn above_normal(recent_ms: f64, usual_ms: f64) -> bool {
    recent_ms > usual_ms * TIMES && recent_ms > usual_ms + ABOVE_MS
}
