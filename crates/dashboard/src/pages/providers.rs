//! Providers: what workers see of each deployment now, and how calls went.

use std::collections::BTreeMap;
use std::time::Instant;

use maud::{Markup, html};
use tollgate_queue::control::{DeploymentReport, WorkerReport};
use tollgate_types::NanoUsd;
use tollgate_usage::questions::{ProviderError, ProviderStep, ProviderUse};

use super::latency::{seconds, steps};
use crate::charts::{About, Columns, Series, Size, columns};
use crate::num;
use crate::page::{Content, Panel, Source, badge, cell, empty, table};
use crate::sources::Cx;

const FROM: &str = "what every worker says on tollgate.control.reports every three seconds; nothing of it is kept.";
const ROWS_MAX: usize = 200;

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let (one, two, three) = (cx.filter(), cx.filter(), cx.filter());
    let step = cx.step();
    let (uses, over_time, errors) = tokio::join!(
        cx.ask("providers", |store| async move { store.ask().providers(&one).await }),
        cx.ask("providers over time", |store| async move { store.ask().providers_over_time(&two, step).await }),
        cx.ask("provider errors", |store| async move { store.ask().provider_errors(&three).await }),
    );
    let workers = cx.shared.nats().map(|nats| nats.workers(Instant::now()));
    let health = workers.clone().map(|workers| Content::of(health(&workers), Source::Nats(FROM)));
    let processes = workers.map(|workers| Content::of(processes(&workers), Source::Nats(FROM)));
    let uses = uses.map(|asked| Content::of(uses_table(&asked.rows), Source::Sql(asked.sql.clone())));
    let over_time = over_time.map(|asked| {
        let shown = if asked.rows.is_empty() { empty("calls") } else { chart(cx, &asked.rows) };
        Content::chart(shown, steps_table(&asked.rows), Source::Sql(asked.sql.clone()))
    });
    let errors = errors.map(|asked| Content::of(errors_table(&asked.rows), Source::Sql(asked.sql.clone())));
    vec![
        Panel::new("p-health", "Health now", health).wide(),
        Panel::new("p-calls", "Calls over time", over_time).wide(),
        Panel::new("p-providers", "Calls", uses).wide(),
        Panel::new("p-errors", "Why calls did not end well", errors).wide(),
        Panel::new("p-workers", "Workers", processes).wide(),
    ]
}

/// What is seen of a deployment by all workers together.
#[derive(Default)]
pub(super) struct Seen<'a> {
    running: u64,
    limit: u64,
    limited: bool,
    standings: BTreeMap<&'a str, u64>,
    shut_for_ms: u64,
    recent_ms: Option<u64>,
    usual_ms: Option<u64>,
}

impl<'a> Seen<'a> {
    fn add(&mut self, report: &'a DeploymentReport) {
        self.running += report.running;
        self.limit += report.limit.unwrap_or(0);
        self.limited |= report.limit.is_some();
        *self.standings.entry(report.standing.as_str()).or_default() += 1;
        self.shut_for_ms = self.shut_for_ms.max(report.shut_for_ms.unwrap_or(0));
        self.recent_ms = self.recent_ms.max(report.recent_ms);
        self.usual_ms = self.usual_ms.max(report.usual_ms);
    }

    /// Whether it was called, or is not just ready.
    fn is_busy(&self) -> bool {
        self.running > 0 || self.recent_ms.is_some() || self.standings.keys().any(|word| *word != "ready")
    }

    /// How many workers do not get to it.
    pub(super) fn shut(&self) -> u64 {
        self.standings.get("shut").copied().unwrap_or(0) + self.standings.get("probe").copied().unwrap_or(0)
    }
}

/// Every deployment that some worker has called, by provider and model.
pub(super) fn seen(workers: &[WorkerReport]) -> BTreeMap<(&str, &str), Seen<'_>> {
    let mut all: BTreeMap<(&str, &str), Seen<'_>> = BTreeMap::new();
    for report in workers.iter().flat_map(|worker| &worker.deployments) {
        all.entry((&report.provider, &report.model)).or_default().add(report);
    }
    all
}

fn standing(word: &str, workers: u64) -> Markup {
    let (class, text) = match word {
        "ready" => ("good", "ready"),
        "slow" => ("warn", "slow"),
        "full" => ("warn", "full"),
        "probe" => ("warn", "breaker half open"),
        "shut" => ("bad", "breaker open"),
        other => ("soft", other),
    };
    html! { (badge(class, text)) " " (num::count(workers)) " " }
}

fn health(workers: &[WorkerReport]) -> Markup {
    let all = seen(workers);
    if all.is_empty() {
        return html! { p.empty {
            @if workers.is_empty() { "No worker has reported in the last seconds." } @else { "No worker has called anybody yet." }
        } };
    }
    let none = || "–".to_owned();
    let row = |((provider, model), seen): (&(&str, &str), &Seen<'_>)| {
        let ms = |ms: Option<u64>| cell(ms.map_or_else(none, |ms| num::ms(ms as f64)));
        vec![
            cell(provider),
            cell(model),
            html! { @for (word, workers) in &seen.standings { (standing(word, *workers)) } },
            cell(if seen.shut_for_ms > 0 { num::ms(seen.shut_for_ms as f64) } else { none() }),
            cell(num::count(seen.running)),
            cell(if seen.limited { num::count(seen.limit) } else { "no limit".to_owned() }),
            ms(seen.recent_ms),
            ms(seen.usual_ms),
        ]
    };
    let cells: Vec<Vec<Markup>> = all.iter().filter(|(_, seen)| seen.is_busy()).map(row).collect();
    let idle = all.len() - cells.len();
    let columns = [
        ("Provider", false),
        ("Model", false),
        ("Workers see it", false),
        ("Tried again in", true),
        ("Calls now", true),
        ("At most", true),
        ("First token lately", true),
        ("Usually", true),
    ];
    html! {
        @if !cells.is_empty() { (table("t-health", "Deployments that workers have called", &columns, &cells)) }
        @if idle > 0 { p { (num::count(idle as u64)) " more deployment(s) are ready and were not called lately." } }
    }
}

