//! The path of one request: who asks, what for, run it, answer.
//!
//! Source of the interface: <https://clickhouse.com/docs/interfaces/http>.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Credentials;
use crate::body;
use crate::call::Call;
use crate::config::Limits;
use crate::encoding::Encoding;
use crate::engine::{Answer, Engine};
use crate::errors::Exception;
use crate::ffi::Stats;
use crate::framing;
use crate::params::Params;

const QUERY_ID: HeaderName = HeaderName::from_static("x-clickhouse-query-id");
const TIMEZONE: HeaderName = HeaderName::from_static("x-clickhouse-timezone");
const DISPLAY_NAME: HeaderName = HeaderName::from_static("x-clickhouse-server-display-name");
const FORMAT: HeaderName = HeaderName::from_static("x-clickhouse-format");
const SUMMARY: HeaderName = HeaderName::from_static("x-clickhouse-summary");
const EXCEPTION_CODE: HeaderName = HeaderName::from_static("x-clickhouse-exception-code");

/// What all requests share.
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) credentials: Credentials,
    pub(crate) limits: Limits,
    /// One permit for each statement that may run.
    pub(crate) statements: Arc<Semaphore>,
}

/// The routes of ClickHouse's HTTP interface.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().fallback(handle).with_state(app)
}

async fn handle(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let params = Params::parse(head.uri.query().unwrap_or_default());
    let asked_id = params.as_ref().ok().and_then(|params| params.text("query_id")).filter(|id| !id.is_empty());
    let query_id = asked_id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let outcome = match params {
        Ok(params) => respond(&app, &head, params, body).await,
        Err(exception) => Err(exception),
    };
    let mut response = outcome.unwrap_or_else(|exception| refusal(&exception, &app.engine.identity().version));
    let headers = response.headers_mut();
    headers.insert(DISPLAY_NAME, HeaderValue::from_static("embedded-clickhouse"));
    insert_text(headers, QUERY_ID, &query_id);
    insert_text(headers, TIMEZONE, &app.engine.identity().timezone);
    response
}

async fn respond(app: &Arc<App>, head: &Parts, mut params: Params, body: Body) -> Result<Response<Body>, Exception> {
    match head.uri.path() {
        "/" if ![Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(&head.method) => {
            return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "the methods are GET, HEAD, POST and PUT\n"));
        }
        "/" => {}
        "/ping" | "/replicas_status" => return Ok(plain(StatusCode::OK, "Ok.\n")),
        _ => return Ok(plain(StatusCode::NOT_FOUND, "there is no such path; queries go to /\n")),
    }
    let asks = head.uri.query().is_some() || (head.method != Method::GET && head.method != Method::HEAD);
    if !asks {
        return Ok(plain(StatusCode::OK, "Ok.\n"));
    }
    // Before the body, which only the user may send.
    app.credentials.check(&head.headers, &params)?;
    let body = body::collect(body, app.limits.body_bytes_max).await?;
    let body = body::take_form(&head.headers, body, &mut params).await?;
    // After the body, so that a slow upload keeps nobody from running a statement.
    let permit = permit(app).await?;
    let (app, head) = (app.clone(), head.clone());
    // The permit goes along: when the client leaves, the engine still works until the statement's end.
    let work = move || {
        let _permit: OwnedSemaphorePermit = permit;
        answer(&app, &head, &params, body)
    };
    let answered = tokio::task::spawn_blocking(work).await;
    answered.unwrap_or_else(|_| Err(Exception::logical("the statement's task panicked")))
}

/// Waits for a statement's turn.
async fn permit(app: &App) -> Result<OwnedSemaphorePermit, Exception> {
    let turn = tokio::time::timeout(app.limits.statement_wait_max, app.statements.clone().acquire_owned());
    match turn.await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_closed)) => Err(Exception::new(236, "ABORTED", "the server is shutting down")),
        Err(_elapsed) => {
            let message = format_args!("{} statements are running, which is the limit", app.limits.statements_max);
            Err(Exception::new(202, "TOO_MANY_SIMULTANEOUS_QUERIES", message))
        }
    }
}

/// Decodes the body, runs the statement and encodes its answer. Blocks.
fn answer(app: &App, head: &Parts, params: &Params, body: Bytes) -> Result<Response<Body>, Exception> {
    let body = body::decode(&head.headers, params, body, app.limits.body_bytes_max)?;
    let Some(call) = Call::of(head, params, body, &app.limits)? else {
        return Ok(plain(StatusCode::OK, "Ok.\n"));
    };
    let started = Instant::now();
    let answer = app.engine.run(&call)?;
    let elapsed = started.elapsed();
    tracing::debug!(elapsed = ?elapsed, stats = ?answer.stats, "statement done");
    encoded(answer, elapsed, params, &head.headers)
}

fn encoded(
    answer: Answer,
    elapsed: Duration,
    params: &Params,
    request: &HeaderMap,
) -> Result<Response<Body>, Exception> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    insert_text(headers, FORMAT, &answer.format);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(&answer.format)));
    insert_text(headers, SUMMARY, &summary(answer.stats, elapsed));
    // The engine's own buffer, without a copy, unless it is compressed.
    let mut bytes = answer.result.map(Bytes::from_owner).unwrap_or_default();
    let accepts = request.get(ACCEPT_ENCODING).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    if params.flag("compress") {
        bytes = framing::compress(&bytes).into();
    } else if params.text("enable_http_compression") != Some("0")
        && let Some(encoding) = Encoding::accepted(accepts)
        && let Some(encoded) = encoding.encode(&bytes)?
    {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        bytes = encoded.into();
    }
    *response.body_mut() = Body::from(bytes);
    Ok(response)
}

/// `X-ClickHouse-Summary`: numbers as strings, as ClickHouse writes them.
fn summary(stats: Stats, elapsed: Duration) -> String {
    let Stats { result_rows, result_bytes, read_rows, read_bytes, written_rows, written_bytes } = stats;
    let elapsed_ns = elapsed.as_nanos();
    format!(
        r#"{{"read_rows":"{read_rows}","read_bytes":"{read_bytes}","written_rows":"{written_rows}","written_bytes":"{written_bytes}","total_rows_to_read":"0","result_rows":"{result_rows}","result_bytes":"{result_bytes}","elapsed_ns":"{elapsed_ns}"}}"#
    )
}

fn content_type(format: &str) -> &'static str {
    match format {
        "JSON" | "JSONCompact" | "JSONStrings" => "application/json; charset=UTF-8",
        "JSONEachRow" | "JSONCompactEachRow" => "application/x-ndjson; charset=UTF-8",
        "CSV" => "text/csv; charset=UTF-8; header=absent",
        "CSVWithNames" | "CSVWithNamesAndTypes" => "text/csv; charset=UTF-8; header=present",
        "TSV" | "TabSeparated" | "TabSeparatedWithNames" | "TabSeparatedWithNamesAndTypes" => {
            "text/tab-separated-values; charset=UTF-8"
        }
        "Vertical" => "text/plain; charset=UTF-8",
        _ if format.starts_with("Pretty") => "text/plain; charset=UTF-8",
        _ => "application/octet-stream",
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}

fn refusal(exception: &Exception, version: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{exception} (version {version} (embedded))\n")));
    *response.status_mut() = exception.status();
    let headers = response.headers_mut();
    headers.insert(EXCEPTION_CODE, exception.code().into());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}

/// Sets a header, unless its text (a format's name, a client's id) cannot be one.
fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
