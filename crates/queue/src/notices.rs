//! Results as somebody outside is to be told of them: each team's own, in the order of the log, again until it was told.
//!
//! The server keeps the place, in a durable consumer per team that all processes share. It begins with the results that come
//! after it was made; removing it is how to begin anew.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::{AckKind, Context, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tollgate_types::{JobId, headers, subjects};

/// For how long a notice is one process's alone; longer than it may wait here and its receiver may take.
pub const LEASE: Duration = Duration::from_secs(300);
/// How many may be told at once or wait to be told again; further ones wait in the log.
const UNTOLD_MAX: i64 = 1000;
/// How many are asked for at once.
const BATCH: usize = 8;

/// The results of one team.
pub struct Notices {
    messages: Stream,
    prefix: String,
}

/// One result that is to be told.
#[derive(Debug)]
pub struct Notice {
    /// The job.
    pub job: JobId,
    /// The result line as it is kept.
    pub line: Bytes,
    /// How often it was tried, with this time.
    pub tries: u64,
    message: Message,
}

/// Why results cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("the results of a team cannot be followed: {0}")]
pub struct NoticesError(Box<dyn std::error::Error + Send + Sync>);

impl Notices {
    /// Follows the results of a team under a name of the consumer.
    ///
    /// # Errors
    /// The server did not make it.
    pub async fn open(context: &Context, team: &str, durable: &str) -> Result<Notices, NoticesError> {
        let prefix = format!("tollgate.results.{team}.");
        let config = pull::Config {
            durable_name: Some(durable.to_owned()),
            description: Some("results that are told to the team's webhook".to_owned()),
            filter_subject: format!("{prefix}*"),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: LEASE,
            max_ack_pending: UNTOLD_MAX,
            ..pull::Config::default()
        };
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| NoticesError(error);
        let consumer = context.create_consumer_on_stream(config, subjects::RESULTS_STREAM).await;
        let consumer = consumer.map_err(|error| failed(error.into()))?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).messages().await;
        Ok(Notices { messages: messages.map_err(|error| failed(error.into()))?, prefix })
    }

    /// The next one. What is no result, or has lost its texts, is passed by. Cancel safe.
    ///
    /// # Errors
    /// The consumer is gone, or the server was not heard of for long: open it anew.
    pub async fn next(&mut self) -> Result<Notice, NoticesError> {
        loop {
            let ended = || NoticesError("the consumer ended".into());
            let message = self.messages.next().await.ok_or_else(ended)?;
            let message = message.map_err(|error| NoticesError(error.into()))?;
            match self.read(&message) {
                Some((job, tries)) => return Ok(Notice { job, line: message.payload.clone(), tries, message }),
                None => settle(&message, AckKind::Ack).await,
            }
        }
    }

    fn read(&self, message: &Message) -> Option<(JobId, u64)> {
        let has = |name: &str| message.headers.as_ref().is_some_and(|all| all.get(name).is_some());
        let is_result = has(headers::USAGE) && !has(headers::TOMBSTONE);
        let job = message.subject.strip_prefix(&self.prefix).filter(|_| is_result)?.parse().ok()?;
        let tries = message.info().map_or(1, |info| u64::try_from(info.delivered).unwrap_or(1));
        Some((job, tries))
    }
}

impl Notice {
    /// It was told. Killed before this arrives, it is told again.
    pub async fn told(self) {
        settle(&self.message, AckKind::Ack).await;
    }

    /// It is to be told again after a while.
    pub async fn later(self, after: Duration) {
        settle(&self.message, AckKind::Nak(Some(after))).await;
    }

    /// It is given up.
    pub async fn given_up(self) {
        settle(&self.message, AckKind::Term).await;
    }
}

async fn settle(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        // Its lease runs out, and it comes again.
        tracing::debug!(error, "a notice was not settled");
    }
}
