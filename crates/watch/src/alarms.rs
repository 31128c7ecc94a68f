//! What is crossed at the moment, and what has to be said about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_types::alert::VERSION;
use tollgate_types::{Alert, AlertKind, AlertState, Digest, UnixMillis};

use crate::finding::{Finding, Judged};

/// How many looks in a row must not find it before a line counts as no longer crossed.
const LOOKS_TO_RESOLVE: u32 = 2;
/// Something is said again when it got so many times worse.
const WORSE: f64 = 2.0;
/// The most lines that are remembered. Thousands of alerts tell nobody anything, and the record must stay small.
pub(crate) const ALARMS_MAX: usize = 500;

/// Every line that is crossed, as it was announced. It is stored between looks, so that a restart repeats nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarms {
    #[serde(default)]
    crossed: BTreeMap<String, Crossed>,
}

/// One line that is crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Crossed {
    finding: Finding,
    since: UnixMillis,
    /// When it was last announced, and how bad it was.
    announced: UnixMillis,
    announced_value: f64,
    /// How many looks in a row did not find it.
    #[serde(default)]
    missed: u32,
}

impl Alarms {
    /// Takes in what a look found, and returns what is to be announced.
    ///
    /// A line is announced when it is crossed, when it gets more urgent or twice as bad, after each `again_after`, and
    /// when two looks in a row did not find it. Kinds that could not be judged stay as they are. Killed between
    /// announcing and storing, the same is announced again under the same id.
    pub fn take(&mut self, judged: &Judged, now: UnixMillis, again_after: Duration) -> Vec<Alert> {
        let mut due = Vec::new();
        let found: BTreeMap<String, &Finding> = judged.findings.iter().map(|found| (key(found), found)).collect();
        for (key, finding) in &found {
            if let Some(crossed) = self.crossed.get_mut(key) {
                due.extend(crossed.again(finding, now, again_after));
            } else if self.crossed.len() >= ALARMS_MAX {
                tracing::warn!(kind = finding.kind.as_str(), max = ALARMS_MAX, "too many alarms; one is not told");
            } else {
                let crossed = Crossed::new(finding, now);
                due.push(crossed.alert(AlertState::Firing, now));
                self.crossed.insert(key.clone(), crossed);
            }
        }
        self.crossed.retain(|key, crossed| {
            if found.contains_key(key) || !judged.known.contains(&crossed.finding.kind) {
                return true;
            }
            crossed.missed += 1;
            let over = crossed.missed >= LOOKS_TO_RESOLVE;
            due.extend(over.then(|| crossed.alert(AlertState::Resolved, now)));
            !over
        });
        due
    }

    /// What is crossed, the most urgent and then the longest first.
    pub fn firing(&self) -> Vec<Alert> {
        let mut all: Vec<Alert> =
            self.crossed.values().map(|crossed| crossed.alert(AlertState::Firing, crossed.announced)).collect();
        all.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
        all
    }

    /// How many lines of a kind are crossed.
    pub fn count(&self, kind: AlertKind) -> usize {
        self.crossed.values().filter(|crossed| crossed.finding.kind == kind).count()
    }
}

impl Crossed {
    fn new(finding: &Finding, now: UnixMillis) -> Crossed {
        let announced_value = finding.value;
        Crossed { finding: finding.clone(), since: now, announced: now, announced_value, missed: 0 }
    }

    fn again(&mut self, finding: &Finding, now: UnixMillis, after: Duration) -> Option<Alert> {
        let worse = finding.severity > self.finding.severity
            || (finding.value > 0.0 && finding.value >= self.announced_value * WORSE);
        let worse = worse || now.since(self.announced) >= after;
        (self.finding, self.missed) = (finding.clone(), 0);
        worse.then(|| {
            (self.announced, self.announced_value) = (now, finding.value);
            self.alert(AlertState::Firing, now)
        })
    }

    fn alert(&self, state: AlertState, at: UnixMillis) -> Alert {
        let Finding { kind, severity, team, about, what, value, threshold, unit } = self.finding.clone();
        let about_digest = Digest::of(&[about.as_bytes()]).short();
        Alert {
            version: VERSION,
            id: format!("{}.{about_digest}.{}", kind.as_str(), self.since.0),
            runbook: kind.runbook(),
            since: self.since,
            kind,
            state,
            severity,
            team,
            about,
            what,
            value,
            threshold,
            unit,
            at,
        }
    }
}

/// What names a line from one look to the next.
fn key(finding: &Finding) -> String {
    format!("{}|{}", finding.kind.as_str(), finding.about)
}

