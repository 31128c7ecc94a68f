//! A sink that is behind.

use std::time::Duration;

use tollgate_types::{AlertKind, Severity, UnixMillis};

use super::in_words;
use super::queues::count;
use crate::finding::Finding;
use crate::sample::Sink;

/// ClickHouse is away for so many times the line: whoever looks at screens sees the past.
const CRITICAL: u32 = 6;

/// What is not in ClickHouse for longer than the line.
pub(super) fn behind(sink: Sink, now: UnixMillis, line: Option<Duration>) -> Vec<Finding> {
    let (Some(line), Some(oldest)) = (line, sink.oldest) else { return Vec::new() };
    let age = now.since(oldest);
    if sink.behind == 0 || age <= line {
        return Vec::new();
    }
    vec![Finding {
        kind: AlertKind::SinkLag,
        severity: if age > line * CRITICAL { Severity::Critical } else { Severity::Warning },
        team: None,
        about: "sink".to_owned(),
        what: format!("{} record(s) are not in ClickHouse yet, the oldest for {}", count(sink.behind), in_words(age)),
        value: age.as_secs_f64().round(),
        threshold: line.as_secs_f64(),
        unit: "seconds".to_owned(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_behind_when_its_oldest_record_waits_too_long() {
        let check = |behind, oldest: Option<i64>, expected: Option<Severity>| {
            let sink = Sink { behind, oldest: oldest.map(UnixMillis) };
            let found = super::behind(sink, UnixMillis(1_000_000), Some(Duration::from_secs(60)));
            assert_eq!(found.first().map(|f| f.severity), expected, "{behind} {oldest:?}");
        };
        check(0, Some(0), None);
        check(9, None, None);
        check(9, Some(940_000), None);
        check(9, Some(939_999), Some(Severity::Warning));
        check(9, Some(0), Some(Severity::Critical));
        assert!(super::behind(Sink { behind: 1, oldest: Some(UnixMillis(0)) }, UnixMillis(9), None).is_empty());
    }
}
