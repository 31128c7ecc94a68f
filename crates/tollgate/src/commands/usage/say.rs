//! `usage --say`: what was burnt, in sentences.

use tollgate_guard::{Entity, Group};
use tollgate_types::{NanoUsd, Usd};
use tollgate_usage::questions::{Dimension, Filter, GuardrailHits, Usage};
use tollgate_usage::{Store, StoreError};

use crate::commands::Cx;
use crate::commands::span;
use crate::exit::{Code, Outcome};
use crate::output;

/// Prints a sentence for each row.
pub(super) async fn run(filter: &Filter, by: &[Dimension], store: &Store, cx: &Cx) -> Result<Outcome, StoreError> {
    let rows = store.ask().usage(filter, by).await?.rows;
    output::say(span::in_words(filter.range));
    let mut sentences = Vec::new();
    for row in &rows {
        let fired = match row.guardrail_jobs {
            0 => Vec::new(),
            _ => store.ask().guardrail_hits(&narrowed(filter, by, row)).await?.rows,
        };
        sentences.push(sentence(row, by, &fired));
    }
    if sentences.is_empty() {
        sentences.push("Nothing was used.".to_owned());
    }
    Ok(sentences.iter().try_for_each(|sentence| cx.output.text(sentence)).map(|()| Code::Ok))
}

/// What was asked about, as far as one row is of it and guardrails are kept by it.
fn narrowed(filter: &Filter, by: &[Dimension], row: &Usage) -> Filter {
    let mut narrowed = filter.clone();
    for (dimension, key) in by.iter().zip(&row.keys) {
        let key = Some(key.clone());
        match dimension {
            Dimension::Team => narrowed.team = key,
            Dimension::Model => narrowed.model = key,
            Dimension::Project => narrowed.project = key,
            Dimension::User => narrowed.user = key,
            Dimension::Provider => narrowed.provider = key,
            Dimension::Class => narrowed.class = key,
            Dimension::Label(name) => {
                narrowed.label = Some((name.clone(), row.keys.last().cloned().unwrap_or_default()))
            }
            Dimension::Day | Dimension::Hour => {}
        }
    }
    narrowed
}

fn sentence(row: &Usage, by: &[Dimension], fired: &[GuardrailHits]) -> String {
    let (mut who, mut to, mut more) = (None, None, Vec::new());
    for (dimension, key) in by.iter().zip(&row.keys) {
        let key = if key.is_empty() { "(none)" } else { key };
        match dimension {
            Dimension::Team => who = Some(format!("Team {key}")),
            Dimension::Model => to = Some(format!(" to {key}")),
            Dimension::Provider => more.push(format!("by {key}")),
            Dimension::Project => more.push(format!("for project {key}")),
            Dimension::User => more.push(format!("for user {key}")),
            Dimension::Class => more.push(format!("as {key} jobs")),
            Dimension::Day | Dimension::Hour => more.push(format!("on {key}")),
            Dimension::Label(name) => more.push(format!("with {name} {key}")),
        }
    }
    let mut text = who.unwrap_or_else(|| "Everybody".to_owned());
    let more: String = more.into_iter().map(|more| format!(", {more},")).collect();
    text.push_str(&format!(
        "{more} sent {} tokens{} at a cost of ${}",
        in_thousands(row.tokens.prompt() + row.tokens.completion()),
        to.unwrap_or_default(),
        cents(row.cost_nanousd)
    ));
    let latency = row.avg_ms.map(|ms| format!("with an average latency of {ms:.0} ms"));
    let guarded = (row.guardrail_jobs > 0).then(|| triggered(row.guardrail_jobs, fired));
    match (latency, guarded) {
        (Some(latency), Some(guarded)) => text.push_str(&format!(", {latency}, and {guarded}")),
        (Some(one), None) | (None, Some(one)) => text.push_str(&format!(", {one}")),
        (None, None) => {}
    }
    text + "."
}

