//! The pages: each asks what it needs, all at once, and makes panels of the answers.

mod cache;
mod dead;
mod guardrails;
pub(crate) mod job;
mod jobs;
mod latency;
mod overview;
mod providers;
mod queues;
mod spend;
mod tokens;

use maud::{Markup, html};

use crate::page::Panel;
use crate::sources::Cx;
use crate::view::View;

/// The panels of a page; none for a name that is no page.
pub(crate) async fn panels(page: &str, cx: &Cx<'_>) -> Vec<Panel> {
    match page {
        "overview" => Box::pin(overview::panels(cx)).await,
        "queues" => Box::pin(queues::panels(cx)).await,
        "jobs" => Box::pin(jobs::panels(cx)).await,
        "tokens" => Box::pin(tokens::panels(cx)).await,
        "latency" => Box::pin(latency::panels(cx)).await,
        "spend" => Box::pin(spend::panels(cx)).await,
        "guardrails" => Box::pin(guardrails::panels(cx)).await,
        "providers" => Box::pin(providers::panels(cx)).await,
        "cache" => Box::pin(cache::panels(cx)).await,
        "dead" => Box::pin(dead::panels(cx)).await,
        _ => Vec::new(),
    }
}

/// What a page's form has beside time, team and model.
pub(crate) fn fields(page: &str, view: &View) -> Markup {
    match page {
        "jobs" => jobs::fields(view),
        "latency" => latency::fields(view),
        "tokens" => tokens::fields(view),
        "spend" => spend::fields(view),
        _ => html! {},
    }
}

/// Whether a page is made anew while it is looked at: not one that somebody turns the leaves of.
pub(crate) fn is_live(page: &str, view: &View) -> bool {
    page != "jobs" || view.value("before").is_none()
}

/// A choice among words.
fn choice(label: &str, name: &str, chosen: &str, words: &[(&str, &str)]) -> Markup {
    html! {
        label { (label)
            select name=(name) {
                @for (value, word) in words { option value=(value) selected[*value == chosen] { (word) } }
            }
        }
    }
}
