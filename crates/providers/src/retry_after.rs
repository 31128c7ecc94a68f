//! How long a provider asks to be left alone, in every form that the field has.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// No hint counts for more than this; nobody waits longer inside one run, and a typing error must not stop a queue.
pub(crate) const HINT_MAX: Duration = Duration::from_secs(3600);

/// RFC 9110's preferred form of a date.
const IMF_FIXDATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Reads the hint: `retry-after-ms`, then `x-ms-retry-after-ms`, then `retry-after` in seconds or as a date, then, if
/// the limit is used up, when it resets. A date counts from the response's own `Date`, so that clocks need not agree;
/// `now` stands in where there is none. What makes no sense is ignored.
pub(crate) fn hint(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let millis = |name| text(name).and_then(|text| number(text, 0.001));
    let hint = millis("retry-after-ms")
        .or_else(|| millis("x-ms-retry-after-ms"))
        .or_else(|| {
            let value = text(RETRY_AFTER.as_str())?;
            number(value, 1.0).or_else(|| until(value, text(DATE.as_str()), now))
        })
        .or_else(|| {
            let resets = ["requests", "tokens"].into_iter().filter_map(|what| {
                text(&format!("x-ratelimit-remaining-{what}")).filter(|left| *left == "0")?;
                go_duration(text(&format!("x-ratelimit-reset-{what}"))?)
            });
            resets.max()
        });
    hint.map(|hint| hint.min(HINT_MAX))
}

fn number(text: &str, seconds_per_unit: f64) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    let seconds = number * seconds_per_unit;
    (number.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(HINT_MAX.as_secs_f64())))
}

fn until(at: &str, date: Option<&str>, now: OffsetDateTime) -> Option<Duration> {
    let read = |text: &str| PrimitiveDateTime::parse(text, IMF_FIXDATE).ok().map(PrimitiveDateTime::assume_utc);
    let from = date.and_then(read).unwrap_or(now);
    Duration::try_from(read(at)? - from).ok()
}

/// A duration as Go prints it, such as `12ms`, `6m0s` or `1h2m3.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (amount, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let seconds_per_unit = match &tail[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.saturating_add(number(amount, seconds_per_unit)?);
        rest = &tail[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};
    use time::macros::datetime;

    fn check(headers: &[(&str, &str)], expected: Option<Duration>) {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().expect("a name"), HeaderValue::from_str(value).expect("a value"))
            })
            .collect();
        assert_eq!(hint(&map, datetime!(2026-11-23 10:00:00 UTC)), expected, "{headers:?}");
    }

    const DAY: &str = "Mon, 23 Nov 2026";

    #[test]
    fn every_form_is_read() {
        let millis = |ms| Some(Duration::from_millis(ms));
        check(&[], None);
        check(&[("retry-after", "7")], millis(7000));
        check(&[("retry-after", "0")], millis(0));
        check(&[("retry-after", " 0.25 ")], millis(250));
        check(&[("retry-after-ms", "1500"), ("retry-after", "9")], millis(1500));
        check(&[("x-ms-retry-after-ms", "20"), ("retry-after", "9")], millis(20));
        check(&[("retry-after-ms", "soon"), ("retry-after", "9")], millis(9000));
        check(&[("retry-after", &format!("{DAY} 10:00:05 GMT"))], millis(5000));
        check(&[("retry-after", "999999999999")], Some(HINT_MAX));
        check(&[("retry-after", "1e300")], Some(HINT_MAX));
    }

    #[test]
    fn a_date_counts_from_the_responses_own_date() {
        let (at, sent) = (format!("{DAY} 12:00:30 GMT"), format!("{DAY} 12:00:00 GMT"));
        check(&[("retry-after", &at), ("date", &sent)], Some(Duration::from_secs(30)));
        check(&[("retry-after", &at), ("date", "yesterday")], Some(HINT_MAX));
        check(&[("retry-after", &sent), ("date", &at)], None);
    }

    #[test]
    fn what_makes_no_sense_is_ignored() {
        for value in ["-1", "soon", "NaN", "inf", "-0.001", "", "1,5", "Mon, 99 Nov 2026 10:00:05 GMT"] {
            check(&[("retry-after", value)], None);
        }
    }

    #[test]
    fn a_used_up_limit_says_when_it_resets() {
        let used_up = |reset| [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", reset)];
        check(&used_up("12ms"), Some(Duration::from_millis(12)));
        check(&used_up("6m0s"), Some(Duration::from_secs(360)));
        check(&used_up("1m3.5s"), Some(Duration::from_millis(63_500)));
        check(&used_up("48h"), Some(HINT_MAX));
        for bad in ["", "s", "5", "5 s", "1x"] {
            check(&used_up(bad), None);
        }
        check(&[("x-ratelimit-remaining-tokens", "3"), ("x-ratelimit-reset-tokens", "1s")], None);
        check(&[("retry-after", "1"), used_up("9s")[0], used_up("9s")[1]], Some(Duration::from_secs(1)));
    }
}
