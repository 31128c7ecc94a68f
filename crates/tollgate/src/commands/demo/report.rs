//! The demo's last words: what an analyst would ask, and whether everything is exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tollgate_types::{AttemptOutcome, NanoUsd, Status};
use tollgate_usage::questions::Usage;
use tollgate_usage::reconcile::sum;

use super::run::Tally;
use super::trace::{Measured, Replay, Replayed, SlotTime, percentile};
use super::witness::Witness;
use crate::books::Books;
use crate::commands::reconcile::verdict;
use crate::commands::usage::{self, Line, ends};
use crate::exit::{Code, Failure};
use crate::output::{Format, Output};

/// Money as three books say it, in whole nano-dollars.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cost {
    results: i64,
    clickhouse: i64,
    clickhouse_rollup: i64,
}

/// How long jobs of a class waited.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Waited {
    class: String,
    jobs: usize,
    avg_ms: u64,
    p95_ms: u64,
}

/// Everything that the demo found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    accepted: usize,
    results: usize,
    lost: usize,
    duplicated: u64,
    changed: usize,
    not_accepted: usize,
    held_back: usize,
    by_status: BTreeMap<&'static str, u64>,
    calls: BTreeMap<&'static str, u64>,
    cost_nanousd: Cost,
    agree: bool,
    seconds: f64,
    waited: Vec<Waited>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<Witness>,
    usage: Vec<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Replayed>,
    #[serde(skip)]
    verdict: String,
    #[serde(skip)]
    heard: usize,
}

/// What the report is made of.
pub(super) struct Found {
    pub(super) tally: Tally,
    /// How many kept results are missing, or other than they were heard.
    pub(super) changed: usize,
    /// How many results were heard live.
    pub(super) heard: usize,
    pub(super) books: Books,
    pub(super) usage: Vec<Usage>,
    /// What the simulated provider counted, if that was called.
    pub(super) witness: Option<Witness>,
    /// From the first submission to the last result.
    pub(super) took: Duration,
    /// The workers' slot-time from the first submission to the last result, if they count it.
    pub(super) slots: Option<SlotTime>,
}

impl Report {
    /// Of a run with so many workers; of a replay, if it was one.
    pub(super) fn new(found: Found, replay: Option<&Replay>, workers: usize) -> Self {
        let Found { tally, changed, heard, books, usage, witness, took, slots } = found;
        let measured = Measured { workers, late: tally.late, slots, took };
        let (lost, duplicated) = (tally.lost(), tally.duplicated());
        let ended = |status: Status| (status.as_str(), tally.by_status.get(status.as_str()).copied().unwrap_or(0));
        Report {
            accepted: tally.accepted.len(),
            results: tally.accepted.len() - lost,
            lost,
            duplicated,
            changed,
            not_accepted: tally.refused.len(),
            held_back: tally.held_back,
            by_status: Status::ALL.into_iter().map(ended).collect(),
            calls: tally.calls,
            cost_nanousd: Cost {
                results: sum(&books.log.ledger).cost.0,
                clickhouse: sum(&books.raw).cost.0,
                clickhouse_rollup: sum(&books.rollup).cost.0,
            },
            agree: books.differences.is_empty(),
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
            waited: tally.queued_ms.iter().map(|(class, waits)| waited(class, waits)).collect(),
            provider: witness,
            usage: usage.into_iter().map(Line::from).collect(),
            replay: replay.map(|replay| Replayed::new(replay, &tally.samples, measured)),
            verdict: verdict(&books.differences),
            heard,
        }
    }

    /// 0 only if every job has exactly one result and the books agree.
    pub(super) fn code(&self) -> Code {
        let exact = self.lost == 0 && self.duplicated == 0 && self.changed == 0;
        let whole = self.not_accepted == 0 && self.held_back == 0;
        if exact && whole && self.agree { Code::Ok } else { Code::Failed }
    }

    /// Prints it: tables for people, one object on one line for programs.
    pub(super) fn print(&self, output: &Output) -> Result<(), Failure> {
        match output.format() {
            Format::Json | Format::Jsonl => output.text(&serde_json::to_string(self).expect("it has texts as keys")),
            Format::Table | Format::Csv => output.text(&self.in_words(output)),
        }
    }

    fn in_words(&self, output: &Output) -> String {
        let mut usage = output.table(&usage::HEADER);
        for line in &self.usage {
            usage.add_row(line.row());
        }
        usage.add_row(Line::total(&self.usage).row());
        if let Some(replay) = &self.replay {
            return format!("\n{}\n\n{}\n\n{}", usage.trim_fmt(), replay.table(output), self.summary().join("\n"));
        }
        let mut waited = output.table(&["class", "jobs", "avg wait ms", "p95 wait ms"]);
        for Waited { class, jobs, avg_ms, p95_ms } in &self.waited {
            waited.add_row([class.clone(), jobs.to_string(), avg_ms.to_string(), p95_ms.to_string()]);
        }
        format!("\n{}\n\n{}\n\n{}", usage.trim_fmt(), waited.trim_fmt(), self.summary().join("\n"))
    }

