//! A stretch of whole hours, so that the raw table and the hourly rollup answer for the same time.

use tollgate_types::UnixMillis;

const HOUR_SECONDS: i64 = 3600;

/// Whole hours, from the first included to the last excluded, by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourRange {
    from_seconds: i64,
    to_seconds: i64,
}

impl HourRange {
    /// Every hour that the tables can hold.
    pub const ALL: HourRange = HourRange { from_seconds: 0, to_seconds: LAST_SECONDS };

    /// The hours that `from` (included) to `to` (excluded) touch: widened to whole hours on both sides.
    pub fn covering(from: UnixMillis, to: UnixMillis) -> Self {
        let floor = |seconds: i64| seconds.div_euclid(HOUR_SECONDS) * HOUR_SECONDS;
        let from_seconds = floor(from.0.div_euclid(1000)).clamp(0, LAST_SECONDS);
        let last_millis = to.0.max(from.0).saturating_add(HOUR_SECONDS * 1000 - 1);
        let to_seconds = floor(last_millis.div_euclid(1000)).clamp(from_seconds, LAST_SECONDS);
        HourRange { from_seconds, to_seconds }
    }

    /// Whole hours given by their seconds.
    pub(crate) fn of_seconds(from: i64, to: i64) -> Self {
        HourRange::covering(UnixMillis(from.saturating_mul(1000)), UnixMillis(to.saturating_mul(1000)))
    }

    /// The first second, since the epoch.
    pub fn from_seconds(self) -> i64 {
        self.from_seconds
    }

    /// The second after the last, since the epoch.
    pub fn to_seconds(self) -> i64 {
        self.to_seconds
    }
}

/// The last whole hour of ClickHouse's `DateTime`, in the year 2106.
const LAST_SECONDS: i64 = (u32::MAX as i64) / HOUR_SECONDS * HOUR_SECONDS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_widened_to_whole_hours() {
        let check = |from, to, expected: (i64, i64)| {
            let range = HourRange::covering(UnixMillis(from), UnixMillis(to));
            assert_eq!((range.from_seconds(), range.to_seconds()), expected, "{from}..{to}");
        };
        check(0, 1, (0, 3600));
        check(3_599_999, 3_600_000, (0, 3600));
        check(3_600_000, 3_600_001, (3600, 7200));
        check(7_200_000, 7_200_000, (7200, 7200));
        check(7_200_000, 0, (7200, 7200));
        check(i64::MIN, i64::MAX, (0, HourRange::ALL.to_seconds()));
    }
}
