//! How often each content was seen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// Contents of one generation, at 16 bytes and some. Two generations are kept; a content that was not seen for a whole
/// generation starts from 0 again.
const GENERATION: usize = 500_000;

/// Counts calls by content, in bounded memory.
#[derive(Default)]
pub(crate) struct Attempts {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, u32>,
    old: HashMap<u64, u32>,
}

impl Attempts {
    /// Counts one call and returns how many there were before it.
    pub(crate) fn count(&self, content: u64) -> u32 {
        let mut generations = self.lock();
        let before = match generations.young.get(&content) {
            Some(before) => *before,
            None => generations.old.remove(&content).unwrap_or(0),
        };
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(content, before.saturating_add(1));
        before
    }

    /// Starts every content from 0 again.
    pub(crate) fn reset(&self) {
        *self.lock() = Generations::default();
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().expect("no holder of the lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_counted_apart_and_memory_is_bounded() {
        let attempts = Attempts::default();
        assert_eq!([1, 2, 1, 1, 2].map(|content| attempts.count(content)), [0, 0, 1, 2, 1]);
        (1_000..1_000 + GENERATION as u64).for_each(|content| assert_eq!(attempts.count(content), 0));
        assert_eq!(attempts.count(1), 3, "kept through one generation");
        (2_000_000..2_000_000 + 3 * GENERATION as u64).for_each(|content| assert_eq!(attempts.count(content), 0));
        assert_eq!(attempts.count(1), 0, "forgotten after two");
        let generations = attempts.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}
