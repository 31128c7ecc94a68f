//! When a budget's window begins and ends.
//!
//! Calendar windows (hour, day, week from Monday, month) follow the clock on the wall of a time zone: a day has 23 or
//! 25 hours when clocks are moved, and a day that a zone skips has no window. A **rolling** window is a ring of
//! [`SLICES`] sub-windows and the current one: it moves on by a whole sub-window, and the oldest counts whole until all
//! of it is outside, so that a rolling sum is never too small. Its sub-windows are counted from the Unix epoch; a zone
//! changes nothing about it.
//!
//! Whatever the zone does, the windows of one budget follow each other without gap or overlap. Times before 1970 are
//! one window, and so are those after 9000.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tollgate_types::UnixMillis;

/// The sub-windows of a rolling window beside the current one: a twenty-fourth is how late money comes back.
pub const SLICES: i64 = 24;
/// The shortest rolling window.
const ROLLING_MIN_MS: i64 = 60_000;
/// The longest rolling window: a year and a month.
const ROLLING_MAX_MS: i64 = 400 * 86_400_000;
/// 9000-01-01, long before the calendar's own end, so that no step in it can fail.
const CALENDAR_END: UnixMillis = UnixMillis(221_845_392_000_000);
const CALENDAR_START: UnixMillis = UnixMillis(0);

/// A kind of window that a budget may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Hour(TimeZone),
    Dates(Dates, TimeZone),
    Rolling { slice_ms: i64 },
}

/// Windows that begin with a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dates {
    Day,
    Week,
    Month,
}

/// One window: from `start` on, up to but without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub start: UnixMillis,
    /// When the next one begins; of a rolling window, when its oldest sub-window falls off.
    pub end: UnixMillis,
}

impl Span {
    /// Whether a time lies in it.
    pub fn contains(&self, at: UnixMillis) -> bool {
        self.start <= at && at < self.end
    }
}

/// Why a text is not a window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The window is none that is known.
    #[error("window {0:?} is not hour, day, week, month or rolling with a length, such as rolling 90m, 24h or 7d")]
    Unknown(String),
    /// The rolling window is too short or too long.
    #[error("window {0:?} is not between 1 minute and 400 days long")]
    Length(String),
    /// The zone is not in the IANA database.
    #[error("time zone {0:?} is not an IANA name, such as UTC, Europe/Berlin or America/New_York")]
    Zone(String),
    /// The zone is in the IANA database under another spelling; two spellings would be two windows.
    #[error("time zone {0:?} is written {1}")]
    Spelling(String, String),
}

impl Window {
    /// Reads a window and the zone that it follows, as a budget writes them.
    ///
    /// # Errors
    /// Says what the text is not, and what is allowed.
    pub fn parse(window: &str, time_zone: &str) -> Result<Window, WindowError> {
        let zone = zone(time_zone)?;
        Ok(Window(match window {
            "hour" => Kind::Hour(zone),
            "day" => Kind::Dates(Dates::Day, zone),
            "week" => Kind::Dates(Dates::Week, zone),
            "month" => Kind::Dates(Dates::Month, zone),
            _ => Kind::Rolling { slice_ms: rolling_ms(window)? / SLICES },
        }))
    }

    /// The window of a name that a budget gave it ([`Budget::window_id`](tollgate_types::Budget::window_id)).
    ///
    /// # Errors
    /// It is no such name.
    pub fn of_id(id: &str) -> Result<Window, WindowError> {
        let (window, time_zone) = id.split_once('@').unwrap_or((id, "UTC"));
        Window::parse(window, time_zone)
    }

    /// The window that `now` lies in.
    pub fn span(&self, now: UnixMillis) -> Span {
        let (unit, zone) = match &self.0 {
            Kind::Rolling { slice_ms } => return rolling_span(now, *slice_ms),
            Kind::Hour(zone) => (None, zone),
            Kind::Dates(unit, zone) => (Some(*unit), zone),
        };
        if now < CALENDAR_START {
            return Span { start: UnixMillis(i64::MIN), end: CALENDAR_START };
        }
        if now >= CALENDAR_END {
            return Span { start: CALENDAR_END, end: UnixMillis(i64::MAX) };
        }
        let Span { start, end } = match unit {
            None => hour_span(now, zone),
            Some(unit) => unit.span(now, zone),
        };
        Span { start: start.max(CALENDAR_START), end: end.min(CALENDAR_END) }
    }

    /// When the window that `now` lies in began.
    pub fn start_of(&self, now: UnixMillis) -> UnixMillis {
        self.span(now).start
    }

    /// The start of the sub-window that `at` lies in, if the window is a rolling one.
    pub fn slice_of(&self, at: UnixMillis) -> Option<UnixMillis> {
        match self.0 {
            Kind::Rolling { slice_ms } => Some(slices_from_epoch(at.0.div_euclid(slice_ms).into(), slice_ms)),
            Kind::Hour(_) | Kind::Dates(..) => None,
        }
    }

    /// When the sub-window that starts at `slice` is wholly outside of a rolling window.
    pub fn falls_off(&self, slice: UnixMillis) -> Option<UnixMillis> {
        match self.0 {
            Kind::Rolling { slice_ms } => Some(UnixMillis(slice.0.saturating_add(slice_ms * (SLICES + 1)))),
            Kind::Hour(_) | Kind::Dates(..) => None,
        }
    }
}

