//! `--since`, `--during`, `--from` and `--to`: a stretch of time on the command line, as whole hours.

mod during;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::UnixMillis;
use tollgate_usage::HourRange;

use during::During;

use crate::config::values::Period;
use crate::exit::{Code, Failure};

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Span {
    /// The time until now, such as 24h or 7d
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["from", "to", "during"])]
    since: Option<Period>,
    /// A stretch of the calendar (UTC): today, yesterday, "this week", "last week", "last month", 2026-11 or 2026-11-26
    #[arg(long, value_name = "WORDS", conflicts_with_all = ["from", "to"])]
    during: Option<During>,
    /// The beginning, such as 2026-12-01 or 2026-12-01T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = point)]
    from: Option<UnixMillis>,
    /// The end; now if left out
    #[arg(long, value_name = "TIME", value_parser = point)]
    to: Option<UnixMillis>,
}

impl Span {
    /// Whether nothing was said.
    pub fn is_open(&self) -> bool {
        self.since.is_none() && self.during.is_none() && self.from.is_none() && self.to.is_none()
    }

    /// The whole hours that were meant; without a word the last `default` until `now`.
    ///
    /// # Errors
    /// A failure with [`Code::Usage`] if it ends before it begins.
    pub fn hours(&self, default: Period, now: UnixMillis) -> Result<HourRange, Failure> {
        if let Some(during) = self.during {
            let (from, to) = during.bounds(now);
            return Ok(HourRange::covering(from, to));
        }
        let to = self.to.unwrap_or(now);
        let back = i64::try_from(self.since.unwrap_or(default).0.as_millis()).unwrap_or(i64::MAX);
        let from = self.from.unwrap_or(UnixMillis(to.0.saturating_sub(back)));
        if from > to {
            let what = format!("the time ends ({}) before it begins ({})", to.to_rfc3339(), from.to_rfc3339());
            return Err(Failure::new(Code::Usage, what));
        }
        // The present moment is in its hour.
        Ok(HourRange::covering(from, UnixMillis(to.0.saturating_add(i64::from(self.to.is_none())))))
    }
}

/// The hours in words: the rollup knows no less.
pub fn in_words(range: HourRange) -> String {
    if range == HourRange::ALL {
        return "all time".to_owned();
    }
    let at = |seconds: i64| UnixMillis(seconds.saturating_mul(1000)).to_rfc3339();
    if range.to_seconds() == HourRange::ALL.to_seconds() {
        return format!("all since {}", at(range.from_seconds()));
    }
    format!("{} to {}, whole hours", at(range.from_seconds()), at(range.to_seconds()))
}

/// This machine's clock, for what a person calls now.
pub fn now() -> UnixMillis {
    OffsetDateTime::now_utc().into()
}

/// Reads a day or a time.
///
/// # Errors
/// Says what is expected instead.
pub(super) fn point(text: &str) -> Result<UnixMillis, String> {
    let midnight = format!("{text}T00:00:00Z");
    let read = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&midnight, &Rfc3339));
    read.map(UnixMillis::from).map_err(|_| format!("'{text}' is not a time such as 2026-12-01 or 2026-12-01T10:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_stretch_is_widened_to_whole_hours_and_now_lies_in_it() {
        let day = Period::parse("24h").expect("a duration");
        let check = |span: Span, now: i64, expected: (i64, i64)| {
            let hours = span.hours(day, UnixMillis(now)).expect("a range");
            assert_eq!((hours.from_seconds(), hours.to_seconds()), expected);
        };
        check(Span::default(), 30 * HOUR, (6 * 3600, 31 * 3600));
        check(
            Span { since: Some(Period::parse("90m").expect("a duration")), ..Span::default() },
            30 * HOUR,
            (28 * 3600, 31 * 3600),
        );
        let (from, to) = (Some(UnixMillis(HOUR)), Some(UnixMillis(2 * HOUR)));
        check(Span { from, to, ..Span::default() }, 30 * HOUR, (3600, 7200));
    }

    #[test]
    fn a_stretch_that_ends_first_is_refused() {
        let span = Span { from: Some(UnixMillis(2)), to: Some(UnixMillis(1)), ..Span::default() };
        assert!(span.hours(Period::default(), UnixMillis(0)).is_err());
    }

    #[test]
    fn days_and_times_are_read() {
        assert_eq!(point("1970-01-02"), Ok(UnixMillis(24 * HOUR)));
        assert_eq!(point("1970-01-01T02:00:00+01:00"), Ok(UnixMillis(HOUR)));
        assert!(point("yesterday").is_err());
    }
}
