//! Who was in flight: kept outside of the process, because a killed server forgets.
//!
//! nats-server keeps how often a message was delivered in memory and writes it a moment later. Killed in between, it
//! delivers the message as if for the first time; if the worker died too, nobody would know of a call that was paid.
//! So each worker keeps the sequences of its jobs in flight under a key of its own, and writes them *before* a job may
//! pay: one write for all who begin together. After a lost connection every worker reads everybody's keys, and takes a
//! job that stands there and comes as a first delivery for what it is: delivered again.
//!
//! Beside each sequence stands what the job's id comes to and when it was accepted, so that a second message of the same
//! id is known as long as the first is in flight anywhere: see [`InFlight::has_copy`].

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tollgate_types::{Digest, JobId};

use crate::bucket::Version;
use crate::clock::ServerClock;
use crate::delivery::Place;
use crate::queue_key::Origin;
use crate::state::{State, StateError};

/// This worker's jobs in flight, and what is known of everybody's.
pub struct InFlight {
    state: State,
    clock: ServerClock,
    ours: Arc<Mutex<Sequences>>,
    theirs: RwLock<Sequences>,
    others: Arc<Others>,
    asking: mpsc::Sender<oneshot::Sender<()>>,
    stuck: Arc<AtomicBool>,
    /// Set at an orderly end: nothing is tidied any more.
    left: Arc<AtomicBool>,
    key: String,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

/// A job in flight; it leaves when this is dropped. What is still written then does no harm: a job that has its result
/// is never run again.
pub struct Entry {
    ours: Arc<Mutex<Sequences>>,
    place: Place,
    mark: Mark,
}

/// What the other workers have in flight.
struct Others {
    state: State,
    clock: ServerClock,
    /// Our own key, which is none of theirs.
    key: String,
    seen: RwLock<Seen>,
    /// When the last reading began: whoever asked before that is answered by it.
    reading: tokio::sync::Mutex<Reading>,
}

#[derive(Default)]
struct Reading {
    began: Option<Instant>,
    workers: u32,
}

#[derive(Default)]
struct Seen {
    ids: HashMap<u32, Vec<Mark>>,
    at: Option<Instant>,
}

/// What tells a message from another one of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// What team and id come to.
    id: u32,
    /// The second in which the message was accepted, of a span of 18 hours. A job that was parked keeps it, and two messages
    /// of one id are a whole duplicate window apart.
    second: u16,
}

/// Messages by the stream that they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sequences {
    jobs: BTreeMap<u64, Mark>,
    wait: BTreeMap<u64, Mark>,
}

/// The same as it is written: sequence, id, second.
#[derive(Serialize)]
struct Written {
    jobs: Vec<(u64, u32, u16)>,
    wait: Vec<(u64, u32, u16)>,
}

/// The same as it is read: a worker of before wrote sequences alone.
#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    jobs: Vec<Noted>,
    #[serde(default)]
    wait: Vec<Noted>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Noted {
    Marked(u64, u32, u16),
    Plain(u64),
}

impl Mark {
    /// That of a message of before, which is nobody's copy.
    const NONE: Mark = Mark { id: 0, second: 0 };

    fn of(place: &Place, team: &str, job: &JobId) -> Mark {
        let digest = Digest::of(&[team.as_bytes(), job.as_str().as_bytes()]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        let second = place.accepted_at.0.div_euclid(1000).rem_euclid(1 << 16);
        let second = u16::try_from(second).expect("it is smaller than the divisor");
        Mark { id: u32::from_be_bytes([a, b, c, d]).max(1), second }
    }

    fn is_copy_of(self, other: Mark) -> bool {
        self.id == other.id && self.second != other.second
    }
}

impl Sequences {
    fn of(&self, origin: Origin) -> &BTreeMap<u64, Mark> {
        match origin {
            Origin::Jobs => &self.jobs,
            Origin::Wait => &self.wait,
        }
    }

