//! Spend: over time, by what, and how long budgets will do.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_operate::accounts::{self, Line as Standing, owned};
use tollgate_operate::exit::{Code, Failure};
use tollgate_operate::live::Operator;
use tollgate_types::{NanoUsd, UnixMillis};
use tollgate_usage::HourRange;
use tollgate_usage::questions::{BudgetBurn, Filter, SpendStep, Usage};

use super::latency::{seconds, steps};
use super::tokens::{by, key};
use crate::charts::{About, Burn, Columns, Series, Size, burn, columns};
use crate::num;
use crate::page::{Action, Content, Panel, Source, cell, empty, table, tiles};
use crate::sources::Cx;
use crate::view::View;

/// So many keys get a colour of their own.
const KEYS: usize = 7;
/// As many budgets as one page draws; the table has all.
const BURNS_MAX: usize = 6;
/// As many rows as somebody reads.
const ROWS_MAX: usize = 200;

const FROM: &str = "the budgets in TOLLGATE_CONFIG and the accounts in TOLLGATE_LEDGER; `tollgate budget list` shows \
                    the same.";

pub(super) fn fields(view: &View) -> Markup {
    super::tokens::fields(view)
}

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let (one, two, three) = (cx.filter(), cx.filter(), cx.filter());
    let (word, dimension) = by(cx.view);
    let (step, again) = (cx.step(), dimension.clone());
    let curves = Filter { team: cx.filter().team, range: window_max(cx), ..Filter::default() };
    let (curves, over_time, by_key, totals, budgets) = tokio::join!(
        cx.ask("budget curves", |store| async move { store.ask().budget_burn_over_time(&curves).await }),
        cx.ask("spend", |store| async move { store.ask().spend_over_time(&one, step, &dimension, KEYS).await }),
        cx.ask("usage", |store| async move { store.ask().usage(&two, &[again]).await }),
        cx.ask("totals", |store| async move { store.ask().totals(&three).await }),
        cx.look("budgets", standing),
    );
    let wanted = |line: &&Standing| cx.view.value("team").is_none_or(|team| line.scope.team() == Some(team));
    let totals = totals
        .map(|asked| Content::of(asked.rows.first().map(sums).unwrap_or_default(), Source::Sql(asked.sql.clone())));
    let over_time = over_time.map(|asked| {
        let shown =
            if asked.rows.is_empty() { empty("spend") } else { chart(cx, ("c-spend", Size::Wide), &asked.rows) };
        Content::chart(shown, steps_table(&asked.rows), Source::Sql(asked.sql.clone()))
    });
    let by_key = by_key.map(|asked| Content::of(usage_table(&asked.rows), Source::Sql(asked.sql.clone())));
    let burning = budgets.as_ref().map_err(Clone::clone).map(|lines| {
        let shown: Vec<&Standing> = lines.iter().filter(wanted).collect();
        let samples: &[BudgetBurn] = curves.as_ref().map_or(&[], |asked| &asked.rows);
        let mut sources = vec![Source::Nats(FROM)];
        sources.extend(curves.as_ref().ok().map(|asked| Source::Sql(asked.sql.clone())));
        Content { shown: burns(cx, &shown, samples), sources, ..Content::default() }
    });
    let listed = budgets.as_ref().map_err(Clone::clone).map(|lines| {
        let shown: Vec<&Standing> = lines.iter().filter(wanted).collect();
        Content::of(budgets_table(cx, &shown), Source::Nats(FROM))
    });
    vec![
        Panel::new("p-spend-sums", "Together", totals).wide(),
        Panel::new("p-spend", &format!("Over time, by {word}"), over_time).wide(),
        Panel::new("p-burn", "Budgets burning down", burning).wide(),
        Panel::new("p-budgets", "Budgets", listed).wide(),
        Panel::new("p-spend-by", &format!("By {word}"), by_key).wide(),
    ]
}

/// Where every budget stands, by the accounts that workers keep.
pub(super) async fn standing(operator: Operator) -> Result<Vec<Standing>, Failure> {
    let known = accounts::read(&operator.context)
        .await
        .map_err(|error| Failure::new(Code::Nats, "the accounts cannot be read").because(&error))?;
    let now = operator.now();
    Ok(owned(&operator.directory).iter().flat_map(|owner| accounts::lines(owner, &known, now)).collect())
}

fn sums(row: &Usage) -> Markup {
    let per_job = if row.jobs > 0 { num::money(NanoUsd(row.cost_nanousd / row.jobs as i64)) } else { "–".to_owned() };
    let unknown = num::count(row.unknown_attempts);
    tiles(&[
        ("Spent", num::money(NanoUsd(row.cost_nanousd)), format!("{} calls", num::count(row.attempts))),
        ("Per job", per_job, format!("{} jobs", num::count(row.jobs))),
        (
            "Saved by the cache",
            num::money(NanoUsd(row.saved_nanousd)),
            format!("{} hits", num::count(row.cache_hit_jobs)),
        ),
        ("May have cost more", num::money(NanoUsd(row.unknown_nanousd)), format!("at most, in {unknown} lost runs")),
    ])
}

