//! The frame of every page, and the parts that pages are made of.

use maud::{DOCTYPE, Markup, html};
use tollgate_types::UnixMillis;

use crate::assets::{SCRIPT, STYLE};
use crate::auth::{By, Who};
use crate::config::Role;
use crate::num;
use crate::view::{RANGES, View};

/// The pages: how they are called in addresses, in the navigation, and what they say of themselves.
pub(crate) const PAGES: [(&str, &str, &str); 10] = [
    ("overview", "Overview", "What happens now, and what it costs."),
    ("queues", "Queues", "What waits in which lane, who is served how much, and why something stands still."),
    ("jobs", "Jobs", "Finished jobs, the newest first. Prompts and answers are never shown here."),
    ("tokens", "Tokens", "Where tokens go: prompts, cached prompts, answers, and thinking."),
    ("latency", "Latency", "How long calls, jobs and waiting take, and how that changes."),
    ("spend", "Spend", "What was spent, by whom, and how long budgets will do."),
    ("guardrails", "Guardrails", "Which rules fired, on which side, and how risky prompts are."),
    ("providers", "Providers", "How every deployment does: health, errors, retries, latency."),
    ("cache", "Cache", "What answers from the cache saved."),
    ("dead", "Dead letters", "Jobs that could not be run, with the reason, to be replayed."),
];

/// What a table or a chart was made from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A statement for ClickHouse, as an analyst can run it.
    Sql(String),
    /// What was asked of NATS, in words.
    Nats(&'static str),
}

/// A part of a page, which can be made anew by itself.
pub(crate) struct Panel {
    /// Its element's id.
    pub(crate) id: &'static str,
    pub(crate) wide: bool,
    /// What is inside.
    pub(crate) inner: Markup,
}

/// What a panel shows.
#[derive(Default)]
pub(crate) struct Content {
    /// In words or as a picture.
    pub(crate) shown: Markup,
    /// The same as a table, unless that is what is shown.
    pub(crate) table: Option<Markup>,
    /// What it was made from.
    pub(crate) sources: Vec<Source>,
}

impl Content {
    pub(crate) fn of(shown: Markup, source: Source) -> Content {
        Content { shown, table: None, sources: vec![source] }
    }

    /// A picture with its numbers as a table.
    pub(crate) fn chart(shown: Markup, table: Markup, source: Source) -> Content {
        Content { shown, table: Some(table), sources: vec![source] }
    }
}

impl Panel {
    /// A panel, or why there is none.
    pub(crate) fn new(id: &'static str, title: &str, content: Result<Content, String>) -> Panel {
        let inner = html! {
            h2 id={ (id) "-h" } { (title) }
            @match content {
                Err(why) => { p.trouble role="status" { (why) } }
                Ok(Content { shown, table, sources }) => {
                    (shown)
                    @if let Some(table) = table {
                        details data-keep="table" { summary { "View as table" } (table) }
                    }
                    @for (at, source) in sources.iter().enumerate() {
                        details data-keep={ "source-" (at) } {
                            @match source {
                                Source::Sql(sql) => { summary { "SQL" } pre tabindex="0" { code { (sql) } } }
                                Source::Nats(what) => { summary { "Source" } p { "From NATS: " (what) } }
                            }
                        }
                    }
                }
            }
        };
        Panel { id, wide: false, inner }
    }

    pub(crate) fn wide(mut self) -> Panel {
        self.wide = true;
        self
    }

    fn markup(&self) -> Markup {
        html! {
            section id=(self.id) class=(if self.wide { "panel wide" } else { "panel" })
                aria-labelledby={ (self.id) "-h" } { (self.inner) }
        }
    }
}

/// Nothing to show, and what makes something.
pub(crate) fn empty(what: &str) -> Markup {
    html! { p.empty { "No " (what) " in this range yet. " code { "tollgate demo" } " makes some." } }
}

