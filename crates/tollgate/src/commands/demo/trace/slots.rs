//! What the workers count of their slots: how long they could have run jobs, and how long of it jobs waited in vain.

use std::time::Duration;

use crate::stack::ProcessEndpoint;

/// How long a worker may take to answer: it is on this machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const IDLE: &str = "tollgate_idle_slot_milliseconds_total";
const ALL: &str = "tollgate_slot_milliseconds_total";

/// Slot-time of all workers, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::commands::demo) struct SlotTime {
    /// Slots that were idle while an open lane had work.
    pub(super) idle: f64,
    /// All slots.
    pub(super) all: f64,
}

impl SlotTime {
    /// Asks every worker; `None` if one does not answer or does not count it.
    pub(in crate::commands::demo) async fn ask(brokers: &[ProcessEndpoint]) -> Option<Self> {
        tollgate_providers::install_crypto();
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build().ok()?;
        let mut sum = SlotTime { idle: 0.0, all: 0.0 };
        for broker in brokers {
            let answer = http.get(format!("{}/metrics", broker.url)).send().await.ok()?.error_for_status().ok()?;
            let one = SlotTime::of(&answer.text().await.ok()?)?;
            sum = SlotTime { idle: sum.idle + one.idle, all: sum.all + one.all };
        }
        Some(sum)
    }

    /// From the text of one worker's metrics.
    fn of(metrics: &str) -> Option<Self> {
        Some(SlotTime { idle: total(metrics, IDLE)? / 1e3, all: total(metrics, ALL)? / 1e3 })
    }

    /// What came since an earlier look; `None` if a worker was started anew in between.
    pub(in crate::commands::demo) fn since(self, before: SlotTime) -> Option<Self> {
        let passed = SlotTime { idle: self.idle - before.idle, all: self.all - before.all };
        (passed.idle >= 0.0 && passed.all >= 0.0).then_some(passed)
    }
}

/// The sum over all labels of one counter in Prometheus' text form; `None` if it is not there.
fn total(metrics: &str, name: &str) -> Option<f64> {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        // Labels hold no braces of ours; a name that only begins like this one goes on with a letter.
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    };
    metrics.lines().filter_map(value).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_their_labels_and_told_from_longer_names() {
        let text = "# HELP tollgate_slot_milliseconds_total x\n# TYPE tollgate_slot_milliseconds_total counter\n\
            tollgate_slot_milliseconds_total{pool=\"a\"} 30500\ntollgate_slot_milliseconds_total{pool=\"b\"} 10000 1700000000\n\
            tollgate_slot_milliseconds_total_more 99\ntollgate_idle_slot_milliseconds_total 1250\n";
        assert_eq!(SlotTime::of(text), Some(SlotTime { idle: 1.25, all: 40.5 }));
    }

    #[test]
    fn a_worker_that_does_not_count_says_nothing() {
        assert_eq!(SlotTime::of("tollgate_jobs_running 3\ntollgate_slot_milliseconds_total 5\n"), None);
        assert_eq!(SlotTime::of(""), None);
    }

    #[test]
    fn only_what_came_during_the_run_counts() {
        let [before, after] = [(1.0, 100.0), (1.5, 300.0)].map(|(idle, all)| SlotTime { idle, all });
        assert_eq!(after.since(before), Some(SlotTime { idle: 0.5, all: 200.0 }));
        assert_eq!(before.since(after), None, "a counter that fell belongs to another process");
    }
}