/// What was spent in each step, as stacked columns.
pub(super) fn chart(cx: &Cx<'_>, (id, size): (&str, Size), rows: &[SpendStep]) -> Markup {
    let (first, count) = steps(cx);
    let step = seconds(cx.step());
    let mut sums: BTreeMap<(bool, &str), i64> = BTreeMap::new();
    rows.iter().for_each(|row| *sums.entry((row.other, row.key.as_str())).or_default() += row.cost_nanousd);
    let mut keys: Vec<((bool, &str), i64)> = sums.into_iter().collect();
    keys.sort_by_key(|((other, _), cost)| (*other, std::cmp::Reverse(*cost)));
    let series = keys.iter().map(|((other, name), _)| {
        let mut values = vec![0.0; count];
        for row in rows.iter().filter(|row| row.other == *other && row.key == *name) {
            let at = usize::try_from((row.at - first).div_euclid(step)).unwrap_or(usize::MAX);
            if let Some(value) = values.get_mut(at) {
                *value += row.cost_nanousd as f64 / 1e9;
            }
        }
        Series { name: if *other { "all others".to_owned() } else { key(name) }, values }
    });
    let series: Vec<Series> = series.collect();
    let about = About {
        id,
        title: "Spend over time",
        description: "Stacked columns in dollars, one for each step of time; the keys that cost most have a colour of their \
                      own. The table has the numbers.",
    };
    columns(&Columns { about, from: first, step, series: &series, text: num::short_money, size })
}

