//! Answers that are kept for a few seconds, so that ten open pages ask as often as one.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

/// How long an answer is good: less than anybody waits for a page to change.
const GOOD_FOR: Duration = Duration::from_secs(3);
/// More than all pages of some dozens of people ask in that time.
const ANSWERS_MAX: usize = 512;

/// The answers.
#[derive(Default)]
pub(crate) struct Kept {
    answers: Mutex<HashMap<String, Slot>>,
}

struct Slot {
    since: Instant,
    answer: Arc<OnceCell<Arc<dyn Any + Send + Sync>>>,
}

impl Kept {
    /// The answer of a moment ago, or a new one; who asks at the same time waits for the same. The name says all that the
    /// answer depends on. Cancel safe: another who waits asks in place of the one who went away.
    pub(crate) async fn or_ask<T: Send + Sync + 'static>(&self, name: String, ask: impl Future<Output = T>) -> Arc<T> {
        let answer = self.slot(name, Instant::now());
        let any = answer.get_or_init(async || Arc::new(ask.await) as Arc<dyn Any + Send + Sync>).await.clone();
        any.downcast().expect("a name always stands for answers of one type")
    }

    fn slot(&self, name: String, now: Instant) -> Arc<OnceCell<Arc<dyn Any + Send + Sync>>> {
        let mut answers = self.answers.lock().expect("no holder panics");
        let good = |slot: &Slot| now.duration_since(slot.since) < GOOD_FOR;
        if let Some(slot) = answers.get(&name).filter(|slot| good(slot)) {
            return slot.answer.clone();
        }
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, slot| good(slot));
        }
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        let answer = Arc::new(OnceCell::new());
        answers.insert(name, Slot { since: now, answer: answer.clone() });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn those_who_ask_together_ask_once() {
        let (kept, asked) = (Kept::default(), AtomicU32::new(0));
        let ask = |name: &str| kept.or_ask(name.to_owned(), async { asked.fetch_add(1, Ordering::Relaxed) });
        let (one, other, another) = tokio::join!(ask("a"), ask("a"), ask("b"));
        assert_eq!((*one, *other, *another), (0, 0, 1));
    }

    #[test]
    fn an_answer_is_good_for_a_while_and_they_do_not_pile_up() {
        let (kept, start) = (Kept::default(), Instant::now());
        let first = kept.slot("a".into(), start);
        assert!(Arc::ptr_eq(&first, &kept.slot("a".into(), start + GOOD_FOR / 2)));
        assert!(!Arc::ptr_eq(&first, &kept.slot("a".into(), start + GOOD_FOR)));
        (0..ANSWERS_MAX * 2).for_each(|n| drop(kept.slot(n.to_string(), start)));
        assert!(kept.answers.lock().expect("unlocked").len() <= ANSWERS_MAX);
    }
}
