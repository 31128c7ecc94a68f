//! Jobs: the finished ones, page by page, by anything that they carry.

use maud::{Markup, html};
use tollgate_types::{NanoUsd, Status};
use tollgate_usage::questions::{Cursor, JobFilter, JobLine};

use super::choice;
use crate::num;
use crate::page::{Content, Panel, Source, badge, cell, empty, table};
use crate::sources::Cx;
use crate::view::View;

/// As many as one page shows.
const PAGE: usize = 50;

pub(super) fn fields(view: &View) -> Markup {
    let mut ends = vec![("", "any")];
    ends.extend(Status::ALL.iter().map(|end| (end.as_str(), end.as_str())));
    let caches = [("", "any"), ("hit", "hit"), ("miss", "miss"), ("bypass", "bypass")];
    let classes = [("", "any"), ("interactive", "interactive"), ("standard", "standard"), ("batch", "batch")];
    let field = |label: &str, name: &str| {
        html! { label { (label) input name=(name) value=[view.value(name)] autocomplete="off"; } }
    };
    html! {
        (choice("Status", "status", view.value("status").unwrap_or_default(), &ends))
        (choice("Class", "class", view.value("class").unwrap_or_default(), &classes))
        (choice("Cache", "cache", view.value("cache").unwrap_or_default(), &caches))
        (field("Project", "project"))
        (field("End user", "user"))
        (field("Label (name=value)", "label"))
        (field("Error code", "error"))
        (field("Search id, user, project", "text"))
    }
}

/// What the address asks for.
fn filter(cx: &Cx<'_>) -> JobFilter {
    let text = |name: &str| cx.view.value(name).map(str::to_owned);
    let label = cx.view.value("label").and_then(|label| label.split_once('='));
    let mut about = cx.filter();
    about.class = text("class");
    about.project = text("project");
    about.user = text("user");
    about.label = label.map(|(name, value)| (name.to_owned(), value.to_owned()));
    JobFilter {
        about,
        status: text("status"),
        error_code: text("error"),
        cache: text("cache"),
        job: None,
        text: text("text"),
        before: cx.view.value("before").and_then(cursor),
        // One more than is shown tells whether there are more.
        limit: PAGE + 1,
    }
}

/// A place as it stands in an address: team, milliseconds, job.
fn cursor(text: &str) -> Option<Cursor> {
    let mut parts = text.splitn(3, ' ');
    let (team, ts_ms, job) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    // Beyond these, a time is none of the table's.
    (0..=4_102_444_800_000).contains(&ts_ms).then(|| Cursor { ts_ms, team: team.to_owned(), job: job.to_owned() })
}

pub(super) async fn panels(cx: &Cx<'_>) -> Vec<Panel> {
    let filter = filter(cx);
    let asked = cx.ask("jobs", |store| async move { store.ask().jobs(&filter).await }).await;
    let content = asked.map(|asked| Content::of(list(cx, &asked.rows), Source::Sql(asked.sql.clone())));
    vec![Panel::new("p-jobs", "Finished jobs", content).wide()]
}

/// Where one job is shown.
pub(crate) fn link(team: &str, job: &str) -> String {
    let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    format!("/dashboard/job/{}/{}", part(team), part(job))
}

/// How a job ended, as a word with its colour.
pub(super) fn ended(status: &str) -> Markup {
    let class = match status {
        "succeeded" => "good",
        "failed" | "rejected" => "bad",
        "expired" | "blocked" => "warn",
        _ => "soft",
    };
    badge(class, status)
}

fn list(cx: &Cx<'_>, rows: &[JobLine]) -> Markup {
    if rows.is_empty() {
        return empty("finished jobs that fit");
    }
    let columns = [
        ("Ended (UTC)", false),
        ("Job", false),
        ("Team", false),
        ("Class", false),
        ("Model", false),
        ("Status", false),
        ("Calls", true),
        ("Waited", true),
        ("Took", true),
        ("Cost", true),
        ("Beside", false),
    ];
    let cells: Vec<Vec<Markup>> = rows.iter().take(PAGE).map(row).collect();
    let more = (rows.len() > PAGE).then(|| rows[PAGE - 1].cursor());
    html! {
        (table("t-jobs", "Finished jobs, the newest first", &columns, &cells))
        p {
            @if let Some(last) = more {
                @let before = format!("{} {} {}", last.team, last.ts_ms, last.job);
                a.button id="more" href=(cx.view.with("before", Some(&before)).link("/dashboard/jobs")) { "Older" }
                " "
            }
            @if cx.view.value("before").is_some() {
                a.button href=(cx.view.with("before", None).link("/dashboard/jobs")) { "Newest" }
            }
        }
    }
}

fn row(job: &JobLine) -> Vec<Markup> {
    let model = if job.model.is_empty() { &job.model_requested } else { &job.model };
    vec![
        cell(num::moment(job.ts_ms)),
        html! { a href=(link(&job.team, &job.job)) { (job.job) } },
        cell(&job.team),
        cell(&job.class),
        cell(model),
        html! { (ended(&job.status)) @if !job.error_code.is_empty() { " " (job.error_code) } },
        cell(num::count(job.attempts)),
        cell(num::ms(job.queued_ms as f64)),
        cell(num::ms(job.run_ms as f64)),
        cell(num::money(NanoUsd(job.cost_nanousd))),
        beside(job),
    ]
}

/// What else there is to know.
fn beside(job: &JobLine) -> Markup {
    html! {
        @if job.cache == "hit" { (badge("good", "cache hit")) " " }
        @if job.risk > 0 { (badge(if job.risk > 60 { "warn" } else { "soft" }, &format!("risk {}", job.risk))) " " }
        @if !job.project.is_empty() { "project " (job.project) " " }
        @if !job.user.is_empty() { "user " (job.user) " " }
        @for (name, value) in &job.labels { (name) "=" (value) " " }
        @for rule in &job.guardrails { (badge("soft", rule)) " " }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_an_address_whatever_its_id_is() {
        assert_eq!(link("search", "search:1"), "/dashboard/job/search/search%3A1");
        let hostile = link("a", "../x?y#z\" onclick=\"<b> +");
        assert_eq!(hostile, "/dashboard/job/a/..%2Fx%3Fy%23z%22%20onclick%3D%22%3Cb%3E%20%2B");
    }

    #[test]
    fn a_place_among_jobs_is_read_or_left_out() {
        let found = cursor("search 1764158400000 search:a b").expect("a place");
        assert_eq!((found.team.as_str(), found.ts_ms, found.job.as_str()), ("search", 1_764_158_400_000, "search:a b"));
        for bad in ["", "search", "search x y", "search -1 y", "search 99999999999999999 y", "search 1"] {
            assert_eq!(cursor(bad), None, "{bad}");
        }
    }
}
