//! Compares what the commit log, the raw table and the rollup say, per team, model and status. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use tollgate_types::event::EventKind;
use tollgate_types::{NanoUsd, Status, Tokens, UsageEvent};

use crate::rows::final_model;

/// What totals are kept by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The team.
    pub team: String,
    /// The model called; on what is counted per job, that of the last call or the one asked for.
    pub model: String,
    /// How the run ended.
    pub status: Status,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Finished jobs.
    pub jobs: u64,
    /// Calls to providers.
    pub attempts: u64,
    /// Tokens of those calls.
    pub tokens: Tokens,
    /// What those calls cost.
    pub cost: NanoUsd,
    /// Deliveries that may have been paid for and left no record.
    pub unknown_attempts: i64,
    /// The most that those may have cost; no part of `cost`.
    pub unknown: NanoUsd,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.jobs += other.jobs;
        self.attempts += other.attempts;
        self.tokens += other.tokens;
        self.cost += other.cost;
        self.unknown_attempts = self.unknown_attempts.saturating_add(other.unknown_attempts);
        self.unknown += other.unknown;
    }
}

/// Totals by key. Keys whose totals are all zero may be absent.
pub type Ledger = BTreeMap<Key, Totals>;

/// Books one record of the commit log, straight from the event: not by way of the rows, which this is to check.
pub fn book(ledger: &mut Ledger, event: &UsageEvent) {
    let key = |model: &str| Key { team: event.team.clone(), model: model.to_owned(), status: event.status };
    for attempt in &event.attempts {
        *ledger.entry(key(&attempt.model)).or_default() +=
            Totals { attempts: 1, tokens: attempt.tokens, cost: attempt.cost_nanousd, ..Totals::default() };
    }
    let of_run = Totals {
        jobs: match event.kind {
            EventKind::Result => 1,
            EventKind::Extra | EventKind::Started => 0,
        },
        unknown_attempts: event.unknown_attempts,
        unknown: event.unknown_nanousd,
        ..Totals::default()
    };
    if of_run != Totals::default() {
        *ledger.entry(key(final_model(event))).or_default() += of_run;
    }
}

/// The sum over all keys.
pub fn sum(ledger: &Ledger) -> Totals {
    ledger.values().fold(Totals::default(), |mut sum, totals| {
        sum += *totals;
        sum
    })
}

/// One of the numbers that must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// [`Totals::jobs`].
    Jobs,
    /// [`Totals::attempts`].
    Attempts,
    /// [`Tokens::input`].
    TokensIn,
    /// [`Tokens::cache_read`].
    TokensCacheRead,
    /// [`Tokens::cache_write`].
    TokensCacheWrite,
    /// [`Tokens::output`].
    TokensOut,
    /// [`Tokens::reasoning`].
    TokensReasoning,
    /// [`Totals::cost`], nano-dollars.
    CostNanoUsd,
    /// [`Totals::unknown_attempts`].
    UnknownAttempts,
    /// [`Totals::unknown`], nano-dollars.
    UnknownNanoUsd,
}

impl Quantity {
    /// Every quantity.
    pub const ALL: [Quantity; 10] = [
        Quantity::Jobs,
        Quantity::Attempts,
        Quantity::TokensIn,
        Quantity::TokensCacheRead,
        Quantity::TokensCacheWrite,
        Quantity::TokensOut,
        Quantity::TokensReasoning,
        Quantity::CostNanoUsd,
        Quantity::UnknownAttempts,
        Quantity::UnknownNanoUsd,
    ];

    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Quantity::Jobs => "jobs",
            Quantity::Attempts => "attempts",
            Quantity::TokensIn => "tokens_in",
            Quantity::TokensCacheRead => "tokens_cache_read",
            Quantity::TokensCacheWrite => "tokens_cache_write",
            Quantity::TokensOut => "tokens_out",
            Quantity::TokensReasoning => "tokens_reasoning",
            Quantity::CostNanoUsd => "cost_nanousd",
            Quantity::UnknownAttempts => "unknown_attempts",
            Quantity::UnknownNanoUsd => "unknown_nanousd",
        }
    }

    fn of(self, totals: &Totals) -> i128 {
        match self {
            Quantity::Jobs => totals.jobs.into(),
            Quantity::Attempts => totals.attempts.into(),
            Quantity::TokensIn => totals.tokens.input.into(),
            Quantity::TokensCacheRead => totals.tokens.cache_read.into(),
            Quantity::TokensCacheWrite => totals.tokens.cache_write.into(),
            Quantity::TokensOut => totals.tokens.output.into(),
            Quantity::TokensReasoning => totals.tokens.reasoning.into(),
            Quantity::CostNanoUsd => totals.cost.0.into(),
            Quantity::UnknownAttempts => totals.unknown_attempts.into(),
            Quantity::UnknownNanoUsd => totals.unknown.0.into(),
        }
    }
}

/// A number on which the three do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub key: Key,
    /// Which number.
    pub quantity: Quantity,
    /// What the commit log says: the truth.
    pub log: i128,
    /// What the raw table says.
    pub raw: i128,
    /// What the rollup says.
    pub rollup: i128,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { team, model, status } = &self.key;
        let (quantity, log) = (self.quantity.as_str(), self.log);
        write!(f, "{team} {model} {status} {quantity}: results {log}, ")?;
        write!(f, "raw {} ({:+}), rollup {} ({:+})", self.raw, self.raw - log, self.rollup, self.rollup - log)
    }
}

/// Every number on which the three do not agree, in the order of the keys; empty means that the books are exact.
pub fn reconcile(log: &Ledger, raw: &Ledger, rollup: &Ledger) -> Vec<Difference> {
    let keys: std::collections::BTreeSet<&Key> = log.keys().chain(raw.keys()).chain(rollup.keys()).collect();
    let of = |ledger: &Ledger, key: &Key| ledger.get(key).copied().unwrap_or_default();
    let mut differences = Vec::new();
    for key in keys {
        let (log, raw, rollup) = (of(log, key), of(raw, key), of(rollup, key));
        for quantity in Quantity::ALL {
            let (log, raw, rollup) = (quantity.of(&log), quantity.of(&raw), quantity.of(&rollup));
            if log != raw || log != rollup {
                differences.push(Difference { key: key.clone(), quantity, log, raw, rollup });
            }
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(entries: &[(&str, u64, i64)]) -> Ledger {
        let key = |team: &str| Key { team: team.into(), model: "m".into(), status: Status::Succeeded };
        let totals = |jobs, cost| Totals { jobs, cost: NanoUsd(cost), ..Totals::default() };
        entries.iter().map(|&(team, jobs, cost)| (key(team), totals(jobs, cost))).collect()
    }

    #[test]
    fn equal_books_have_no_differences_and_absent_is_zero() {
        let books = ledger(&[("a", 3, 100), ("b", 0, 0)]);
        assert_eq!(reconcile(&books, &ledger(&[("a", 3, 100)]), &books), vec![]);
    }

    #[test]
    fn each_number_that_differs_is_named_with_all_three_values() {
        let found =
            reconcile(&ledger(&[("a", 3, 100)]), &ledger(&[("a", 3, 90)]), &ledger(&[("a", 6, 100), ("z", 1, 0)]));
        let printed: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(
            printed,
            [
                "a m succeeded jobs: results 3, raw 3 (+0), rollup 6 (+3)",
                "a m succeeded cost_nanousd: results 100, raw 90 (-10), rollup 100 (+0)",
                "z m succeeded jobs: results 0, raw 0 (+0), rollup 1 (+1)",
            ]
        );
    }
}