    fn of_mut(&mut self, origin: Origin) -> &mut BTreeMap<u64, Mark> {
        match origin {
            Origin::Jobs => &mut self.jobs,
            Origin::Wait => &mut self.wait,
        }
    }

    fn has_copy_of(&self, mark: Mark) -> bool {
        self.jobs.values().chain(self.wait.values()).any(|other| other.is_copy_of(mark))
    }

    /// Reads a worker's key; what is none of ours is nothing.
    fn read(value: &[u8]) -> Sequences {
        let Ok(Read { jobs, wait }) = serde_json::from_slice(value) else { return Sequences::default() };
        let noted = |noted: Noted| match noted {
            Noted::Marked(sequence, id, second) => (sequence, Mark { id, second }),
            Noted::Plain(sequence) => (sequence, Mark::NONE),
        };
        Sequences { jobs: jobs.into_iter().map(noted).collect(), wait: wait.into_iter().map(noted).collect() }
    }

    fn write(&self) -> Vec<u8> {
        let written = |(&sequence, mark): (&u64, &Mark)| (sequence, mark.id, mark.second);
        let written =
            Written { jobs: self.jobs.iter().map(written).collect(), wait: self.wait.iter().map(written).collect() };
        serde_json::to_vec(&written).expect("numbers serialise")
    }
}

/// All keys start so.
const PREFIX: &str = "in-flight.";
/// A key that was not written for so long is a dead worker's: no job is in flight for an hour.
const STALE: Duration = Duration::from_secs(3600);
/// What left is written so soon, if nobody asks for a write before: others should not wait for it.
const TIDY_EVERY: Duration = Duration::from_millis(250);
/// A worker that has jobs in flight writes its key so often at least.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// A key that was not written for so long says nothing of copies: its worker is dead, and its jobs go to others.
const SILENT: Duration = Duration::from_secs(20);
/// How often the others' keys are read, so that most copies are known without asking.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What was read is as good as unread after so long.
const SEEN_MAX: Duration = Duration::from_secs(6);
/// Readings follow each other no faster than so much for each other worker: what all of them read grows with the square of
/// their number.
const READ_EVERY: Duration = Duration::from_millis(1);
/// Jobs that wait for one write; more than this do not begin together.
const WAITING_MAX: usize = 4096;

impl InFlight {
    /// Starts with nothing in flight, under a key that no other process has.
    pub fn new(state: State, clock: ServerClock, worker: &str, process: &str) -> InFlight {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let key = format!("{PREFIX}{}.{process}", worker.chars().map(plain).collect::<String>());
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        let ours = Arc::<Mutex<Sequences>>::default();
        let (stuck, left) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let others = Arc::new(Others {
            state: state.clone(),
            clock: clock.clone(),
            key: key.clone(),
            seen: RwLock::default(),
            reading: tokio::sync::Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let writer = Writer {
            state: state.clone(),
            key: key.clone(),
            ours: ours.clone(),
            stuck: stuck.clone(),
            left: left.clone(),
            written: (Sequences::default(), Instant::now()),
        };
        tasks.spawn(writer.run(asked));
        tasks.spawn(follow(others.clone()));
        InFlight { state, clock, ours, theirs: RwLock::default(), others, asking, stuck, left, key, _tasks: tasks }
    }

    /// Notes a job, and returns when that is kept. Cancel safe.
    pub async fn enter(&self, place: &Place, team: &str, job: &JobId) -> Entry {
        let mark = Mark::of(place, team, job);
        self.ours.lock().expect("no holder panics").of_mut(place.origin).insert(place.sequence, mark);
        let entry = Entry { ours: self.ours.clone(), place: *place, mark };
        loop {
            let (kept, wait) = oneshot::channel();
            if self.asking.send(kept).await.is_ok() && wait.await.is_ok() {
                return entry;
            }
            // The writer ends only with us.
            tokio::task::yield_now().await;
        }
    }

    /// Whether another message of the same id is in flight, as far as is known without asking; also if that is not known
    /// well enough.
    pub fn may_have_copy(&self, entry: &Entry) -> bool {
        let seen = self.others.seen.read().expect("no holder panics");
        let known = seen.at.is_some_and(|at| at.elapsed() < SEEN_MAX);
        !known || seen.has_copy_of(entry.mark) || self.has_copy_here(entry)
    }

    /// Whether another message of the same id is in flight now, at this worker or another. Of two that ask this after
    /// both were noted, one at least is told so. Ids that come to the same number are taken for one: one in four thousand
    /// million.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The others' keys could not be read; then the job must not run.
    pub async fn has_copy(&self, entry: &Entry) -> Result<bool, StateError> {
        if self.has_copy_here(entry) {
            return Ok(true);
        }
        self.others.read_after(Instant::now()).await?;
        Ok(self.others.seen.read().expect("no holder panics").has_copy_of(entry.mark))
    }

    fn has_copy_here(&self, entry: &Entry) -> bool {
        self.ours.lock().expect("no holder panics").has_copy_of(entry.mark)
    }

    /// Whether the last write did not succeed yet.
    pub fn stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Whether somebody had this job in flight when everybody's keys were read last.
    pub fn was_in_flight(&self, place: &Place) -> bool {
        self.theirs.read().expect("no holder panics").of(place.origin).contains_key(&place.sequence)
    }

    /// Reads everybody's keys: after every lost connection, before the next pull.
    ///
    /// # Errors
    /// Returns why they could not be read; then no job must be taken.
    pub async fn look_back(&self) -> Result<(), StateError> {
        let mut all = Sequences::default();
        for Version { key, value, at, .. } in self.state.read_all(PREFIX).await? {
            let Sequences { jobs, wait } = Sequences::read(&value);
            all.jobs.extend(jobs);
            all.wait.extend(wait);
            // Both times are the server's: a worker whose own clock is wrong must not take others for dead.
            if self.clock.now().since(at) > STALE && key != self.key {
                self.state.remove(&key).await?;
            }
        }
        *self.theirs.write().expect("no holder panics") = all;
        Ok(())
    }

    /// Takes the key away at an orderly end, when nothing is in flight any more.
    pub async fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
        if let Err(error) = self.state.remove(&self.key).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "jobs in flight not cleared");
        }
    }
}

