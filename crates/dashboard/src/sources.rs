//! Where the numbers come from: ClickHouse for what was, NATS for what is. Either may be away; the other still answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_operate::live::Operator;
use tollgate_queue::control::WorkerReport;
use tollgate_types::UnixMillis;
use tollgate_usage::questions::{Asked, Filter, Step};
use tollgate_usage::{HourRange, Store, StoreError};

use crate::auth::Door;
use crate::config::Config;
use crate::kept::Kept;
use crate::page::Forms;
use crate::view::View;

/// How long a page waits for one answer; longer is of no use to somebody who looks.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Statements at a time of all pages together, so that screens never crowd out the sink.
const STATEMENTS_MAX: usize = 12;
/// Workers report every few seconds; one that was silent for so long is gone.
const SILENT_FOR: Duration = Duration::from_secs(15);
/// More workers than any fleet that one page can show.
const WORKERS_MAX: usize = 1024;
/// Pages that are made anew at a time; each costs a few questions every few seconds.
pub(crate) const LIVE_MAX: usize = 64;

/// What all pages share.
pub(crate) struct Shared {
    pub(crate) door: Door,
    pub(crate) models: Vec<String>,
    pub(crate) live: Semaphore,
    pub(crate) stop: CancellationToken,
    store: Option<Store>,
    nats: OnceLock<Nats>,
    kept: Kept,
    statements: Semaphore,
}

/// What is known over NATS, once there is a connection.
pub(crate) struct Nats {
    /// Looks, and acts in the name of whoever is signed in.
    pub(crate) operator: Operator,
    workers: Mutex<BTreeMap<String, (Instant, WorkerReport)>>,
}

impl Shared {
    pub(crate) fn new(config: Config, store: Option<Store>, loopback: bool) -> Shared {
        let models = config.models.clone();
        Shared {
            door: Door::new(config, loopback),
            models,
            live: Semaphore::new(LIVE_MAX),
            stop: CancellationToken::new(),
            store,
            nats: OnceLock::new(),
            kept: Kept::default(),
            statements: Semaphore::new(STATEMENTS_MAX),
        }
    }

    /// Takes the connection in, when there is one.
    pub(crate) fn connected(&self, operator: Operator) -> &Nats {
        self.nats.get_or_init(|| Nats { operator, workers: Mutex::default() })
    }

    /// What NATS knows.
    ///
    /// # Errors
    /// There is no connection yet, in words.
    pub(crate) fn nats(&self) -> Result<&Nats, String> {
        self.nats.get().ok_or_else(|| "NATS is not reached yet; /readyz says why.".to_owned())
    }

    /// The time: that of NATS, or of this machine until it is known.
    pub(crate) fn now(&self) -> UnixMillis {
        self.nats.get().map_or_else(|| tollgate_queue::ServerClock::new().now(), |nats| nats.operator.now())
    }
}

impl Nats {
    /// Takes in what a worker says of itself.
    pub(crate) fn heard(&self, report: WorkerReport, now: Instant) {
        let mut workers = self.workers.lock().expect("no holder panics");
        workers.retain(|_, (at, _)| now.duration_since(*at) < SILENT_FOR);
        if workers.len() < WORKERS_MAX {
            workers.insert(report.worker.clone(), (now, report));
        }
    }

    /// What workers said lately, by their names.
    pub(crate) fn workers(&self, now: Instant) -> Vec<WorkerReport> {
        let workers = self.workers.lock().expect("no holder panics");
        let lately = workers.values().filter(|(at, _)| now.duration_since(*at) < SILENT_FOR);
        lately.map(|(_, report)| report.clone()).collect()
    }
}

/// What one page is made for.
pub(crate) struct Cx<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) view: &'a View,
    pub(crate) now: UnixMillis,
    pub(crate) forms: Forms,
}

impl Cx<'_> {
    /// What the page is about, for ClickHouse.
    pub(crate) fn filter(&self) -> Filter {
        let (from, to) = self.view.span(self.now);
        let text = |name| self.view.value(name).map(str::to_owned);
        Filter { range: HourRange::covering(from, to), team: text("team"), model: text("model"), ..Filter::default() }
    }

    /// Hours as long as they can be told apart, else days.
    pub(crate) fn step(&self) -> Step {
        let (from, to) = self.view.span(self.now);
        if to.0 - from.0 <= 8 * 24 * 3_600_000 { Step::Hour } else { Step::Day }
    }

    /// Asks ClickHouse, unless somebody just did. `name` names the question.
    pub(crate) async fn ask<T, F>(&self, name: &str, question: impl FnOnce(Store) -> F) -> Result<Arc<Asked<T>>, String>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<Asked<T>, StoreError>>,
    {
        let store = self.shared.store.clone().ok_or("No ClickHouse is configured, so there is no history.")?;
        let (from, to) = self.view.span(self.now);
        let name = format!("{name}?{}&{}-{}", self.view.query(), from.0, to.0);
        // Boxed, because pages await many of them, and a page is moved more than once before it is awaited.
        let asked = self.shared.kept.or_ask(
            name,
            Box::pin(async {
                let _permit = self.shared.statements.acquire().await.map_err(|_| "This process stops.".to_owned())?;
                match tokio::time::timeout(ANSWER_WITHIN, question(store)).await {
                    Ok(Ok(asked)) => Ok(Arc::new(asked)),
                    Ok(Err(error)) => Err(unanswered(&error)),
                    Err(_) => Err(format!("ClickHouse did not answer within {} s.", ANSWER_WITHIN.as_secs())),
                }
            }),
        );
        asked.await.as_ref().clone()
    }

    /// Asks NATS, unless somebody just did.
    pub(crate) async fn look<T, F>(&self, name: &str, question: impl FnOnce(Operator) -> F) -> Result<Arc<T>, String>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, tollgate_operate::exit::Failure>>,
    {
        let operator = self.shared.nats()?.operator.acting("dashboard", "");
        let asked = self.shared.kept.or_ask(
            format!("nats {name}"),
            Box::pin(async {
                match tokio::time::timeout(ANSWER_WITHIN, question(operator)).await {
                    Ok(Ok(known)) => Ok(Arc::new(known)),
                    Ok(Err(failure)) => Err(format!("NATS did not say: {}.", failure.reason())),
                    Err(_) => Err(format!("NATS did not answer within {} s.", ANSWER_WITHIN.as_secs())),
                }
            }),
        );
        asked.await.as_ref().clone()
    }
}

/// What a failed question means for somebody who looks. The server's own words may repeat a statement, so they go to the
/// log alone.
fn unanswered(error: &StoreError) -> String {
    tracing::warn!(error = error as &dyn std::error::Error, "a question of a page was not answered");
    format!("ClickHouse cannot be asked: {error}. If its tables are older than this program, run `tollgate init`.")
}
