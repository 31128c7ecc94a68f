//! How long to wait before the next try.

use std::time::Duration;

/// The first wait: a server that restarts is back within a second or two.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait: after an outage of hours, work goes on within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// The wait after `failures` failures in a row: doubling, bounded, and between half and all of that, so that many
/// clients of a server that comes back do not come at once.
pub(crate) fn delay(failures: u32) -> Duration {
    ceiling(failures).mul_f64(rand::random_range(0.5..1.0))
}

fn ceiling(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        assert_eq!([1, 2, 3].map(ceiling), [200, 400, 800].map(Duration::from_millis));
        assert_eq!(ceiling(u32::MAX), LONGEST);
        assert!((1..40).all(|n| delay(n) >= FIRST / 2 && delay(n) <= LONGEST));
    }
}
