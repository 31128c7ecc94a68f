//! A reader that follows the commit log in order, through restarts of the server.
//!
//! It owns a pull consumer that the server forgets by itself. Order is checked, not assumed: the consumer numbers its
//! deliveries, so a delivery that was lost on the way (nothing is acknowledged) shows as a gap, and the reader makes a
//! new consumer from the first sequence that it has not seen.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy};
use async_nats::{StatusCode, Subject, Subscriber};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until, timeout_at};
use tollgate_types::UnixMillis;

use super::{CommitLog, LogEntry, LogError};

/// How long the server keeps the consumer of a reader that went away. With [`RETRY`] it bounds how many are left
/// behind while a server is in trouble: about thirty, of the hundred that the stream may have.
const INACTIVE: Duration = Duration::from_secs(30);
/// The longest that one pull may wait at the server. With [`SILENCE_MAX`] it bounds how long a connection that lives
/// but brings nothing goes unnoticed; idle heartbeats would not be quicker for waits as short as this.
const PULL_EXPIRES_MAX: Duration = Duration::from_secs(5);
/// How long after its expiry a pull's end may fail to arrive before the consumer is taken for gone.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// The first and the longest wait between attempts to make a consumer.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long making a consumer may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Follows the log from a sequence; see [`CommitLog::tail`].
#[derive(Debug)]
pub struct Tail {
    log: CommitLog,
    /// The lowest sequence that was not received.
    next: u64,
    /// Received, not yet handed out; here and not in a future, so that a cancelled call loses nothing.
    ready: VecDeque<LogEntry>,
    /// How many records the server still had after the last one received.
    pending: Option<u64>,
    link: Option<Link>,
    failures: u32,
    retry_at: Instant,
}

/// A consumer and the subscription that its deliveries arrive on.
#[derive(Debug)]
struct Link {
    consumer: Consumer<Config>,
    inbox: String,
    subscriber: Subscriber,
    /// The consumer's number of the last delivery received.
    delivered: u64,
    pulls: u64,
    pull: Option<Pull>,
}

/// The one request that is open at the server.
#[derive(Debug)]
struct Pull {
    reply: Subject,
    left: usize,
    /// When its end must have arrived.
    deadline: Instant,
}

/// Why a link is of no use any more.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the subscription ended")]
    Closed,
    #[error("nothing arrived, not even the end of the request")]
    Silent,
    #[error("delivery {got} came after {after}")]
    Gap { after: u64, got: u64 },
    #[error("the server ended the request: {0}")]
    Ended(String),
    #[error("the request was not sent")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Tail {
    pub(super) fn new(log: CommitLog, next: u64) -> Self {
        let now = Instant::now();
        Tail { log, next, ready: VecDeque::new(), pending: None, link: None, failures: 0, retry_at: now }
    }

    /// How many records the server still held beyond those received, when it last said; `None` before it did.
    ///
    /// Zero with an empty batch means: everything that was in the log has been handed out.
    pub fn pending(&self) -> Option<u64> {
        self.pending.map(|pending| pending + self.ready.len() as u64)
    }

    /// The next entries in stream order: at most `max_messages`, as soon as there are so many, else what came within
    /// `max_wait`; empty when nothing did, also while the server is away.
    ///
    /// A jump in the sequences means that the records between were removed from the stream. Trouble with the server
    /// is logged and repaired from the next needed sequence. Cancel safe: what was received stays for the next call.
    ///
    /// # Errors
    /// Only [`LogError::Recreated`], after which this reader is of no more use.
    pub async fn next_batch(&mut self, max_messages: usize, max_wait: Duration) -> Result<Vec<LogEntry>, LogError> {
        let until = Instant::now() + max_wait;
        while self.ready.len() < max_messages && Instant::now() < until {
            if self.link.is_none() && !self.connect(until).await? {
                continue;
            }
            let Some(link) = &mut self.link else { continue };
            match link.receive(max_messages - self.ready.len(), until).await {
                Ok(Some(message)) => self.take(message),
                Ok(None) => {}
                Err(broken) => self.unlink(&broken),
            }
        }
        let count = self.ready.len().min(max_messages);
        Ok(self.ready.drain(..count).collect())
    }

    fn take(&mut self, message: async_nats::Message) {
        let Some(link) = &mut self.link else { return };
        let message = Message { message, context: self.log.context.clone() };
        let Ok(info) = message.info() else {
            tracing::warn!(subject = %message.subject, "a message that is no delivery arrived at the log reader's inbox");
            return;
        };
        if info.consumer_sequence != link.delivered + 1 || info.stream_sequence < self.next {
            let broken = Broken::Gap { after: link.delivered, got: info.consumer_sequence };
            self.unlink(&broken);
            return;
        }
        link.delivered = info.consumer_sequence;
        self.next = info.stream_sequence + 1;
        self.pending = Some(info.pending);
        self.failures = 0;
        let (subject, at) = (message.subject.to_string(), UnixMillis::from(info.published));
        self.ready.push_back(LogEntry::new(info.stream_sequence, subject, at, message.headers.as_ref()));
    }

    fn unlink(&mut self, why: &(dyn std::error::Error + 'static)) {
        tracing::warn!(error = why, next = self.next, "log reader lost its consumer and makes another");
        self.link = None;
        self.wait_before_retry();
    }

    fn wait_before_retry(&mut self) {
        let (first, longest) = RETRY;
        let ceiling = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Instant::now() + ceiling.mul_f64(rand::random_range(0.5..1.0));
    }

    /// Makes a consumer, not before the time for it has come; says whether there is one now.
    async fn connect(&mut self, until: Instant) -> Result<bool, LogError> {
        sleep_until(self.retry_at.min(until)).await;
        if Instant::now() < self.retry_at {
            return Ok(false);
        }
        let limit = Instant::now() + CONNECT_MAX;
        let outcome = timeout_at(limit, Link::open(&self.log, self.next)).await;
        match outcome.unwrap_or_else(|elapsed| Err(LogError::Unavailable(elapsed.into()))) {
            Ok(link) => {
                self.pending = Some(link.consumer.cached_info().num_pending);
                self.link = Some(link);
                Ok(true)
            }
            Err(error @ LogError::Recreated { .. }) => Err(error),
            Err(error @ (LogError::Missing | LogError::TimedOut { .. } | LogError::Unavailable(_))) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    next = self.next,
                    "log reader has no consumer"
                );
                self.wait_before_retry();
                Ok(false)
            }
        }
    }
}

