//! Screens for operators: HTML and SVG made on the server, without a build step and without anything from elsewhere.
//!
//! [`Dashboard`] is a router for the http server and a task that follows NATS. Start with [`router`] for what is asked
//! and who may ask it, [`pages`] for what is shown, [`charts`] for how, and [`sources`] for where the numbers come from:
//! each page says it, with the statement. [`actions`] are the few things that can be done; each goes the way that the
//! command line goes, into the same audit.
//!
//! Prompts and answers are deliberately absent: `tollgate job captured` shows what a team has captured. Every text that a
//! producer or a model chose is escaped by `maud`; nothing here marks a text as safe.

mod actions;
mod assets;
mod auth;
mod charts;
mod config;
mod kept;
mod live;
mod num;
mod page;
mod pages;
mod router;
mod sources;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tollgate_operate::live::Operator;
use tollgate_queue::control;
use tollgate_usage::Store;

pub use config::{Config, Role, User};

/// How often the server is asked for its time.
const TIME_EVERY: Duration = Duration::from_secs(5);
/// The pause before workers are listened to again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The screens. Clones are the same.
#[derive(Clone)]
pub struct Dashboard {
    shared: Arc<sources::Shared>,
}

impl Dashboard {
    /// For a server on that address; without a store there is no history.
    pub fn new(config: Config, store: Option<Store>, listen: SocketAddr) -> Dashboard {
        Dashboard { shared: Arc::new(sources::Shared::new(config, store, listen.ip().is_loopback())) }
    }

    /// The pages, to be served beside others.
    pub fn router(&self) -> axum::Router {
        router::router(self.shared.clone())
    }

    /// Takes the connection in and follows what changes, until `stop`; then pages that are open end.
    ///
    /// Cancel safe: pages then show what was known last.
    pub async fn run(self, operator: Operator, stop: CancellationToken) {
        let (directory, connection, clock) =
            (operator.directory.clone(), operator.connection.clone(), operator.clock().clone());
        let nats = self.shared.connected(operator);
        let time = async {
            loop {
                tokio::time::sleep(TIME_EVERY).await;
                if let Err(error) = tollgate_queue::lanes::ask_the_time(&connection.client, &clock).await {
                    tracing::debug!(%error, "the server did not tell its time");
                }
            }
        };
        let workers = async {
            loop {
                match control::reports(&connection).await {
                    Ok(mut heard) => {
                        while let Some(report) = heard.next().await {
                            nats.heard(report, Instant::now());
                        }
                    }
                    Err(error) => tracing::warn!(%error, "workers are not listened to"),
                }
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = directory.follow() => {}
            () = time => {}
            () = workers => {}
        }
        self.shared.stop.cancel();
    }
}
