//! Values as literals of a statement.

use tollgate_types::UnixMillis;

/// A text as a literal, whatever is in it: the one place where a value of a producer enters a statement.
///
/// Within the quotes only `\` and `'` mean something to the server; what a terminal or an editor would change is escaped
/// too (<https://clickhouse.com/docs/sql-reference/syntax#string>).
pub(super) fn text(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 2);
    literal.push('\'');
    for c in value.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\'' => literal.push_str("\\'"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\0' => literal.push_str("\\0"),
            _ => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// A second as a `DateTime`.
pub(super) fn second(seconds: i64) -> String {
    format!("toDateTime('{}', 'UTC')", &calendar(seconds.saturating_mul(1000))[..19])
}

/// A millisecond as a `DateTime64(3)`: a `DateTime64` is compared with its like alone, because against a `DateTime` the
/// engine takes the last millisecond of an hour for the next one.
pub(super) fn millisecond(millis: i64) -> String {
    format!("toDateTime64('{}', 3, 'UTC')", calendar(millis))
}

/// `2026-11-26 12:00:00.123`, in UTC.
fn calendar(millis: i64) -> String {
    let seconds = UnixMillis(millis - millis.rem_euclid(1000)).to_rfc3339();
    let seconds = seconds.get(..19).unwrap_or("1970-01-01T00:00:00").replace('T', " ");
    format!("{seconds}.{:03}", millis.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_within_its_quotes() {
        let check = |value: &str, expected: &str| assert_eq!(text(value), expected);
        check("", "''");
        check("it's", "'it\\'s'");
        check("\\' OR 1 --", "'\\\\\\' OR 1 --'");
        check("a\nb\t\r\0", "'a\\nb\\t\\r\\0'");
        check("größe ? {x:String}", "'größe ? {x:String}'");
    }

    #[test]
    fn times_are_of_utc() {
        assert_eq!(second(1_763_000_000), "toDateTime('2025-11-13 02:13:20', 'UTC')");
        assert_eq!(millisecond(1_763_000_000_007), "toDateTime64('2025-11-13 02:13:20.007', 3, 'UTC')");
        assert_eq!(second(0), "toDateTime('1970-01-01 00:00:00', 'UTC')");
    }
}
