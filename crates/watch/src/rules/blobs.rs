//! The room for bodies that do not fit a message, when it is nearly full.

use tollgate_types::{AlertKind, Severity};

use super::queues::count;
use crate::finding::Finding;
use crate::sample::Blobs;

/// Above so many percent the next body may be refused.
const CRITICAL_PERCENT: u8 = 95;
/// So many teams are named: those that fill most of it.
const NAMED_MAX: usize = 3;

/// The room, if more than the line of it is taken. It is about the team that fills most of it.
pub(super) fn full(blobs: &Blobs, line: Option<u8>) -> Vec<Finding> {
    let (Some(line), Some(size)) = (line, blobs.bytes_max.filter(|size| *size > 0)) else { return Vec::new() };
    let percent = u8::try_from(blobs.bytes.saturating_mul(100) / size).unwrap_or(u8::MAX);
    if percent < line {
        return Vec::new();
    }
    let mut teams: Vec<_> = blobs.teams.iter().collect();
    teams.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    let named: Vec<String> =
        teams.iter().take(NAMED_MAX).map(|(team, bytes)| format!("{team} {} MiB", *bytes >> 20)).collect();
    vec![Finding {
        kind: AlertKind::BlobsFull,
        severity: if percent >= CRITICAL_PERCENT { Severity::Critical } else { Severity::Warning },
        team: None,
        about: "large bodies".to_owned(),
        what: format!(
            "bodies that do not fit a message take {percent} % of {} MiB, most of it those of: {}",
            size >> 20,
            named.join(", ")
        ),
        value: count(percent.into()),
        threshold: count(line.into()),
        unit: "percent".to_owned(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_nearly_full_is_announced_with_those_who_fill_it() {
        const MIB: u64 = 1 << 20;
        let teams = [("a", 10), ("b", 60), ("c", 5), ("d", 7)].map(|(team, mib)| (team.to_owned(), mib * MIB));
        let blobs = Blobs { bytes: 81 * MIB, bytes_max: Some(100 * MIB), teams: teams.into() };
        let found = full(&blobs, Some(80));
        assert_eq!((found[0].severity, found[0].value), (Severity::Warning, 81.0));
        assert!(
            found[0].what.ends_with("81 % of 100 MiB, most of it those of: b 60 MiB, a 10 MiB, d 7 MiB"),
            "{found:?}"
        );
        assert!(full(&blobs, Some(82)).is_empty() && full(&blobs, None).is_empty());
        assert!(
            full(&Blobs { bytes_max: None, ..blobs.clone() }, Some(1)).is_empty(),
            "without an end it is never full"
        );
        assert_eq!(full(&Blobs { bytes: 96 * MIB, ..blobs }, Some(80))[0].severity, Severity::Critical);
    }
}
