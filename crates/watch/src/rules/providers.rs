//! Deployments that fail most calls.

use tollgate_types::{AlertKind, Severity};

use super::Lines;
use super::queues::count;
use crate::finding::Finding;
use crate::sample::Deployment;

/// Deployments of which at least the line's share of calls failed.
pub(super) fn down(all: &[Deployment], lines: &Lines) -> Vec<Finding> {
    let Some(line) = lines.provider_failures else { return Vec::new() };
    let find = |deployment: &Deployment| {
        let Deployment { provider, model, calls, failed } = deployment;
        let share = failed.saturating_mul(100).checked_div(*calls)?;
        (*calls >= lines.provider_calls_min.max(1) && *failed > 0 && share >= u64::from(line)).then(|| Finding {
            kind: AlertKind::ProviderDown,
            severity: if failed == calls { Severity::Critical } else { Severity::Warning },
            team: None,
            about: format!("{provider}/{model}"),
            what: format!("{failed} of the last {calls} calls to {provider}/{model} failed"),
            value: count(share),
            threshold: f64::from(line),
            unit: "percent".to_owned(),
        })
    };
    all.iter().filter_map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_down_when_most_of_enough_calls_failed() {
        let check = |calls, failed, expected: Option<Severity>| {
            let deployment = Deployment { provider: "openai".into(), model: "m".into(), calls, failed };
            let found = down(&[deployment], &Lines::default());
            assert_eq!(found.first().map(|f| f.severity), expected, "{failed} of {calls}");
        };
        check(0, 0, None);
        check(4, 4, None);
        check(10, 4, None);
        check(10, 5, Some(Severity::Warning));
        check(10, 10, Some(Severity::Critical));
    }
}
