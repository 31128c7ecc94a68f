//! Guardrails: which rules fired, and how risky prompts were.

use std::collections::BTreeMap;

use maud::Markup;
use tollgate_usage::questions::{GuardrailHits, GuardrailStep, RiskBucket};

use super::latency::{seconds, steps};
use crate::charts::{About, Bar, Columns, Histogram, Part, Series, Size, bars, columns, histogram};
use crate::num;
use crate::page::{Content, Panel, Source, cell, empty, table};
use crate::sources::Cx;

/// The order in which what followed is drawn, from the mildest.
const ACTIONS: [&str; 4] = ["passed", "flag", "redact", "block"];
/// As many rules as one picture has room for.
const RULES_MAX: usize = 20;
/// Risk from here on is worth a look.
const RISKY_FROM: usize = 7;

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let (one, two, three) = (cx.filter(), cx.filter(), cx.filter());
    let step = cx.step();
    let (hits, over_time, risk) = tokio::join!(
        cx.ask("hits", |store| async move { store.ask().guardrail_hits(&one).await }),
        cx.ask("hits over time", |store| async move { store.ask().guardrails_over_time(&two, step).await }),
        cx.ask("risk", |store| async move { store.ask().risk_histogram(&three).await }),
    );
    let risk =
        risk.map(|asked| Content::chart(risks(&asked.rows), risk_table(&asked.rows), Source::Sql(asked.sql.clone())));
    let hits = hits.map(|asked| {
        let shown = if asked.rows.is_empty() { empty("hits of guardrails") } else { rules(&asked.rows) };
        Content::chart(shown, hits_table(&asked.rows), Source::Sql(asked.sql.clone()))
    });
    let over_time = over_time.map(|asked| {
        let shown = if asked.rows.is_empty() { empty("hits of guardrails") } else { by_time(cx, &asked.rows) };
        Content::chart(shown, steps_table(&asked.rows), Source::Sql(asked.sql.clone()))
    });
    vec![
        Panel::new("p-rules", "By rule", hits),
        Panel::new("p-risk", "Risk of jobs", risk),
        Panel::new("p-rules-time", "Over time", over_time).wide(),
    ]
}

fn rules(rows: &[GuardrailHits]) -> Markup {
    let mut by_rule: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for row in rows {
        let at = ACTIONS.iter().position(|action| *action == row.action).unwrap_or(0);
        by_rule.entry(&row.rule).or_default()[at] += row.jobs;
    }
    let mut sorted: Vec<(&str, [u64; 4])> = by_rule.into_iter().collect();
    sorted.sort_by_key(|(_, jobs)| std::cmp::Reverse(jobs.iter().sum::<u64>()));
    let bar = |(rule, jobs): &(&str, [u64; 4])| {
        let parts = jobs.iter().enumerate().map(|(colour, jobs)| Part { value: *jobs as f64, colour }).collect();
        let text = num::count(jobs.iter().sum::<u64>());
        Bar { name: (*rule).to_owned(), parts, text, mark: None, from: 0.0 }
    };
    let drawn: Vec<Bar> = sorted.iter().take(RULES_MAX).map(bar).collect();
    let about = About {
        id: "c-rules",
        title: "Jobs on which each rule fired",
        description: "A bar for each rule, in parts by what followed: passed, flagged, redacted or blocked.",
    };
    bars(about, &drawn, &ACTIONS, num::short)
}

fn hits_table(rows: &[GuardrailHits]) -> Markup {
    let row = |row: &GuardrailHits| {
        [row.rule.clone(), row.side.clone(), row.action.clone(), num::count(row.jobs), num::count(row.hits)]
            .map(cell)
            .to_vec()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().map(row).collect();
    let columns = [("Rule", false), ("On", false), ("What followed", false), ("Jobs", true), ("Hits", true)];
    table("t-rules", "Rules that fired, the most jobs first", &columns, &cells)
}

fn by_time(cx: &Cx<'_>, rows: &[GuardrailStep]) -> Markup {
    let (first, count) = steps(cx);
    let step = seconds(cx.step());
    let mut series: Vec<Series> =
        ACTIONS.iter().map(|action| Series { name: (*action).to_owned(), values: vec![0.0; count] }).collect();
    for row in rows {
        let at = usize::try_from((row.at - first).div_euclid(step)).unwrap_or(usize::MAX);
        let action = ACTIONS.iter().position(|action| *action == row.action).unwrap_or(0);
        if let Some(value) = series[action].values.get_mut(at) {
            *value += row.jobs as f64;
        }
    }
    let about = About {
        id: "c-rules-time",
        title: "What guardrails did over time",
        description: "Stacked columns: jobs on which a rule fired, by what followed.",
    };
    columns(&Columns { about, from: first, step, series: &series, text: num::short, size: Size::Wide })
}

fn steps_table(rows: &[GuardrailStep]) -> Markup {
    let row = |row: &GuardrailStep| {
        [num::moment(row.at * 1000), row.rule.clone(), row.action.clone(), num::count(row.jobs), num::count(row.hits)]
            .map(cell)
            .to_vec()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().rev().take(200).map(row).collect();
    let columns = [("From (UTC)", false), ("Rule", false), ("What followed", false), ("Jobs", true), ("Hits", true)];
    table("t-rules-time", "Rules that fired, the newest first", &columns, &cells)
}

/// How the buckets are called: 0, 1–10, …, 91–100.
fn bucket_name(bucket: u8) -> String {
    if bucket == 0 { "0".to_owned() } else { format!("≤{bucket}") }
}

fn risks(rows: &[RiskBucket]) -> Markup {
    let jobs_in = |bucket: u8| rows.iter().filter(|row| row.bucket == bucket).map(|row| row.jobs).sum::<u64>();
    let buckets: Vec<(String, u64)> = (0..=10).map(|n: u8| (bucket_name(n * 10), jobs_in(n * 10))).collect();
    if buckets.iter().all(|(_, jobs)| *jobs == 0) {
        return empty("jobs with a risk");
    }
    let about = About {
        id: "c-risk",
        title: "Jobs by their risk",
        description: "A column for each ten points of risk; those from 61 points on are worth a look.",
    };
    histogram(&Histogram { about, buckets: &buckets, threshold: Some((RISKY_FROM, "worth a look")) })
}

fn risk_table(rows: &[RiskBucket]) -> Markup {
    let row = |row: &RiskBucket| [bucket_name(row.bucket), num::count(row.jobs)].map(cell).to_vec();
    let cells: Vec<Vec<Markup>> = rows.iter().map(row).collect();
    table("t-risk", "Jobs by risk, of 100", &[("Risk", false), ("Jobs", true)], &cells)
}