/// A column's name, and whether it holds numbers.
pub(crate) type Column = (&'static str, bool);

/// A table that scrolls by itself where it does not fit.
pub(crate) fn table(id: &str, caption: &str, columns: &[Column], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table id=(id) {
                caption { (caption) }
                thead { tr {
                    @for (name, is_number) in columns {
                        th scope="col" class=[is_number.then_some("n")] { (name) }
                    }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (cell, (_, is_number)) in row.iter().zip(columns) {
                                td class=[is_number.then_some("n")] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A text as a cell.
pub(crate) fn cell(text: impl AsRef<str>) -> Markup {
    html! { (text.as_ref()) }
}

/// Numbers that matter, with their names and what they are made of.
pub(crate) fn tiles(tiles: &[(&str, String, String)]) -> Markup {
    html! {
        dl.tiles {
            @for (name, value, beside) in tiles {
                div { dt { (name) } dd { (value) @if !beside.is_empty() { small { (beside) } } } }
            }
        }
    }
}

/// A word with a colour that says the same.
pub(crate) fn badge(class: &str, text: &str) -> Markup {
    html! { span class={ "badge " (class) } { (text) } }
}

/// Whatever every page says.
pub(crate) struct Frame<'a> {
    /// The page's name in addresses; empty for one that is not in the navigation.
    pub(crate) page: &'a str,
    pub(crate) title: &'a str,
    pub(crate) lead: &'a str,
    pub(crate) view: &'a View,
    pub(crate) who: Option<&'a Who>,
    pub(crate) form_token: String,
    pub(crate) now: UnixMillis,
    /// What came of the last action.
    pub(crate) notice: Option<String>,
    /// Whether the page is made anew while it is looked at.
    pub(crate) live: bool,
}

/// A whole page.
pub(crate) fn document(frame: &Frame<'_>, body: &Markup) -> Markup {
    let live = frame.live.then(|| frame.view.with("page", Some(frame.page)).link("/dashboard/live"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " – Tollgate" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(STYLE.path);
                script src=(SCRIPT.path) {}
            }
            body data-live=[live] {
                a.skip href="#main" { "Skip to the content" }
                (top(frame))
                main id="main" {
                    h1 { (frame.title) }
                    p.lead { (frame.lead) }
                    @if let Some(notice) = &frame.notice { p.notice role="status" { (notice) } }
                    (body)
                }
                footer {
                    "As of " (num::moment(frame.now.0)) " UTC, by the clock of NATS. All times are UTC."
                    @if frame.live { " This page is " span id="live" role="status" { "not live without JavaScript" } "." }
                }
            }
        }
    }
}

fn top(frame: &Frame<'_>) -> Markup {
    let shared = frame.view.shared();
    html! {
        header.top { div {
            a.brand href="/dashboard/overview" { "Tollgate" }
            @if frame.who.is_some() {
                nav aria-label="Pages" { ul {
                    @for (page, name, _) in PAGES {
                        li { a href=(shared.link(&format!("/dashboard/{page}")))
                            aria-current=[(page == frame.page).then_some("page")] { (name) } }
                    }
                } }
            }
            div.who {
                button.quiet id="theme" type="button" hidden { "Theme" }
                @if let Some(who) = frame.who {
                    span { (who.name) ", " (who.role.as_str()) }
                    @if matches!(who.by, By::Session(_)) {
                        form method="post" action="/dashboard/sign-out" {
                            input type="hidden" name="token" value=(frame.form_token);
                            button.quiet type="submit" { "Sign out" }
                        }
                    }
                }
            }
        } }
    }
}

/// The form that chooses time, team and model.
pub(crate) fn filter(page: &str, view: &View, now: UnixMillis, more: &Markup) -> Markup {
    let path = format!("/dashboard/{page}");
    let (from, to) = view.span(now);
    let plain = view.with("from", None).with("to", None).with("before", None);
    html! {
        search {
            form.filter method="get" action=(path) aria-label="What is shown" {
                div.ranges role="group" aria-label="Range" {
                    @for (name, _) in RANGES {
                        a.button href=(plain.with("range", Some(name)).link(&path))
                            aria-current=[(view.range() == Some(name)).then_some("true")] { (name) }
                    }
                }
                @if let Some(range) = view.value("range") { input type="hidden" name="range" value=(range); }
                label { "Team" input name="team" value=[view.value("team")] autocomplete="off"; }
                label { "Model" input name="model" value=[view.value("model")] autocomplete="off"; }
                (more)
                label { "From (UTC)" input type="datetime-local" name="from"
                    value=[view.range().is_none().then(|| num::field(from.0))]; }
                label { "To (UTC)" input type="datetime-local" name="to"
                    value=[view.range().is_none().then(|| num::field(to.0))]; }
                button type="submit" { "Show" }
            }
        }
        p.lead id="range" { (view.in_words(now)) }
    }
}

/// Panels in their order.
pub(crate) fn panels(panels: &[Panel]) -> Markup {
    html! { div.grid { @for panel in panels { (panel.markup()) } } }
}

/// A form with one button that changes something; nothing for those who only look.
pub(crate) struct Action<'a> {
    pub(crate) path: &'static str,
    pub(crate) label: &'a str,
    /// What is done, in whole, for those who hear it.
    pub(crate) said: String,
    pub(crate) hidden: &'a [(&'static str, &'a str)],
    pub(crate) fields: Markup,
}

/// What forms of this person need.
#[derive(Clone)]
pub(crate) struct Forms {
    pub(crate) may_act: bool,
    pub(crate) token: String,
    /// Where to go back.
    pub(crate) back: String,
}

impl Forms {
    pub(crate) fn new(who: &Who, token: String, back: String) -> Forms {
        Forms { may_act: who.role == Role::Operator, token, back }
    }

    pub(crate) fn form(&self, action: &Action<'_>) -> Markup {
        html! {
            @if self.may_act {
                form.act method="post" action=(action.path) {
                    input type="hidden" name="token" value=(self.token);
                    input type="hidden" name="back" value=(self.back);
                    @for (name, value) in action.hidden { input type="hidden" name=(name) value=(value); }
                    (action.fields)
                    button type="submit" aria-label=(action.said) { (action.label) }
                }
            }
        }
    }
}
