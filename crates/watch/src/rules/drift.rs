//! Prompts that ballooned.

use tollgate_types::{AlertKind, Severity};

use super::Lines;
use crate::finding::Finding;
use crate::sample::Drift;

/// Kinds of jobs that use far more tokens each than in the week before.
pub(super) fn ballooned(all: &[Drift], lines: &Lines) -> Vec<Finding> {
    let Some(line) = lines.drift else { return Vec::new() };
    let find = |drift: &Drift| {
        let enough = drift.jobs >= lines.drift_jobs_min && drift.jobs_before >= lines.drift_jobs_min;
        if !enough || drift.tokens_per_job_before <= 0.0 {
            return None;
        }
        let times = drift.tokens_per_job / drift.tokens_per_job_before;
        (times >= line).then(|| Finding {
            kind: AlertKind::Drift,
            severity: Severity::Warning,
            team: Some(drift.team.clone()),
            about: format!("{} {}", drift.team, drift.kind),
            what: format!(
                "jobs of {} with {} use {:.0} tokens each, {times:.1} times the {:.0} of the week before",
                drift.team, drift.kind, drift.tokens_per_job, drift.tokens_per_job_before,
            ),
            value: (times * 10.0).round() / 10.0,
            threshold: line,
            unit: "times".to_owned(),
        })
    };
    all.iter().filter_map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_drifts_when_enough_jobs_use_far_more_than_enough_jobs_did() {
        let check = |now: (u64, f64), before: (u64, f64), expected: Option<f64>| {
            let drift = Drift {
                team: "marketing".into(),
                kind: "template newsletter".into(),
                jobs: now.0,
                tokens_per_job: now.1,
                jobs_before: before.0,
                tokens_per_job_before: before.1,
            };
            let found = ballooned(&[drift], &Lines::default());
            assert_eq!(found.first().map(|f| f.value), expected, "{now:?} {before:?}");
        };
        check((100, 900.0), (100, 300.0), Some(3.0));
        check((100, 599.0), (100, 300.0), None);
        check((19, 900.0), (100, 300.0), None);
        check((100, 900.0), (19, 300.0), None);
        check((100, 900.0), (100, 0.0), None);
    }
}
