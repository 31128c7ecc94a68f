//! The stream of waiting jobs: parking a delivery behind a gate or until its time, and finding it again.
//!
//! A job is parked by a create-only publish and only then acked, so that at every moment one copy at least is stored.
//! Killed before the publish, the delivery comes again and is parked again. Killed between publish and ack, it comes
//! again too: a redelivered job is asked after with [`Wait::parked_elsewhere`] before it may run, and only acked if a
//! copy waits. Whoever parks must therefore have noted the job as in flight first ([`InFlight`](crate::InFlight)): a
//! killed server forgets deliveries, and a job that comes as if for the first time would not be asked after.
//!
//! A parked job that moves to another gate is for a moment there twice, and both copies may come again, to two workers
//! who look at the same time. The older one gives way, never the newer: else each could be acked because of the other,
//! and the job were lost.
//!
//! A copy that comes due is published by the server itself, under the gate [`Gate::Due`](tollgate_types::Gate::Due).

mod parked;
mod queues;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use serde::{Deserialize, Serialize};
use tollgate_types::{Digest, JobId, LaneKey, subjects};

use crate::api::{self, ApiError, Stored};
use crate::connect::Connection;
use crate::delivery::Delivery;
use crate::direct;
use crate::lanes::LaneConfig;
use crate::queue_key::{Origin, QueueKey};
use crate::streams::Room;
pub use parked::{Parked, ParkedCopy, Until};
use queues::Known;
pub use queues::{ANSWER_UNUSED, QueueCount};

/// How parking ended. After [`Kept::New`] and [`Kept::Already`] the delivery is to be acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The copy is stored.
    New,
    /// A copy of the same request is there already.
    Already,
    /// A copy of another request has that id; nothing was stored.
    Conflict,
    /// No more may wait; nothing was stored, the job stays where it is.
    NoRoom,
}

/// The stream of waiting jobs. Clones share what they know.
#[derive(Clone)]
pub struct Wait {
    client: Client,
    context: Context,
    config: LaneConfig,
    known: Arc<Mutex<Known>>,
    space: Arc<Mutex<Space>>,
}

/// Whether more may wait, as it was seen last.
struct Space {
    full: bool,
    looked: Option<Instant>,
}

/// How often the stream's size is looked at while jobs are parked. The limit is passed by what is parked meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a publish may find its subject taken and then empty: each time somebody settled a copy in between.
const TRIES: usize = 8;

#[derive(Deserialize)]
struct StreamInfo {
    config: StreamConfig,
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamConfig {
    #[serde(default)]
    metadata: std::collections::HashMap<String, String>,
}

#[derive(Deserialize)]
struct StreamState {
    messages: u64,
    bytes: u64,
}

impl Wait {
    /// Over a connection; the stream must exist, it is never created here. Consumers are made like those of lanes.
    ///
    /// # Errors
    /// Why the stream could not be read.
    pub async fn open(connection: &Connection, config: LaneConfig) -> Result<Wait, ApiError> {
        let client = connection.client.clone();
        let context = jetstream::new(client.clone());
        let known = Arc::new(Mutex::new(Known::new(&client)));
        let space = Arc::new(Mutex::new(Space { full: false, looked: None }));
        let wait = Wait { client, context, config, known, space };
        wait.look_at_space().await?;
        Ok(wait)
    }

    /// Parks a delivery. Idempotent: the same request parked again is [`Kept::Already`].
    ///
    /// Cancelled or without an answer, the copy may be stored; then the delivery must not be acked, and when it comes
    /// again the copy is found.
    ///
    /// # Errors
    /// [`ApiError::TooLarge`] if the message leaves no room for our headers; [`ApiError::Unknown`] without an answer;
    /// otherwise why the server refused.
    pub async fn park(&self, parked: Parked<'_>) -> Result<Kept, ApiError> {
        // A copy that moves from gate to gate takes the room that it has.
        if parked.delivery.place.origin == Origin::Jobs && !self.has_space().await? {
            return Ok(Kept::NoRoom);
        }
        let queue = QueueKey::behind(parked.until.gate(), parked.delivery.lane.clone());
        // A consumer that somebody drops between these two is made again: see `drop_unused`.
        let doubtful = self.ensure_before(&queue).await?;
        let kept = self.store(&parked).await?;
        if doubtful {
            self.ensure(&queue).await?;
        }
        if matches!(kept, Kept::New | Kept::Already) {
            self.remember(&queue);
        }
        Ok(kept)
    }