impl Link {
    async fn open(log: &CommitLog, next: u64) -> Result<Self, LogError> {
        let unavailable = |error: Box<dyn std::error::Error + Send + Sync>| LogError::Unavailable(error);
        let client = log.context.client();
        let inbox = client.new_inbox();
        // The inbox ends in a fresh unique id, which serves as the consumer's name too.
        let unique = inbox.rsplit('.').next().unwrap_or(&inbox).to_owned();
        let subscriber = client.subscribe(format!("{inbox}.*")).await.map_err(|e| unavailable(e.into()))?;
        let config = consumer_config(unique, next);
        let consumer = log.stream.create_consumer(config).await.map_err(|e| unavailable(e.into()))?;
        // Asked afterwards: a consumer dies with its stream, so it reads the incarnation that is there now.
        let info = log.stream.get_info().await.map_err(|e| unavailable(e.into()))?;
        log.same_incarnation(&info)?;
        Ok(Link { consumer, inbox, subscriber, delivered: 0, pulls: 0, pull: None })
    }

    /// One delivery, or `None` when a request ended or `until` passed. Cancel safe: the open request is remembered.
    async fn receive(&mut self, want: usize, until: Instant) -> Result<Option<async_nats::Message>, Broken> {
        if self.pull.is_none() {
            self.request(want, until).await?;
        }
        let Some(pull) = &mut self.pull else { return Ok(None) };
        let Ok(arrived) = timeout_at(until.min(pull.deadline), self.subscriber.next()).await else {
            return if Instant::now() >= pull.deadline { Err(Broken::Silent) } else { Ok(None) };
        };
        let message = arrived.ok_or(Broken::Closed)?;
        match message.status {
            None | Some(StatusCode::OK) => {
                pull.left = pull.left.saturating_sub(1);
                if pull.left == 0 {
                    self.pull = None;
                }
                Ok(Some(message))
            }
            // The end of an older request says nothing about the open one.
            Some(_) if message.subject != pull.reply => Ok(None),
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(None),
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.pull = None;
                Ok(None)
            }
            Some(status) => Err(Broken::Ended(message.description.unwrap_or_else(|| status.to_string()))),
        }
    }

    async fn request(&mut self, want: usize, until: Instant) -> Result<(), Broken> {
        let expires =
            until.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(10), PULL_EXPIRES_MAX);
        self.pulls += 1;
        let reply = Subject::from(format!("{}.{}", self.inbox, self.pulls));
        let batch = BatchConfig { batch: want, expires: Some(expires), ..BatchConfig::default() };
        self.consumer.request_batch(batch, reply.clone()).await.map_err(|error| Broken::Send(error.into()))?;
        self.pull = Some(Pull { reply, left: want, deadline: Instant::now() + expires + SILENCE_MAX });
        Ok(())
    }
}

/// Everything that matters is explicit: a server's defaults may change.
fn consumer_config(name: String, next: u64) -> Config {
    Config {
        name: Some(name),
        description: Some("follows the commit log".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next.max(1) },
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        replay_policy: ReplayPolicy::Instant,
        headers_only: true,
        max_waiting: 8,
        inactive_threshold: INACTIVE,
        num_replicas: 1,
        memory_storage: true,
        ..Config::default()
    }
}
