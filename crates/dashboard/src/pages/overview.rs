//! The overview: what happens now, what it costs, and what somebody should look at.

use std::time::Instant;

use maud::{Markup, html};
use tollgate_operate::accounts::Line as Standing;
use tollgate_queue::control::WorkerReport;
use tollgate_types::NanoUsd;
use tollgate_usage::questions::{Dimension, SpendStep, Usage};

use super::queues::Queues;
use super::{dead, providers, queues, spend};
use crate::charts::{Size, spark};
use crate::num;
use crate::page::{Content, Panel, Source, badge, cell, empty, table, tiles};
use crate::sources::Cx;

const FROM: &str = "the counters of the streams, the dead letters, the accounts, and what workers report.";
/// So many teams get a colour of their own.
const TEAMS: usize = 7;
/// As many troubles as are listed; the pages have all.
const TROUBLES_MAX: usize = 12;

/// Everything that NATS says.
struct Live {
    queues: Result<std::sync::Arc<Queues>, String>,
    dead: Result<std::sync::Arc<u64>, String>,
    budgets: Result<std::sync::Arc<Vec<Standing>>, String>,
    workers: Vec<WorkerReport>,
    paused: Vec<String>,
}

async fn live(cx: &Cx<'_>) -> Result<Live, String> {
    let nats = cx.shared.nats()?;
    let models = cx.shared.models.clone();
    let (queues, dead, budgets) = tokio::join!(
        cx.look("queues", |operator| queues::count(operator, models)),
        cx.look("dead count", dead::count),
        cx.look("budgets", spend::standing),
    );
    let (workers, paused) = (nats.workers(Instant::now()), queues::paused(&nats.operator));
    Ok(Live { queues, dead, budgets, workers, paused })
}

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let (one, two, three) = (cx.filter(), cx.filter(), cx.filter());
    let step = cx.step();
    let (live, totals, spend_of, teams) = tokio::join!(
        live(cx),
        cx.ask("totals", |store| async move { store.ask().totals(&one).await }),
        cx.ask("spend by team", |store| async move {
            store.ask().spend_over_time(&two, step, &Dimension::Team, TEAMS).await
        }),
        cx.ask("usage by team", |store| async move { store.ask().usage(&three, &[Dimension::Team]).await }),
    );
    let now = live.as_ref().map_err(Clone::clone).map(|live| Content::of(now(cx, live), Source::Nats(FROM)));
    let trouble = live.as_ref().map_err(Clone::clone).map(|live| Content::of(troubles(live), Source::Nats(FROM)));
    let sums = totals
        .map(|asked| Content::of(asked.rows.first().map(sums).unwrap_or_default(), Source::Sql(asked.sql.clone())));
    let over_time = spend_of.as_ref().map_err(Clone::clone).map(|asked| {
        let shown = if asked.rows.is_empty() {
            empty("jobs")
        } else {
            spend::chart(cx, ("c-overview", Size::Half), &asked.rows)
        };
        Content::chart(shown, spend::steps_table(&asked.rows), Source::Sql(asked.sql.clone()))
    });
    let steps: &[SpendStep] = spend_of.as_ref().map_or(&[], |asked| &asked.rows);
    let by_team = teams.map(|asked| Content::of(by_team(&asked.rows, steps), Source::Sql(asked.sql.clone())));
    vec![
        Panel::new("p-now", "Now", now).wide(),
        Panel::new("p-sums", "In this range", sums).wide(),
        Panel::new("p-overview", "Spend over time, by team", over_time),
        Panel::new("p-trouble", "What to look at", trouble),
        Panel::new("p-teams", "Teams", by_team).wide(),
    ]
}

fn now(cx: &Cx<'_>, live: &Live) -> Markup {
    let unknown = || "–".to_owned();
    let rows = live.queues.as_ref().map(|queues| &queues.rows[..]).unwrap_or_default();
    let waiting: u64 = rows.iter().map(|row| row.waiting).sum();
    let parked: u64 = rows.iter().map(|row| row.parked).sum();
    let running: u64 = live.workers.iter().map(|worker| worker.running).sum();
    let oldest = live.queues.as_ref().ok().and_then(|queues| queues.oldest.values().min().copied());
    let calls: u64 =
        live.workers.iter().flat_map(|worker| &worker.deployments).map(|deployment| deployment.running).sum();
    let count = |n: u64| if live.queues.is_ok() { num::count(n) } else { unknown() };
    html! {
        (tiles(&[
            ("In flight", num::count(running), format!("{} workers", num::count(live.workers.len() as u64))),
            ("In lanes", count(waiting), "with those that run".to_owned()),
            ("Parked", count(parked), String::new()),
            ("Oldest job", oldest.map_or_else(unknown, |at| num::ms((cx.now.0 - at.0).max(0) as f64)), String::new()),
            ("Calls now", num::count(calls), "to providers".to_owned()),
            ("Dead letters", live.dead.as_ref().map_or_else(|_| unknown(), |dead| num::count(**dead)), String::new()),
        ]))
        @for why in [live.queues.as_ref().err(), live.dead.as_ref().err(), live.budgets.as_ref().err()].into_iter().flatten() {
            p.trouble { (why) }
        }
    }
}

