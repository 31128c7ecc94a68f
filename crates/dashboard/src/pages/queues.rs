//! Queues: what waits where, how old it is, who is served how much, and why something stands still.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use tollgate_operate::exit::{Code, Failure};
use tollgate_operate::lanes::{Names, Row, rows};
use tollgate_operate::live::Operator;
use tollgate_operate::waiting::{Everywhere, oldest_of_each};
use tollgate_operate::{accounts, lanes};
use tollgate_queue::directory::Paused;
use tollgate_types::{LaneKey, UnixMillis};
use tollgate_usage::questions::{Dimension, LaneState};

use crate::charts::{About, Bar, Part, bars, spark};
use crate::num;
use crate::page::{Action, Content, Panel, Source, badge, cell, empty, table, tiles};
use crate::sources::Cx;

/// As many points as a line as small as a word can show.
const SAMPLES: i64 = 48;

/// What waits, with the age of the oldest job of each lane.
pub(super) struct Queues {
    pub(super) rows: Vec<Row>,
    pub(super) oldest: BTreeMap<LaneKey, UnixMillis>,
    pub(super) for_later: u64,
}

const FROM: &str = "the subjects of TOLLGATE_JOBS, the consumers of TOLLGATE_WAIT, and the pauses and weights in \
                    TOLLGATE_CONFIG; `tollgate queue list` shows the same.";

/// Counts, names and ages, by the server's own counters.
pub(super) async fn count(operator: Operator, models: Vec<String>) -> Result<Queues, Failure> {
    let everywhere = Everywhere::count(&operator.connection, &operator.context).await?;
    let known = accounts::read(&operator.context)
        .await
        .map_err(|error| Failure::new(Code::Nats, "the accounts cannot be read").because(&error))?;
    let mut names = Names::new(known.keys(), models.iter().map(String::as_str));
    let pauses = operator.directory.pauses();
    names.note(&pauses);
    let weight = |lane: &LaneKey| operator.directory.team(&lane.team).map(|record| record.weight);
    let oldest = oldest_of_each(&operator.connection.client, everywhere.lanes.keys()).await;
    let rows = rows(&everywhere.lanes, &pauses, &weight, &names);
    Ok(Queues { rows, oldest, for_later: everywhere.for_later })
}

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let models = cx.shared.models.clone();
    let (from, to) = cx.view.span(cx.now);
    let step = u32::try_from((to.0 - from.0) / 1000 / SAMPLES).unwrap_or(u32::MAX).max(60);
    let filter = cx.filter();
    let (queues, served, samples) = tokio::join!(
        cx.look("queues", |operator| count(operator, models)),
        served(cx),
        cx.ask("lanes", |store| async move { store.ask().lanes(&filter, step).await }),
    );
    let samples: &[LaneState] = samples.as_ref().map_or(&[], |asked| &asked.rows);
    let of_team = |row: &Row| cx.view.value("team").is_none_or(|team| row.team.as_deref() == Some(team));
    let now = cx.now;
    let content = |make: &dyn Fn(&Queues, &[&Row]) -> Markup| {
        queues.as_ref().map_err(Clone::clone).map(|queues| {
            let shown: Vec<&Row> = queues.rows.iter().filter(|row| of_team(row)).collect();
            Content::of(make(queues, &shown), Source::Nats(FROM))
        })
    };
    let depth = queues.as_ref().map_err(Clone::clone).map(|queues| {
        let shown: Vec<&Row> = queues.rows.iter().filter(|row| of_team(row)).collect();
        Content::of(depth(&shown), Source::Nats(FROM))
    });
    vec![
        Panel::new("p-waiting", "Now", content(&|queues, shown| sums(queues, shown, now))).wide(),
        Panel::new("p-depth", "Depth", depth),
        Panel::new("p-share", "Served against weight", served),
        Panel::new("p-lanes", "Lanes", content(&|queues, shown| lanes_table(cx, queues, shown, samples))).wide(),
        Panel::new("p-pause", "Pause something", Ok(pause_form(cx))).wide(),
    ]
}

/// When the oldest job of a row was accepted.
pub(super) fn oldest_of(queues: &Queues, row: &Row) -> Option<UnixMillis> {
    let (class, team) = (row.class.clone()?, row.team.clone()?);
    queues.oldest.get(&LaneKey { class, team }).copied()
}