    async fn store(&self, parked: &Parked<'_>) -> Result<Kept, ApiError> {
        let (subject, delivery) = (parked.subject(), parked.delivery);
        // Parked again behind the gate that it came from, the copy takes the old one's place.
        let mut expected = if delivery.subject() == subject { delivery.place.sequence } else { 0 };
        let mut sent = parked.headers();
        let mut lean = false;
        for _ in 0..TRIES {
            let payload = delivery.payload.clone();
            match api::publish_expecting(&self.client, subject.clone(), sent.clone(), payload, expected).await {
                Ok(Stored::New) => return Ok(Kept::New),
                Ok(Stored::Taken) => match self.last(&subject).await? {
                    // One that is older than this gives way to it, so it is no place to leave the job to.
                    Some(copy) if copy.is_of(&parked.digest) && !copy.is_newer_than(delivery) => {
                        expected = copy.sequence;
                    }
                    Some(copy) if copy.is_of(&parked.digest) => return Ok(Kept::Already),
                    Some(_) => return Ok(Kept::Conflict),
                    // Settled since.
                    None => expected = 0,
                },
                Err(ApiError::TooLarge) if !lean => (sent, lean) = (parked.lean_headers(), true),
                Err(error) => return Err(error),
            }
        }
        Err(ApiError::Unknown)
    }

    /// Every copy of a job of that lane, whatever it waits for.
    ///
    /// # Errors
    /// Why the stream could not be asked.
    pub async fn parked_copies(&self, lane: &LaneKey, job: &JobId) -> Result<Vec<ParkedCopy>, ApiError> {
        self.copies(&format!("tollgate.wait.*.{}.{}.{job}", lane.class, lane.team)).await
    }

    /// Every copy of a job of that team, in whichever class and whatever it waits for.
    ///
    /// # Errors
    /// Why the stream could not be asked.
    pub async fn find_parked(&self, team: &str, job: &JobId) -> Result<Vec<ParkedCopy>, ApiError> {
        self.copies(&format!("tollgate.wait.*.*.{team}.{job}")).await
    }

    /// Whether this very message was parked, so that it is only to be acked: a newer copy waits that was accepted at the same
    /// time. Another message of the same id is none, for it knows nothing of what this one may have cost. Asked for
    /// redelivered jobs alone; it makes sure that the copy will be served.
    ///
    /// # Errors
    /// Why the stream could not be asked; then the job must not run.
    pub async fn parked_elsewhere(&self, delivery: &Delivery, job: &JobId, digest: Digest) -> Result<bool, ApiError> {
        let copies = self.parked_copies(&delivery.lane, job).await?;
        let newer = copies.into_iter().find(|copy| {
            copy.is_of(&digest) && copy.is_newer_than(delivery) && copy.accepted_at == delivery.place.accepted_at
        });
        let Some(copy) = newer else { return Ok(false) };
        // Whoever parked it may have died before he was sure that its consumer is there.
        self.ensure(&QueueKey::behind(copy.until.gate(), copy.lane)).await?;
        Ok(true)
    }

    async fn copies(&self, subject: &str) -> Result<Vec<ParkedCopy>, ApiError> {
        #[derive(Serialize)]
        struct MultiLast<'a> {
            multi_last: [&'a str; 1],
        }
        let question = MultiLast { multi_last: [subject] };
        let batch = direct::batch(&self.client, subjects::WAIT_STREAM, &question).await?;
        Ok(batch.messages.into_iter().filter_map(ParkedCopy::read).collect())
    }

    async fn last(&self, subject: &str) -> Result<Option<ParkedCopy>, ApiError> {
        Ok(self.copies(subject).await?.into_iter().next())
    }

    async fn has_space(&self) -> Result<bool, ApiError> {
        let (full, looked) = {
            let space = self.space.lock().expect("no holder panics");
            (space.full, space.looked)
        };
        if looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(!full);
        }
        self.look_at_space().await
    }

    async fn look_at_space(&self) -> Result<bool, ApiError> {
        let subject = format!("$JS.API.STREAM.INFO.{}", subjects::WAIT_STREAM);
        let info: StreamInfo = api::ask(&self.client, subject, "".into()).await?;
        let room = Room::read(&info.config.metadata);
        let over = |used: u64, limit: i64| u64::try_from(limit).is_ok_and(|limit| limit > 0 && used >= limit);
        let full = over(info.state.messages, room.messages) || over(info.state.bytes, room.bytes);
        if full {
            tracing::error!(
                messages = info.state.messages,
                bytes = info.state.bytes,
                "no more jobs may wait behind gates; raise [streams] wait_max or wait_bytes_max"
            );
        }
        *self.space.lock().expect("no holder panics") = Space { full, looked: Some(Instant::now()) };
        Ok(!full)
    }
}
