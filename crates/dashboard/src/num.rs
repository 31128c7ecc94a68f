//! Numbers and times as people read them; times are UTC.

use time::OffsetDateTime;
use tollgate_types::NanoUsd;

/// A whole number with its thousands set apart.
pub(crate) fn count(n: impl TryInto<i128>) -> String {
    let n = n.try_into().unwrap_or(i128::MAX);
    let digits = n.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if n < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in as few characters as an axis has room for.
pub(crate) fn short(n: f64) -> String {
    let (value, unit) = match n.abs() {
        a if a >= 1e12 => (n / 1e12, "T"),
        a if a >= 1e9 => (n / 1e9, "G"),
        a if a >= 1e6 => (n / 1e6, "M"),
        a if a >= 1e3 => (n / 1e3, "k"),
        _ => (n, ""),
    };
    format!("{}{unit}", trimmed(value))
}

/// Three digits that matter, without zeros at the end.
fn trimmed(value: f64) -> String {
    let places = match value.abs() {
        a if a >= 100.0 => 0,
        a if a >= 10.0 => 1,
        a if a >= 1.0 || a == 0.0 => 2,
        a if a >= 0.1 => 3,
        a if a >= 0.001 => 5,
        _ => 9,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Dollars for people: cents where they matter, more places where there are no cents.
pub(crate) fn money(amount: NanoUsd) -> String {
    let sign = if amount.0 < 0 { "-" } else { "" };
    let nanos = amount.0.unsigned_abs();
    if nanos >= 1_000_000_000 || nanos == 0 {
        // Half a cent up: what is exact stands in the table and in the file.
        let cents = (u128::from(nanos) + 5_000_000) / 10_000_000;
        return format!("{sign}${}.{:02}", count(cents / 100), cents % 100);
    }
    let text = format!("{:.6}", nanos as f64 / 1e9);
    let text = if nanos < 1_000 { format!("{:.9}", nanos as f64 / 1e9) } else { text };
    format!("{sign}${}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Dollars on an axis.
pub(crate) fn short_money(dollars: f64) -> String {
    format!("${}", short(dollars))
}

/// A share of a whole.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{} %", trimmed((part / whole * 1000.0).round() / 10.0)) } else { "–".to_owned() }
}

/// A stretch of time from milliseconds.
pub(crate) fn ms(ms: f64) -> String {
    match ms {
        ms if !ms.is_finite() => "–".to_owned(),
        ms if ms < 1_000.0 => format!("{} ms", trimmed(ms)),
        ms if ms < 120_000.0 => format!("{} s", trimmed(ms / 1_000.0)),
        ms if ms < 7_200_000.0 => format!("{} min", trimmed(ms / 60_000.0)),
        ms if ms < 172_800_000.0 => format!("{} h", trimmed(ms / 3_600_000.0)),
        ms => format!("{} d", trimmed(ms / 86_400_000.0)),
    }
}

/// A stretch that may be unknown.
pub(crate) fn ms_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), ms)
}

/// A moment, by milliseconds since the epoch: to the second, in UTC.
pub(crate) fn moment(unix_ms: i64) -> String {
    let Some(at) = utc(unix_ms) else { return "–".to_owned() };
    format!("{} {:02}:{:02}:{:02}", date(at), at.hour(), at.minute(), at.second())
}

/// A moment on an axis that spans so many seconds.
pub(crate) fn tick(unix_seconds: i64, span: i64) -> String {
    let Some(at) = utc(unix_seconds.saturating_mul(1000)) else { return String::new() };
    let clock = format!("{:02}:{:02}", at.hour(), at.minute());
    let day = format!("{:02}-{:02}", u8::from(at.month()), at.day());
    match span {
        span if span <= 26 * 3600 => clock,
        span if span <= 4 * 86_400 => format!("{day} {clock}"),
        _ => day,
    }
}

/// A moment as `datetime-local` fields spell it.
pub(crate) fn field(unix_ms: i64) -> String {
    let Some(at) = utc(unix_ms) else { return String::new() };
    format!("{}T{:02}:{:02}", date(at), at.hour(), at.minute())
}

fn utc(unix_ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000)).ok()
}

fn date(at: OffsetDateTime) -> String {
    format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_shortened() {
        assert_eq!([count(0), count(999), count(4_200_000), count(-1234)], ["0", "999", "4,200,000", "-1,234"]);
        let shortened = [0.0, 0.25, 12.34, 999.0, 4_200_000.0, 1e12].map(short);
        assert_eq!(shortened, ["0", "0.25", "12.3", "999", "4.2M", "1T"]);
    }

    #[test]
    fn money_shows_cents_or_else_what_there_is() {
        let check = |nanos, text: &str| assert_eq!(money(NanoUsd(nanos)), text);
        check(0, "$0.00");
        check(84_000_000_000, "$84.00");
        check(1_234_565_000_000, "$1,234.57");
        check(12_300_000, "$0.0123");
        check(7, "$0.000000007");
        check(-1_500_000_000, "-$1.50");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(moment(0), "1970-01-01 00:00:00");
        assert_eq!(field(1_764_158_400_000), "2025-11-26T12:00");
        assert_eq!([tick(3600, 3600), tick(86_400, 700_000)], ["01:00", "01-02"]);
        assert_eq!(moment(i64::MAX), "–");
    }

    #[test]
    fn stretches_choose_their_unit() {
        let texts = [3.0, 340.0, 1_200.0, 300_000.0, 10_800_000.0, 259_200_000.0, f64::NAN].map(ms);
        assert_eq!(texts, ["3 ms", "340 ms", "1.2 s", "5 min", "3 h", "3 d", "–"]);
    }
}
