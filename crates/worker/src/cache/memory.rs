//! Memory: the answers that this worker used last, up to so many bytes.
//!
//! It follows what is purged. What a lost connection kept from it, it cannot know, so it forgets everything then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;
use tollgate_queue::answers::{KeptAnswer, Purge, Slot};
use tollgate_queue::connect::Health;
use tollgate_queue::control::Forgotten;

/// The answers by their place.
pub(crate) struct Memory {
    answers: Cache<Slot, Arc<KeptAnswer>, Weight>,
    health: watch::Receiver<Health>,
    /// How often the connection was lost when everything was forgotten last.
    losses: AtomicU64,
    /// How often something was purged: what was read before that does not come in after it.
    purges: AtomicU64,
}

/// An answer's weight: its bytes, and what stands around them.
#[derive(Clone)]
struct Weight;

/// Names, numbers and the map's own.
const FACTS_BYTES: u64 = 512;
/// What the map is laid out for; it grows and shrinks with what is in it.
const ANSWERS_EXPECTED: usize = 1024;

impl Weighter<Slot, Arc<KeptAnswer>> for Weight {
    fn weight(&self, _slot: &Slot, answer: &Arc<KeptAnswer>) -> u64 {
        answer.body.len() as u64 + FACTS_BYTES
    }
}

impl Memory {
    /// Empty, for so many bytes.
    pub(super) fn new(bytes_max: u64, health: watch::Receiver<Health>) -> Memory {
        let losses = AtomicU64::new(health.borrow().losses);
        let answers = Cache::with_weighter(ANSWERS_EXPECTED, bytes_max, Weight);
        Memory { answers, health, losses, purges: AtomicU64::new(0) }
    }

    /// The answer, if it is here.
    pub(super) fn find(&self, slot: &Slot) -> Option<Arc<KeptAnswer>> {
        let losses = self.health.borrow().losses;
        if self.losses.swap(losses, Ordering::Relaxed) != losses {
            self.answers.clear();
        }
        self.answers.get(slot)
    }

    /// Takes in an answer, unless something was purged after `since`.
    pub(super) fn put(&self, slot: &Slot, answer: Arc<KeptAnswer>, since: u64) {
        if self.purges() != since {
            return;
        }
        self.answers.insert(slot.clone(), answer);
        // One that came between the look and the insert has passed it by.
        if self.purges() != since {
            self.answers.remove(slot);
        }
    }

    /// How often something was purged.
    pub(super) fn purges(&self) -> u64 {
        self.purges.load(Ordering::SeqCst)
    }

    /// Forgets what a purge reaches.
    pub(super) fn purge(&self, purge: &Purge) {
        self.purges.fetch_add(1, Ordering::SeqCst);
        self.answers.retain(|slot, _| !purge.reaches(slot));
    }

    /// Forgets the answers that came from jobs which are forgotten.
    pub(super) fn forget(&self, forgotten: &Forgotten) {
        self.purges.fetch_add(1, Ordering::SeqCst);
        self.answers.retain(|slot, answer| slot.team != forgotten.team || !forgotten.jobs.contains(&answer.facts.job));
    }
}

#[cfg(test)]
mod tests {
    use tollgate_queue::answers::Facts;
    use tollgate_types::{Digest, NanoUsd, Tokens, UnixMillis};

    use super::*;

    fn slot(team: &str, request: &str) -> Slot {
        Slot { team: team.into(), model: "m".into(), key: Digest::of(&[request.as_bytes()]) }
    }

    fn answer(bytes: usize) -> Arc<KeptAnswer> {
        let facts = Facts {
            version: Facts::VERSION,
            job: "a:1".parse().unwrap(),
            provider: "p".into(),
            model: "m".into(),
            cost_nanousd: NanoUsd(1),
            tokens: Tokens::default(),
            request_id: String::new(),
            at: UnixMillis(0),
        };
        Arc::new(KeptAnswer { facts, body: vec![b' '; bytes].into() })
    }

    #[test]
    fn it_holds_no_more_bytes_than_it_may() {
        let memory = Memory::new(100_000, watch::channel(Health::default()).1);
        for number in 0..100 {
            memory.put(&slot("a", &number.to_string()), answer(10_000), 0);
        }
        assert!(memory.answers.weight() <= 100_000, "{}", memory.answers.weight());
        assert!(memory.answers.len() >= 5, "{}", memory.answers.len());
    }

