//! Dead letters: by reason, and each with what became of it.

use std::collections::BTreeMap;

use maud::{Markup, html};
use tollgate_operate::dead::{Letter, Replayed, newest, opened};
use tollgate_operate::exit::Failure;
use tollgate_operate::live::Operator;

use crate::charts::{About, Bar, Part, bars};
use crate::num;
use crate::page::{Action, Content, Panel, Source, cell, table};
use crate::sources::Cx;

/// As many as one page shows; `tollgate dead list` shows all.
const LETTERS_MAX: u64 = 200;
const FROM: &str = "the headers of the newest letters of TOLLGATE_DEAD, and the notes about them in TOLLGATE_AUDIT; \
                    `tollgate dead list` shows all.";

/// The newest letters, how many there are, and when each was replayed.
pub(super) struct Dead {
    pub(super) letters: Vec<Letter>,
    pub(super) all: u64,
    replayed: BTreeMap<u64, String>,
}

async fn read(operator: Operator) -> Result<Dead, Failure> {
    let stream = opened(&operator.context).await?;
    let (letters, all) = newest(&stream, LETTERS_MAX).await?;
    let notes = Replayed::read(&operator, &stream).await?;
    let last = |letter: &Letter| {
        let last = notes.of(letter.seq).last()?;
        Some((letter.seq, format!("by {} at {}", last.entry.author, num::moment(last.at.0))))
    };
    let replayed = letters.iter().filter_map(last).collect();
    Ok(Dead { letters, all, replayed })
}

/// How many there are.
pub(super) async fn count(operator: Operator) -> Result<u64, Failure> {
    Ok(opened(&operator.context).await?.cached_info().state.messages)
}

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let dead = cx.look("dead", read).await;
    let of_team = |letter: &&Letter| cx.view.value("team").is_none_or(|team| letter.team == team);
    let content = |make: &dyn Fn(&Dead, &[&Letter]) -> Content| {
        dead.as_ref().map_err(Clone::clone).map(|dead| {
            let shown: Vec<&Letter> = dead.letters.iter().filter(of_team).collect();
            if shown.is_empty() {
                let nothing = html! { p.empty { "No dead letters. That is as it should be." } };
                return Content::of(nothing, Source::Nats(FROM));
            }
            make(dead, &shown)
        })
    };
    vec![
        Panel::new("p-reasons", "By reason", content(&|_, shown| reasons(shown))).wide(),
        Panel::new("p-letters", "Letters", content(&|dead, shown| letters(cx, dead, shown))).wide(),
    ]
}

fn reasons(shown: &[&Letter]) -> Content {
    let mut groups: BTreeMap<&str, (u64, &str, &str)> = BTreeMap::new();
    for letter in shown {
        // The newest come first.
        let group = groups.entry(&letter.reason).or_insert((0, &letter.at, &letter.at));
        group.0 += 1;
        group.1 = &letter.at;
    }
    let bar = |(reason, (count, ..)): (&&str, &(u64, &str, &str))| Bar {
        name: (*reason).to_owned(),
        parts: vec![Part { value: *count as f64, colour: 0 }],
        text: num::count(*count),
        mark: None,
        from: 0.0,
    };
    let drawn: Vec<Bar> = groups.iter().map(bar).collect();
    let about = About {
        id: "c-reasons",
        title: "Dead letters by reason",
        description: "A bar for each reason; the table has the numbers and the times of the first and the last.",
    };
    let row = |(reason, (count, first, last)): (&&str, &(u64, &str, &str))| {
        vec![cell(reason), cell(num::count(*count)), cell(first), cell(last)]
    };
    let cells: Vec<Vec<Markup>> = groups.iter().map(row).collect();
    let columns = [("Reason", false), ("Letters", true), ("First", false), ("Last", false)];
    Content::chart(
        bars(about, &drawn, &[], num::short),
        table("t-reasons", "Dead letters by reason", &columns, &cells),
        Source::Nats(FROM),
    )
}

fn letters(cx: &Cx<'_>, dead: &Dead, shown: &[&Letter]) -> Content {
    let columns = [
        ("Letter", true),
        ("At (UTC)", false),
        ("Team", false),
        ("Class", false),
        ("Job", false),
        ("Reason", false),
        ("Bytes", true),
        ("Replayed", false),
        ("", false),
    ];
    let row = |letter: &&Letter| {
        let seq = letter.seq.to_string();
        let replayed = dead.replayed.get(&letter.seq);
        let mut hidden = vec![("seq", seq.as_str())];
        if replayed.is_some() {
            hidden.push(("again", "yes"));
        }
        let label = if replayed.is_some() { "Replay again" } else { "Replay" };
        let said = format!("{label}: letter {seq}, job {}", letter.job);
        let form = Action { path: "/dashboard/actions/replay", label, said, hidden: &hidden, fields: html! {} };
        vec![
            cell(&seq),
            cell(&letter.at),
            cell(&letter.team),
            cell(&letter.class),
            cell(&letter.job),
            cell(&letter.reason),
            cell(num::count(letter.bytes as u64)),
            cell(replayed.map(String::as_str).unwrap_or("no")),
            cx.forms.form(&form),
        ]
    };
    let cells: Vec<Vec<Markup>> = shown.iter().map(row).collect();
    let body = html! {
        p { (num::count(dead.all)) " letters are kept; the newest " (num::count(shown.len() as u64)) " are shown. \
            A replayed job comes again under a fresh id; its letter stays." }
        (table("t-letters", "The newest dead letters", &columns, &cells))
    };
    Content::of(body, Source::Nats(FROM))
}
