//! Tokens: what they are made of, by team, model or anything else that jobs carry.

use maud::{Markup, html};
use tollgate_types::NanoUsd;
use tollgate_usage::questions::{Dimension, Drift};

use super::choice;
use crate::charts::{About, Bar, Part, bars};
use crate::num;
use crate::page::{Content, Panel, Source, badge, cell, empty, table};
use crate::sources::Cx;
use crate::view::View;

/// The five parts, which do not overlap.
const PARTS: [&str; 5] =
    ["prompt", "prompt, from the provider's cache", "prompt, into its cache", "answer", "thinking"];
/// As many bars as are told apart.
const BARS_MAX: usize = 20;
/// As many rows as somebody reads.
const ROWS_MAX: usize = 200;

const BY: [(&str, &str); 6] = [
    ("team", "team"),
    ("model", "model"),
    ("provider", "provider"),
    ("project", "project"),
    ("class", "class"),
    ("user", "end user"),
];

/// What the page is broken down by.
pub(super) fn by(view: &View) -> (&'static str, Dimension) {
    match view.value("by") {
        Some("model") => ("model", Dimension::Model),
        Some("provider") => ("provider", Dimension::Provider),
        Some("project") => ("project", Dimension::Project),
        Some("class") => ("class", Dimension::Class),
        Some("user") => ("user", Dimension::User),
        _ => ("team", Dimension::Team),
    }
}

pub(super) fn fields(view: &View) -> Markup {
    choice("By", "by", by(view).0, &BY)
}

/// A key for people: an empty one says so.
pub(super) fn key(text: &str) -> String {
    if text.is_empty() { "(none)".to_owned() } else { text.to_owned() }
}

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let (filter, all, grown) = (cx.filter(), cx.filter(), cx.filter());
    let (word, by) = by(cx.view);
    let (drift, parts, totals) = tokio::join!(
        cx.ask("drift", |store| async move { store.ask().drift(&grown).await }),
        cx.ask("tokens", |store| async move { store.ask().token_waterfall(&filter, &by).await }),
        cx.ask("totals", |store| async move { store.ask().totals(&all).await }),
    );
    let waterfall = totals.map(|asked| {
        let tokens = asked.rows.first().map(|row| row.tokens).unwrap_or_default();
        let parts = [tokens.input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning];
        Content { sources: vec![Source::Sql(asked.sql.clone())], ..steps(parts) }
    });
    let by_key = parts.map(|asked| {
        if asked.rows.is_empty() {
            return Content::of(empty("tokens"), Source::Sql(asked.sql.clone()));
        }
        let of = |tokens: tollgate_types::Tokens| {
            [tokens.input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning]
        };
        let bar = |row: &tollgate_usage::questions::TokenParts| {
            let values = of(row.tokens);
            let parts = values.iter().enumerate().map(|(colour, value)| Part { value: *value as f64, colour });
            let all = values.iter().sum::<u64>() as f64;
            let text = format!("{}, {}", num::short(all), num::money(NanoUsd(row.cost_nanousd)));
            Bar { name: key(&row.key), parts: parts.collect(), text, mark: None, from: 0.0 }
        };
        let drawn: Vec<Bar> = asked.rows.iter().take(BARS_MAX).map(bar).collect();
        let row = |row: &tollgate_usage::questions::TokenParts| -> Vec<Markup> {
            let numbers = of(row.tokens).map(num::count).into_iter();
            let cost = num::money(NanoUsd(row.cost_nanousd));
            std::iter::once(key(&row.key)).chain(numbers).chain([cost]).map(cell).collect()
        };
        let cells: Vec<Vec<Markup>> = asked.rows.iter().take(ROWS_MAX).map(row).collect();
        let about = About {
            id: "c-tokens-by",
            title: "Tokens by what they are made of",
            description: "A bar for each key, in five parts: prompts new, read from and written to the provider's cache, \
                          answers and thinking.",
        };
        let columns = [
            ("Key", false),
            ("Prompt", true),
            ("From cache", true),
            ("Into cache", true),
            ("Answer", true),
            ("Thinking", true),
            ("Cost", true),
        ];
        Content::chart(
            bars(about, &drawn, &PARTS, num::short),
            table("t-tokens", "Tokens by key, the most first", &columns, &cells),
            Source::Sql(asked.sql.clone()),
        )
    });
    let drift = drift.map(|asked| Content::of(drifts(&asked.rows), Source::Sql(asked.sql.clone())));
    vec![
        Panel::new("p-tokens", "From prompts to answers", waterfall).wide(),
        Panel::new("p-tokens-by", &format!("By {word}"), by_key).wide(),
        Panel::new("p-drift", "Prompt drift", drift).wide(),
    ]
}

