//! How the front door submits jobs of many teams over one connection, and hears of their results.
//!
//! A job that comes in there has its result copied to a subject of the process that waits for it, so one subscription
//! hears for all callers and nothing is set up per call. The copy is a courtesy: whoever waits also looks the result up,
//! now and then, because the copy of a job that another process submitted goes there, and any copy can be lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tollgate_types::{JobId, JobResult, LaneKey, headers, subjects};

use crate::api::{self, ApiError};
use crate::blobs::{Blobs, Fetched, NotPut};
use crate::connect::Connection;
use crate::results::{Existing, Results};

/// What is to be submitted.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    /// Where.
    pub lane: &'a LaneKey,
    /// Under which id.
    pub job: &'a JobId,
    /// The job line.
    pub line: Bytes,
    /// The id of the API key that it came in with.
    pub key: &'a str,
    /// The caller's trace, if it named one: `traceparent` and `tracestate`.
    pub trace: Option<(&'a str, &'a str)>,
}

/// Why a job was not submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nothing was stored: the queue takes no more, or there is none.
    #[error("the queue does not take the job")]
    NotTaken(#[source] ApiError),
    /// Its body does not fit a message, and the team's share of the room for such bodies has none for it.
    #[error("the team's large bodies have their share of the room for them")]
    OverShare,
    /// The line is larger than a message may be.
    #[error("the job is larger than a message may be")]
    TooLarge,
    /// No acknowledgement came: the job may be in the queue.
    #[error("it is not known whether the queue has the job")]
    Unknown,
}

/// Tries of one job, all under its id.
const TRIES: u32 = 4;
/// The first look for a result whose copy has not come, and the longest pause between looks.
const LOOK_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// The same where the copy may go to somebody else: all that is known then is what is looked up.
const LOOK_SOON: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Copies that wait for one caller; one is enough, a second may come when a job is delivered twice.
const COPIES_MAX: usize = 4;

/// What came of a wait.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The result line.
    pub line: Bytes,
    /// The digest of the request that it answers, if the result was looked up.
    pub digest: Option<String>,
}

/// The callers' places by job, and who listens there.
type Waiting = HashMap<String, Vec<(u64, mpsc::Sender<Bytes>)>>;

/// The switchboard. Clones share it.
#[derive(Clone)]
pub struct Switchboard {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Connection,
    results: Results,
    instance: String,
    waiting: Arc<Mutex<Waiting>>,
    /// Ends with this.
    _listener: JoinSet<()>,
}

/// One caller's wait for one result, from before the job is submitted; dropped, it waits no more.
pub struct Place {
    switchboard: Switchboard,
    team: String,
    job: JobId,
    number: u64,
    copies: mpsc::Receiver<Bytes>,
    look_at: Instant,
    pause: Duration,
    pause_max: Duration,
    /// Whether a copy is the answer: not if the job was submitted before, because that may be another request.
    hears: bool,
}

impl Switchboard {
    /// Listens over a connection.
    ///
    /// # Errors
    /// Why it could not subscribe.
    pub async fn open(connection: &Connection) -> Result<Switchboard, async_nats::SubscribeError> {
        let instance = format!("{:016x}{:08x}", rand::random::<u64>(), rand::random::<u32>());
        let client = &connection.client;
        let copies = client.subscribe(subjects::front_replies(&instance)).await?;
        let results = Results::open(client).await?;
        let waiting = Arc::new(Mutex::new(Waiting::new()));
        let mut listener = JoinSet::new();
        listener.spawn(listen(copies, waiting.clone()));
        let inner = Inner { connection: connection.clone(), results, instance, waiting, _listener: listener };
        Ok(Switchboard { inner: Arc::new(inner) })
    }

    /// The connection that it works over.
    pub fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// Where a job must have its result copied to, for this process to hear of it.
    pub fn reply_to(&self, team: &str, job: &JobId) -> String {
        subjects::front_reply(team, &self.inner.instance, job)
    }

    /// A place to wait for a job's result.
    pub fn place(&self, team: &str, job: &JobId) -> Place {
        let (sender, copies) = mpsc::channel(COPIES_MAX);
        let number = rand::random();
        self.waiting(|waiting| waiting.entry(key_of(team, job.as_str())).or_default().push((number, sender)));
        let (team, job) = (team.to_owned(), job.clone());
        let (pause, pause_max) = LOOK_AFTER;
        let look_at = Instant::now() + pause;
        Place { switchboard: self.clone(), team, job, number, copies, look_at, pause, pause_max, hears: true }
    }

    /// How many callers wait.
    pub fn callers(&self) -> usize {
        self.waiting(|waiting| waiting.values().map(Vec::len).sum())
    }

