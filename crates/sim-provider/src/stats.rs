//! Counts over the call log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::calls::{Ended, Outcome, Received};

/// Models counted by name; the rest is counted together, since the names come from the clients.
const MODELS_MAX: usize = 1_000;
const OTHER_MODELS: &str = "(other)";

/// Counts since the start, or since the log was last reset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    /// Requests received.
    pub received: u64,
    /// Requests over. Those under way at a reset count here, but not in `received`.
    pub ended: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// The most requests that were under way at once.
    pub in_flight_max: u64,
    /// Ended requests by the status sent.
    pub by_status: BTreeMap<u16, u64>,
    /// Ended requests to which no headers were sent.
    pub no_status: u64,
    /// Ended requests by outcome.
    pub by_outcome: BTreeMap<Outcome, u64>,
    /// Received requests by the name of the fault chosen.
    pub by_fault: BTreeMap<String, u64>,
    /// Received requests by model.
    pub by_model: BTreeMap<String, u64>,
    /// Ended requests that a real provider would have billed.
    pub billable: u64,
    /// Prompt tokens of the billable requests.
    pub billable_prompt_tokens: u64,
    /// Completion tokens of the billable requests.
    pub billable_completion_tokens: u64,
    /// Calls dropped from memory because it was full.
    pub forgotten: u64,
    /// Failed writes to the log file; above 0, the file is not complete.
    pub log_write_errors: u64,
}

impl Stats {
    pub(crate) fn starting_with(in_flight: u64) -> Self {
        Self { in_flight, in_flight_max: in_flight, ..Self::default() }
    }

    pub(crate) fn count_received(&mut self, received: &Received) {
        self.received += 1;
        self.in_flight += 1;
        self.in_flight_max = self.in_flight_max.max(self.in_flight);
        if let Some(fault) = &received.fault {
            count(&mut self.by_fault, &fault.name());
        }
        if let Some(model) = &received.model {
            let known = self.by_model.len() < MODELS_MAX || self.by_model.contains_key(&**model);
            count(&mut self.by_model, if known { model } else { OTHER_MODELS });
        }
    }

    pub(crate) fn count_ended(&mut self, ended: &Ended) {
        self.ended += 1;
        self.in_flight -= 1;
        *self.by_outcome.entry(ended.outcome).or_default() += 1;
        match ended.status {
            Some(status) => *self.by_status.entry(status).or_default() += 1,
            None => self.no_status += 1,
        }
        if ended.billable {
            self.billable += 1;
            self.billable_prompt_tokens += ended.usage_true.prompt_tokens;
            self.billable_completion_tokens += ended.usage_true.completion_tokens;
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}
