//! How often passwords may be tried: few times a minute for one name, and not many for all names together.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failures of one name in a minute; a person mistypes less often.
const OF_NAME_MAX: u32 = 5;
/// Failures of all names in a minute.
const OF_ALL_MAX: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// More names than this in a minute are more than [`OF_ALL_MAX`] lets fail.
const NAMES_MAX: usize = 256;

/// Counts failures.
#[derive(Default)]
pub(crate) struct Throttle {
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    since: Option<Instant>,
    all: u32,
    names: HashMap<String, u32>,
}

impl Throttle {
    /// Whether a password may be tried now.
    pub(crate) fn may_try(&self, name: &str, now: Instant) -> bool {
        let mut counted = self.counted.lock().expect("no holder panics");
        counted.renew(now);
        counted.all < OF_ALL_MAX && counted.names.get(name).is_none_or(|failed| *failed < OF_NAME_MAX)
    }

    /// Takes in that it was the wrong one.
    pub(crate) fn failed(&self, name: &str, now: Instant) {
        let mut counted = self.counted.lock().expect("no holder panics");
        counted.renew(now);
        counted.all += 1;
        if counted.names.len() < NAMES_MAX {
            *counted.names.entry(name.to_owned()).or_default() += 1;
        }
    }
}

impl Counted {
    fn renew(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            *self = Counted { since: Some(now), ..Counted::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_stopped_and_others_are_not_until_all_are() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..OF_NAME_MAX {
            assert!(throttle.may_try("ann", start));
            throttle.failed("ann", start);
        }
        assert!(!throttle.may_try("ann", start) && throttle.may_try("bob", start));
        (0..OF_ALL_MAX).for_each(|n| throttle.failed(&format!("x{n}"), start));
        assert!(!throttle.may_try("bob", start));
        assert!(throttle.may_try("ann", start + WINDOW));
    }
}
