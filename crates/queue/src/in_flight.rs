//! Who was in flight: kept outside of the process, because a killed server forgets.
//!
//! nats-server keeps how often a message was delivered in memory and writes it a moment later. Killed in between, it
//! delivers the message as if for the first time; if the worker died too, nobody would know of a call that was paid.
//! So each worker keeps the sequences of its jobs in flight under a key of its own, and writes them *before* a job may
//! pay: one write for all who begin together. After a lost connection every worker reads everybody's keys, and takes a
//! job that stands there and comes as a first delivery for what it is: delivered again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

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
    asking: mpsc::Sender<oneshot::Sender<()>>,
    stuck: Arc<AtomicBool>,
    key: String,
    /// Ends with this.
    _writer: JoinSet<()>,
}

/// A job in flight; it leaves when this is dropped. What is still written then does no harm: a job that has its result
/// is never run again.
pub struct Entry {
    ours: Arc<Mutex<Sequences>>,
    place: Place,
}

/// Messages by the stream that they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sequences {
    #[serde(default)]
    jobs: BTreeSet<u64>,
    #[serde(default)]
    wait: BTreeSet<u64>,
}

impl Sequences {
    fn of(&self, origin: Origin) -> &BTreeSet<u64> {
        match origin {
            Origin::Jobs => &self.jobs,
            Origin::Wait => &self.wait,
        }
    }

    fn of_mut(&mut self, origin: Origin) -> &mut BTreeSet<u64> {
        match origin {
            Origin::Jobs => &mut self.jobs,
            Origin::Wait => &mut self.wait,
        }
    }

    /// Reads a worker's key; before there was a second stream it held a plain list.
    fn read(value: &[u8]) -> Sequences {
        let plain = || serde_json::from_slice(value).map(|jobs| Sequences { jobs, ..Sequences::default() });
        serde_json::from_slice::<Sequences>(value).or_else(|_| plain()).unwrap_or_default()
    }
}

/// All keys start so.
const PREFIX: &str = "in-flight.";
/// A key that was not written for so long is a dead worker's: no job is in flight for an hour.
const STALE: Duration = Duration::from_secs(3600);
/// Jobs that wait for one write; more than this do not begin together.
const WAITING_MAX: usize = 4096;

impl InFlight {
    /// Starts with nothing in flight, under a key that no other process has.
    pub fn new(state: State, clock: ServerClock, worker: &str, process: &str) -> InFlight {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let key = format!("{PREFIX}{}.{process}", worker.chars().map(plain).collect::<String>());
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        let (ours, stuck) = (Arc::<Mutex<Sequences>>::default(), Arc::<AtomicBool>::default());
        let mut writer = JoinSet::new();
        writer.spawn(write(state.clone(), key.clone(), ours.clone(), asked, stuck.clone()));
        InFlight { state, clock, ours, theirs: RwLock::default(), asking, stuck, key, _writer: writer }
    }

    /// Notes a job, and returns when that is kept. Cancel safe.
    pub async fn enter(&self, place: &Place) -> Entry {
        self.ours.lock().expect("no holder panics").of_mut(place.origin).insert(place.sequence);
        let entry = Entry { ours: self.ours.clone(), place: *place };
        loop {
            let (kept, wait) = oneshot::channel();
            if self.asking.send(kept).await.is_ok() && wait.await.is_ok() {
                return entry;
            }
            // The writer ends only with us.
            tokio::task::yield_now().await;
        }
    }

    /// Whether the last write did not succeed yet.
    pub fn stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Whether somebody had this job in flight when everybody's keys were read last.
    pub fn was_in_flight(&self, place: &Place) -> bool {
        self.theirs.read().expect("no holder panics").of(place.origin).contains(&place.sequence)
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
        if let Err(error) = self.state.remove(&self.key).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "jobs in flight not cleared");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ours.lock().expect("no holder panics").of_mut(self.place.origin).remove(&self.place.sequence);
    }
}

/// Writes what is in flight whenever somebody asks, once for all who asked meanwhile.
async fn write(
    state: State,
    key: String,
    ours: Arc<Mutex<Sequences>>,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
    stuck: Arc<AtomicBool>,
) {
    while let Some(first) = asked.recv().await {
        tokio::task::yield_now().await;
        let mut waiting = vec![first];
        while let Ok(more) = asked.try_recv() {
            waiting.push(more);
        }
        // Taken after everybody who waits had entered.
        let value = {
            let ours = ours.lock().expect("no holder panics");
            serde_json::to_vec(&*ours).expect("numbers serialise")
        };
        let mut tries = 0;
        while let Err(error) = state.put(&key, value.clone().into()).await {
            stuck.store(true, Ordering::Relaxed);
            if tries >= 3 {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "jobs in flight cannot be kept; none may begin"
                );
            }
            tokio::time::sleep(Duration::from_millis(100 << u32::min(tries, 4))).await;
            tries += 1;
        }
        stuck.store(false, Ordering::Relaxed);
        for kept in waiting {
            // Whoever went away meanwhile does not begin.
            let _ = kept.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_are_told_apart_and_a_key_of_before_is_read() {
        let both = Sequences { jobs: [1, 2].into(), wait: [2].into() };
        let written = serde_json::to_vec(&both).unwrap();
        assert_eq!(Sequences::read(&written), both);
        assert_eq!(Sequences::read(b"[1,2]"), Sequences { wait: [].into(), ..both });
        assert_eq!(Sequences::read(b"x"), Sequences::default());
    }
}