    fn summary(&self) -> Vec<String> {
        let Report { accepted, results, lost, duplicated, changed, .. } = self;
        let ends = ends(self.by_status.iter().map(|(status, jobs)| (*status, *jobs)));
        let rate = if self.seconds > 0.0 { *results as f64 / self.seconds } else { 0.0 };
        let mut lines = vec![
            format!(
                "{accepted} jobs accepted, {results} have exactly one result: {lost} lost, {duplicated} duplicated ({ends})"
            ),
            format!("{} results were also heard live; {changed} differ from what is kept", self.heard),
            self.calls_in_words(),
            format!(
                "cost: results {}, ClickHouse raw {}, ClickHouse rollup {}",
                NanoUsd(self.cost_nanousd.results),
                NanoUsd(self.cost_nanousd.clickhouse),
                NanoUsd(self.cost_nanousd.clickhouse_rollup)
            ),
            self.verdict.clone(),
            format!("{:.1} s from the first submission to the last result, {rate:.0} jobs/s", self.seconds),
        ];
        if let Some(replay) = &self.replay {
            lines.extend(replay.summary());
        }
        if let Some(witness) = &self.provider {
            let tokens = Line::total(&self.usage).tokens();
            lines.insert(3, witness.in_words(self.calls.values().sum(), tokens.prompt(), tokens.completion()));
        }
        if self.not_accepted > 0 {
            lines.push(format!("{} jobs were not accepted", self.not_accepted));
        }
        if self.held_back > 0 {
            lines.push(format!(
                "{} jobs were held back, because their worst case did not fit under --max-cost-usd",
                self.held_back
            ));
        }
        lines
    }
}

impl Report {
    fn calls_in_words(&self) -> String {
        let failed: u64 = self
            .calls
            .iter()
            .filter(|(outcome, _)| **outcome != AttemptOutcome::Ok.as_str())
            .map(|(_, calls)| calls)
            .sum();
        let calls: u64 = self.calls.values().sum();
        let outcomes = ends(self.calls.iter().map(|(outcome, calls)| (*outcome, *calls)));
        if failed == 0 {
            return format!("{calls} calls to the provider, all well");
        }
        format!("{calls} calls to the provider ({outcomes}); what failed was tried again where that can help")
    }
}

fn waited(class: &str, waits: &[u64]) -> Waited {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let avg = sorted.iter().sum::<u64>().checked_div(sorted.len() as u64).unwrap_or(0);
    Waited { class: class.to_owned(), jobs: sorted.len(), avg_ms: avg, p95_ms: percentile(&sorted, 95) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::Folded;
    use tollgate_types::JobId;

    fn found(accepted: &[&str], results: &[(&str, u64)]) -> Found {
        let id = |text: &str| text.parse::<JobId>().expect("an id");
        let mut tally = Tally::default();
        tally.accepted = accepted.iter().map(|text| id(text)).collect();
        tally.results = results.iter().map(|(text, count)| (id(text), *count)).collect();
        let books =
            Books { log: Folded::default(), raw: Default::default(), rollup: Default::default(), differences: vec![] };
        Found {
            tally,
            changed: 0,
            heard: 0,
            books,
            usage: vec![],
            witness: None,
            took: Duration::from_millis(1500),
            slots: None,
        }
    }

    #[test]
    fn only_exactly_one_result_for_every_job_is_a_success() {
        let check = |found: Found, expected: Code| assert_eq!(Report::new(found, None, 1).code(), expected);
        check(found(&["1", "2"], &[("1", 1), ("2", 1)]), Code::Ok);
        check(found(&["1", "2"], &[("1", 1)]), Code::Failed);
        check(found(&["1"], &[("1", 2)]), Code::Failed);
        check(Found { changed: 1, ..found(&["1"], &[("1", 1)]) }, Code::Failed);
        let mut held = found(&["1"], &[("1", 1)]);
        held.tally.held_back = 1;
        check(held, Code::Failed);
    }

    #[test]
    fn books_that_differ_are_a_failure() {
        use tollgate_usage::reconcile::{Key, Ledger, Totals, reconcile};
        let key = Key { team: "a".into(), model: "m".into(), status: Status::Succeeded };
        let ledger = Ledger::from([(key, Totals { jobs: 1, ..Totals::default() })]);
        let mut found = found(&["1"], &[("1", 1)]);
        found.books.differences = reconcile(&ledger, &Ledger::new(), &ledger);
        let report = Report::new(found, None, 1);
        assert_eq!((report.code(), report.agree), (Code::Failed, false));
        assert!(
            report.verdict.contains("a m succeeded jobs: results 1, raw 0 (-1), rollup 1 (+0)"),
            "{}",
            report.verdict
        );
    }

    #[test]
    fn the_object_has_what_was_promised() {
        let json = serde_json::to_value(Report::new(found(&["1"], &[("1", 1)]), None, 1)).expect("it serialises");
        for (key, value) in [("accepted", 1), ("results", 1), ("lost", 0), ("duplicated", 0)] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!((&json["agree"], &json["seconds"]), (&true.into(), &1.5.into()));
        assert_eq!((&json["by_status"]["succeeded"], &json["cost_nanousd"]["clickhouse"]), (&0.into(), &0.into()));
    }

    #[test]
    fn waits_have_their_mean_and_nearest_rank() {
        let waits: Vec<u64> = (1..=100).collect();
        assert_eq!(waited("batch", &waits), Waited { class: "batch".into(), jobs: 100, avg_ms: 50, p95_ms: 95 });
        assert_eq!(waited("batch", &[7]).p95_ms, 7);
    }
}