impl Seen {
    fn has_copy_of(&self, mark: Mark) -> bool {
        self.ids.get(&mark.id).is_some_and(|others| others.iter().any(|other| other.is_copy_of(mark)))
    }
}

impl Others {
    /// Reads the others' keys, unless somebody began to after `asked`.
    async fn read_after(&self, asked: Instant) -> Result<(), StateError> {
        let mut last = self.reading.lock().await;
        if let Some(began) = last.began {
            if began >= asked {
                return Ok(());
            }
            tokio::time::sleep_until(began + READ_EVERY * last.workers).await;
        }
        let began = Instant::now();
        let (mut ids, mut workers) = (HashMap::<u32, Vec<Mark>>::new(), 0);
        for Version { key, value, at, .. } in self.state.last_of_each(PREFIX).await? {
            if key == self.key || self.clock.now().since(at) > SILENT {
                continue;
            }
            workers += 1;
            let theirs = Sequences::read(&value);
            for mark in theirs.jobs.into_values().chain(theirs.wait.into_values()).filter(|mark| *mark != Mark::NONE) {
                ids.entry(mark.id).or_default().push(mark);
            }
        }
        *self.seen.write().expect("no holder panics") = Seen { ids, at: Some(began) };
        *last = Reading { began: Some(began), workers };
        Ok(())
    }
}

/// Reads the others' keys now and then.
async fn follow(others: Arc<Others>) {
    loop {
        if let Err(error) = others.read_after(Instant::now()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "jobs in flight elsewhere not read");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ours.lock().expect("no holder panics").of_mut(self.place.origin).remove(&self.place.sequence);
    }
}

