//! The four routes, and the server around them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::Patience;
use crate::{Readiness, connection};

/// More connections than a process has calls; each costs a few kibibytes while it rests.
const CONNECTIONS_MAX: usize = 8192;
/// The pause before connections are accepted again after that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the routes show.
#[derive(Clone)]
pub struct Probes {
    /// What stands between this process and its work.
    pub readiness: Readiness,
    /// The recorder's way to read the metrics; whoever installs the recorder also sees to its upkeep.
    pub metrics: PrometheusHandle,
    /// The program's version.
    pub version: &'static str,
}

/// Why probes are not answered.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address could not be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A server that has its port and is not running yet.
pub struct Http {
    listener: TcpListener,
    addr: SocketAddr,
    routes: Router,
}

impl Http {
    /// Takes the port; port 0 takes a free one. Connections wait until [`Http::run`]. Everything that is no probe is
    /// answered by `pages`, which may be empty.
    ///
    /// # Errors
    /// [`HttpError::Listen`].
    pub async fn bind(listen: SocketAddr, probes: Probes, pages: Router) -> Result<Self, HttpError> {
        Http::pages(listen, router(probes).merge(pages)).await
    }

    /// As [`Http::bind`], without any probes.
    ///
    /// # Errors
    /// [`HttpError::Listen`].
    pub async fn pages(listen: SocketAddr, routes: Router) -> Result<Self, HttpError> {
        let failed = |source| HttpError::Listen { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Http { listener, addr, routes })
    }

    /// Where it listens, with the port that was taken.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `stop` is cancelled, then finishes the answers under way.
    ///
    /// Cancel safety: dropping the future closes the port and every connection.
    ///
    /// # Errors
    /// None as of now: what fails is one connection's, or passes.
    pub async fn run(self, stop: CancellationToken) -> Result<(), HttpError> {
        let Http { listener, routes, .. } = self;
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => {
                    // Without room it is closed at once, which its peer sees.
                    let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
                    let (routes, stop) = (routes.clone(), stop.clone());
                    connections.spawn(async move {
                        let _place = place;
                        connection::serve(socket, routes, Patience::default(), stop).await;
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                // Out of file descriptors, mostly: a connection that ends gives one back.
                Err(error) => {
                    tracing::error!(%error, "connections are not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// Whether an accept failed for a reason of its peer's.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionRefused | Kind::ConnectionAborted | Kind::ConnectionReset)
}

fn router(probes: Probes) -> Router {
    Router::new()
        // It depends on nothing: a process that cannot reach NATS must not be restarted for that.
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(Arc::new(probes))
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: BTreeMap<&'static str, String>,
}

async fn ready(State(probes): State<Arc<Probes>>) -> Response {
    let reasons = probes.readiness.reasons();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, reasons })).into_response()
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Response {
    let text_format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (text_format, probes.metrics.render()).into_response()
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

async fn version(State(probes): State<Arc<Probes>>) -> Json<Version> {
    Json(Version { name: "tollgate", version: probes.version })
}
