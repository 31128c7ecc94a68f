//! What stands between this process and its work, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The reasons why this process is not ready; with none left, it is. Clones share them.
///
/// A reason has a name, such as `nats`, under which it is replaced and taken back.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    reasons: Arc<watch::Sender<Reasons>>,
}

type Reasons = BTreeMap<&'static str, String>;

impl Readiness {
    /// Ready, until a reason against it is given.
    #[must_use]
    pub fn new() -> Self {
        Readiness::default()
    }

    /// Gives a reason, or replaces the one of the same name.
    pub fn because(&self, name: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        self.reasons.send_if_modified(|reasons| {
            let known = reasons.get(name) == Some(&reason);
            if !known {
                reasons.insert(name, reason);
            }
            !known
        });
    }

    /// Takes a reason back.
    pub fn clear(&self, name: &'static str) {
        self.reasons.send_if_modified(|reasons| reasons.remove(name).is_some());
    }

    /// Gives the reason of that name, or takes it back.
    pub fn set(&self, name: &'static str, reason: Option<String>) {
        match reason {
            Some(reason) => self.because(name, reason),
            None => self.clear(name),
        }
    }

    /// Every reason by name; none means ready.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.reasons.borrow().clone()
    }

    /// The reasons, to be watched.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeMap<&'static str, String>> {
        self.reasons.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_replaced_and_taken_back_by_its_name() {
        let readiness = Readiness::new();
        let mut watch = readiness.watch();
        readiness.because("nats", "not connected");
        readiness.because("nats", "wrong password");
        assert_eq!(readiness.reasons(), BTreeMap::from([("nats", "wrong password".to_owned())]));
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        readiness.because("nats", "wrong password");
        assert!(!watch.has_changed().unwrap(), "the same again is no news");
        readiness.set("nats", None);
        assert!(readiness.reasons().is_empty() && watch.has_changed().unwrap());
    }
}
