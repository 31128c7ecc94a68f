//! Takes a sample: what the broker looks like now, each part by itself, so that one server's absence hides no other part.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use tollgate_operate::accounts::{self, Line};
use tollgate_operate::dead;
use tollgate_operate::exit::Failure;
use tollgate_operate::lanes::in_words;
use tollgate_operate::waiting::{self, Among, Everywhere, Running};
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::directory::Paused;
use tollgate_queue::state::State;
use tollgate_queue::{ApiError, Blobs, Connection, Directory, ServerClock};
use tollgate_sink::SinkProgress;
use tollgate_types::{LaneKey, UnixMillis};
use tollgate_usage::questions::{self, Filter};
use tollgate_usage::{HourRange, RecentCalls, Store, StoreError};

use crate::sample::{Books, BudgetState, Dead, Deployment, Drift, Lane, Sample, Sink};

/// The longest that one part may take: a server that hangs must not stop the watch.
const PART_WITHIN: Duration = Duration::from_secs(20);
/// How long reading one record of the log may take.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Calls so far back say how a provider does now.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// Looks at one broker.
pub(crate) struct Look {
    pub(crate) connection: Connection,
    pub(crate) context: Context,
    pub(crate) directory: Directory,
    pub(crate) state: State,
    pub(crate) clock: ServerClock,
    /// Without one, what is in ClickHouse is not watched.
    pub(crate) store: Option<Store>,
}

/// Which parts cost much and are looked at more seldom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) drift: bool,
    pub(crate) books: bool,
}

