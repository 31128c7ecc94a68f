//! The cache of answers: how often it answered, and what that saved.

use std::collections::BTreeMap;

use maud::Markup;
use tollgate_types::NanoUsd;
use tollgate_usage::questions::CacheSavings;

use super::latency::{seconds, steps};
use crate::charts::{About, Columns, Series, Size, columns};
use crate::num;
use crate::page::{Content, Panel, Source, cell, empty, table, tiles};
use crate::sources::Cx;

/// So many teams get a colour of their own.
const TEAMS: usize = 7;

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let filter = cx.filter();
    let step = cx.step();
    let asked = cx.ask("cache", |store| async move { store.ask().cache_savings(&filter, step).await }).await;
    let source = |asked: &tollgate_usage::questions::Asked<CacheSavings>| Source::Sql(asked.sql.clone());
    let sums_of = asked.as_ref().map_err(Clone::clone).map(|asked| Content::of(sums(&asked.rows), source(asked)));
    let saved = asked.as_ref().map_err(Clone::clone).map(|asked| {
        let is_empty = asked.rows.iter().all(|row| row.hits == 0);
        let shown = if is_empty { empty("answers from the cache") } else { chart(cx, &asked.rows) };
        Content::chart(shown, steps_table(&asked.rows), source(asked))
    });
    let teams = asked.as_ref().map_err(Clone::clone).map(|asked| Content::of(teams_table(&asked.rows), source(asked)));
    vec![
        Panel::new("p-cache", "Together", sums_of).wide(),
        Panel::new("p-saved", "Saved over time", saved).wide(),
        Panel::new("p-cache-teams", "By team", teams).wide(),
    ]
}

fn sums(rows: &[CacheSavings]) -> Markup {
    let (jobs, hits): (u64, u64) = rows.iter().fold((0, 0), |(jobs, hits), row| (jobs + row.jobs, hits + row.hits));
    let saved: i64 = rows.iter().map(|row| row.saved_nanousd).sum();
    tiles(&[
        ("Saved", num::money(NanoUsd(saved)), "what the answers would have cost".to_owned()),
        ("Hits", num::count(hits), format!("of {} jobs", num::count(jobs))),
        ("Hit rate", num::percent(hits as f64, jobs as f64), String::new()),
    ])
}

fn by_team(rows: &[CacheSavings]) -> Vec<(&str, u64, u64, i64)> {
    let mut teams: BTreeMap<&str, (u64, u64, i64)> = BTreeMap::new();
    for row in rows {
        let team = teams.entry(&row.team).or_default();
        *team = (team.0 + row.jobs, team.1 + row.hits, team.2 + row.saved_nanousd);
    }
    let mut teams: Vec<_> = teams.into_iter().map(|(team, (jobs, hits, saved))| (team, jobs, hits, saved)).collect();
    teams.sort_by_key(|(.., saved)| std::cmp::Reverse(*saved));
    teams
}

fn chart(cx: &Cx<'_>, rows: &[CacheSavings]) -> Markup {
    let (first, count) = steps(cx);
    let step = seconds(cx.step());
    let teams = by_team(rows);
    let own: Vec<&str> = teams.iter().take(TEAMS).map(|(team, ..)| *team).collect();
    let names = own.iter().map(|team| (*team).to_owned()).chain((teams.len() > TEAMS).then(|| "all others".to_owned()));
    let mut series: Vec<Series> = names.map(|name| Series { name, values: vec![0.0; count] }).collect();
    for row in rows {
        let at = usize::try_from((row.at - first).div_euclid(step)).unwrap_or(usize::MAX);
        let of = own.iter().position(|team| *team == row.team).unwrap_or(own.len());
        if let Some(value) = series.get_mut(of).and_then(|series| series.values.get_mut(at)) {
            *value += row.saved_nanousd as f64 / 1e9;
        }
    }
    let about = About {
        id: "c-saved",
        title: "What the cache saved over time",
        description: "Stacked columns in dollars, by team.",
    };
    columns(&Columns { about, from: first, step, series: &series, text: num::short_money, size: Size::Wide })
}

fn steps_table(rows: &[CacheSavings]) -> Markup {
    let row = |row: &CacheSavings| {
        let saved = num::money(NanoUsd(row.saved_nanousd));
        [num::moment(row.at * 1000), row.team.clone(), num::count(row.jobs), num::count(row.hits), saved]
            .map(cell)
            .to_vec()
    };
    let cells: Vec<Vec<Markup>> = rows.iter().rev().take(200).map(row).collect();
    let columns = [("From (UTC)", false), ("Team", false), ("Jobs", true), ("Hits", true), ("Saved", true)];
    table("t-saved", "Hits by step and team, the newest first", &columns, &cells)
}

fn teams_table(rows: &[CacheSavings]) -> Markup {
    let row = |(team, jobs, hits, saved): &(&str, u64, u64, i64)| {
        let rate = num::percent(*hits as f64, *jobs as f64);
        [(*team).to_owned(), num::count(*jobs), num::count(*hits), rate, num::money(NanoUsd(*saved))].map(cell).to_vec()
    };
    let cells: Vec<Vec<Markup>> = by_team(rows).iter().map(row).collect();
    if cells.is_empty() {
        return empty("jobs");
    }
    let columns = [("Team", false), ("Jobs", true), ("Hits", true), ("Hit rate", true), ("Saved", true)];
    table("t-cache-teams", "The cache by team", &columns, &cells)
}