/// The same as a table.
pub(super) fn steps_table(rows: &[SpendStep]) -> Markup {
    let row = |row: &SpendStep| {
        let name = if row.other { "all others".to_owned() } else { key(&row.key) };
        let cost = num::money(NanoUsd(row.cost_nanousd));
        [num::moment(row.at * 1000), name, cost, num::count(row.jobs), num::count(row.tokens)].map(cell).to_vec()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().rev().take(ROWS_MAX).map(row).collect();
    let columns = [("From (UTC)", false), ("Key", false), ("Cost", true), ("Jobs", true), ("Tokens", true)];
    table("t-spend", "Spend by step and key, the newest first", &columns, &cells)
}

fn usage_table(rows: &[Usage]) -> Markup {
    if rows.is_empty() {
        return empty("spend");
    }
    let row = |row: &Usage| {
        let tokens = row.tokens.prompt() + row.tokens.completion();
        let cost = num::money(NanoUsd(row.cost_nanousd));
        let name = key(row.keys.first().map(String::as_str).unwrap_or_default());
        let failed: u64 = row.jobs - row.jobs_by_status.first().copied().unwrap_or(0).min(row.jobs);
        [
            name,
            cost,
            num::count(row.jobs),
            num::count(failed),
            num::count(row.attempts),
            num::count(tokens),
            num::ms_or_none(row.avg_ms),
            num::ms_or_none(row.p95_ms),
        ]
        .map(cell)
        .to_vec()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().take(ROWS_MAX).map(row).collect();
    let columns = [
        ("Key", false),
        ("Cost", true),
        ("Jobs", true),
        ("Not succeeded", true),
        ("Calls", true),
        ("Tokens", true),
        ("Mean", true),
        ("p95", true),
    ];
    table("t-usage", "Usage by key, the costliest first", &columns, &cells)
}

fn moment(text: Option<&String>) -> Option<i64> {
    Some(OffsetDateTime::parse(text?, &Rfc3339).ok()?.unix_timestamp())
}

/// A moment as the other pages show it.
fn in_utc(at: &str) -> String {
    moment(Some(&at.to_owned())).map_or_else(|| at.to_owned(), |at| num::moment(at.saturating_mul(1000)))
}

fn dollars(amount: Option<NanoUsd>) -> f64 {
    amount.map_or(0.0, |amount| amount.0 as f64 / 1e9)
}

/// Those that are nearest to their end, drawn.
fn burns(cx: &Cx<'_>, lines: &[&Standing], samples: &[BudgetBurn]) -> Markup {
    let mut capped: Vec<&&Standing> = lines
        .iter()
        .filter(|line| line.settled_nanousd.is_some() && line.cap_nanousd.is_some_and(|cap| cap.0 > 0))
        .collect();
    capped.sort_by(|a, b| b.percent.unwrap_or(0.0).total_cmp(&a.percent.unwrap_or(0.0)));
    capped.truncate(BURNS_MAX);
    if capped.is_empty() {
        return html! { p.empty { "No budget has a cap. " code { "tollgate budget set" } " sets one." } };
    }
    html! { div.grid {
        @for (at, line) in capped.iter().enumerate() {
            div { h3 { (line.scope) ", " (line.window) } (burn_of(cx, at, line, samples)) }
        }
    } }
}

/// No window that is drawn is longer than a month.
fn window_max(cx: &Cx<'_>) -> HourRange {
    HourRange::covering(UnixMillis(cx.now.0 - 32 * 24 * 3_600_000), cx.now)
}

/// What was spent of a budget when it was sampled, in this window: seconds and dollars.
fn curve(line: &Standing, starts: i64, samples: &[BudgetBurn]) -> Vec<(i64, f64)> {
    let same = |sample: &&BudgetBurn| {
        sample.scope == line.scope.kind()
            && sample.team == line.scope.team().unwrap_or_default()
            && (sample.name.is_empty() || sample.name == line.scope.name())
            && sample.period == line.window
            && sample.window_from_ms.div_euclid(1000) == starts
    };
    samples.iter().filter(same).map(|sample| (sample.ts_ms / 1000, sample.spent_nanousd as f64 / 1e9)).collect()
}

fn burn_of(cx: &Cx<'_>, at: usize, line: &Standing, samples: &[BudgetBurn]) -> Markup {
    let now = cx.now.0 / 1000;
    let (starts, ends) = (moment(line.starts.as_ref()).unwrap_or(now), moment(line.ends.as_ref()).unwrap_or(now));
    let mut spent = curve(line, starts, samples);
    spent.retain(|(at, _)| *at < now);
    spent.push((now, dollars(line.settled_nanousd)));
    let at_end = line.at_this_rate.as_ref().map(|rate| rate.at_end_nanousd);
    let id = format!("c-burn-{at}");
    let about = About {
        id: &id,
        title: "What is left of the budget",
        description: "The line falls from the cap to what is left now; dotted is an even pace, dashed what follows if \
                      spending goes on as it did.",
    };
    let drawn = burn(&Burn {
        about,
        window: (starts, ends),
        now,
        cap: dollars(line.cap_nanousd),
        spent: &spent,
        held: dollars(line.held_nanousd),
        at_end: at_end.map(|amount| amount.0 as f64 / 1e9),
    });
    html! {
        (drawn)
        @if let Some(rate) = &line.at_this_rate {
            p.lead {
                "At this rate " (num::money(rate.at_end_nanousd)) " by the end"
                @if let Some(spent_at) = &rate.spent_at { ", and nothing is left from " (in_utc(spent_at)) " on" } "."
            }
        }
    }
}

fn budgets_table(cx: &Cx<'_>, lines: &[&Standing]) -> Markup {
    if lines.is_empty() {
        return html! { p.empty { "There are no budgets. " code { "tollgate budget set" } " sets one." } };
    }
    let columns = [
        ("Account", false),
        ("Window", false),
        ("Cap", true),
        ("Spent", true),
        ("Held", true),
        ("Left", true),
        ("%", true),
        ("Ends (UTC)", false),
        ("At this rate", false),
        ("", false),
    ];
    let cells: Vec<Vec<Markup>> = lines.iter().take(ROWS_MAX).map(|line| budget_row(cx, line)).collect();
    table("t-budgets", "Where every budget stands", &columns, &cells)
}

fn budget_row(cx: &Cx<'_>, line: &Standing) -> Vec<Markup> {
    let none = || "–".to_owned();
    let money = |amount: Option<NanoUsd>| cell(amount.map_or_else(none, num::money));
    let scope = line.scope.to_string();
    let hidden = [("scope", scope.as_str()), ("window", line.window.as_str())];
    let fields = html! {
        label { "By $" input name="amount" inputmode="decimal" required size="6"; }
        label { "for" input name="for" value="2h" required size="5"; }
        label { "Reason" input name="reason" maxlength="512"; }
    };
    let said = format!("Raise {scope} for {}", line.window);
    let raise = Action { path: "/dashboard/actions/raise", label: "Raise", said, hidden: &hidden, fields };
    let rate = line.at_this_rate.as_ref().map(|rate| match &rate.spent_at {
        Some(at) => format!("spent at {}", in_utc(at)),
        None => format!("{} by the end", num::money(rate.at_end_nanousd)),
    });
    vec![
        cell(&scope),
        cell(match &line.model {
            Some(model) => format!("{} ({model})", line.window),
            None => line.window.clone(),
        }),
        cell(line.cap_nanousd.map_or_else(|| "no limit".to_owned(), num::money)),
        money(line.settled_nanousd),
        money(line.held_nanousd),
        money(line.left_nanousd),
        cell(line.percent.map_or_else(none, |percent| format!("{percent:.1}"))),
        cell(line.ends.as_ref().map_or_else(none, |at| in_utc(at))),
        cell(rate.unwrap_or_else(none)),
        if line.model.is_none() && cx.forms.may_act {
            html! { details data-keep={ "raise-" (scope) (line.window) } { summary { "Raise…" } (cx.forms.form(&raise)) } }
        } else {
            html! {}
        },
    ]
}

/// Accounts that are nearly spent, or will be before their window ends.
pub(super) fn worrying(lines: &[Standing]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let told = lines.iter().filter_map(|line| {
        let name = format!("{} for {}", line.scope, line.window);
        let spent = line.percent.filter(|percent| *percent >= 80.0);
        let ends = line.at_this_rate.as_ref().and_then(|rate| rate.spent_at.as_ref());
        match (spent, ends) {
            (Some(percent), _) => Some(format!("{name}: {percent:.1} % is spent")),
            (None, Some(at)) => Some(format!("{name}: at this rate it is spent at {}", in_utc(at))),
            (None, None) => None,
        }
    });
    told.filter(|text| seen.insert(text.clone())).collect()
}