#[cfg(test)]
mod tests {
    use tollgate_types::Severity;

    use super::*;

    const AGAIN: Duration = Duration::from_secs(3600);

    fn finding(about: &str, severity: Severity, value: f64) -> Finding {
        Finding {
            kind: AlertKind::LaneAge,
            severity,
            team: None,
            about: about.to_owned(),
            what: format!("{about} is old"),
            value,
            threshold: 60.0,
            unit: "seconds".to_owned(),
        }
    }

    fn look(findings: &[Finding]) -> Judged {
        Judged { known: vec![AlertKind::LaneAge], findings: findings.to_vec() }
    }

    fn states(alerts: &[Alert]) -> Vec<(AlertState, &str)> {
        alerts.iter().map(|alert| (alert.state, alert.about.as_str())).collect()
    }

    #[test]
    fn a_line_is_announced_when_it_is_crossed_and_when_it_is_over() {
        let mut alarms = Alarms::default();
        let found = look(&[finding("batch.a", Severity::Warning, 70.0)]);
        let first = alarms.take(&found, UnixMillis(1), AGAIN);
        assert_eq!(states(&first), [(AlertState::Firing, "batch.a")]);
        assert!(alarms.take(&found, UnixMillis(2), AGAIN).is_empty(), "it is known");
        assert!(alarms.take(&look(&[]), UnixMillis(3), AGAIN).is_empty(), "one look may have missed it");
        assert!(alarms.take(&found, UnixMillis(4), AGAIN).is_empty(), "it is the same one");
        alarms.take(&look(&[]), UnixMillis(5), AGAIN);
        let over = alarms.take(&look(&[]), UnixMillis(6), AGAIN);
        assert_eq!(states(&over), [(AlertState::Resolved, "batch.a")]);
        assert_eq!(over[0].id, first[0].id);
        assert_eq!(alarms, Alarms::default());
    }

    #[test]
    fn it_is_announced_again_when_it_gets_worse_or_lasts() {
        let mut alarms = Alarms::default();
        let mut at =
            |severity, value, now| alarms.take(&look(&[finding("l", severity, value)]), UnixMillis(now), AGAIN).len();
        assert_eq!(at(Severity::Warning, 70.0, 0), 1);
        assert_eq!(at(Severity::Warning, 139.0, 1), 0);
        assert_eq!(at(Severity::Warning, 140.0, 2), 1);
        assert_eq!(at(Severity::Critical, 141.0, 3), 1);
        assert_eq!(at(Severity::Critical, 141.0, 3_600_002), 0);
        assert_eq!(at(Severity::Critical, 141.0, 3_600_003), 1);
    }

    #[test]
    fn what_cannot_be_judged_stays_as_it_is() {
        let mut alarms = Alarms::default();
        alarms.take(&look(&[finding("l", Severity::Warning, 70.0)]), UnixMillis(0), AGAIN);
        for now in 1..9 {
            assert!(alarms.take(&Judged::default(), UnixMillis(now), AGAIN).is_empty());
        }
        assert_eq!(alarms.count(AlertKind::LaneAge), 1);
    }

    #[test]
    fn a_restart_repeats_nothing() {
        let mut alarms = Alarms::default();
        let found = look(&[finding("l", Severity::Warning, 70.0)]);
        alarms.take(&found, UnixMillis(0), AGAIN);
        let stored = serde_json::to_value(&alarms).expect("JSON");
        let mut read: Alarms = serde_json::from_value(stored).expect("the same");
        assert_eq!(read, alarms);
        assert!(read.take(&found, UnixMillis(9), AGAIN).is_empty());
    }

    #[test]
    fn the_most_urgent_is_first_and_there_are_never_too_many() {
        let mut alarms = Alarms::default();
        alarms.take(&look(&[finding("old", Severity::Warning, 70.0)]), UnixMillis(0), AGAIN);
        let both = look(&[finding("old", Severity::Warning, 70.0), finding("new", Severity::Critical, 70.0)]);
        alarms.take(&both, UnixMillis(5), AGAIN);
        let order: Vec<String> = alarms.firing().into_iter().map(|alert| alert.about).collect();
        assert_eq!(order, ["new", "old"]);
        let many: Vec<Finding> = (0..2 * ALARMS_MAX).map(|n| finding(&n.to_string(), Severity::Warning, 1.0)).collect();
        alarms.take(&look(&many), UnixMillis(6), AGAIN);
        assert_eq!(alarms.count(AlertKind::LaneAge), ALARMS_MAX);
    }
}