impl Look {
    /// Looks at everything. A part that cannot be read is absent, and its reason is logged.
    pub(crate) async fn take(&self, wanted: Wanted) -> Sample {
        let at = self.clock.now();
        let (lanes, budgets, dead, sink, blobs) = tokio::join!(
            part("lanes", self.lanes()),
            part("budgets", self.budgets(at)),
            part("dead letters", self.dead()),
            part("sink", self.sink()),
            part("large bodies", self.blobs()),
        );
        let mut sample = Sample { at, lanes, budgets, dead, sink, blobs, ..Sample::default() };
        let Some(store) = &self.store else { return sample };
        sample.providers = part("providers", self.providers(store, at)).await;
        if wanted.drift {
            sample.drift = part("drift", drift(store, at)).await;
        }
        if wanted.books {
            sample.books = part("books", books(store, at)).await;
        }
        sample
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Failure> {
        let (everywhere, running) =
            tokio::try_join!(Everywhere::count(&self.connection, &self.context), waiting::running(&self.context))?;
        // Those in which most jobs wait first: not every lane of thousands is asked for its oldest job.
        let mut keys: Vec<&LaneKey> = everywhere.lanes.keys().collect();
        keys.sort_by_key(|lane| std::cmp::Reverse(everywhere.lanes[*lane].in_lane));
        let busy = keys.iter().copied().filter(|lane| everywhere.lanes[*lane].in_lane > 0);
        let oldest = waiting::oldest(&self.connection.client, Among::Lane, busy).await;
        let mut lanes = Vec::with_capacity(keys.len());
        for key in keys {
            let waiting = &everywhere.lanes[key];
            let Running { in_flight, delivered } = running.get(key).copied().unwrap_or_default();
            let shown = key.plain();
            lanes.push(Lane {
                class: shown.class,
                team: shown.team,
                waiting: waiting.in_lane,
                parked: waiting.parked(),
                oldest: oldest.get(key).copied(),
                in_flight,
                delivered,
                weight: self.directory.team(&key.team).map_or(0, |record| record.weight),
                paused: self.paused(key),
            });
        }
        Ok(lanes)
    }

    fn paused(&self, lane: &LaneKey) -> Option<String> {
        let (class, team) = lane.known_class().zip(lane.team.parse().ok())?;
        let ways =
            [Paused::Lane { class: Some(class), team }, Paused::Lane { class: None, team: lane.team.parse().ok()? }];
        let pauses = self.directory.pauses();
        let found = pauses.iter().find(|(paused, _)| ways.contains(paused))?;
        Some(in_words(&found.1))
    }

    async fn budgets(&self, now: UnixMillis) -> Result<Vec<BudgetState>, Failure> {
        let accounts = accounts::read(&self.context).await.map_err(|error| {
            Failure::new(tollgate_operate::exit::Code::Nats, "the accounts cannot be read").because(&error)
        })?;
        let owners = accounts::owned(&self.directory);
        Ok(owners.iter().flat_map(|owner| accounts::lines(owner, &accounts, now)).filter_map(budget).collect())
    }

    async fn dead(&self) -> Result<Vec<Dead>, Failure> {
        let stream = dead::opened(&self.context).await?;
        let mut letters: BTreeMap<String, u64> = BTreeMap::new();
        for letter in dead::all(&stream).await? {
            *letters.entry(letter.team).or_default() += 1;
        }
        Ok(letters.into_iter().map(|(team, letters)| Dead { team, letters }).collect())
    }

    async fn sink(&self) -> Result<Sink, Box<dyn std::error::Error + Send + Sync>> {
        let log = CommitLog::open(&self.context).await?;
        let progress = SinkProgress::read(&self.state).await?;
        let done = progress.filter(|progress| progress.stream == log.identity()).map_or(0, |p| p.committed_seq);
        let bounds = log.bounds().await?;
        let first = bounds.first.max(done + 1);
        if first > bounds.last {
            return Ok(Sink::default());
        }
        let mut tail = log.tail(first);
        let oldest = tail.next_batch(1, READ_WITHIN).await?.first().map(|entry| entry.at);
        Ok(Sink { behind: bounds.last - done.min(bounds.last), oldest })
    }

    async fn blobs(&self) -> Result<crate::sample::Blobs, ApiError> {
        let space = Blobs::new(&self.connection.client).space().await?.unwrap_or_default();
        metrics::gauge!("tollgate_blobs_bytes").set(space.bytes as f64);
        metrics::gauge!("tollgate_blobs_bytes_max").set(space.bytes_max.unwrap_or_default() as f64);
        for (team, _) in self.directory.teams() {
            let bytes = space.teams.get(&team).copied().unwrap_or_default();
            metrics::gauge!("tollgate_blobs_team_bytes", "team" => team).set(bytes as f64);
        }
        Ok(space)
    }

    async fn providers(&self, store: &Store, now: UnixMillis) -> Result<Vec<Deployment>, StoreError> {
        let since = UnixMillis(now.0.saturating_sub(i64::try_from(RECENT.as_millis()).unwrap_or(0)));
        let calls = store.recent_calls(since).await?;
        let deployment = |calls: RecentCalls| Deployment {
            provider: calls.provider,
            model: calls.model,
            calls: calls.calls,
            failed: calls.failed,
        };
        Ok(calls.into_iter().map(deployment).collect())
    }
}

/// A cap with a window and sums; rules for each of a kind have none, and what a budget downgrades to is not capped.
fn budget(line: Line) -> Option<BudgetState> {
    let at = |text: &Option<String>| text.as_deref().and_then(UnixMillis::from_rfc3339);
    Some(BudgetState {
        team: line.scope.team().map(str::to_owned),
        starts: at(&line.starts)?,
        ends: at(&line.ends)?,
        cap: line.cap_nanousd?,
        settled: line.settled_nanousd?,
        held: line.held_nanousd.unwrap_or_default(),
        at_end: line.at_this_rate.as_ref().map(|rate| rate.at_end_nanousd),
        spent_at: line.at_this_rate.as_ref().and_then(|rate| at(&rate.spent_at)),
        scope: line.scope,
        window: line.window,
    })
}

/// The last 24 hours against the week before.
async fn drift(store: &Store, now: UnixMillis) -> Result<Vec<Drift>, StoreError> {
    let range =
        HourRange::covering(UnixMillis(now.0.saturating_sub(24 * HOUR_MS)), UnixMillis(now.0.saturating_add(1)));
    let found = store.ask().drift(&Filter { range, ..Filter::default() }).await?;
    let kind = |drift: &questions::Drift| match drift.dimension.as_str() {
        "label" => format!("{} {}", drift.label, drift.value),
        _ => format!("model {}", drift.value),
    };
    let drift = |drift: questions::Drift| Drift {
        kind: kind(&drift),
        team: drift.team,
        jobs: drift.jobs,
        tokens_per_job: drift.tokens_per_job.unwrap_or(0.0),
        jobs_before: drift.jobs_before,
        tokens_per_job_before: drift.tokens_per_job_before.unwrap_or(0.0),
    };
    Ok(found.rows.into_iter().map(drift).collect())
}

const HOUR_MS: i64 = 3_600_000;

/// Whether every rollup agrees with the raw table on the closed hours of the last day.
async fn books(store: &Store, now: UnixMillis) -> Result<Books, StoreError> {
    let closed = UnixMillis(now.0 - now.0.rem_euclid(HOUR_MS));
    let range = HourRange::covering(UnixMillis(closed.0.saturating_sub(24 * HOUR_MS)), closed);
    let differences = store.rollup_differences(range).await?;
    Ok(Books { differences: differences.len() as u64, first: differences.first().map(ToString::to_string) })
}

async fn part<T, E: std::fmt::Display>(name: &'static str, look: impl Future<Output = Result<T, E>>) -> Option<T> {
    match tokio::time::timeout(PART_WITHIN, look).await {
        Ok(Ok(seen)) => return Some(seen),
        Ok(Err(error)) => tracing::warn!(part = name, %error, "the watch could not look at a part"),
        Err(_) => tracing::warn!(part = name, "the watch could not look at a part in time"),
    }
    metrics::counter!("tollgate_watch_blind_total", "part" => name).increment(1);
    None
}