/// Prompts that have grown this much are worth a look.
const GROWN: f64 = 1.5;

/// Tokens per job against the week before, for the teams' labels and models.
fn drifts(rows: &[Drift]) -> Markup {
    let mut sorted: Vec<&Drift> = rows.iter().filter(|row| row.ratio.is_some()).collect();
    sorted.sort_by(|a, b| b.ratio.unwrap_or(0.0).total_cmp(&a.ratio.unwrap_or(0.0)));
    if sorted.is_empty() {
        return html! { p.empty { "Nothing in this range was there in the week before it, so nothing can have grown." } };
    }
    let row = |row: &&Drift| {
        let ratio = row.ratio.unwrap_or(0.0);
        let what = if row.dimension == "label" { format!("{}={}", row.label, row.value) } else { key(&row.value) };
        let tokens = |n: Option<f64>| cell(n.map_or_else(|| "–".to_owned(), num::short));
        vec![
            cell(&row.team),
            cell(&row.dimension),
            cell(what),
            tokens(row.tokens_per_job_before),
            tokens(row.tokens_per_job),
            html! { @if ratio >= GROWN { (badge("warn", "grown")) " " } (num::short(ratio)) "×" },
            cell(num::count(row.jobs)),
            cell(num::count(row.jobs_before)),
            cell(num::money(NanoUsd(row.cost_nanousd))),
        ]
    };
    let cells: Vec<Vec<Markup>> = sorted.iter().take(ROWS_MAX).map(row).collect();
    let columns = [
        ("Team", false),
        ("By", false),
        ("Of", false),
        ("Per job before", true),
        ("Per job now", true),
        ("Ratio", true),
        ("Jobs", true),
        ("Jobs before", true),
        ("Cost", true),
    ];
    table("t-drift", "Tokens per job against the seven days before the range, what grew most first", &columns, &cells)
}

/// A waterfall: each part begins where the one before ended.
fn steps(values: [u64; 5]) -> Content {
    let all: u64 = values.iter().sum();
    if all == 0 {
        return Content { shown: empty("tokens"), ..Content::default() };
    }
    let step = |(at, value): (usize, &u64)| {
        let text = format!("{}, {}", num::count(*value), num::percent(*value as f64, all as f64));
        let before: u64 = values.iter().take(at).sum();
        // The part before is drawn as nothing, so that the step stands at its place.
        Bar {
            name: PARTS[at].to_owned(),
            parts: vec![Part { value: *value as f64, colour: at }],
            text,
            mark: None,
            from: 0.0,
        }
        .after(before as f64)
    };
    let mut drawn: Vec<Bar> = values.iter().enumerate().map(step).collect();
    let whole = values.iter().enumerate().map(|(colour, value)| Part { value: *value as f64, colour });
    drawn.push(Bar { name: "all".to_owned(), parts: whole.collect(), text: num::count(all), mark: None, from: 0.0 });
    let about = About {
        id: "c-tokens",
        title: "Token waterfall",
        description: "Five steps from prompt to thinking, each beginning where the one before ended, and their sum.",
    };
    let row = |(name, value): (&&str, &u64)| vec![cell(name), cell(num::count(*value))];
    let cells: Vec<Vec<Markup>> = PARTS.iter().zip(&values).map(row).collect();
    let shown = html! { (bars(about, &drawn, &[], num::short)) };
    let columns = [("Part", false), ("Tokens", true)];
    let table = Some(table("t-parts", "Tokens by part", &columns, &cells));
    Content { shown, table, ..Content::default() }
}
