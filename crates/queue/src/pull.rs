//! Pulling: asking one queue for exactly as many jobs as were granted to it.
//!
//! All pulls share one wildcard inbox, so that a pull costs one publish. A job arrives under the subject that it was
//! published on and does not say which pull brought it, so a queue has at most one pull under way. A pull ends when it
//! brought all it asked for, when the server says that there is no more, or, because a restarted server forgets it in
//! silence, when its time is long over; the caller owns that last rule, with [`Pull::overdue`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;

use crate::connect::Connection;
use crate::queue_key::QueueKey;

/// Sends pulls and receives what they bring.
pub struct Puller {
    client: Client,
    inbox: String,
    subscriber: Subscriber,
    next_id: u64,
}

/// One request for jobs of one queue.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Its number, in the order of asking.
    pub id: u64,
    /// The queue that was asked.
    pub queue: Arc<QueueKey>,
    /// How many jobs are still to come at most.
    pub slots: usize,
    /// Until when the server may hold it.
    pub until: Instant,
}

/// A pull that is this much past its time was forgotten by the server.
pub const OVERDUE_AFTER: Duration = Duration::from_secs(2);

impl Pull {
    /// Whether no answer can be expected any more.
    pub fn overdue(&self, now: Instant) -> bool {
        now > self.until + OVERDUE_AFTER
    }
}

/// A job that a pull brought, not yet taken over: see [`Delivery::take`](crate::Delivery::take).
#[derive(Debug)]
pub struct Arrival {
    /// The queue that it came through.
    pub queue: QueueKey,
    pub(crate) message: Message,
}

/// What came in for a pull.
#[derive(Debug)]
pub enum PullEvent {
    /// A job.
    Job(Box<Arrival>),
    /// The pull is over; the queue had no more.
    Drained {
        /// Which pull.
        pull: u64,
    },
    /// The pull is over for another reason, with the server's words.
    Ended {
        /// Which pull.
        pull: u64,
        /// Whether the queue's consumer is gone and must be made again.
        consumer_gone: bool,
        /// The server's words.
        reason: String,
    },
}

#[derive(Serialize)]
struct NextRequest {
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_wait: bool,
}

/// `no_wait` is answered at once; this only bounds how long we believe that an answer is on its way.
const NO_WAIT_ANSWER: Duration = Duration::from_secs(1);

impl Puller {
    /// Subscribes to a fresh inbox.
    ///
    /// # Errors
    /// Returns why the subscription could not be made.
    pub async fn open(connection: &Connection) -> Result<Puller, async_nats::SubscribeError> {
        let client = &connection.client;
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(format!("{inbox}.*")).await?;
        Ok(Puller { client: client.clone(), inbox, subscriber, next_id: 0 })
    }

    /// Asks `queue` for up to `slots` jobs: those that are there, or, with `wait`, those that come meanwhile.
    ///
    /// # Errors
    /// Returns why nothing was sent; then no job can come.
    pub async fn pull(&mut self, queue: &Arc<QueueKey>, slots: usize, wait: Option<Duration>) -> Result<Pull, String> {
        self.next_id += 1;
        let expires = wait.map(|w| u64::try_from(w.as_nanos()).unwrap_or(u64::MAX));
        let request = NextRequest { batch: slots, expires, no_wait: wait.is_none() };
        let payload = serde_json::to_vec(&request).expect("numbers serialise");
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", queue.origin().stream(), queue.consumer());
        let reply = format!("{}.{}", self.inbox, self.next_id);
        self.client.publish_with_reply(subject, reply, Bytes::from(payload)).await.map_err(|e| e.to_string())?;
        let until = Instant::now() + wait.unwrap_or(NO_WAIT_ANSWER);
        Ok(Pull { id: self.next_id, queue: queue.clone(), slots, until })
    }

    /// The next thing that came in; `None` when the connection is closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<PullEvent> {
        loop {
            let message = self.subscriber.next().await?;
            if let Some(event) = event(message) {
                return Some(event);
            }
        }
    }
}

fn event(message: Message) -> Option<PullEvent> {
    // By its subject, not by its status: a producer can write a status line into its headers.
    if let Some(queue) = QueueKey::of_subject(&message.subject) {
        return Some(PullEvent::Job(Box::new(Arrival { queue, message })));
    }
    let status = message.status?;
    let pull = message.subject.rsplit('.').next()?.parse().ok()?;
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::TIMEOUT) {
        return Some(PullEvent::Drained { pull });
    }
    let words = message.description.unwrap_or_default();
    let lower = words.to_ascii_lowercase();
    let consumer_gone = status == StatusCode::NO_RESPONDERS || lower.contains("consumer deleted");
    Some(PullEvent::Ended { pull, consumer_gone, reason: format!("{status} {words}") })
}