fn zone(name: &str) -> Result<TimeZone, WindowError> {
    let zone = TimeZone::get(name).map_err(|_| WindowError::Zone(short(name)))?;
    match zone.iana_name() {
        None => Err(WindowError::Zone(short(name))),
        Some(known) if known != name => Err(WindowError::Spelling(short(name), known.to_owned())),
        Some(_) => Ok(zone),
    }
}

fn rolling_ms(window: &str) -> Result<i64, WindowError> {
    let unknown = || WindowError::Unknown(short(window));
    let length = window.strip_prefix("rolling ").ok_or_else(unknown)?;
    let unit_ms = match length.bytes().last() {
        Some(b'm') => 60_000,
        Some(b'h') => 3_600_000,
        Some(b'd') => 86_400_000,
        _ => return Err(unknown()),
    };
    let digits = &length[..length.len() - 1];
    // A leading zero or sign would make two names of one window.
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(unknown());
    }
    let length_ms = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(unit_ms));
    length_ms
        .filter(|ms| (ROLLING_MIN_MS..=ROLLING_MAX_MS).contains(ms))
        .ok_or_else(|| WindowError::Length(short(window)))
}

/// What somebody wrote, cut so that a message stays a line.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn rolling_span(now: UnixMillis, slice_ms: i64) -> Span {
    let current = i128::from(now.0.div_euclid(slice_ms));
    Span {
        start: slices_from_epoch(current - i128::from(SLICES), slice_ms),
        end: slices_from_epoch(current + 1, slice_ms),
    }
}

fn slices_from_epoch(slices: i128, slice_ms: i64) -> UnixMillis {
    let ms = (slices * i128::from(slice_ms)).clamp(i64::MIN.into(), i64::MAX.into());
    UnixMillis(i64::try_from(ms).expect("it was just clamped to the range"))
}

/// The hour on the clock of the zone. Where a clock is moved by a part of an hour, the hour is cut there.
fn hour_span(now: UnixMillis, zone: &TimeZone) -> Span {
    const HOUR_MS: i64 = 3_600_000;
    let offset = |at: i64| i64::from(zone.to_offset(timestamp(UnixMillis(at))).seconds()) * 1000;
    let here = offset(now.0);
    let start = (now.0 + here).div_euclid(HOUR_MS) * HOUR_MS - here;
    let end = start + HOUR_MS;
    let moved_ms = |transition: jiff::tz::TimeZoneTransition<'_>| {
        let at = transition.timestamp().as_millisecond();
        (offset(at - 1) != offset(at)).then_some(at)
    };
    let since = |from: i64| timestamp(UnixMillis(from));
    // The last move up to now, the first after it: zones move their clocks months apart, never twice in an hour.
    let last = zone.preceding(since(now.0 + 1)).next().and_then(moved_ms).unwrap_or(start);
    let next = zone.following(since(now.0)).next().and_then(moved_ms).unwrap_or(end);
    Span { start: UnixMillis(start.max(last)), end: UnixMillis(end.min(next)) }
}

impl Dates {
    /// The window whose first instant is the last one up to `now`.
    ///
    /// Usually that of the date on the wall. Where clocks are put back over midnight, a date ends, begins, and is
    /// there once more: the window that has begun goes on.
    fn span(self, now: UnixMillis, zone: &TimeZone) -> Span {
        let today = zone.to_datetime(timestamp(now)).date();
        let mut first = self.first_of(today);
        while first_instant(first, zone) > now {
            first = self.first_of(before(first));
        }
        loop {
            let next = self.next(first);
            let end = first_instant(next, zone);
            if end > now {
                return Span { start: first_instant(first, zone), end };
            }
            first = next;
        }
    }

    fn first_of(self, date: Date) -> Date {
        match self {
            Dates::Day => date,
            Dates::Week => {
                let days = i64::from(date.weekday().to_monday_zero_offset());
                date.checked_sub(days.days()).expect(IN_CALENDAR)
            }
            Dates::Month => date.first_of_month(),
        }
    }

    fn next(self, first: Date) -> Date {
        let step = match self {
            Dates::Day => 1.day(),
            Dates::Week => 1.week(),
            Dates::Month => 1.month(),
        };
        first.checked_add(step).expect(IN_CALENDAR)
    }
}

const IN_CALENDAR: &str = "times are between 1970 and 9000, far from the calendar's ends";

fn before(date: Date) -> Date {
    date.yesterday().expect(IN_CALENDAR)
}

/// Midnight; where there is none, the end of the gap; where there are two, the first.
fn first_instant(date: Date, zone: &TimeZone) -> UnixMillis {
    let midnight: DateTime = date.at(0, 0, 0, 0);
    UnixMillis(zone.to_timestamp(midnight).expect(IN_CALENDAR).as_millisecond())
}

fn timestamp(at: UnixMillis) -> Timestamp {
    Timestamp::from_millisecond(at.0).expect(IN_CALENDAR)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start.to_rfc3339(), self.end.to_rfc3339())
    }
}

#[cfg(test)]
mod tests;
