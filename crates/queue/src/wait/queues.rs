//! The consumers behind gates: one per gate and lane, made before the first job is parked, dropped when unused.
//!
//! What waits is told by the list of consumers: each waiting job has a subject of its own, so counting subjects would
//! be a list of jobs. A message without a consumer would therefore wait unseen, and that must not happen when one
//! process drops a consumer while another parks.
//!
//! The one who drops: lists, takes what is empty and was unused for long, looks once more, deletes, and then looks for
//! messages; if there are any it makes the consumer again. The one who parks: makes sure, publishes, makes sure again,
//! and only then trusts that the consumer exists, for [`TRUST`]. If the message came before the deletion, the first
//! finds it; if after, the second makes the consumer anew. Trusted without asking is only a queue into which this
//! process has put a job just before, which does not count as unused, and not after a lost connection. What is left is
//! a job that came and was served within the two requests of the deletion; the next count, which finds the consumer
//! missing, ends that trust.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{Client, Statistics};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tollgate_types::{Gate, LaneKey, subjects};

use super::Wait;
use crate::api::{self, ApiError};
use crate::direct;
use crate::lanes::ensure_consumer;
use crate::queue_key::QueueKey;

/// How long a consumer is taken to exist after a job was parked for it. Far below any sensible time of disuse.
const TRUST: Duration = Duration::from_secs(300);
/// The same for the answer of another job: there are many such gates, each for a moment, so they are dropped soon.
const TRUST_ANSWER: Duration = Duration::from_secs(5);
/// How long such a gate's consumer is to be kept without use.
pub const ANSWER_UNUSED: Duration = Duration::from_secs(30);
/// JetStream's code for "consumer create failed". A consumer that is made in the millisecond in which it is dropped can
/// be left without its folder (nats-server 2.15.1): it works, but is gone with the server, and every later try to make
/// it fails like this. Dropped and made once more it is well; its jobs stay in the stream meanwhile.
const CREATE_FAILED: u64 = 10012;
/// JetStream's code for "consumer does not exist" when one is made: it was there when the server looked first, and was
/// dropped before it could be taken over.
const GONE_MEANWHILE: u64 = 10149;
/// How often it is tried again then, after which pause, and after how many tries it is dropped.
const CREATE_TRIES: usize = 20;
const CREATE_PAUSE: Duration = Duration::from_millis(20);
const CREATE_PATIENCE: usize = 4;
/// The most consumers dropped in one go; the rest follows with the next.
const DROPS_MAX: usize = 256;
/// The most pages of a list: with 256 to a page, more consumers than a stream may have.
const PAGES_MAX: usize = 64;

/// How many jobs of a queue wait and run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCount {
    /// Not delivered yet.
    pub waiting: u64,
    /// Delivered and not settled, with whichever worker.
    pub in_flight: u64,
}

/// Which consumers are known to exist.
pub(super) struct Known {
    statistics: Arc<Statistics>,
    connects: u64,
    until: HashMap<QueueKey, Instant>,
}

impl Known {
    pub(super) fn new(client: &Client) -> Known {
        let statistics = client.statistics();
        let connects = statistics.connects.load(Ordering::Relaxed);
        Known { statistics, connects, until: HashMap::new() }
    }

    fn trusts(&mut self, queue: &QueueKey) -> bool {
        let connects = self.statistics.connects.load(Ordering::Relaxed);
        if connects != self.connects {
            self.connects = connects;
            self.until.clear();
        }
        self.until.get(queue).is_some_and(|until| Instant::now() < *until)
    }
}

#[derive(Serialize)]
struct Page {
    offset: usize,
}

#[derive(Deserialize)]
struct List {
    total: usize,
    consumers: Option<Vec<Info>>,
}

#[derive(Deserialize)]
struct Info {
    created: String,
    config: Config,
    delivered: Position,
    ack_floor: Position,
    num_ack_pending: u64,
    num_pending: u64,
    ts: Option<String>,
}

#[derive(Deserialize)]
struct Config {
    filter_subject: Option<String>,
}

#[derive(Deserialize)]
struct Position {
    last_active: Option<String>,
}

impl Info {
    fn queue(&self) -> Option<QueueKey> {
        QueueKey::of_filter(self.config.filter_subject.as_deref()?)
    }

    /// Whether nothing is in it and nothing happened to it for so long, by the server's clock alone.
    fn unused_for(&self, long: Duration) -> bool {
        if self.num_pending > 0 || self.num_ack_pending > 0 {
            return false;
        }
        let read = |text: &String| OffsetDateTime::parse(text, &Rfc3339).ok();
        let Some(now) = self.ts.as_ref().and_then(read) else { return false };
        let moments = [Some(&self.created), self.delivered.last_active.as_ref(), self.ack_floor.last_active.as_ref()];
        let last = moments.into_iter().flatten().filter_map(read).max();
        last.is_some_and(|last| now - last >= long)
    }
}

impl Wait {
    /// How many jobs wait behind which gate, and of which lane: one question per 256 queues.
    ///
    /// Jobs for later are not among them; they are when their time has come.
    ///
    /// # Errors
    /// Why the stream could not be asked.
    pub async fn queues(&self) -> Result<HashMap<(Gate, LaneKey), QueueCount>, ApiError> {
        let mut counts = HashMap::new();
        let mut listed = HashSet::new();
        for info in self.list().await? {
            let Some(queue) = info.queue() else { continue };
            let count = QueueCount { waiting: info.num_pending, in_flight: info.num_ack_pending };
            if let Some(gate) = queue.gate.clone() {
                counts.insert((gate, (*queue.lane).clone()), count);
            }
            listed.insert(queue);
        }
        self.known.lock().expect("no holder panics").until.retain(|queue, _| listed.contains(queue));
        Ok(counts)
    }

