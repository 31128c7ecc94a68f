//! What is asked under `/dashboard`, who may ask it, and what every answer says to the browser.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use maud::{Markup, html};

use crate::auth::{Refused, Who, expired_cookie, is_same_origin};
use crate::page::{Forms, Frame, PAGES, document, filter, panels};
use crate::sources::{Cx, Shared};
use crate::view::View;
use crate::{actions, assets, live, pages};

/// The most bytes of a form.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of the part of an address behind the question mark.
const QUERY_BYTES_MAX: usize = 8 * 1024;

/// Nothing runs, loads or is sent anywhere but from and to this server; no other page may hold ours in a frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Everything under `/dashboard`, and the way there.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/dashboard/overview") }))
        .route("/dashboard", get(|| async { Redirect::to("/dashboard/overview") }))
        .route("/dashboard/sign-in", get(sign_in_page).post(sign_in))
        .route("/dashboard/sign-out", post(sign_out))
        .route("/dashboard/assets/{name}", get(asset))
        .route("/dashboard/live", get(live_page))
        .route("/dashboard/job/{team}/{id}", get(job))
        .route("/dashboard/actions/{action}", post(act))
        .route("/dashboard/{page}", get(page))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn(guarded))
        .with_state(shared)
}

/// Sets what every answer says, and stops what is too large to be ours.
async fn guarded(request: Request, next: Next) -> Response {
    let too_long = request.uri().query().is_some_and(|query| query.len() > QUERY_BYTES_MAX);
    let mut response = if too_long { StatusCode::URI_TOO_LONG.into_response() } else { next.run(request).await };
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // What is shown is of now and of this person.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn asset(Path(name): Path<String>) -> Response {
    assets::serve(&name)
}

/// A page of its own, outside of the navigation.
fn plain(shared: &Shared, who: Option<&Who>, title: &str, lead: &str, body: &Markup) -> Markup {
    let view = View::default();
    let form_token = who.map(|who| shared.door.form_token(who)).unwrap_or_default();
    let now = shared.now();
    let frame = Frame { page: "", title, lead, view: &view, who, form_token, now, notice: None, live: false };
    document(&frame, body)
}

async fn not_found(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let who = known(&shared, &headers).ok();
    let body = html! { p { a href="/dashboard/overview" { "To the overview" } } };
    let page = plain(&shared, who.as_ref(), "Not found", "There is no such page.", &body);
    (StatusCode::NOT_FOUND, Html(page.into_string())).into_response()
}

fn known(shared: &Shared, headers: &HeaderMap) -> Result<Who, Refused> {
    shared.door.who(headers, shared.now().0 / 1000)
}

/// What somebody gets who is not let in.
fn refused(shared: &Shared, why: Refused, back: &str) -> Response {
    let (status, title, lead) = match why {
        Refused::SignIn => {
            let to = View::default().with("next", Some(back)).link("/dashboard/sign-in");
            return Redirect::to(&to).into_response();
        }
        Refused::Off => (
            StatusCode::FORBIDDEN,
            "The dashboards are off",
            "This address is not a loopback one, and nobody may sign in yet. Name somebody in [dashboard.users] of the \
             configuration, or listen on 127.0.0.1.",
        ),
        Refused::ForeignHost => (
            StatusCode::FORBIDDEN,
            "Not under this name",
            "Without users the dashboards answer to localhost, 127.0.0.1 and [::1] alone.",
        ),
    };
    let page = plain(shared, None, title, lead, &html! {});
    (status, Html(page.into_string())).into_response()
}

async fn page(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some((page, title, lead)) = PAGES.into_iter().find(|(known, ..)| *known == name) else {
        return not_found(State(shared), headers).await;
    };
    let view = View::read(&query.unwrap_or_default());
    let path = format!("/dashboard/{page}");
    let who = match known(&shared, &headers) {
        Ok(who) => who,
        Err(why) => return refused(&shared, why, &view.link(&path)),
    };
    let notice = view.value("note").and_then(|note| shared.door.seal().open(actions::NOTE, note));
    let view = view.with("note", None);
    let form_token = shared.door.form_token(&who);
    let cx = Cx {
        shared: &shared,
        view: &view,
        now: shared.now(),
        forms: Forms::new(&who, form_token.clone(), view.link(&path)),
    };
    let shown = pages::panels(page, &cx).await;
    let body = html! {
        (filter(page, &view, cx.now, &pages::fields(page, &view)))
        (panels(&shown))
    };
    let live = pages::is_live(page, &view);
    let frame = Frame { page, title, lead, view: &view, who: Some(&who), form_token, now: cx.now, notice, live };
    Html(document(&frame, &body).into_string()).into_response()
}