    #[test]
    fn what_is_purged_is_gone_and_what_was_read_before_does_not_come_in_after() {
        let memory = Memory::new(100_000, watch::channel(Health::default()).1);
        memory.put(&slot("a", "1"), answer(10), 0);
        memory.put(&slot("b", "1"), answer(10), 0);
        let since = memory.purges();
        memory.purge(&Purge { team: Some("a".into()), ..Purge::default() });
        assert!(memory.find(&slot("a", "1")).is_none() && memory.find(&slot("b", "1")).is_some());
        memory.put(&slot("a", "1"), answer(10), since);
        assert!(memory.find(&slot("a", "1")).is_none(), "it was read before the purge");
    }

    #[test]
    fn what_is_put_is_found_as_it_is_and_the_latest_stays() {
        let memory = Memory::new(100_000, watch::channel(Health::default()).1);
        assert!(memory.find(&slot("a", "1")).is_none());
        memory.put(&slot("a", "1"), answer(10), 0);
        memory.put(&slot("a", "1"), answer(20), 0);
        memory.put(&slot("a", "2"), answer(30), 0);
        let bytes = |slot| memory.find(&slot).map(|answer| answer.body.len());
        assert_eq!((bytes(slot("a", "1")), bytes(slot("a", "2")), bytes(slot("b", "1"))), (Some(20), Some(30), None));
        memory.put(&slot("a", "3"), answer(200_000), 0);
        assert_eq!(bytes(slot("a", "3")), None, "it is larger than everything together may be");
        assert_eq!(memory.answers.weight(), 20 + 30 + 2 * FACTS_BYTES);
    }

    #[test]
    fn what_is_purged_elsewhere_holds_up_only_what_was_read_before() {
        let memory = Memory::new(100_000, watch::channel(Health::default()).1);
        let since = memory.purges();
        memory.purge(&Purge { team: Some("b".into()), ..Purge::default() });
        memory.put(&slot("a", "1"), answer(10), since);
        assert!(memory.find(&slot("a", "1")).is_none(), "it may have been reached");
        memory.put(&slot("a", "1"), answer(10), memory.purges());
        assert!(memory.find(&slot("a", "1")).is_some());
        let since = memory.purges();
        memory.forget(&Forgotten { team: "b".into(), jobs: vec!["b:1".parse().unwrap()] });
        memory.put(&slot("a", "2"), answer(10), since);
        assert!(memory.find(&slot("a", "2")).is_none() && memory.find(&slot("a", "1")).is_some());
    }

    #[test]
    fn a_purge_in_the_same_moment_leaves_nothing_behind() {
        let memory = Memory::new(100_000, watch::channel(Health::default()).1);
        let (slot, barrier) = (slot("a", "1"), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    barrier.wait();
                    memory.purge(&Purge::default());
                    barrier.wait();
                }
            });
            let mut left = 0;
            for _ in 0..20_000 {
                let since = memory.purges();
                let answer = answer(10);
                barrier.wait();
                memory.put(&slot, answer, since);
                barrier.wait();
                left += usize::from(memory.find(&slot).is_some());
            }
            assert_eq!(left, 0);
        });
    }

    #[test]
    fn what_came_from_a_forgotten_job_is_forgotten_too() {
        let memory = Memory::new(100_000, watch::channel(Health::default()).1);
        memory.put(&slot("a", "1"), answer(10), 0);
        memory.put(&slot("b", "1"), answer(10), 0);
        memory.forget(&Forgotten { team: "a".into(), jobs: vec!["a:1".parse().unwrap()] });
        assert!(memory.find(&slot("a", "1")).is_none() && memory.find(&slot("b", "1")).is_some());
        memory.forget(&Forgotten { team: "b".into(), jobs: vec!["b:1".parse().unwrap()] });
        assert!(memory.find(&slot("b", "1")).is_some(), "another job's answer");
    }

    #[test]
    fn a_lost_connection_makes_it_forget() {
        let (health, watched) = watch::channel(Health::default());
        let memory = Memory::new(100_000, watched);
        memory.put(&slot("a", "1"), answer(10), 0);
        health.send_modify(|health| health.losses += 1);
        assert!(memory.find(&slot("a", "1")).is_none());
    }
}
