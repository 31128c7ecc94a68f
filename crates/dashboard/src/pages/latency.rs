//! Latency: how often what took how long, over time, with percentiles.

use maud::{Markup, html};
use tollgate_usage::questions::{HeatmapCell, Measured, Percentiles, Step};

use super::choice;
use crate::charts::{About, Cell, Heatmap, Line, Lines, Size, heatmap, lines};
use crate::num;
use crate::page::{Content, Panel, Source, cell, empty, table};
use crate::sources::Cx;
use crate::view::View;

/// Buckets of the tables lie a quarter of a doubling apart; two of them make a row of the picture.
const BUCKETS_OF_ROW: u8 = 2;
/// More columns than a picture has room for.
const COLUMNS_MAX: usize = 400;

fn measured(view: &View) -> (&'static str, Measured) {
    match view.value("of") {
        Some("jobs") => ("jobs", Measured::Jobs),
        Some("waiting") => ("waiting", Measured::Waiting),
        _ => ("calls", Measured::Calls),
    }
}

pub(super) fn fields(view: &View) -> Markup {
    let words = [("calls", "calls to providers"), ("jobs", "jobs, once begun"), ("waiting", "waiting for a worker")];
    choice("Of", "of", measured(view).0, &words)
}

/// The seconds of a step.
pub(super) fn seconds(step: Step) -> i64 {
    match step {
        Step::Hour => 3600,
        Step::Day => 86_400,
    }
}

/// The first moment of a range in steps, and how many steps it has.
pub(super) fn steps(cx: &Cx<'_>) -> (i64, usize) {
    let (from, to) = cx.view.span(cx.now);
    let step = seconds(cx.step());
    let first = (from.0 / 1000).div_euclid(step) * step;
    let count = ((to.0 / 1000 - first) + step - 1).div_euclid(step).clamp(1, COLUMNS_MAX as i64);
    (first, count as usize)
}

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let (one, other) = (cx.filter(), cx.filter());
    let step = cx.step();
    let (word, measured) = measured(cx.view);
    let (cells, percentiles) = tokio::join!(
        cx.ask("heatmap", |store| async move { store.ask().latency_heatmap(&one, step, measured).await }),
        cx.ask("percentiles", |store| async move { store.ask().latency_percentiles(&other, step, measured).await }),
    );
    let over: &[Percentiles] = percentiles.as_ref().map_or(&[], |asked| &asked.rows);
    let map = cells.map(|asked| {
        let shown = if asked.rows.is_empty() { empty(word) } else { picture(cx, &asked.rows, over) };
        let row = |cell_of: &HeatmapCell| {
            [num::moment(cell_of.at * 1000), num::ms(cell_of.ms), num::count(cell_of.count)].map(cell).to_vec()
        };
        let cells: Vec<Vec<Markup>> = asked.rows.iter().rev().take(500).map(row).collect();
        let columns = [("From (UTC)", false), ("About", true), ("How many", true)];
        let table = table("t-heatmap", "The cells of the heatmap, the newest first, at most 500", &columns, &cells);
        Content::chart(shown, table, Source::Sql(asked.sql.clone()))
    });
    let lines = percentiles.as_ref().map_err(Clone::clone).map(|asked| {
        let shown = if asked.rows.is_empty() { empty(word) } else { over_time(&asked.rows) };
        let row = |row: &Percentiles| {
            let [p50, p95, p99] = [row.p50_ms, row.p95_ms, row.p99_ms].map(num::ms_or_none);
            [num::moment(row.at * 1000), num::count(row.count), p50, p95, p99, num::ms(row.max_ms as f64)]
                .map(cell)
                .to_vec()
        };
        let cells: Vec<Vec<Markup>> = asked.rows.iter().rev().map(row).collect();
        let columns =
            [("From (UTC)", false), ("How many", true), ("p50", true), ("p95", true), ("p99", true), ("Longest", true)];
        let table = table("t-percentiles", "Percentiles, the newest first", &columns, &cells);
        Content::chart(shown, table, Source::Sql(asked.sql.clone()))
    });
    vec![
        Panel::new("p-heatmap", "How long, how often", map).wide(),
        Panel::new("p-percentiles", "Percentiles", lines).wide(),
    ]
}

fn known(rows: &[Percentiles], first: i64, step: i64, count: usize) -> [Line; 2] {
    let column = |row: &Percentiles| usize::try_from((row.at - first).div_euclid(step)).ok().filter(|at| *at < count);
    let line = |name: &str, of: fn(&Percentiles) -> Option<f64>| {
        let mut values = vec![None; count];
        rows.iter().filter_map(|row| Some((column(row)?, of(row)))).for_each(|(at, value)| values[at] = value);
        Line { name: name.to_owned(), values }
    };
    [line("p50", |row| row.p50_ms), line("p95", |row| row.p95_ms)]
}

fn picture(cx: &Cx<'_>, rows: &[HeatmapCell], over: &[Percentiles]) -> Markup {
    let (first, count) = steps(cx);
    let step = seconds(cx.step());
    let low = rows.iter().map(|row| row.bucket / BUCKETS_OF_ROW).min().unwrap_or(0);
    let high = rows.iter().map(|row| row.bucket / BUCKETS_OF_ROW).max().unwrap_or(0);
    // A bucket is the rounded quarter: its lower edge is half a quarter below.
    let edge = |row: u8| 2f64.powf((f64::from(row) * f64::from(BUCKETS_OF_ROW) - 0.5) / 4.0);
    let edges: Vec<f64> = (low..=high.saturating_add(1)).map(edge).collect();
    let mut counts = std::collections::BTreeMap::<(usize, usize), u64>::new();
    for cell in rows {
        let column = usize::try_from((cell.at - first).div_euclid(step)).unwrap_or(usize::MAX);
        *counts.entry((column, usize::from(cell.bucket / BUCKETS_OF_ROW - low))).or_default() += cell.count;
    }
    let cells: Vec<Cell> = counts.into_iter().map(|((column, row), count)| Cell { column, row, count }).collect();
    let about = About {
        id: "c-heatmap",
        title: "Latency heatmap",
        description: "Columns are time, rows are durations on a logarithmic scale, darker cells hold more. The lines are \
                      the median and the 95th percentile.",
    };
    let lines = known(over, first, step, count);
    heatmap(&Heatmap { about, from: first, step, columns: count, edges: &edges, cells: &cells, lines: &lines })
}

fn over_time(rows: &[Percentiles]) -> Markup {
    let moments: Vec<i64> = rows.iter().map(|row| row.at).collect();
    let line = |name: &str, of: fn(&Percentiles) -> Option<f64>| Line {
        name: name.to_owned(),
        values: rows.iter().map(of).collect(),
    };
    let drawn = [line("p50", |row| row.p50_ms), line("p95", |row| row.p95_ms), line("p99", |row| row.p99_ms)];
    let about = About {
        id: "c-percentiles",
        title: "Percentiles over time",
        description: "Three lines: half, 95 % and 99 % took no longer.",
    };
    html! { (lines(&Lines { about, moments: &moments, lines: &drawn, text: num::ms, size: Size::Wide })) }
}
