//! Stretches of the calendar in words. Days, weeks (from Monday) and months are those of UTC, as ClickHouse counts them.

use std::str::FromStr;

use time::{Date, Duration, Month, OffsetDateTime, Time};
use tollgate_types::UnixMillis;

/// A stretch of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// A unit that holds now, or one that is so many units back.
    Unit(Unit, i64),
    /// A named month.
    Month(i32, Month),
    /// A named day.
    Day(Date),
}

/// What the calendar is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Week,
    Month,
}

impl FromStr for During {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split([' ', '-', '_']).filter(|word| !word.is_empty()).collect();
        let unit = |word: &str| match word {
            "day" => Some(Unit::Day),
            "week" => Some(Unit::Week),
            "month" => Some(Unit::Month),
            _ => None,
        };
        let read = match words[..] {
            ["today"] => Some(During::Unit(Unit::Day, 0)),
            ["yesterday"] => Some(During::Unit(Unit::Day, 1)),
            ["this", word] => unit(word).map(|unit| During::Unit(unit, 0)),
            ["last", word] => unit(word).map(|unit| During::Unit(unit, 1)),
            [year, month] => year_and_month(year, month).map(|(year, month)| During::Month(year, month)),
            [year, month, day] => year_and_month(year, month)
                .zip(day.parse().ok())
                .and_then(|((year, month), day)| Date::from_calendar_date(year, month, day).ok())
                .map(During::Day),
            _ => None,
        };
        read.ok_or_else(|| {
            format!("'{text}' is not today, yesterday, this or last week or month, 2026-11, or 2026-11-26")
        })
    }
}

fn year_and_month(year: &str, month: &str) -> Option<(i32, Month)> {
    let year: i32 = year.parse().ok().filter(|year| (1970..=2299).contains(year))?;
    Some((year, Month::try_from(month.parse::<u8>().ok()?).ok()?))
}

impl During {
    /// Its beginning and its end, which does not belong to it.
    pub(super) fn bounds(self, now: UnixMillis) -> (UnixMillis, UnixMillis) {
        let (from, to) = self.days(today(now));
        let at = |date: Date| UnixMillis::from(OffsetDateTime::new_utc(date, Time::MIDNIGHT));
        (at(from), at(to))
    }

    fn days(self, today: Date) -> (Date, Date) {
        match self {
            During::Day(day) => (day, later(day, 1)),
            During::Month(year, month) => month_of(year, month),
            During::Unit(Unit::Day, back) => (later(today, -back), later(today, 1 - back)),
            During::Unit(Unit::Week, back) => {
                let monday = later(today, -i64::from(today.weekday().number_days_from_monday()) - 7 * back);
                (monday, later(monday, 7))
            }
            During::Unit(Unit::Month, back) => {
                let months = i64::from(today.year()) * 12 + i64::from(u8::from(today.month())) - 1 - back;
                let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
                let month = u8::try_from(month).ok().and_then(|month| Month::try_from(month).ok());
                month_of(i32::try_from(year).unwrap_or(today.year()), month.unwrap_or(today.month()))
            }
        }
    }
}

fn month_of(year: i32, month: Month) -> (Date, Date) {
    let first = |year, month| Date::from_calendar_date(year, month, 1).unwrap_or(Date::MAX);
    let following = if month == Month::December { year + 1 } else { year };
    (first(year, month), first(following, month.next()))
}

fn later(date: Date, days: i64) -> Date {
    date.saturating_add(Duration::days(days))
}

fn today(now: UnixMillis) -> Date {
    let now = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::milliseconds(now.0));
    now.date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_days_of_the_calendar() {
        // Thursday, 2026-11-26.
        let now = UnixMillis::from(OffsetDateTime::new_utc(
            Date::from_calendar_date(2026, Month::November, 26).expect("a day"),
            Time::from_hms(13, 5, 0).expect("a time"),
        ));
        let check = |words: &str, from: &str, to: &str| {
            let (begins, ends) = words.parse::<During>().expect(words).bounds(now);
            let day = |at: UnixMillis| at.to_rfc3339().replace("T00:00:00Z", "");
            assert_eq!((day(begins).as_str(), day(ends).as_str()), (from, to), "{words}");
        };
        check("today", "2026-11-26", "2026-11-27");
        check("yesterday", "2026-11-25", "2026-11-26");
        check("this week", "2026-11-23", "2026-11-30");
        check("last week", "2026-11-16", "2026-11-23");
        check("last-week", "2026-11-16", "2026-11-23");
        check("this month", "2026-11-01", "2026-12-01");
        check("last month", "2026-10-01", "2026-11-01");
        check("2026-12", "2026-12-01", "2027-01-01");
        check("2024-02-29", "2024-02-29", "2024-03-01");
    }

    #[test]
    fn the_month_before_january_is_in_the_year_before() {
        let now = UnixMillis(3_600_000);
        let (from, to) = "last month".parse::<During>().expect("words").bounds(now);
        assert_eq!((from.to_rfc3339().as_str(), to.0), ("1969-12-01T00:00:00Z", 0));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "last", "last year", "2026-13", "2026-02-30", "next week", "26-11"] {
            assert!(bad.parse::<During>().is_err(), "{bad}");
        }
    }
}
