//! The clerk as its process sees it: stand by, be in office, take orders in their order, until told to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_queue::office::{Left, Office, Term};
use tollgate_queue::state::State;
use tollgate_queue::{ApiError, Batches, Connection, CrashPlan, Files, ServerClock};
use tollgate_types::{BatchId, Team};

use crate::take::Taken;

/// The office, in the broker's state.
pub const KEY: &str = "orders";

/// How often new orders are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Orders that are taken at a time, each of another team: a huge file of one holds up no other.
const AT_ONCE: usize = 4;
/// Orders that are known at a time, far more than one team may have, so that no team hides those of others; further ones
/// are looked for once these are done.
const OPEN_MAX: usize = 100_000;
/// Orders that are looked for in one go: between two, whoever is in office shows that he is there.
const FOUND_MAX: usize = 500;
/// Before an order that could not be taken is taken again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often what uploads left behind is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// An upload that is not whole after so long is abandoned: the slowest that is allowed takes less.
const ABANDONED: Duration = Duration::from_secs(12 * 3600);

/// How a clerk works.
#[derive(Clone, Debug)]
pub struct ClerkConfig {
    /// The unique name of this process.
    pub name: String,
    /// A process that stands by takes over after three of these without a sign of life.
    pub lease: Duration,
    /// Where the process dies on purpose; empty outside of tests.
    pub crash: CrashPlan,
}

/// What a clerk works with.
#[derive(Clone)]
pub struct Parts {
    /// The broker's.
    pub connection: Connection,
    /// Where the office is.
    pub state: State,
    /// The server's time.
    pub clock: ServerClock,
}

/// Takes orders, for one who wants to.
pub struct Clerk {
    pub(crate) config: ClerkConfig,
    pub(crate) connection: Connection,
    pub(crate) clock: ServerClock,
    pub(crate) batches: Batches,
    pub(crate) files: Files,
    state: State,
}

/// How far orders are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The identity of the stream.
    stream: String,
    /// Every order before this sequence is closed.
    from: u64,
}

/// The orders that are open.
#[derive(Default)]
struct Open {
    /// Where further ones begin.
    from: u64,
    known: BTreeMap<u64, One>,
    running: JoinSet<(u64, Taken)>,
}

struct One {
    team: Team,
    batch: BatchId,
    running: bool,
    /// Not before.
    at: Instant,
}

impl Clerk {
    /// A clerk that does nothing yet.
    pub fn new(config: ClerkConfig, parts: Parts) -> Clerk {
        let Parts { connection, state, clock } = parts;
        let (batches, files) = (Batches::new(connection.client.clone()), Files::new(&connection.client));
        Clerk { config, connection, clock, batches, files, state }
    }

    /// Runs until `stop`: stands by, and takes orders while it is in office. Trouble with the server is logged and waited
    /// out. May be dropped at any time with the effect of a crash.
    pub async fn run(self, stop: CancellationToken) {
        let clerk = Arc::new(self);
        let mut office = Office::new(clerk.state.clone(), KEY, &clerk.config.name, clerk.config.lease);
        while let Some(mut term) = office.stand_by(&stop).await {
            match clerk.serve(&mut term, &stop).await {
                Left::Stopped => {
                    term.release().await;
                    return;
                }
                Left::Fenced => tracing::warn!(name = clerk.config.name, "another process takes orders; standing by"),
            }
        }
    }

    async fn serve(self: &Arc<Self>, term: &mut Term, stop: &CancellationToken) -> Left {
        loop {
            let left = match self.batches.identity().await {
                Ok(stream) => self.follow(stream, term, stop).await,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "orders cannot be read yet");
                    term.wait(AGAIN, stop).await
                }
            };
            if let Err(left) = left {
                return left;
            }
        }
    }

    /// Takes orders; returns when the stream was made anew.
    async fn follow(self: &Arc<Self>, stream: String, term: &mut Term, stop: &CancellationToken) -> Result<(), Left> {
        let before: Progress = serde_json::from_value(term.value().clone()).unwrap_or_default();
        let mut progress = if before.stream == stream { before } else { Progress { stream, from: 0 } };
        let mut open = Open { from: progress.from, ..Open::default() };
        let mut swept: Option<Instant> = None;
        loop {
            let more = self.find(&mut open).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "orders are looked for later");
                false
            });
            self.start(&mut open);
            let from = open.known.keys().next().copied().unwrap_or(open.from);
            if from != progress.from {
                progress.from = from;
                term.advance(json!(progress), stop).await?;
            } else if Instant::now() >= term.touch_at() {
                term.touch(stop).await?;
            }
            metrics::gauge!("tollgate_orders_open").set(open.known.len() as f64);
            if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                swept = Some(Instant::now());
                self.sweep().await;
                if self.batches.identity().await.is_ok_and(|now| now != progress.stream) {
                    tracing::warn!("orders are taken from the new stream");
                    return Ok(());
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                Some(ended) = open.running.join_next(), if !open.running.is_empty() => open.heard(ended),
                () = tokio::time::sleep(LOOK_EVERY), if !more => {}
                () = std::future::ready(()), if more => {}
            }
        }
    }

    /// Looks for further orders; says whether there may be more.
    async fn find(&self, open: &mut Open) -> Result<bool, ApiError> {
        for _ in 0..FOUND_MAX {
            if open.known.len() >= OPEN_MAX {
                return Ok(false);
            }
            let Some(said) = self.batches.next_order(open.from).await? else { return Ok(false) };
            let one = One { team: said.team, batch: said.batch, running: false, at: Instant::now() };
            open.known.insert(said.sequence, one);
            open.from = said.sequence + 1;
        }
        Ok(true)
    }

    fn start(self: &Arc<Self>, open: &mut Open) {
        let mut busy: BTreeSet<Team> =
            open.known.values().filter(|one| one.running).map(|one| one.team.clone()).collect();
        for (&sequence, one) in &mut open.known {
            if open.running.len() >= AT_ONCE {
                return;
            }
            if one.running || one.at > Instant::now() || !busy.insert(one.team.clone()) {
                continue;
            }
            one.running = true;
            let (clerk, team, batch) = (self.clone(), one.team.clone(), one.batch.clone());
            open.running.spawn(async move { (sequence, clerk.take(&team, &batch).await) });
        }
    }

    async fn sweep(&self) {
        match self.files.sweep(self.clock.now(), ABANDONED).await {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(removed, "uploaded files were removed that are not whole, or whose time is over")
            }
            Err(error) => tracing::warn!(%error, "uploaded files are looked after later"),
        }
    }
}

impl Open {
    fn heard(&mut self, ended: Result<(u64, Taken), tokio::task::JoinError>) {
        match ended {
            Ok((sequence, Taken::Closed)) => drop(self.known.remove(&sequence)),
            Ok((sequence, Taken::Later)) => {
                if let Some(one) = self.known.get_mut(&sequence) {
                    (one.running, one.at) = (false, Instant::now() + AGAIN);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the clerk failed at an order");
                // Which one is not told: all that are not at work are looked at again, and the work is idempotent.
                if self.running.is_empty() {
                    self.known.values_mut().for_each(|one| (one.running, one.at) = (false, Instant::now() + AGAIN));
                }
            }
        }
    }
}
