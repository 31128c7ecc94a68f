//! The loop: look, record, judge, announce, remember.
//!
//! What a crash at each step leaves behind: before the announcement nothing; between announcement and note the same
//! alert is announced again by whoever is in office next, under the same kind and subject; after the note nothing.

use std::time::Duration;

use async_nats::jetstream;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_queue::office::{Left, Office, Term};
use tollgate_queue::state::State;
use tollgate_queue::{Connection, Directory, ServerClock, control};
use tollgate_types::alert::NO_TEAM;
use tollgate_types::{Alert, AlertKind};
use tollgate_usage::Store;

use crate::alarms::Alarms;
use crate::look::{Look, Wanted};
use crate::record::Recorder;
use crate::rules::{Lines, judge};

/// The office, in the broker's state. Its value is what is crossed at the moment, for everybody to read.
pub const KEY: &str = "watch";

/// How long the last announcements may take to leave before they are noted.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// How the watch watches.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// The unique name of this process.
    pub name: String,
    /// A process that stands by takes over after three of these without a sign of life.
    pub lease: Duration,
    /// How often it looks.
    pub every: Duration,
    /// How often it records budgets and lanes.
    pub record_every: Duration,
    /// How often it looks for drift, which reads a week of rollups.
    pub drift_every: Duration,
    /// How often it compares the books of the last day.
    pub books_every: Duration,
    /// After how long something that lasts is announced again.
    pub again_after: Duration,
    /// Where the lines are.
    pub lines: Lines,
}

impl WatchConfig {
    /// The defaults, for a process of that name.
    pub fn new(name: impl Into<String>) -> Self {
        WatchConfig {
            name: name.into(),
            lease: Duration::from_secs(10),
            every: Duration::from_secs(15),
            record_every: Duration::from_secs(60),
            drift_every: Duration::from_secs(15 * 60),
            books_every: Duration::from_secs(3600),
            again_after: Duration::from_secs(24 * 3600),
            lines: Lines::default(),
        }
    }
}

/// What the watch is made of.
pub struct Parts {
    /// The connection in the broker's account.
    pub connection: Connection,
    /// The live configuration.
    pub directory: Directory,
    /// The broker's own records.
    pub state: State,
    /// The server's clock; somebody else keeps it right.
    pub clock: ServerClock,
    /// ClickHouse. Without it nothing is recorded, and what is in it is not watched.
    pub store: Option<Store>,
}

/// The watch, for one who wants it.
pub struct Watch {
    config: WatchConfig,
    look: Look,
    /// Takes each alert after it was published; for webhooks.
    hand_over: Box<dyn Fn(&Alert) + Send + Sync>,
}

/// When something that costs much is due.
struct Due {
    every: Duration,
    at: Instant,
}

impl Due {
    fn new(every: Duration) -> Due {
        Due { every, at: Instant::now() }
    }

    fn is_now(&mut self) -> bool {
        let due = Instant::now() >= self.at;
        if due {
            self.at = Instant::now() + self.every;
        }
        due
    }
}

impl Watch {
    /// A watch that does nothing yet. `hand_over` gets each alert after it was published, and must not block.
    pub fn new(config: WatchConfig, parts: Parts, hand_over: impl Fn(&Alert) + Send + Sync + 'static) -> Watch {
        let Parts { connection, directory, state, clock, store } = parts;
        let context = jetstream::new(connection.client.clone());
        let look = Look { connection, context, directory, state, clock, store };
        Watch { config, look, hand_over: Box::new(hand_over) }
    }

    /// Runs until `stop`: stands by, and watches while it is in office. May be dropped at any time, as by a crash.
    pub async fn run(self, stop: CancellationToken) {
        let mut office = Office::new(self.look.state.clone(), KEY, &self.config.name, self.config.lease);
        metrics::gauge!("tollgate_watch_active").set(0.0);
        while let Some(mut term) = office.stand_by(&stop).await {
            metrics::gauge!("tollgate_watch_active").set(1.0);
            let left = self.serve(&mut term, &stop).await;
            metrics::gauge!("tollgate_watch_active").set(0.0);
            match left {
                Err(Left::Stopped) | Ok(()) => {
                    term.release().await;
                    return;
                }
                Err(Left::Fenced) => tracing::warn!(name = self.config.name, "another process watches; standing by"),
            }
        }
    }

    async fn serve(&self, term: &mut Term, stop: &CancellationToken) -> Result<(), Left> {
        let mut alarms: Alarms = serde_json::from_value(term.value().clone()).unwrap_or_default();
        let (mut drift, mut books) = (Due::new(self.config.drift_every), Due::new(self.config.books_every));
        let (mut record, mut recorder) = (Due::new(self.config.record_every), Recorder::default());
        loop {
            let wanted = Wanted { drift: drift.is_now(), books: books.is_now() };
            let sample = self.while_in_office(term, stop, self.look.take(wanted)).await?;
            if let Some(store) = self.look.store.as_ref().filter(|_| record.is_now())
                && let Err(error) = self.while_in_office(term, stop, recorder.write(&sample, store)).await?
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "budgets and lanes are not recorded");
            }
            let before = alarms.clone();
            let due = alarms.take(&judge(&sample, &self.config.lines), sample.at, self.config.again_after);
            for alert in &due {
                self.announce(alert).await;
            }
            if !due.is_empty() && tokio::time::timeout(FLUSH_WITHIN, self.look.connection.client.flush()).await.is_err()
            {
                tracing::warn!("nats did not take the last alerts in time; they are announced again");
                alarms = before;
            }
            for kind in AlertKind::ALL {
                #[allow(clippy::cast_precision_loss, reason = "a few hundred at most")]
                metrics::gauge!("tollgate_alerts_firing", "kind" => kind.as_str()).set(alarms.count(kind) as f64);
            }
            term.advance(json!(alarms), stop).await?;
            term.wait(self.config.every, stop).await?;
        }
    }

    /// Waits for something that may take longer than a lease.
    async fn while_in_office<T>(
        &self,
        term: &mut Term,
        stop: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<T, Left> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                done = &mut work => return Ok(done),
                () = tokio::time::sleep_until(term.touch_at()) => {}
            }
            term.touch(stop).await?;
        }
    }

    async fn announce(&self, alert: &Alert) {
        let Alert { kind, state, what, about, .. } = alert;
        tracing::warn!(kind = kind.as_str(), ?state, about, what, "alert");
        metrics::counter!("tollgate_alerts_total", "kind" => kind.as_str()).increment(1);
        // Whoever may publish jobs chooses the team token freely; it is one token, so it is a subject's.
        let team = alert.team.as_deref().unwrap_or(NO_TEAM);
        publish(&self.look.connection, team, kind.as_str(), alert).await;
        (self.hand_over)(alert);
    }
}

async fn publish(connection: &Connection, team: &str, kind: &str, body: &impl Serialize) {
    if let Err(error) = control::alert(connection, team, kind, body).await {
        tracing::error!(%error, kind, "an alert was not published");
    }
}

/// What is crossed at the moment, the most urgent first; nothing if there has never been a watch.
///
/// # Errors
/// Why it could not be read.
pub async fn firing(state: &State) -> Result<Vec<Alert>, tollgate_queue::state::StateError> {
    let value = tollgate_queue::office::value(state, KEY).await?;
    Ok(serde_json::from_value::<Alarms>(value).map(|alarms| alarms.firing()).unwrap_or_default())
}
