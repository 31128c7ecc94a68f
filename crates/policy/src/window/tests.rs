use proptest::prelude::*;

use super::*;

fn window(text: &str, zone: &str) -> Window {
    Window::parse(text, zone).unwrap()
}

fn at(rfc3339: &str) -> UnixMillis {
    UnixMillis(rfc3339.parse::<Timestamp>().unwrap().as_millisecond())
}

/// `now`, start and end are in UTC, to the minute.
#[track_caller]
fn check(text: &str, zone: &str, now: &str, start: &str, end: &str) {
    let full = |minute: &str| at(&format!("{minute}:00Z"));
    let found = window(text, zone).span(full(now));
    assert_eq!(found, Span { start: full(start), end: full(end) }, "{text} {zone} at {now}: {found}");
}

#[test]
fn calendar_windows_follow_the_clock_on_the_wall() {
    check("hour", "UTC", "2026-03-04T05:06", "2026-03-04T05:00", "2026-03-04T06:00");
    check("day", "UTC", "2026-03-04T05:06", "2026-03-04T00:00", "2026-03-05T00:00");
    check("day", "America/New_York", "2026-01-10T04:59", "2026-01-09T05:00", "2026-01-10T05:00");
    check("day", "America/New_York", "2026-01-10T05:00", "2026-01-10T05:00", "2026-01-11T05:00");
    check("month", "Europe/Berlin", "2026-12-31T23:30", "2026-12-31T23:00", "2027-01-31T23:00");
}

#[test]
fn weeks_begin_on_monday() {
    check("week", "UTC", "2026-03-01T23:59", "2026-02-23T00:00", "2026-03-02T00:00");
    check("week", "UTC", "2026-03-02T00:00", "2026-03-02T00:00", "2026-03-09T00:00");
    check("week", "Asia/Tokyo", "2026-03-01T15:00", "2026-03-01T15:00", "2026-03-08T15:00");
}

#[test]
fn months_end_when_they_end_in_leap_years_too() {
    check("month", "UTC", "2024-02-29T12:00", "2024-02-01T00:00", "2024-03-01T00:00");
    check("month", "UTC", "2023-02-28T23:59", "2023-02-01T00:00", "2023-03-01T00:00");
    check("month", "UTC", "2000-02-29T23:59", "2000-02-01T00:00", "2000-03-01T00:00");
    check("month", "UTC", "2100-02-28T23:59", "2100-02-01T00:00", "2100-03-01T00:00");
    check("day", "UTC", "2024-02-29T12:00", "2024-02-29T00:00", "2024-03-01T00:00");
    check("month", "UTC", "2026-01-31T12:00", "2026-01-01T00:00", "2026-02-01T00:00");
}

#[test]
fn a_day_on_which_clocks_move_has_23_or_25_hours() {
    check("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00");
    check("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00");
    // Midnight itself is skipped: the day begins at one.
    check("day", "America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00", "2018-11-05T02:00");
    // Midnight is there twice: the day begins at the first.
    check("day", "America/Havana", "2025-11-02T12:00", "2025-11-02T04:00", "2025-11-03T05:00");
    check("week", "Europe/Berlin", "2026-03-29T12:00", "2026-03-22T23:00", "2026-03-29T22:00");
    check("month", "Europe/Berlin", "2026-03-15T12:00", "2026-02-28T23:00", "2026-03-31T22:00");
}

