//! What was used, as it is printed: short for people, exact for programs and finance.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollgate_types::{NanoUsd, Status, Usd};
use tollgate_usage::questions::{Dimension, Usage};

use super::{ends, name};
use crate::exit::Failure;
use crate::output::{Format, Output};

/// Prints rows in the form that was asked for.
pub(super) fn print(rows: &[Usage], by: &[Dimension], output: &Output) -> Result<(), Failure> {
    let names: Vec<String> = by.iter().map(name).collect();
    match output.format() {
        Format::Csv => output.csv(&header(&names), rows.iter().map(exact)),
        Format::Json | Format::Jsonl => {
            let objects: Vec<Value> = rows.iter().map(|row| object(row, &names)).collect();
            output.records(&objects, &[], |_| Vec::new())
        }
        Format::Table => {
            let measures = ["jobs", "ended", "calls", "tokens in", "tokens out", "cost", "avg ms", "p95 ms"];
            let header: Vec<&str> = names.iter().map(String::as_str).chain(measures).collect();
            output.records(rows, &header, in_short)
        }
    }
}

/// The columns of [`exact`]; money is whole nano-dollars, and dollars beside it.
const EXACT: [&str; 17] = [
    "jobs",
    "succeeded",
    "failed",
    "rejected",
    "blocked",
    "expired",
    "cancelled",
    "calls",
    "tokens_in",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_out",
    "tokens_reasoning",
    "cost_nanousd",
    "cost_usd",
    "saved_nanousd",
    "unknown_nanousd",
];

/// The header for keys of those names.
pub(super) fn header(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).chain(EXACT).collect()
}

/// A row with every digit.
pub(super) fn exact(row: &Usage) -> Vec<String> {
    let Usage { keys, jobs, jobs_by_status, attempts, tokens, cost_nanousd, saved_nanousd, unknown_nanousd, .. } = row;
    let counts = std::iter::once(jobs).chain(jobs_by_status).chain([
        attempts,
        &tokens.input,
        &tokens.cache_read,
        &tokens.cache_write,
        &tokens.output,
        &tokens.reasoning,
    ]);
    let money = [
        cost_nanousd.to_string(),
        Usd(NanoUsd(*cost_nanousd)).to_string(),
        saved_nanousd.to_string(),
        unknown_nanousd.to_string(),
    ];
    keys.iter().cloned().chain(counts.map(u64::to_string)).chain(money).collect()
}

fn object(row: &Usage, names: &[String]) -> Value {
    let keys = names.iter().cloned().zip(row.keys.iter().map(|key| json!(key)));
    let by_status: BTreeMap<&str, u64> = Status::ALL.iter().map(|s| s.as_str()).zip(row.jobs_by_status).collect();
    let tenths = |ms: Option<f64>| ms.map(|ms| (ms * 10.0).round() / 10.0);
    let measures = json!({
        "jobs": row.jobs,
        "by_status": by_status,
        "attempts": row.attempts,
        "tokens": row.tokens,
        "cost_nanousd": row.cost_nanousd,
        "saved_nanousd": row.saved_nanousd,
        "unknown_attempts": row.unknown_attempts,
        "unknown_nanousd": row.unknown_nanousd,
        "guardrail_jobs": row.guardrail_jobs,
        "cache_hit_jobs": row.cache_hit_jobs,
        "avg_latency_ms": tenths(row.avg_ms),
        "p50_latency_ms": tenths(row.p50_ms),
        "p95_latency_ms": tenths(row.p95_ms),
        "p99_latency_ms": tenths(row.p99_ms),
    });
    let Value::Object(measures) = measures else { return measures };
    Value::Object(keys.chain(measures).collect::<Map<_, _>>())
}

fn in_short(row: &Usage) -> Vec<String> {
    let ms = |latency: Option<f64>| latency.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0}"));
    let measures = [
        row.jobs.to_string(),
        ends(Status::ALL.iter().map(|status| status.as_str()).zip(row.jobs_by_status)),
        row.attempts.to_string(),
        row.tokens.prompt().to_string(),
        row.tokens.completion().to_string(),
        NanoUsd(row.cost_nanousd).to_string(),
        ms(row.avg_ms),
        ms(row.p95_ms),
    ];
    row.keys.iter().map(|key| shown(key)).chain(measures).collect()
}

/// What a producer named, on one line of a terminal.
fn shown(key: &str) -> String {
    if key.is_empty() {
        "–".to_owned()
    } else {
        key.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
    }
}

#[cfg(test)]
mod tests {
    use tollgate_types::Tokens;

    use super::*;

    fn usage() -> Usage {
        Usage {
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
        }
    }

    #[test]
    fn people_get_a_short_row_and_programs_every_digit() {
        let short = ["search", "m", "200", "198 succeeded, 2 failed", "205", "100", "10", "$0.000041250", "210", "–"];
        assert_eq!(in_short(&usage()), short);
        let exact = exact(&usage());
        assert_eq!(exact.len(), header(&["team".into(), "model".into()]).len());
        assert_eq!(exact[15..18], ["41250".to_owned(), "0.00004125".to_owned(), "0".to_owned()]);
        let json = object(&usage(), &["team".into(), "label:t".into()]);
        assert_eq!((&json["team"], &json["label:t"]), (&json!("search"), &json!("m")));
        assert_eq!((&json["cost_nanousd"], &json["by_status"]["succeeded"]), (&json!(41_250), &json!(198)));
        assert_eq!(json["avg_latency_ms"], json!(210.0));
    }

    #[test]
    fn what_a_producer_named_cannot_move_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(shown("it's \"x\""), "it's \"x\"");
        assert_eq!(shown(""), "–");
    }
}
