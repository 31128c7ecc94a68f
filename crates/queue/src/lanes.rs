//! Lanes: which have work, and the one durable consumer behind each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{self, Context};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::{LaneKey, UnixMillis, subjects};

use crate::api::{self, ApiError};
use crate::clock::ServerClock;
use crate::queue_key::{Origin, QueueKey};

/// What the lanes' consumers are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneConfig {
    /// How long a worker may be silent before its jobs go to another.
    pub ack_wait: Duration,
    /// The most jobs of one lane in flight, over all workers.
    pub in_flight_max: i64,
    /// A lane's consumer goes away after this long without a pull; its jobs stay, and it comes back with the next.
    pub idle_max: Duration,
}

impl Default for LaneConfig {
    fn default() -> Self {
        LaneConfig { ack_wait: Duration::from_secs(15), in_flight_max: 20_000, idle_max: Duration::from_secs(6 * 3600) }
    }
}

/// How many jobs wait or run in each lane. Jobs in flight count, with whichever worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs by lane.
    pub lanes: HashMap<LaneKey, u64>,
}

/// The questions about lanes.
#[derive(Clone)]
pub struct Lanes {
    client: Client,
    context: Context,
    config: LaneConfig,
    clock: ServerClock,
    /// When the jobs stream was created, ns: names its incarnation in ids. Read again with every count, because an
    /// operator may make the stream anew under a running worker.
    stream_created_ns: Arc<AtomicI64>,
    /// How long the jobs stream knows an id again, ms. Read as often: an operator may change it.
    duplicate_window_ms: Arc<AtomicU64>,
}

#[derive(Deserialize)]
struct StreamInfo {
    created: String,
    #[serde(default)]
    ts: Option<String>,
    state: StreamState,
    #[serde(default)]
    config: StreamConfig,
}

#[derive(Default, Deserialize)]
struct StreamConfig {
    /// In nanoseconds.
    #[serde(default)]
    duplicate_window: u64,
}

#[derive(Deserialize)]
struct StreamState {
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

impl Lanes {
    /// Reads what the jobs stream is, and sets the server's clock on the way. The stream must exist: a worker never
    /// creates it.
    ///
    /// # Errors
    /// Returns why the stream could not be read.
    pub async fn open(client: &Client, config: LaneConfig, clock: ServerClock) -> Result<Lanes, ApiError> {
        let context = jetstream::new(client.clone());
        let asked = Instant::now();
        let info = stream_info(client, "").await?;
        // Before anything is judged by it: until the first observation the clock is that of this machine.
        observe(&clock, asked, &info);
        let stream_created_ns = Arc::new(AtomicI64::new(created_ns(&info)?));
        let duplicate_window_ms = Arc::new(AtomicU64::new(info.config.duplicate_window / 1_000_000));
        Ok(Lanes { client: client.clone(), context, config, clock, stream_created_ns, duplicate_window_ms })
    }

    /// When the jobs stream was created, in nanoseconds since the Unix epoch.
    pub fn stream_created_ns(&self) -> i128 {
        self.stream_created_ns.load(Ordering::Relaxed).into()
    }

    /// How long the server knows an id again: of two messages of one id, the second came so much later at least.
    pub fn duplicate_window(&self) -> Duration {
        Duration::from_millis(self.duplicate_window_ms.load(Ordering::Relaxed))
    }

    /// Asks which lanes have jobs: one question, 0.5 ms at 300 lanes. Sets the server's clock on the way.
    ///
    /// # Errors
    /// Returns why there was no answer.
    pub async fn backlog(&self) -> Result<Backlog, ApiError> {
        let asked = Instant::now();
        let info = stream_info(&self.client, r#"{"subjects_filter":"tollgate.jobs.>"}"#).await?;
        self.stream_created_ns.store(created_ns(&info)?, Ordering::Relaxed);
        self.duplicate_window_ms.store(info.config.duplicate_window / 1_000_000, Ordering::Relaxed);
        observe(&self.clock, asked, &info);
        let counts = info.state.subjects.unwrap_or_default().into_iter();
        let lanes = counts.filter_map(|(subject, n)| Some((subjects::parse_jobs(&subject)?, n))).collect();
        Ok(Backlog { lanes })
    }

    /// Makes sure that the lane's consumer exists, and returns when it was made. Idempotent.
    ///
    /// # Errors
    /// Returns the server's words when it refuses.
    pub async fn ensure(&self, lane: &LaneKey) -> Result<UnixMillis, ApiError> {
        ensure_consumer(&self.context, &QueueKey::of_lane(lane.clone()), &self.config).await
    }
}

/// Makes sure that a queue's consumer exists, and returns when it was made. Idempotent.
///
/// Behind a gate it does not go away when nobody pulls: as long as the gate is shut nobody does, and only the list of
/// consumers tells what waits.
pub(crate) async fn ensure_consumer(
    context: &Context,
    queue: &QueueKey,
    config: &LaneConfig,
) -> Result<UnixMillis, ApiError> {
    let inactive_threshold = match queue.origin() {
        Origin::Jobs => config.idle_max,
        Origin::Wait => Duration::ZERO,
    };
    let config = pull::Config {
        durable_name: Some(queue.consumer()),
        description: Some(queue.to_string()),
        filter_subject: queue.filter(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        replay_policy: ReplayPolicy::Instant,
        ack_wait: config.ack_wait,
        // The worker decides what is poison; a server-side limit would leave the job stuck in silence.
        max_deliver: -1,
        max_ack_pending: config.in_flight_max,
        // One waiting pull per worker and queue is the rule; this is for fleets.
        max_waiting: 4096,
        inactive_threshold,
        ..pull::Config::default()
    };
    let consumer = context.create_consumer_on_stream(config, queue.origin().stream()).await;
    let consumer = consumer.map_err(|error| match error.kind() {
        ConsumerErrorKind::JetStream(said) => {
            ApiError::Refused { code: said.error_code().0, description: error.to_string() }
        }
        ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request => ApiError::Unknown,
        ConsumerErrorKind::InvalidConsumerType | ConsumerErrorKind::InvalidName | ConsumerErrorKind::Other => {
            ApiError::Refused { code: 0, description: error.to_string() }
        }
    })?;
    Ok(UnixMillis::from(consumer.cached_info().created))
}

fn observe(clock: &ServerClock, asked: Instant, info: &StreamInfo) {
    let stamp = info.ts.as_deref().and_then(|ts| OffsetDateTime::parse(ts, &Rfc3339).ok());
    if let Some(stamp) = stamp {
        clock.observe(asked, Instant::now(), UnixMillis::from(stamp));
    }
}

/// Asks the server for its time once, for a process that counts no lanes.
///
/// # Errors
/// The server did not answer; the clock is as it was.
pub async fn ask_the_time(client: &Client, clock: &ServerClock) -> Result<(), ApiError> {
    let asked = Instant::now();
    let info = stream_info(client, "").await?;
    observe(clock, asked, &info);
    Ok(())
}

fn created_ns(info: &StreamInfo) -> Result<i64, ApiError> {
    let unreadable =
        |error: &dyn std::fmt::Display| ApiError::Unreadable(format!("the stream's creation time: {error}"));
    let created = OffsetDateTime::parse(&info.created, &Rfc3339).map_err(|error| unreadable(&error))?;
    i64::try_from(created.unix_timestamp_nanos()).map_err(|error| unreadable(&error))
}

async fn stream_info(client: &Client, payload: &'static str) -> Result<StreamInfo, ApiError> {
    let subject = format!("$JS.API.STREAM.INFO.{}", subjects::JOBS_STREAM);
    api::ask(client, subject, payload.into()).await
}
