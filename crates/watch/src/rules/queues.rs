//! Lanes whose oldest job is too old, and dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate_types::{AlertKind, Class, Severity, UnixMillis};

use super::in_words;
use crate::finding::Finding;
use crate::sample::{Dead, Lane};

/// Twice the line is no wait any more.
const CRITICAL: u32 = 2;

/// Lanes whose oldest job is older than its class may be. A lane that somebody paused waits on purpose.
pub(super) fn too_old(lanes: &[Lane], now: UnixMillis, lines: &BTreeMap<Class, Duration>) -> Vec<Finding> {
    let find = |lane: &Lane| {
        let class: Class = lane.class.parse().ok()?;
        let line = *lines.get(&class)?;
        let age = now.since(lane.oldest.filter(|_| lane.paused.is_none())?);
        (age > line).then(|| Finding {
            kind: AlertKind::LaneAge,
            severity: if age > line * CRITICAL { Severity::Critical } else { Severity::Warning },
            team: Some(lane.team.clone()),
            about: format!("{}.{}", lane.class, lane.team),
            what: format!(
                "the oldest {} job of {} was accepted {} ago and has no result; {} wait or run",
                lane.class,
                lane.team,
                in_words(age),
                lane.waiting,
            ),
            value: age.as_secs_f64().round(),
            threshold: line.as_secs_f64(),
            unit: "seconds".to_owned(),
        })
    };
    lanes.iter().filter_map(find).collect()
}

/// Teams with too many dead letters.
pub(super) fn dead(dead: &[Dead], line: Option<u64>) -> Vec<Finding> {
    let Some(line) = line else { return Vec::new() };
    let find = |dead: &Dead| {
        let whose = if dead.team.is_empty() { "no known team" } else { &dead.team };
        Finding {
            kind: AlertKind::DeadLetters,
            severity: Severity::Warning,
            team: Some(dead.team.clone()).filter(|team| !team.is_empty()),
            about: format!("dead letters of {whose}"),
            what: format!("{} dead letter(s) of {whose}; see `tollgate dead list`", dead.letters),
            value: count(dead.letters),
            threshold: count(line),
            unit: "jobs".to_owned(),
        }
    };
    dead.iter().filter(|dead| dead.letters >= line.max(1)).map(find).collect()
}

/// A count for people: exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "no count that people read is larger than 2^53")]
pub(super) fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_as_old_as_its_oldest_job_and_a_paused_one_waits_on_purpose() {
        let lines = BTreeMap::from([(Class::Batch, Duration::from_secs(60))]);
        let check = |class: &str, oldest: Option<i64>, paused: bool, expected: Option<(Severity, f64)>| {
            let lane = Lane {
                class: class.into(),
                team: "search".into(),
                waiting: 3,
                oldest: oldest.map(UnixMillis),
                paused: paused.then(|| "by ann".to_owned()),
                ..Lane::default()
            };
            let found = too_old(&[lane], UnixMillis(200_000), &lines);
            assert_eq!(found.first().map(|f| (f.severity, f.value)), expected, "{class} {oldest:?}");
        };
        check("batch", Some(140_000), false, None);
        check("batch", Some(139_000), false, Some((Severity::Warning, 61.0)));
        check("batch", Some(0), false, Some((Severity::Critical, 200.0)));
        check("batch", Some(0), true, None);
        check("batch", None, false, None);
        check("interactive", Some(0), false, None);
        check("no class", Some(0), false, None);
        // A clock that runs back makes nothing old.
        check("batch", Some(900_000), false, None);
    }

    #[test]
    fn dead_letters_are_told_by_team_from_the_line_on() {
        let letters = |team: &str, letters| Dead { team: team.into(), letters };
        let found = dead(&[letters("a", 1), letters("b", 5), letters("", 7)], Some(5));
        let teams: Vec<_> = found.iter().map(|f| (f.team.as_deref(), f.value)).collect();
        assert_eq!(teams, [(Some("b"), 5.0), (None, 7.0)]);
        assert!(dead(&[letters("a", 9)], None).is_empty());
        assert!(dead(&[letters("a", 0)], Some(0)).is_empty(), "none are never too many");
    }
}
