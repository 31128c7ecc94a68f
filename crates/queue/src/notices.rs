//! Results, and ends of batches, as somebody outside is to be told of them: each team's own, in the order of their stream,
//! again until it was told.
//!
//! The server keeps the place, in a durable consumer per team that all processes share. It begins with what comes after it
//! was made; removing it is how to begin anew.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::{AckKind, Context, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tollgate_types::{BatchId, JobId, headers, subjects};

/// For how long a notice is one process's alone; longer than it may wait here and its receiver may take.
pub const LEASE: Duration = Duration::from_secs(300);
/// How many may be told at once or wait to be told again; further ones wait in the log.
const UNTOLD_MAX: i64 = 1000;
/// How many are asked for at once.
const BATCH: usize = 8;

/// What somebody wants to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Results of jobs.
    Results,
    /// Ends of batches.
    Batches,
}

/// What is to be told of one team.
pub struct Notices {
    messages: Stream,
    topic: Topic,
    team: String,
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The result of a job.
    Result(JobId),
    /// A word about the end of a batch: `done` or `outcome`.
    Batch(BatchId, String),
}

/// Something that is to be told.
#[derive(Debug)]
pub struct Notice {
    /// What.
    pub about: About,
    /// The message as it is kept: of a result, its line.
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
    /// Follows a topic of a team under a name of the consumer.
    ///
    /// # Errors
    /// The server did not make it.
    pub async fn open(context: &Context, (topic, team): (Topic, &str), durable: &str) -> Result<Notices, NoticesError> {
        let (stream, filter, filters) = match topic {
            Topic::Results => (subjects::RESULTS_STREAM, format!("tollgate.results.{team}.*"), Vec::new()),
            Topic::Batches => {
                let of = |record: &str| format!("tollgate.batches.{team}.*.{record}");
                (subjects::BATCHES_STREAM, String::new(), vec![of("done"), of("outcome")])
            }
        };
        let config = pull::Config {
            durable_name: Some(durable.to_owned()),
            description: Some("what is told to the team's webhook".to_owned()),
            filter_subject: filter,
            filter_subjects: filters,
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: LEASE,
            max_ack_pending: UNTOLD_MAX,
            ..pull::Config::default()
        };
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| NoticesError(error);
        let consumer = context.create_consumer_on_stream(config, stream).await;
        let consumer = consumer.map_err(|error| failed(error.into()))?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).messages().await;
        Ok(Notices { messages: messages.map_err(|error| failed(error.into()))?, topic, team: team.to_owned() })
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
                Some((about, tries)) => return Ok(Notice { about, line: message.payload.clone(), tries, message }),
                None => settle(&message, AckKind::Ack).await,
            }
        }
    }

    fn read(&self, message: &Message) -> Option<(About, u64)> {
        let tries = message.info().map_or(1, |info| u64::try_from(info.delivered).unwrap_or(1));
        let about = match self.topic {
            Topic::Results => {
                let has = |name: &str| message.headers.as_ref().is_some_and(|all| all.get(name).is_some());
                let is_result = has(headers::USAGE) && !has(headers::TOMBSTONE);
                let job = message.subject.strip_prefix("tollgate.results.").filter(|_| is_result)?;
                About::Result(job.strip_prefix(&self.team)?.strip_prefix('.')?.parse().ok()?)
            }
            Topic::Batches => {
                let (_, batch, record) = subjects::parse_batches(&message.subject)?;
                About::Batch(batch, record.to_owned())
            }
        };
        Some((about, tries))
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