fn processes(workers: &[WorkerReport]) -> Markup {
    if workers.is_empty() {
        return html! { p.empty { "No worker has reported in the last seconds." } };
    }
    let row = |worker: &WorkerReport| {
        let state = match &worker.holding {
            Some(why) => html! { (badge("warn", "holding")) " " (why) },
            None => badge("good", "working"),
        };
        vec![cell(&worker.worker), cell(num::count(worker.running)), cell(num::count(worker.lanes)), state]
    };
    let cells: Vec<Vec<Markup>> = workers.iter().map(row).collect();
    let columns = [("Worker", false), ("Jobs in flight", true), ("Lanes", true), ("State", false)];
    table("t-workers", "Workers that reported in the last seconds", &columns, &cells)
}

fn uses_table(rows: &[ProviderUse]) -> Markup {
    if rows.is_empty() {
        return empty("calls");
    }
    let row = |row: &ProviderUse| {
        let well = num::percent(row.ok as f64, row.calls.saturating_sub(row.cancelled) as f64);
        let [p50, p95, first, late] =
            [row.p50_ms, row.p95_ms, row.first_byte_p50_ms, row.first_byte_p95_ms].map(num::ms_or_none);
        let counts = [row.calls, row.rate_limited, row.timeout, row.error, row.retries].map(num::count);
        let [calls, limited, late_calls, failed, retries] = counts;
        let cost = num::money(NanoUsd(row.cost_nanousd));
        let names = [row.provider.clone(), row.model.clone()];
        let rest = [calls, well, limited, late_calls, failed, retries, p50, p95, first, late, cost];
        names.into_iter().chain(rest).map(cell).collect()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().take(ROWS_MAX).map(row).collect();
    let columns = [
        ("Provider", false),
        ("Model", false),
        ("Calls", true),
        ("Well", true),
        ("429", true),
        ("Timeouts", true),
        ("Errors", true),
        ("Retries", true),
        ("p50", true),
        ("p95", true),
        ("First byte p50", true),
        ("p95", true),
        ("Cost", true),
    ];
    table("t-providers", "Calls by provider and model", &columns, &cells)
}

fn chart(cx: &Cx<'_>, rows: &[ProviderStep]) -> Markup {
    let (first, count) = steps(cx);
    let step = seconds(cx.step());
    let mut series: Vec<Series> = ["well", "429", "failed", "given up"]
        .map(|name| Series { name: name.to_owned(), values: vec![0.0; count] })
        .to_vec();
    for row in rows {
        let at = usize::try_from((row.at - first).div_euclid(step)).unwrap_or(usize::MAX);
        let rest = row.calls.saturating_sub(row.ok + row.rate_limited + row.failed);
        for (series, value) in series.iter_mut().zip([row.ok, row.rate_limited, row.failed, rest]) {
            if let Some(sum) = series.values.get_mut(at) {
                *sum += value as f64;
            }
        }
    }
    let about = About {
        id: "c-calls",
        title: "Calls over time by how they ended",
        description: "Stacked columns: calls that ended well, were refused for their rate, failed, or were given up.",
    };
    columns(&Columns { about, from: first, step, series: &series, text: num::short, size: Size::Wide })
}

fn steps_table(rows: &[ProviderStep]) -> Markup {
    let row = |row: &ProviderStep| {
        let [p50, p95] = [row.p50_ms, row.p95_ms].map(num::ms_or_none);
        let [calls, well, limited, failed] = [row.calls, row.ok, row.rate_limited, row.failed].map(num::count);
        let cost = num::money(NanoUsd(row.cost_nanousd));
        [num::moment(row.at * 1000), row.provider.clone(), calls, well, limited, failed, p50, p95, cost]
            .map(cell)
            .to_vec()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().rev().take(ROWS_MAX).map(row).collect();
    let columns = [
        ("From (UTC)", false),
        ("Provider", false),
        ("Calls", true),
        ("Well", true),
        ("429", true),
        ("Failed", true),
        ("p50", true),
        ("p95", true),
        ("Cost", true),
    ];
    table("t-calls", "Calls by step and provider, the newest first", &columns, &cells)
}

fn errors_table(rows: &[ProviderError]) -> Markup {
    if rows.is_empty() {
        return html! { p.empty { "Every call in this range ended well." } };
    }
    let row = |row: &ProviderError| {
        let status = if row.http_status == 0 { "–".to_owned() } else { row.http_status.to_string() };
        let names = [row.provider.clone(), row.model.clone(), row.outcome.clone(), row.error.clone()];
        let rest = [status, num::count(row.calls), num::moment(row.last_ms)];
        names.into_iter().chain(rest).map(cell).collect()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().take(ROWS_MAX).map(row).collect();
    let columns = [
        ("Provider", false),
        ("Model", false),
        ("How it ended", false),
        ("Error", false),
        ("HTTP", true),
        ("Calls", true),
        ("Last (UTC)", false),
    ];
    table("t-errors", "Calls that did not end well, the most first", &columns, &cells)
}

/// Deployments that some worker does not get to.
pub(super) fn worrying(workers: &[WorkerReport]) -> Vec<String> {
    let shut = seen(workers).into_iter().filter(|(_, seen)| seen.shut() > 0);
    shut.map(|((provider, model), seen)| {
        format!("{model} at {provider}: the breaker of {} worker(s) is open", num::count(seen.shut()))
    })
    .collect()
}
