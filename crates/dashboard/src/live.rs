//! Pages that are made anew while they are looked at, by server-sent events: one for each panel that changed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::time::Instant;

use crate::auth::Who;
use crate::page::{Forms, PAGES};
use crate::pages;
use crate::sources::{Cx, Shared};
use crate::view::View;

/// How often a page is made anew.
const EVERY: Duration = Duration::from_secs(4);
/// A stream ends then, and the browser asks again: so that a session that ended does not go on here.
const LASTS: Duration = Duration::from_secs(600);

#[derive(Serialize)]
struct Fresh<'a> {
    id: &'a str,
    html: &'a str,
}

/// What a stream goes on with.
struct State {
    shared: Arc<Shared>,
    page: String,
    view: View,
    who: Who,
    /// What each panel was like.
    known: HashMap<&'static str, u64>,
    waiting: Vec<Event>,
    until: Instant,
}

/// Answers with a stream, if there is room for one more.
pub(crate) fn stream_of(shared: Arc<Shared>, view: &View, who: Who) -> Response {
    let page = view.value("page").unwrap_or_default().to_owned();
    if !PAGES.iter().any(|(known, ..)| *known == page) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match shared.live.try_acquire() {
        // Given back by the guard below.
        Ok(permit) => permit.forget(),
        Err(_) => return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are live\n").into_response(),
    }
    let view = view.with("page", None);
    let state = State {
        shared: shared.clone(),
        page,
        view,
        who,
        known: HashMap::new(),
        waiting: Vec::new(),
        until: Instant::now() + LASTS,
    };
    // Given back when the stream is dropped, however it ends.
    let guard = Place(shared);
    let events = stream::unfold((state, guard), async |(mut state, guard)| {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), (state, guard)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}

/// A place among the streams.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.live.add_permits(1);
    }
}

impl State {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop() {
                return Some(event);
            }
            if Instant::now() >= self.until {
                return None;
            }
            tokio::select! {
                () = self.shared.stop.cancelled() => return None,
                () = tokio::time::sleep(EVERY) => {}
            }
            self.make_anew().await;
        }
    }

    async fn make_anew(&mut self) {
        let token = self.shared.door.form_token(&self.who);
        let back = self.view.link(&format!("/dashboard/{}", self.page));
        let cx = Cx {
            shared: &self.shared,
            view: &self.view,
            now: self.shared.now(),
            forms: Forms::new(&self.who, token, back),
        };
        for panel in pages::panels(&self.page, &cx).await {
            let html = panel.inner.into_string();
            let mut hasher = DefaultHasher::new();
            html.hash(&mut hasher);
            let now = hasher.finish();
            if self.known.insert(panel.id, now) == Some(now) {
                continue;
            }
            let fresh = serde_json::to_string(&Fresh { id: panel.id, html: &html }).expect("texts serialise");
            self.waiting.push(Event::default().event("panel").data(fresh));
        }
    }
}