fn troubles(live: &Live) -> Markup {
    let budgets = live.budgets.as_ref().map(|lines| spend::worrying(lines)).unwrap_or_default();
    let dead = live.dead.as_ref().map_or(0, |dead| **dead);
    let letters = (dead > 0).then(|| format!("{} dead letters", num::count(dead)));
    let nobody = live.workers.is_empty().then(|| "no worker has reported in the last seconds".to_owned());
    let holding =
        live.workers.iter().filter_map(|worker| Some(format!("{}: {}", worker.worker, worker.holding.as_ref()?)));
    let all = [
        ("bad", "worker", "providers", nobody.into_iter().chain(holding).collect::<Vec<_>>()),
        ("bad", "provider", "providers", providers::worrying(&live.workers)),
        ("warn", "budget", "spend", budgets),
        ("warn", "paused", "queues", live.paused.clone()),
        ("warn", "dead", "dead", letters.into_iter().collect()),
    ];
    let told: Vec<(&str, &str, &str, String)> = all
        .into_iter()
        .flat_map(|(class, kind, page, texts)| texts.into_iter().map(move |text| (class, kind, page, text)))
        .collect();
    if told.is_empty() {
        return html! { p.empty { "Nothing: no breaker is open, no budget is nearly spent, nothing is paused." } };
    }
    html! {
        ul.troubles {
            @for (class, kind, page, text) in told.iter().take(TROUBLES_MAX) {
                li { (badge(class, kind)) " " a href={ "/dashboard/" (page) } { (text) } }
            }
        }
        @if told.len() > TROUBLES_MAX { p { "… and " (told.len() - TROUBLES_MAX) " more" } }
    }
}

fn sums(row: &Usage) -> Markup {
    let succeeded = row.jobs_by_status.first().copied().unwrap_or(0);
    let tokens = row.tokens.prompt() + row.tokens.completion();
    let all = row.jobs as f64;
    tiles(&[
        ("Jobs", num::count(row.jobs), format!("{} succeeded", num::percent(succeeded as f64, all))),
        ("Spent", num::money(NanoUsd(row.cost_nanousd)), format!("{} saved", num::money(NanoUsd(row.saved_nanousd)))),
        ("Tokens", num::short(tokens as f64), format!("{} calls", num::count(row.attempts))),
        ("p95 of calls", num::ms_or_none(row.p95_ms), format!("mean {}", num::ms_or_none(row.avg_ms))),
        ("Cache hits", num::percent(row.cache_hit_jobs as f64, all), num::count(row.cache_hit_jobs)),
        ("Guardrails", num::count(row.guardrail_jobs), "jobs on which a rule fired".to_owned()),
    ])
}

fn by_team(rows: &[Usage], steps: &[SpendStep]) -> Markup {
    if rows.is_empty() {
        return empty("jobs");
    }
    let row = |row: &Usage| {
        let team = row.keys.first().map(String::as_str).unwrap_or_default();
        let costs: Vec<f64> =
            steps.iter().filter(|step| !step.other && step.key == team).map(|step| step.cost_nanousd as f64).collect();
        let said = format!("spend of {team} over the range");
        let succeeded = row.jobs_by_status.first().copied().unwrap_or(0);
        vec![
            cell(team),
            if costs.len() > 1 {
                spark(&costs, &said)
            } else {
                html! {}
            },
            cell(num::count(row.jobs)),
            cell(num::percent(succeeded as f64, row.jobs as f64)),
            cell(num::money(NanoUsd(row.cost_nanousd))),
            cell(num::short((row.tokens.prompt() + row.tokens.completion()) as f64)),
            cell(num::ms_or_none(row.p95_ms)),
            cell(num::percent(row.cache_hit_jobs as f64, row.jobs as f64)),
        ]
    };
    let cells: Vec<Vec<Markup>> = rows.iter().take(100).map(row).collect();
    let columns = [
        ("Team", false),
        ("Spend", false),
        ("Jobs", true),
        ("Succeeded", true),
        ("Cost", true),
        ("Tokens", true),
        ("p95", true),
        ("Cache hits", true),
    ];
    table("t-teams", "Teams, the costliest first", &columns, &cells)
}
