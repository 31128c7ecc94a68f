//! Following the keys of a bucket for ever.
//!
//! The client's own watch notices a restarted server after eleven seconds and then goes on from where it was, which is
//! wrong for a bucket that was made anew meanwhile. This one begins again with everything there is as soon as the
//! connection is back.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::kv::Store;
use async_nats::{Client, Statistics};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};
use tollgate_types::UnixMillis;

use super::{CALL_MAX, Version, is_tombstone};

/// How often a new connection is looked for. The client tells only whoever made it, and reading a number costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The first and the longest wait between tries to begin again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What a watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The watch begins, or begins again: what follows until [`Seen::Complete`] is everything there is.
    Anew,
    /// A key has a value.
    Put(Version),
    /// A key was deleted.
    Gone {
        /// The key.
        key: String,
        /// The deletion's revision.
        revision: u64,
    },
    /// All that was there has been handed out; what follows are changes, each once, in order.
    Complete,
}

/// Follows the keys of a bucket; see [`Bucket::watch`](super::Bucket::watch).
pub struct Watch {
    client: Client,
    store: Store,
    prefix: String,
    statistics: Arc<Statistics>,
    link: Option<Link>,
    failures: u32,
    retry_at: Instant,
}

/// One consumer and how far it is.
struct Link {
    messages: Ordered,
    /// How often the client had connected when it was made.
    connects: u64,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// What was there is being handed out.
    Reading,
    /// It was handed out, and nobody was told yet.
    Read,
    /// Changes are being handed out.
    Following,
}

impl Watch {
    pub(super) fn new(context: &Context, store: Store, prefix: &str) -> Watch {
        let client = context.client();
        let statistics = client.statistics();
        Watch {
            client,
            store,
            prefix: prefix.to_owned(),
            statistics,
            link: None,
            failures: 0,
            retry_at: Instant::now(),
        }
    }

    /// The next thing to know; it waits for as long as there is none, also while the server is away. Cancel safe.
    pub async fn next(&mut self) -> Seen {
        loop {
            let Some(link) = &mut self.link else {
                if self.begin().await {
                    return Seen::Anew;
                }
                continue;
            };
            if link.progress == Progress::Read {
                link.progress = Progress::Following;
                return Seen::Complete;
            }
            if self.statistics.connects.load(Ordering::Relaxed) != link.connects {
                self.lost("the connection was lost");
                continue;
            }
            tokio::select! {
                biased;
                message = link.messages.next() => match message {
                    Some(Ok(message)) => {
                        if let Some(seen) = self.take(&message) {
                            return seen;
                        }
                    }
                    Some(Err(error)) => self.lost(&error),
                    None => self.lost("the subscription ended"),
                },
                () = sleep_until(Instant::now() + LOOK_EVERY) => {}
            }
        }
    }

    /// Makes a consumer, not before the time for it has come; says whether there is one.
    async fn begin(&mut self) -> bool {
        sleep_until(self.retry_at).await;
        let connects = self.statistics.connects.load(Ordering::Relaxed);
        match tokio::time::timeout(CALL_MAX, open(&self.client, &self.store, &self.prefix)).await {
            Ok(Ok((messages, pending))) => {
                let progress = if pending == 0 { Progress::Read } else { Progress::Reading };
                self.link = Some(Link { messages, connects, progress });
                self.failures = 0;
                true
            }
            Ok(Err(error)) => {
                self.wait(error.as_ref());
                false
            }
            Err(elapsed) => {
                self.wait(&elapsed);
                false
            }
        }
    }

    fn take(&mut self, message: &async_nats::jetstream::Message) -> Option<Seen> {
        let link = self.link.as_mut()?;
        let place = message.info().ok()?;
        if link.progress == Progress::Reading && place.pending == 0 {
            link.progress = Progress::Read;
        }
        let key = message.subject.strip_prefix(&self.store.prefix)?.to_owned();
        let revision = place.stream_sequence;
        if message.headers.as_ref().is_some_and(is_tombstone) {
            return Some(Seen::Gone { key, revision });
        }
        let value = message.payload.clone();
        Some(Seen::Put(Version { key, value, revision, at: UnixMillis::from(place.published) }))
    }

    fn lost(&mut self, why: impl std::fmt::Display) {
        tracing::info!(bucket = self.store.name, %why, "reading the bucket whole again");
        self.link = None;
    }

    fn wait(&mut self, why: &dyn Error) {
        // The first misses are what a restart looks like.
        if self.failures >= 3 {
            tracing::warn!(bucket = self.store.name, error = %why, "bucket not followed yet; trying again");
        }
        let (first, longest) = RETRY;
        let ceiling = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Instant::now() + ceiling.mul_f64(rand::random_range(0.5..1.0));
    }
}

/// A consumer of all last versions, and how many there are.
async fn open(client: &Client, store: &Store, prefix: &str) -> Result<(Ordered, u64), Box<dyn Error + Send + Sync>> {
    let config = OrderedConfig {
        deliver_subject: client.new_inbox(),
        description: Some("watch".to_owned()),
        filter_subject: format!("{}{prefix}>", store.prefix),
        replay_policy: ReplayPolicy::Instant,
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..OrderedConfig::default()
    };
    let consumer = store.stream.create_consumer(config).await?;
    let pending = consumer.cached_info().num_pending;
    Ok((consumer.messages().await?, pending))
}