/// Writes what is in flight: whenever somebody asks, once for all who asked meanwhile; a moment after something left; and
/// now and then, as a sign of life.
struct Writer {
    state: State,
    key: String,
    ours: Arc<Mutex<Sequences>>,
    stuck: Arc<AtomicBool>,
    left: Arc<AtomicBool>,
    /// What was written last, and when.
    written: (Sequences, Instant),
}

impl Writer {
    async fn run(mut self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        loop {
            let first = tokio::select! {
                first = asked.recv() => match first {
                    Some(first) => Some(first),
                    None => return,
                },
                () = tokio::time::sleep(TIDY_EVERY) => None,
            };
            if first.is_some() {
                tokio::task::yield_now().await;
            }
            let mut waiting: Vec<oneshot::Sender<()>> = first.into_iter().collect();
            while let Ok(more) = asked.try_recv() {
                waiting.push(more);
            }
            // Taken after everybody who waits had entered.
            let now = self.ours.lock().expect("no holder panics").clone();
            if waiting.is_empty() && !self.is_due(&now) {
                continue;
            }
            self.put(now).await;
            for kept in waiting {
                // Whoever went away meanwhile does not begin.
                let _ = kept.send(());
            }
        }
    }

    /// Whether to write although nobody asks.
    fn is_due(&self, now: &Sequences) -> bool {
        let (before, at) = &self.written;
        let sign_of_life = *now != Sequences::default() && at.elapsed() >= ALIVE_EVERY;
        !self.left.load(Ordering::Relaxed) && (now != before || sign_of_life)
    }

    async fn put(&mut self, now: Sequences) {
        let value = now.write();
        let mut tries = 0;
        while let Err(error) = self.state.put(&self.key, value.clone().into()).await {
            self.stuck.store(true, Ordering::Relaxed);
            if tries >= 3 {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "jobs in flight cannot be kept; none may begin"
                );
            }
            tokio::time::sleep(Duration::from_millis(100 << u32::min(tries, 4))).await;
            tries += 1;
        }
        self.stuck.store(false, Ordering::Relaxed);
        self.written = (now, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tollgate_types::UnixMillis;

    use super::*;

    fn mark(id: u32, second: u16) -> Mark {
        Mark { id, second }
    }

    #[test]
    fn the_streams_are_told_apart_and_keys_of_before_are_read() {
        let both = Sequences { jobs: [(1, mark(7, 1)), (2, mark(8, 2))].into(), wait: [(2, mark(9, 3))].into() };
        assert_eq!(Sequences::read(&both.write()), both);
        let of_before = Sequences { jobs: [(1, Mark::NONE), (2, Mark::NONE)].into(), wait: [].into() };
        assert_eq!(Sequences::read(br#"{"jobs":[1,2]}"#), of_before);
        assert_eq!(Sequences::read(b"x"), Sequences::default());
    }

    #[test]
    fn a_copy_has_the_same_id_and_was_accepted_at_another_time() {
        let of = Sequences { jobs: [(1, mark(7, 10))].into(), wait: [(2, mark(8, 20))].into() };
        assert!(of.has_copy_of(mark(7, 11)));
        assert!(!of.has_copy_of(mark(7, 10)), "itself, or what it was before it was parked");
        assert!(of.has_copy_of(mark(8, 10)), "one that waited");
        assert!(!of.has_copy_of(mark(9, 10)));
        let place = |ms| Place { origin: Origin::Jobs, sequence: 1, delivered: 1, accepted_at: UnixMillis(ms) };
        let of = |ms, team| Mark::of(&place(ms), team, &"a".parse().unwrap());
        assert!(of(1_763_000_000_999, "a").is_copy_of(of(1_763_000_001_000, "a")));
        assert!(!of(1_763_000_000_000, "a").is_copy_of(of(1_763_000_000_999, "a")));
        assert!(!of(1_763_000_000_000, "a").is_copy_of(of(1_763_000_009_000, "b")), "of another team");
    }
}