fn sums(queues: &Queues, shown: &[&Row], now: UnixMillis) -> Markup {
    let waiting: u64 = shown.iter().map(|row| row.waiting).sum();
    let parked: u64 = shown.iter().map(|row| row.parked).sum();
    let oldest = shown.iter().filter_map(|row| oldest_of(queues, row)).min();
    let paused = shown.iter().filter(|row| row.paused.is_some()).count();
    tiles(&[
        ("In lanes", num::count(waiting), "with those that run".to_owned()),
        ("Parked", num::count(parked), "behind gates narrower than a lane".to_owned()),
        ("For later", num::count(queues.for_later), "of all teams, until their time".to_owned()),
        (
            "Oldest job",
            oldest.map_or_else(|| "–".to_owned(), |at| num::ms((now.0 - at.0).max(0) as f64)),
            String::new(),
        ),
        ("Paused", num::count(paused as u64), "lanes, teams and models".to_owned()),
    ])
}

fn lane_name(row: &Row) -> String {
    match (&row.model, &row.team, &row.class) {
        (Some(model), ..) => format!("model {model}"),
        (None, team, Some(class)) => format!("{} / {class}", team.as_deref().unwrap_or_default()),
        (None, team, None) => format!("{} / all", team.as_deref().unwrap_or_default()),
    }
}

fn depth(shown: &[&Row]) -> Markup {
    let bar = |row: &&&Row| {
        let parts = vec![Part { value: row.waiting as f64, colour: 0 }, Part { value: row.parked as f64, colour: 1 }];
        let text = format!("{} + {} parked", num::count(row.waiting), num::count(row.parked));
        Bar { name: lane_name(row), parts, text, mark: None, from: 0.0 }
    };
    let mut lanes: Vec<&&Row> = shown.iter().filter(|row| row.kind == "lane" && row.waiting + row.parked > 0).collect();
    lanes.sort_by_key(|row| std::cmp::Reverse(row.waiting + row.parked));
    let drawn: Vec<Bar> = lanes.iter().take(16).map(bar).collect();
    if drawn.is_empty() {
        return html! { p.empty { "Nothing waits in any lane." } };
    }
    let about = About {
        id: "c-depth",
        title: "Jobs in each lane",
        description: "Horizontal bars: jobs in the lane, with those that run, and jobs parked. The table below has the \
                      numbers.",
    };
    bars(about, &drawn, &["in the lane", "parked"], num::short)
}

