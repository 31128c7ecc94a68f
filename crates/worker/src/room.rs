//! The memory for prompts that do not fit a message, shared among teams: nobody's prompts keep the others' from running.
//!
//! A job that finds no room is parked for a few seconds, so that it holds no slot. One job of each team may wait in its slot
//! instead, in front of all that come after it: a large prompt is not overtaken for ever by small ones of its team.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tollgate_policy::share;

/// The most jobs that wait in their slots, whatever the number of slots is.
const WAITING_MAX: usize = 8;

/// The memory, in MiB.
#[derive(Debug)]
pub(crate) struct Room {
    shared: Mutex<Shared>,
    size: u64,
    waiting_max: usize,
    freed: Notify,
}

#[derive(Debug)]
struct Shared {
    room: share::Room,
    /// The teams of which a job waits.
    waiting: BTreeSet<String>,
}

/// What one job has of it; dropped, others may have it.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    team: String,
    mebibytes: u64,
}

/// A job that waits; dropped, another one of its team may.
struct Turn<'a> {
    room: &'a Room,
    team: &'a str,
}

impl Room {
    /// For a worker that runs so many jobs at a time.
    pub(crate) fn new(bytes_max: u64, jobs_at_once: usize) -> Room {
        let size = (bytes_max >> 20).max(1);
        let shared = Shared { room: share::Room::new(size), waiting: BTreeSet::new() };
        let waiting_max = (jobs_at_once / 4).min(WAITING_MAX);
        Room { shared: Mutex::new(shared), size, waiting_max, freed: Notify::new() }
    }

    /// Takes room for so many bytes; what is larger than the room takes all of it. `None` where the job should come again
    /// later. Cancel safe.
    pub(crate) async fn enter(self: &Arc<Room>, team: &str, bytes: u64) -> Option<Place> {
        let mebibytes = bytes.div_ceil(1 << 20).min(self.size);
        let place = || Place { room: self.clone(), team: team.to_owned(), mebibytes };
        let turn = {
            let mut shared = self.shared.lock().expect("no holder panics");
            if shared.waiting.contains(team) {
                return None;
            }
            if shared.room.take(team, mebibytes, 0).is_ok() {
                return Some(place());
            }
            if shared.waiting.len() >= self.waiting_max {
                return None;
            }
            shared.waiting.insert(team.to_owned());
            Turn { room: self, team }
        };
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look: what is given back in between is heard.
            freed.as_mut().enable();
            if self.shared.lock().expect("no holder panics").room.take(team, mebibytes, 0).is_ok() {
                drop(turn);
                return Some(place());
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.shared.lock().expect("no holder panics").room.give_back(&self.team, self.mebibytes);
        self.room.freed.notify_waiters();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.room.shared.lock().expect("no holder panics").waiting.remove(self.team);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn room(mebibytes: u64) -> Arc<Room> {
        Arc::new(Room::new(mebibytes * MIB, 256))
    }

    #[tokio::test]
    async fn one_job_of_a_team_waits_the_others_come_again_and_other_teams_go_on() {
        let room = room(16);
        let first = room.enter("a", 6 * MIB).await.expect("there is room");
        let second = room.enter("a", 6 * MIB);
        let mut second = std::pin::pin!(second);
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        assert!(room.enter("a", MIB).await.is_none(), "a small one does not overtake it");
        let other = room.enter("b", 5 * MIB).await.expect("there is room for others");
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let second = second.await.expect("its turn has come");
        assert_eq!(room.shared.lock().unwrap().room.free(), 5);
        drop((second, other));
        let large = room.enter("a", 99 * MIB).await.expect("what is larger than the room takes all of it");
        assert_eq!(room.shared.lock().unwrap().room.free(), 0);
        drop(large);
    }

    #[tokio::test]
    async fn one_who_stops_waiting_leaves_nothing_behind() {
        let room = room(4);
        let all = room.enter("a", 4 * MIB).await.expect("there is room");
        assert!(room.enter("a", MIB).now_or_never().is_none(), "it waits, and is dropped");
        assert!(room.enter("b", MIB).now_or_never().is_none());
        drop(all);
        assert!(room.enter("a", MIB).await.is_some());
        let shared = room.shared.lock().unwrap();
        assert_eq!((shared.room.free(), shared.waiting.len()), (4, 0));
    }

    #[tokio::test]
    async fn no_more_jobs_wait_in_slots_than_there_should() {
        let room = Arc::new(Room::new(MIB, 8));
        let _all = room.enter("a", MIB).await.expect("there is room");
        let mut waiting: Vec<_> = ["a", "b"].iter().map(|team| Box::pin(room.enter(team, MIB))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert!(room.enter("c", MIB).await.is_none());
    }
}