    /// Makes sure that the consumer of a queue behind a gate exists. Idempotent.
    ///
    /// # Errors
    /// The server's words when it refuses.
    pub async fn ensure(&self, queue: &QueueKey) -> Result<(), ApiError> {
        let mut tries = 1;
        loop {
            match ensure_consumer(&self.context, queue, &self.config).await {
                Err(ApiError::Refused { code: code @ (CREATE_FAILED | GONE_MEANWHILE), .. })
                    if tries < CREATE_TRIES =>
                {
                    tokio::time::sleep(CREATE_PAUSE.mul_f64(rand::random_range(0.5..1.0))).await;
                    if code == CREATE_FAILED && tries % CREATE_PATIENCE == 0 {
                        self.delete(queue).await?;
                    }
                    tries += 1;
                }
                made => return made.map(|_| ()),
            }
        }
    }

    /// Makes sure that the consumer exists, and says whether it had to ask.
    pub(super) async fn ensure_before(&self, queue: &QueueKey) -> Result<bool, ApiError> {
        if self.known.lock().expect("no holder panics").trusts(queue) {
            return Ok(false);
        }
        self.ensure(queue).await.map(|()| true)
    }

    /// Trusts for a while that the consumer exists: a job was parked for it.
    pub(super) fn remember(&self, queue: &QueueKey) {
        let now = Instant::now();
        let mut known = self.known.lock().expect("no holder panics");
        known.until.retain(|_, until| *until > now);
        let trust = if is_of_an_answer(queue) { TRUST_ANSWER } else { TRUST };
        known.until.insert(queue.clone(), now + trust);
    }

    /// Drops consumers that are empty and were not used for `unused`, an hour or more outside of tests; says how many.
    ///
    /// Killed between a deletion and the look after it, a job that came in that very moment waits unseen until the
    /// next job of its queue is parked, or a look through the backlog finds it.
    ///
    /// # Errors
    /// Why the stream could not be asked; what was dropped stays dropped.
    pub async fn drop_unused(&self, unused: Duration) -> Result<usize, ApiError> {
        self.drop_those(unused, |_| true).await
    }

    /// Drops the unused consumers of gates that stand for the answer of another job, and says how many: each such gate
    /// is needed for one call, and without this they would soon be more than a stream may have. Outside of tests `unused`
    /// is [`ANSWER_UNUSED`].
    ///
    /// # Errors
    /// Why the stream could not be asked; what was dropped stays dropped.
    pub async fn drop_unused_answers(&self, unused: Duration) -> Result<usize, ApiError> {
        self.drop_those(unused, is_of_an_answer).await
    }

    async fn drop_those(&self, unused: Duration, those: impl Fn(&QueueKey) -> bool) -> Result<usize, ApiError> {
        let mut dropped = 0;
        for info in self.list().await?.iter().filter(|info| info.unused_for(unused)).take(DROPS_MAX) {
            let Some(queue) = info.queue().filter(&those) else { continue };
            if self.is_expected(&queue).await? || !self.still_unused(&queue, unused).await? {
                continue;
            }
            self.delete(&queue).await?;
            if self.holds(&queue.filter()).await? || self.is_expected(&queue).await? {
                self.ensure(&queue).await?;
                continue;
            }
            self.known.lock().expect("no holder panics").until.remove(&queue);
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Whether jobs for later will come to this queue when their time comes.
    async fn is_expected(&self, queue: &QueueKey) -> Result<bool, ApiError> {
        if queue.gate != Some(Gate::Due) {
            return Ok(false);
        }
        let LaneKey { class, team } = &*queue.lane;
        self.holds(&format!("tollgate.wait.{}.{class}.{team}.*", subjects::LATER)).await
    }

    async fn holds(&self, filter: &str) -> Result<bool, ApiError> {
        let question = serde_json::json!({ "seq": 1, "next_by_subj": filter, "batch": 1 });
        Ok(!direct::batch(&self.client, subjects::WAIT_STREAM, &question).await?.messages.is_empty())
    }

    async fn still_unused(&self, queue: &QueueKey, unused: Duration) -> Result<bool, ApiError> {
        let subject = format!("$JS.API.CONSUMER.INFO.{}.{}", subjects::WAIT_STREAM, queue.consumer());
        match api::ask::<Info>(&self.client, subject, "".into()).await {
            Ok(info) => Ok(info.unused_for(unused)),
            Err(ApiError::Refused { code: NO_CONSUMER, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, queue: &QueueKey) -> Result<(), ApiError> {
        #[derive(Deserialize)]
        struct Deleted {}
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", subjects::WAIT_STREAM, queue.consumer());
        match api::ask::<Deleted>(&self.client, subject, "".into()).await {
            Ok(Deleted {}) | Err(ApiError::Refused { code: NO_CONSUMER, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list(&self) -> Result<Vec<Info>, ApiError> {
        let subject = format!("$JS.API.CONSUMER.LIST.{}", subjects::WAIT_STREAM);
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let payload = serde_json::to_vec(&Page { offset: all.len() }).expect("numbers serialise");
            let List { total, consumers } = api::ask(&self.client, subject.clone(), payload.into()).await?;
            let page = consumers.unwrap_or_default();
            let ended = page.is_empty();
            all.extend(page);
            if ended || all.len() >= total {
                break;
            }
        }
        Ok(all)
    }
}

fn is_of_an_answer(queue: &QueueKey) -> bool {
    matches!(queue.gate, Some(Gate::Answer(_)))
}

/// JetStream's code for "consumer not found".
const NO_CONSUMER: u64 = 10014;
