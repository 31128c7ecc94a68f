//! What a team did with a model, as the demo reports it.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_types::{NanoUsd, Status, Tokens};
use tollgate_usage::questions::Usage;

/// What a team did with a model, as it is printed. Money is whole nano-dollars.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Line {
    team: String,
    model: String,
    jobs: u64,
    by_status: BTreeMap<&'static str, u64>,
    attempts: u64,
    tokens: Tokens,
    cost_nanousd: i64,
    saved_nanousd: i64,
    unknown_attempts: i64,
    unknown_nanousd: i64,
    guardrail_jobs: u64,
    cache_hit_jobs: u64,
    avg_latency_ms: Option<f64>,
    p95_latency_ms: Option<f64>,
}

/// The columns of the table.
pub(crate) const HEADER: [&str; 10] =
    ["team", "model", "jobs", "ended", "calls", "tokens in", "tokens out", "cost", "avg ms", "p95 ms"];

impl Line {
    /// The line of the sums. Latencies are left out: a mean of means would be none.
    pub(crate) fn total(lines: &[Line]) -> Line {
        let mut total = Line { team: "total".to_owned(), ..Line::default() };
        for line in lines {
            total.jobs += line.jobs;
            line.by_status.iter().for_each(|(status, jobs)| *total.by_status.entry(status).or_default() += jobs);
            total.attempts += line.attempts;
            total.tokens += line.tokens;
            total.cost_nanousd += line.cost_nanousd;
        }
        total
    }
}

/// What was used by team and model, in this order.
impl From<Usage> for Line {
    fn from(usage: Usage) -> Self {
        let ends = Status::ALL.iter().zip(usage.jobs_by_status);
        let [team, model] = usage.keys.try_into().unwrap_or_default();
        Line {
            team,
            model,
            jobs: usage.jobs,
            by_status: ends.map(|(status, jobs)| (status.as_str(), jobs)).collect(),
            attempts: usage.attempts,
            tokens: usage.tokens,
            cost_nanousd: usage.cost_nanousd,
            saved_nanousd: usage.saved_nanousd,
            unknown_attempts: usage.unknown_attempts,
            unknown_nanousd: usage.unknown_nanousd,
            guardrail_jobs: usage.guardrail_jobs,
            cache_hit_jobs: usage.cache_hit_jobs,
            avg_latency_ms: usage.avg_ms.map(tenths),
            p95_latency_ms: usage.p95_ms.map(tenths),
        }
    }
}

impl Line {
    /// The tokens of all calls.
    pub(crate) fn tokens(&self) -> Tokens {
        self.tokens
    }

    /// The cells of the table.
    pub(crate) fn row(&self) -> Vec<String> {
        let ms = |latency: Option<f64>| latency.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0}"));
        vec![
            self.team.clone(),
            self.model.clone(),
            self.jobs.to_string(),
            ends(
                Status::ALL
                    .iter()
                    .map(|status| (status.as_str(), self.by_status.get(status.as_str()).copied().unwrap_or(0))),
            ),
            self.attempts.to_string(),
            self.tokens.prompt().to_string(),
            self.tokens.completion().to_string(),
            NanoUsd(self.cost_nanousd).to_string(),
            ms(self.avg_latency_ms),
            ms(self.p95_latency_ms),
        ]
    }
}

/// How jobs ended, in words: `198 succeeded, 2 failed`.
pub(crate) fn ends<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let some: Vec<String> =
        counts.filter(|(_, jobs)| *jobs > 0).map(|(status, jobs)| format!("{jobs} {status}")).collect();
    if some.is_empty() { "–".to_owned() } else { some.join(", ") }
}

/// More digits than the clock behind a latency has would be noise.
fn tenths(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_and_have_no_latency() {
        let line = |jobs, cost| Line {
            jobs,
            by_status: [("succeeded", jobs)].into(),
            cost_nanousd: cost,
            avg_latency_ms: Some(5.0),
            ..Line::default()
        };
        let row = Line::total(&[line(2, 3), line(5, 7)]).row();
        assert_eq!(row, ["total", "", "7", "7 succeeded", "0", "0", "0", "$0.000000010", "–", "–"]);
    }

    #[test]
    fn a_line_has_exact_money_and_no_column_of_zeros() {
        let line = Line::from(Usage {
            keys: vec!["search".into(), "m".into()],
            jobs: 200,
            jobs_by_status: [198, 2, 0, 0, 0, 0],
            attempts: 205,
            tokens: Tokens { input: 90, cache_read: 10, output: 7, reasoning: 3, ..Tokens::default() },
            cost_nanousd: 41_250,
            saved_nanousd: 0,
            unknown_attempts: 0,
            unknown_nanousd: 0,
            guardrail_jobs: 0,
            cache_hit_jobs: 0,
            avg_ms: Some(210.04),
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
        });
        let expected =
            ["search", "m", "200", "198 succeeded, 2 failed", "205", "100", "10", "$0.000041250", "210", "–"];
        assert_eq!(line.row(), expected);
        let json = serde_json::to_value(&line).expect("it serialises");
        assert_eq!((&json["cost_nanousd"], &json["by_status"]["succeeded"]), (&41_250.into(), &198.into()));
        assert_eq!(json["avg_latency_ms"], 210.0);
    }
}