/// How many jobs triggered which guardrail.
fn triggered(jobs: u64, fired: &[GuardrailHits]) -> String {
    let jobs = if jobs == 1 { "1 request".to_owned() } else { format!("{jobs} requests") };
    let group = |rule: &str| Entity::named(rule).map(Entity::group);
    let all = |wanted: Group| !fired.is_empty() && fired.iter().all(|hit| group(&hit.rule) == Some(wanted));
    let which = if all(Group::Pii) {
        "the PII guardrail".to_owned()
    } else if all(Group::Secrets) {
        "the guardrail against secrets".to_owned()
    } else {
        let mut rules: Vec<&str> = fired.iter().map(|hit| hit.rule.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        if rules.is_empty() { "a guardrail".to_owned() } else { format!("guardrails ({})", rules.join(", ")) }
    };
    format!("{jobs} triggered {which}")
}

/// A count as people say it: `4.2M`.
#[allow(clippy::cast_precision_loss, reason = "rounded for people")]
fn in_thousands(count: u64) -> String {
    let count_of = |unit: f64, letter| {
        let text = format!("{:.1}", count as f64 / unit);
        format!("{}{letter}", text.strip_suffix(".0").unwrap_or(&text))
    };
    match count {
        0..1_000 => count.to_string(),
        1_000..999_950 => count_of(1e3, "k"),
        999_950..999_950_000 => count_of(1e6, "M"),
        _ => count_of(1e9, "B"),
    }
}

/// Money as people say it: to the cent, and with every digit below one.
fn cents(nanousd: i64) -> String {
    const CENT: i64 = 10_000_000;
    if (1..CENT).contains(&nanousd) {
        return Usd(NanoUsd(nanousd)).to_string();
    }
    let cents = (nanousd + CENT / 2) / CENT;
    if cents % 100 == 0 { (cents / 100).to_string() } else { format!("{}.{:02}", cents / 100, cents % 100) }
}

#[cfg(test)]
mod tests {
    use tollgate_types::Tokens;

    use super::*;

    fn usage(guardrail_jobs: u64, avg_ms: Option<f64>) -> Usage {
        Usage {
            keys: vec!["A".into(), "GPT-4o".into()],
            jobs: 9,
            jobs_by_status: [9, 0, 0, 0, 0, 0],
            attempts: 9,
            tokens: Tokens { input: 4_000_000, output: 200_000, ..Tokens::default() },
            cost_nanousd: 84_000_000_000,
            saved_nanousd: 0,
            unknown_attempts: 0,
            unknown_nanousd: 0,
            guardrail_jobs,
            cache_hit_jobs: 0,
            avg_ms,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
        }
    }

    fn hit(rule: &str) -> GuardrailHits {
        GuardrailHits { rule: rule.into(), side: "request".into(), action: "redact".into(), jobs: 3, hits: 4 }
    }

    #[test]
    fn the_sentence_says_who_what_how_much_and_how_fast() {
        let by = [Dimension::Team, Dimension::Model];
        let said = sentence(&usage(3, Some(340.2)), &by, &[hit("email"), hit("phone")]);
        let expected = "Team A sent 4.2M tokens to GPT-4o at a cost of $84, with an average latency of 340 ms, \
                        and 3 requests triggered the PII guardrail.";
        assert_eq!(said, expected);
        let said = sentence(&usage(1, None), &by, &[hit("email"), hit("jailbreak")]);
        assert!(said.ends_with("$84, 1 request triggered guardrails (email, jailbreak)."), "{said}");
        let day = Usage { keys: vec!["2026-11-26".into()], ..usage(0, None) };
        let said = sentence(&day, &[Dimension::Day], &[]);
        assert_eq!(said, "Everybody, on 2026-11-26, sent 4.2M tokens at a cost of $84.");
    }

    #[test]
    fn counts_and_money_are_rounded_for_people() {
        let check = |count: u64, expected: &str| assert_eq!(in_thousands(count), expected);
        check(999, "999");
        check(1_000, "1k");
        check(999_949, "999.9k");
        check(999_950, "1M");
        check(4_249_000, "4.2M");
        check(2_000_000_000, "2B");
        for (nanousd, expected) in
            [(0, "0"), (41_250, "0.00004125"), (15_000_000, "0.02"), (84_500_000_000, "84.50"), (84_004_000_000, "84")]
        {
            assert_eq!(cents(nanousd), expected, "{nanousd}");
        }
    }
}