/// Each team's part of the jobs that ended in the range, with its weight's part as a mark.
async fn served(cx: &Cx<'_>) -> Result<Content, String> {
    let filter = cx.filter();
    let asked = cx.ask("served", |store| async move { store.ask().usage(&filter, &[Dimension::Team]).await }).await?;
    let directory = cx.shared.nats().ok().map(|nats| nats.operator.directory.clone());
    let weight = |team: &str| directory.as_ref().and_then(|d| d.team(team)).map_or(0, |record| record.weight);
    let jobs: u64 = asked.rows.iter().map(|row| row.jobs).sum();
    let names: BTreeSet<&str> = asked.rows.iter().filter_map(|row| row.keys.first()).map(String::as_str).collect();
    let weights: u32 = names.iter().map(|team| weight(team)).sum();
    if jobs == 0 {
        return Ok(Content::of(empty("jobs"), Source::Sql(asked.sql.clone())));
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
    let mut drawn = Vec::new();
    let mut cells = Vec::new();
    for row in &asked.rows {
        let team = row.keys.first().map(String::as_str).unwrap_or_default();
        let (got, due) = (share(row.jobs as f64, jobs as f64), share(f64::from(weight(team)), f64::from(weights)));
        let text = format!("{}, weight {}", num::percent(got, 100.0), num::percent(due, 100.0));
        drawn.push(Bar {
            name: team.to_owned(),
            parts: vec![Part { value: got, colour: 0 }],
            text,
            mark: Some(due),
            from: 0.0,
        });
        let weight = weight(team).to_string();
        cells.push(
            [team.to_owned(), num::count(row.jobs), num::percent(got, 100.0), weight, num::percent(due, 100.0)]
                .map(cell)
                .to_vec(),
        );
    }
    drawn.truncate(16);
    let about = About {
        id: "c-share",
        title: "Share of finished jobs against weight",
        description: "A bar for each team: its share of the jobs that ended in the range; the mark is the share of its \
                      weight. A team that asks for less than its share is below its mark, and that is well.",
    };
    let columns = [("Team", false), ("Jobs", true), ("Share", true), ("Weight", true), ("Weight's share", true)];
    let chart = html! {
        (bars(about, &drawn, &[], num::short))
        p.lead { "The mark on each bar is what the team's weight would give it if all had work all the time." }
    };
    Ok(Content::chart(
        chart,
        table("t-share", "Finished jobs by team", &columns, &cells),
        Source::Sql(asked.sql.clone()),
    ))
}

fn lanes_table(cx: &Cx<'_>, queues: &Queues, shown: &[&Row], samples: &[LaneState]) -> Markup {
    let columns = [
        ("Lane", false),
        ("State", false),
        ("", false),
        ("Weight", true),
        ("In lane", true),
        ("Parked", true),
        ("Oldest", true),
        ("Depth", false),
        ("Behind", false),
    ];
    let row = |row: &&Row| -> Vec<Markup> {
        let age = oldest_of(queues, row).map(|at| num::ms((cx.now.0 - at.0).max(0) as f64));
        let behind = row.behind.iter().filter(|behind| behind.jobs > 0);
        let behind = behind.map(|behind| format!("{} behind {}", num::count(behind.jobs), behind.what));
        let state = match (&row.paused, row.weight, row.kind) {
            (Some(pause), ..) => html! { (badge("warn", "paused")) " " (lanes::in_words(pause)) },
            (None, None, "lane") => html! { (badge("soft", "unknown")) " its jobs are answered" },
            (None, ..) => badge("good", "open"),
        };
        vec![
            cell(lane_name(row)),
            state,
            switch(cx, row),
            cell(row.weight.map(|weight| weight.to_string()).unwrap_or_default()),
            cell(num::count(row.waiting)),
            cell(num::count(row.parked)),
            cell(age.unwrap_or_else(|| "–".to_owned())),
            history(row, samples),
            cell(behind.collect::<Vec<_>>().join(", ")),
        ]
    };
    let cells: Vec<Vec<Markup>> = shown.iter().map(row).collect();
    if cells.is_empty() {
        return html! { p.empty { "No lane has jobs, and nothing is paused." } };
    }
    table("t-lanes", "Every lane with jobs, and what is paused", &columns, &cells)
}

/// How deep a lane was over the range, if anybody noted it.
fn history(row: &Row, samples: &[LaneState]) -> Markup {
    let (Some(team), Some(class)) = (&row.team, &row.class) else { return html! {} };
    let of_lane = samples.iter().filter(|sample| sample.team == *team && sample.class == *class);
    let depths: Vec<f64> = of_lane.map(|sample| (sample.waiting + sample.parked) as f64).collect();
    let most = depths.iter().copied().fold(0.0, f64::max);
    let said = format!("depth of {} over the range, at most {}", lane_name(row), num::short(most));
    if depths.len() > 1 {
        spark(&depths, &said)
    } else {
        html! {}
    }
}

/// The button that pauses or resumes a row.
fn switch(cx: &Cx<'_>, row: &Row) -> Markup {
    let mut hidden = Vec::new();
    match (&row.model, &row.team) {
        (Some(model), _) => hidden.push(("model", model.as_str())),
        (None, Some(team)) => {
            hidden.push(("team", team.as_str()));
            hidden.push(("class", row.class.as_deref().unwrap_or("all")));
        }
        (None, None) => {}
    }
    let (path, label) = if row.paused.is_some() {
        ("/dashboard/actions/resume", "Resume")
    } else if row.kind == "lane" && row.weight.is_none() {
        return html! {};
    } else {
        ("/dashboard/actions/pause", "Pause")
    };
    let said = format!("{label} {}", lane_name(row));
    cx.forms.form(&Action { path, label, said, hidden: &hidden, fields: html! {} })
}

fn pause_form(cx: &Cx<'_>) -> Content {
    if !cx.forms.may_act {
        let shown = html! { p { "Whoever has the role " code { "operator" } " can pause and resume here." } };
        return Content { shown, ..Content::default() };
    }
    let fields = html! {
        label { "Team" input name="team" autocomplete="off"; }
        label { "Class" select name="class" {
            @for class in ["all", "interactive", "standard", "batch"] { option value=(class) { (class) } }
        } }
        label { "or model" input name="model" autocomplete="off"; }
        label { "Reason" input name="reason" maxlength="512" autocomplete="off"; }
    };
    let said = "Pause what is named".to_owned();
    let form = Action { path: "/dashboard/actions/pause", label: "Pause", said, hidden: &[], fields };
    let shown = html! {
        p { "What runs goes on; the rest waits. It stands in the audit with your name." }
        (cx.forms.form(&form))
    };
    Content { shown, ..Content::default() }
}

/// What is paused, for those who look for trouble.
pub(super) fn paused(operator: &Operator) -> Vec<String> {
    let pauses = operator.directory.pauses();
    let words = |(paused, pause): &(Paused, std::sync::Arc<tollgate_queue::directory::Pause>)| {
        let _ = paused;
        format!("{}: {}", pause.what, lanes::in_words(pause))
    };
    pauses.iter().map(words).collect()
}