#[test]
fn a_day_that_a_zone_skips_has_no_window() {
    // Samoa went from the 29th to the 31st of December 2011 by crossing the date line.
    check("day", "Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00");
    check("day", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00");
    check("week", "Pacific/Apia", "2011-12-30T10:00", "2011-12-26T10:00", "2012-01-01T10:00");
    check("hour", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-30T11:00");
}

#[test]
fn a_clock_put_back_over_midnight_does_not_bring_yesterday_back() {
    // In Newfoundland clocks went from 00:01 to 23:01 of the day before.
    check("day", "America/St_Johns", "2010-11-07T02:30", "2010-11-07T02:30", "2010-11-08T03:30");
    check("day", "America/St_Johns", "2010-11-07T03:00", "2010-11-07T02:30", "2010-11-08T03:30");
}

#[test]
fn hours_of_zones_off_by_half_an_hour_begin_on_their_own_clock() {
    check("hour", "Asia/Kolkata", "2026-03-04T05:29", "2026-03-04T04:30", "2026-03-04T05:30");
    check("hour", "Asia/Kathmandu", "2026-03-04T05:20", "2026-03-04T05:15", "2026-03-04T06:15");
    check("day", "Asia/Kolkata", "2026-03-04T18:30", "2026-03-04T18:30", "2026-03-05T18:30");
    // An hour that is there twice is two hours.
    check("hour", "Europe/Berlin", "2026-10-25T00:30", "2026-10-25T00:00", "2026-10-25T01:00");
    check("hour", "Europe/Berlin", "2026-10-25T01:30", "2026-10-25T01:00", "2026-10-25T02:00");
    // Lord Howe moves its clocks by half an hour: the hour is cut there.
    check("hour", "Australia/Lord_Howe", "2026-04-04T14:59", "2026-04-04T14:00", "2026-04-04T15:00");
    check("hour", "Australia/Lord_Howe", "2026-04-04T15:10", "2026-04-04T15:00", "2026-04-04T15:30");
    check("hour", "Australia/Lord_Howe", "2026-10-03T15:29", "2026-10-03T14:30", "2026-10-03T15:30");
    check("hour", "Australia/Lord_Howe", "2026-10-03T15:30", "2026-10-03T15:30", "2026-10-03T16:00");
}

#[test]
fn a_rolling_window_counts_its_oldest_part_until_all_of_it_is_outside() {
    check("rolling 24h", "UTC", "2026-03-04T05:06", "2026-03-03T05:00", "2026-03-04T06:00");
    check("rolling 1d", "Europe/Berlin", "2026-03-04T05:00", "2026-03-03T05:00", "2026-03-04T06:00");
    check("rolling 48m", "UTC", "2026-03-04T05:03", "2026-03-04T04:14", "2026-03-04T05:04");
    check("rolling 7d", "UTC", "1970-01-08T00:00", "1970-01-01T00:00", "1970-01-08T07:00");
    let window = window("rolling 1m", "UTC");
    assert_eq!(window.span(UnixMillis(2499)), Span { start: UnixMillis(-60_000), end: UnixMillis(2500) });
    assert_eq!(window.falls_off(window.slice_of(UnixMillis(2499)).unwrap()), Some(UnixMillis(62_500)));
}

#[test]
fn what_is_no_window_is_refused_with_what_is_allowed() {
    let check = |text: &str, zone: &str, says: &[&str]| {
        let message = Window::parse(text, zone).unwrap_err().to_string();
        assert!(says.iter().all(|part| message.contains(part)), "{text:?} {zone:?}: {message}");
    };
    let allowed = ["hour, day, week, month", "rolling 90m"];
    for bad in [
        "",
        "Day",
        "year",
        "days",
        "day ",
        "rolling",
        "rolling ",
        "rolling h",
        "rolling 24",
        "rolling 24s",
        "rolling  24h",
        "rolling -1h",
        "rolling +1h",
        "rolling 0h",
        "rolling 024h",
        "rolling 1.5h",
        "rolling 24h7d",
        "rolling 24H",
        "rolling24h",
        "rolling 2４h",
        "rolling 24🕛",
    ] {
        check(bad, "UTC", &allowed);
    }
    for bad in ["rolling 401d", "rolling 9601h", "rolling 99999999999999999999d", "rolling 9223372036854775807d"] {
        check(bad, "UTC", &["between 1 minute and 400 days", bad]);
    }
    for bad in
        ["", "Mars/Olympus", "CEST-2", "EST5EDT4,M3.2.0,M11.1.0", "+02:00", "Etc/Unknown", "../etc/passwd", "Berlin"]
    {
        check("day", bad, &["IANA name", "Europe/Berlin"]);
    }
    check("day", "europe/berlin", &["is written Europe/Berlin"]);
    check("rolling 24h", "Mars/Olympus", &["IANA name"]);
    let long = "x".repeat(100_000);
    assert!(Window::parse(&long, "UTC").unwrap_err().to_string().len() < 250);
    assert!(Window::parse("day", &long).unwrap_err().to_string().len() < 250);
}

#[test]
fn lengths_at_the_bounds_are_windows() {
    for text in ["rolling 1m", "rolling 400d", "rolling 9600h", "rolling 576000m"] {
        assert!(Window::parse(text, "UTC").is_ok(), "{text}");
    }
}

#[test]
fn times_outside_of_the_calendar_have_a_window_too() {
    for text in ["hour", "day", "week", "month", "rolling 1m", "rolling 400d"] {
        let window = window(text, "America/New_York");
        for now in [i64::MIN, i64::MIN + 1, -1, 0, 1, CALENDAR_END.0 - 1, CALENDAR_END.0, i64::MAX - 1] {
            let span = window.span(UnixMillis(now));
            assert!(span.contains(UnixMillis(now)), "{text} at {now}: {span:?}");
        }
        window.span(UnixMillis(i64::MAX));
    }
}

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Antarctica/Troll",
];

proptest! {
    #[test]
    fn windows_follow_each_other_without_gap_or_overlap(
        text in prop::sample::select(vec!["hour", "day", "week", "month"]),
        zone in prop::sample::select(ZONES.to_vec()),
        now in 86_400_000i64..4_102_444_800_000,
    ) {
        let window = window(text, zone);
        let span = window.span(UnixMillis(now));
        prop_assert!(span.contains(UnixMillis(now)));
        prop_assert_eq!(window.span(span.start), span);
        prop_assert_eq!(window.span(UnixMillis(span.end.0 - 1)), span);
        prop_assert_eq!(window.span(span.end).start, span.end);
        prop_assert_eq!(window.span(UnixMillis(span.start.0 - 1)).end, span.start);
    }

    #[test]
    fn a_rolling_window_holds_all_of_its_length(minutes in 1i64..576_000, now in 0i64..4_102_444_800_000) {
        let (window, now) = (window(&format!("rolling {minutes}m"), "UTC"), UnixMillis(now));
        let (span, length) = (window.span(now), minutes * 60_000);
        prop_assert!(span.contains(now));
        prop_assert!(now.0 - span.start.0 >= length && now.0 - span.start.0 < length + length / SLICES);
        prop_assert_eq!(window.falls_off(span.start), Some(span.end));
        prop_assert_eq!(window.slice_of(now).map(|slice| slice.0 - span.start.0), Some(length));
    }
}