async fn job(
    State(shared): State<Arc<Shared>>,
    Path((team, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let who = match known(&shared, &headers) {
        Ok(who) => who,
        Err(why) => return refused(&shared, why, "/dashboard/jobs"),
    };
    let view = View::default();
    let form_token = shared.door.form_token(&who);
    let forms = Forms::new(&who, form_token.clone(), "/dashboard/jobs".to_owned());
    let cx = Cx { shared: &shared, view: &view, now: shared.now(), forms };
    let (found, body) = Box::pin(pages::job::body(&cx, &team, &id)).await;
    let title = format!("Job {id}");
    let lead = format!("Of team {team}. Its prompt and its answer are not shown.");
    let frame = Frame {
        page: "jobs",
        title: &title,
        lead: &lead,
        view: &view,
        who: Some(&who),
        form_token,
        now: cx.now,
        notice: None,
        live: false,
    };
    let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (status, Html(document(&frame, &body).into_string())).into_response()
}

async fn live_page(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    match known(&shared, &headers) {
        Ok(who) => live::stream_of(shared, &View::read(&query.unwrap_or_default()), who),
        // A redirect would be followed into a page that is no stream.
        Err(_) => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn act(
    State(shared): State<Arc<Shared>>,
    Path(action): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = View::read(&String::from_utf8_lossy(&body));
    let who = match known(&shared, &headers) {
        Ok(who) => who,
        Err(Refused::SignIn) => return StatusCode::UNAUTHORIZED.into_response(),
        Err(why) => return refused(&shared, why, ""),
    };
    Box::pin(actions::act(&shared, &who, &action, &form, &headers)).await
}

/// Where to go after signing in: one of our own pages.
fn next_of(view: &View) -> &str {
    let ours =
        |next: &&str| next.starts_with("/dashboard/") && !next.contains(['\\', '\r', '\n']) && !next.contains("//");
    view.value("next").filter(ours).unwrap_or("/dashboard/overview")
}

async fn sign_in_page(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let view = View::read(&query.unwrap_or_default());
    Html(sign_in_form(&shared, next_of(&view), None).into_string()).into_response()
}

fn sign_in_form(shared: &Shared, next: &str, why: Option<&str>) -> Markup {
    let body = html! {
        form.panel.sign method="post" action="/dashboard/sign-in" {
            @if let Some(why) = why { p.trouble role="alert" { (why) } }
            input type="hidden" name="next" value=(next);
            label { "Name" input name="name" autocomplete="username" required autofocus; }
            label { "Password" input type="password" name="password" autocomplete="current-password" required; }
            button.primary type="submit" { "Sign in" }
        }
    };
    plain(shared, None, "Sign in", "Who may sign in stands in [dashboard.users] of the configuration.", &body)
}

async fn sign_in(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = View::read(&String::from_utf8_lossy(&body));
    let next = next_of(&form);
    let failed = |status: StatusCode, why: &str| {
        (status, Html(sign_in_form(&shared, next, Some(why)).into_string())).into_response()
    };
    if !is_same_origin(&headers) {
        return failed(StatusCode::FORBIDDEN, "This form did not come from here.");
    }
    let (name, password) = (form.value("name").unwrap_or_default(), form.value("password").unwrap_or_default());
    match shared.door.sign_in(name, password, shared.now().0 / 1000) {
        Ok(Some(cookie)) => {
            tracing::info!(name, "signed in to the dashboards");
            ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response()
        }
        Ok(None) => failed(StatusCode::UNAUTHORIZED, "Name and password do not fit."),
        Err(()) => failed(StatusCode::TOO_MANY_REQUESTS, "Too many tries; wait a minute."),
    }
}

async fn sign_out(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = View::read(&String::from_utf8_lossy(&body));
    let ours = known(&shared, &headers).is_ok_and(|who| shared.door.is_our_form(&who, &headers, form.value("token")));
    if !ours {
        return StatusCode::FORBIDDEN.into_response();
    }
    let cookie = expired_cookie(shared.door.plain_http());
    ([(header::SET_COOKIE, cookie)], Redirect::to("/dashboard/sign-in")).into_response()
}

/// An answer without a body of ours.
pub(crate) fn status(status: StatusCode, why: &str) -> Response {
    (status, Body::from(format!("{why}\n"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_one_goes_to_our_own_pages_alone() {
        let check = |next: &str, expected: &str| {
            assert_eq!(next_of(&View::default().with("next", Some(next))), expected, "{next}");
        };
        check("/dashboard/queues?team=a", "/dashboard/queues?team=a");
        for foreign in
            ["https://evil.example", "//evil.example", "/dashboard//evil", "/\\evil", "/livez", "javascript:x"]
        {
            check(foreign, "/dashboard/overview");
        }
    }
}