    /// Submits a job and awaits the server's acknowledgement; says whether the id was there already.
    ///
    /// Killed before the publish: nothing happened. Killed after it: the job runs, its result is kept, and whoever
    /// submits again under the id gets that. Cancel safe in the same sense.
    ///
    /// # Errors
    /// Why it was not accepted, or that this is not known.
    pub async fn submit(&self, submission: &Submission<'_>) -> Result<bool, SubmitError> {
        #[derive(Deserialize)]
        struct Stored {
            #[serde(default)]
            duplicate: bool,
            error: Option<Refusal>,
        }
        #[derive(Deserialize)]
        struct Refusal {
            #[serde(default)]
            err_code: u64,
            #[serde(default)]
            description: String,
        }
        let Submission { lane, job, line, key, trace } = submission;
        let mut sent = HeaderMap::new();
        sent.insert(headers::JOB_ID, job.as_str());
        sent.insert(headers::KEY, *key);
        if let Some((parent, state)) = trace {
            sent.insert(headers::TRACEPARENT, *parent);
            if !state.is_empty() {
                sent.insert(headers::TRACESTATE, *state);
            }
        }
        let line = &self.fitting(lane, job, line).await?;
        let (client, subject) = (&self.inner.connection.client, subjects::jobs(lane));
        let mut last = SubmitError::Unknown;
        for attempt in 0..TRIES {
            match api::raw(client, subject.clone(), Some(sent.clone()), line.clone()).await {
                Ok(answer) => match serde_json::from_slice(&answer.payload) {
                    Ok(Stored { error: Some(Refusal { err_code, description }), .. }) => {
                        return Err(SubmitError::NotTaken(ApiError::Refused { code: err_code, description }));
                    }
                    Ok(Stored { duplicate, .. }) => return Ok(duplicate || attempt > 0),
                    Err(_) => last = SubmitError::Unknown,
                },
                Err(ApiError::TooLarge) => return Err(SubmitError::TooLarge),
                // A server that just restarted knows its streams a moment later. What was sent before may be stored.
                Err(error @ ApiError::Absent { .. }) if attempt == 0 => last = SubmitError::NotTaken(error),
                Err(ApiError::Absent { .. }) => {}
                Err(_) => last = SubmitError::Unknown,
            }
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        }
        Err(last)
    }

    /// The line as it fits a message with its headers: without its body if that has to be put beside it.
    async fn fitting(&self, lane: &LaneKey, job: &JobId, line: &Bytes) -> Result<Bytes, SubmitError> {
        if line.len() + headers::JOB_HEADERS_MAX <= self.inner.connection.payload_bytes_max() {
            return Ok(line.clone());
        }
        let Some((small, body)) = tollgate_types::job::checked_in(line) else { return Err(SubmitError::TooLarge) };
        let put = Blobs::new(&self.inner.connection.client).put_within_share(&lane.team, job, &body).await;
        put.map(|_| small).map_err(|error| match error {
            NotPut::OverShare => SubmitError::OverShare,
            NotPut::Server(ApiError::TooLarge) => SubmitError::TooLarge,
            // Nothing was submitted: a chunk without its line is nothing.
            NotPut::Server(error) => SubmitError::NotTaken(error),
        })
    }

    /// The job's result, if it has one, with its answer, also if that lies beside it. It asks again until the log answers.
    /// Cancel safe.
    ///
    /// # Errors
    /// Why the server refused to say.
    pub async fn result(&self, team: &str, job: &JobId) -> Result<Option<Existing>, ApiError> {
        let Some(found) = self.inner.results.find(team, job).await? else { return Ok(None) };
        let payload = self.whole(team, job, found.payload).await?;
        Ok(Some(Existing { payload, ..found }))
    }

    /// A line with its answer. One whose answer is gone stays without.
    async fn whole(&self, team: &str, job: &JobId, line: Bytes) -> Result<Bytes, ApiError> {
        let Some(claim) = JobResult::elsewhere(&line) else { return Ok(line) };
        match Blobs::new(&self.inner.connection.client).fetch(team, job, &claim).await? {
            Fetched::Body(body) => Ok(JobResult::whole(&line, body).unwrap_or(line)),
            Fetched::Missing | Fetched::Other => Ok(line),
        }
    }

    fn waiting<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        change(&mut self.inner.waiting.lock().expect("no holder panics"))
    }
}

impl Place {
    /// The job was there before: its copy may go to another process, or answer another request under the same id. What counts is
    /// the result with its digest; look for it soon.
    pub fn look_soon(&mut self) {
        self.hears = false;
        (self.pause, self.pause_max) = LOOK_SOON;
        self.look_at = Instant::now() + self.pause;
    }

    /// The job's result; it waits for as long as there is none. Cancel safe.
    pub async fn outcome(&mut self) -> Outcome {
        loop {
            tokio::select! {
                biased;
                Some(line) = self.copies.recv() => {
                    // Else the look finds it, with its digest.
                    if self.hears && let Ok(line) = self.switchboard.whole(&self.team, &self.job, line).await {
                        return Outcome { line, digest: None };
                    }
                }
                () = tokio::time::sleep_until(self.look_at) => {}
            }
            // Before the look, so that a wait that is dropped in the middle of it does not look again at once. Jittered,
            // so that callers who came together do not look together for ever.
            self.pause = (self.pause * 2).min(self.pause_max);
            self.look_at = Instant::now() + self.pause.mul_f64(rand::random_range(0.75..1.25));
            // A lookup that is refused now may succeed in the next round.
            if let Ok(Some(found)) = self.switchboard.result(&self.team, &self.job).await {
                return Outcome { line: found.payload, digest: Some(found.digest) };
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let key = key_of(&self.team, self.job.as_str());
        self.switchboard.waiting(|waiting| {
            if let Some(places) = waiting.get_mut(&key) {
                places.retain(|(number, _)| *number != self.number);
                if places.is_empty() {
                    waiting.remove(&key);
                }
            }
        });
    }
}

fn key_of(team: &str, job: &str) -> String {
    format!("{team}.{job}")
}

async fn listen(mut copies: Subscriber, waiting: Arc<Mutex<Waiting>>) {
    while let Some(message) = copies.next().await {
        let Some(key) = key_in(&message) else { continue };
        let waiting = waiting.lock().expect("no holder panics");
        for (_, place) in waiting.get(&key).into_iter().flatten() {
            // One that has a copy already needs no other.
            let _ = place.try_send(message.payload.clone());
        }
    }
}

/// Team and job of the subject that a copy came on.
fn key_in(message: &Message) -> Option<String> {
    let tokens: Vec<&str> = message.subject.split('.').collect();
    let ["reply", team, "front", _, job] = tokens[..] else { return None };
    Some(key_of(team, job))
}
