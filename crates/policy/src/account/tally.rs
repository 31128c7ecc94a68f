//! Totals over all that was folded, to be compared with the results and with ClickHouse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_types::event::EventKind;
use tollgate_types::{NanoUsd, UsageEvent};

/// The most keys of a tally; what more models and statuses come goes under [`TALLY_OTHER`].
pub const TALLY_KEYS_MAX: usize = 64;
/// The key of what found no key of its own; no model's key, for it has no status.
pub const TALLY_OTHER: &str = "other";

/// Totals of one model and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tallied {
    /// What the calls cost.
    pub nanousd: NanoUsd,
    /// The calls to providers.
    pub calls: u64,
    /// The finished jobs.
    pub jobs: u64,
}

impl Tallied {
    fn add(&mut self, more: Tallied) {
        self.nanousd += more.nanousd;
        self.calls = self.calls.saturating_add(more.calls);
        self.jobs = self.jobs.saturating_add(more.jobs);
    }
}

/// Counts one record of the log: calls under the model called, a job under that of its last call, or the one asked for.
///
/// The same rule as that of the reconciliation, which it has to agree with.
pub(super) fn count(tally: &mut BTreeMap<String, Tallied>, event: &UsageEvent) {
    let mut add = |model: &str, more| {
        let key = format!("{model}|{}", event.status.as_str());
        let key =
            if tally.contains_key(&key) || tally.len() < TALLY_KEYS_MAX - 1 { key } else { TALLY_OTHER.to_owned() };
        tally.entry(key).or_default().add(more);
    };
    for attempt in &event.attempts {
        add(&attempt.model, Tallied { nanousd: attempt.cost_nanousd, calls: 1, jobs: 0 });
    }
    match event.kind {
        EventKind::Result => {
            let model = event.attempts.last().map_or(&event.model_requested, |attempt| &attempt.model);
            add(model, Tallied { jobs: 1, ..Tallied::default() });
        }
        EventKind::Extra | EventKind::Started => {}
    }
}
