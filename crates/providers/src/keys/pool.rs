//! Which key of several is used next: a state machine without a clock, a lock or a log.

use std::time::Duration;

use tokio::time::Instant;
use tollgate_types::FailureKind;

use super::ApiKey;

/// A key that is refused is tried again after this long: an operator may have mended it at the provider.
pub(super) const REFUSED: Duration = Duration::from_secs(600);
/// The first wait for a spent quota, if the provider asks for no longer one; it doubles each time in a row.
pub(super) const SPENT_MIN: Duration = Duration::from_secs(60);
/// The longest wait for a spent quota: credit that is bought is found within it.
pub(super) const SPENT_MAX: Duration = Duration::from_secs(3600);

/// Why a key is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The provider does not take it.
    Refused,
    /// The provider takes it, but not for this model.
    Forbidden,
    /// Its account has no quota or credit left.
    Spent,
}

impl Why {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Why::Refused => "refused",
            Why::Forbidden => "forbidden",
            Why::Spent => "quota",
        }
    }

    /// What a call fails with while no key is usable.
    pub(crate) fn kind(self) -> FailureKind {
        match self {
            Why::Refused | Why::Forbidden => FailureKind::Auth,
            Why::Spent => FailureKind::QuotaExhausted,
        }
    }

    fn wait(self, times: u32, hint: Option<Duration>) -> Duration {
        match self {
            Why::Refused | Why::Forbidden => REFUSED,
            Why::Spent => {
                let doubled = SPENT_MIN.saturating_mul(1 << times.min(16));
                doubled.max(hint.unwrap_or_default()).min(SPENT_MAX)
            }
        }
    }
}

/// The keys of a provider, in the operator's order.
pub(super) struct Pool {
    slots: Vec<Slot>,
    /// Where the next search for a usable key begins.
    next: usize,
}

pub(super) struct Slot {
    pub(super) id: String,
    pub(super) key: ApiKey,
    /// Counts the key's values.
    value: u64,
    outs: Vec<Out>,
}

/// A time for which a key is out of use. It stays after its end, to know how often in a row, until the key works.
struct Out {
    why: Why,
    /// The one model that it holds for; all if there is none.
    model: Option<String>,
    since: Instant,
    until: Instant,
    /// How often in a row.
    times: u32,
}

/// A key to use for one call.
pub(crate) struct Picked {
    pub(crate) id: String,
    pub(crate) key: ApiKey,
    at: usize,
    value: u64,
    picked: Instant,
}

/// No key is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// What the last one went out of use for.
    pub(crate) why: Why,
    /// When it did.
    pub(crate) since: Instant,
    /// When the first one comes back.
    pub(crate) until: Instant,
}

/// A key went out of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disabled {
    pub(super) id: String,
    /// For how long.
    pub(super) wait: Duration,
    /// Whether it is the first time in a row.
    pub(super) first: bool,
}

impl Out {
    fn holds_for(&self, model: &str) -> bool {
        self.model.as_deref().is_none_or(|of| of == model)
    }
}

impl Slot {
    /// What keeps the key from being used for the model, the longest of it.
    fn out(&self, model: &str, now: Instant) -> Option<&Out> {
        self.outs.iter().filter(|out| out.holds_for(model) && out.until > now).max_by_key(|out| out.until)
    }
}

impl Pool {
    pub(super) fn new(keys: Vec<(String, ApiKey)>) -> Self {
        let slot = |(id, key)| Slot { id, key, value: 0, outs: Vec::new() };
        Pool { slots: keys.into_iter().map(slot).collect(), next: 0 }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The next usable key; `None` for a provider without keys.
    pub(super) fn pick(&mut self, model: &str, now: Instant) -> Result<Option<Picked>, Unusable> {
        let count = self.slots.len();
        let turns = (0..count).map(|step| (self.next + step) % count);
        let Some(at) = turns.into_iter().find(|&at| self.slots[at].out(model, now).is_none()) else {
            return self.unusable(model, now).map_or(Ok(None), Err);
        };
        self.next = (at + 1) % count;
        let Slot { id, key, value, .. } = &self.slots[at];
        Ok(Some(Picked { id: id.clone(), key: key.clone(), at, value: *value, picked: now }))
    }

    /// Whether some key can be used.
    pub(super) fn is_usable(&self, model: &str, now: Instant) -> bool {
        self.slots.iter().any(|slot| slot.out(model, now).is_none())
    }

    fn unusable(&self, model: &str, now: Instant) -> Option<Unusable> {
        let outs = || self.slots.iter().filter_map(|slot| slot.out(model, now));
        let last = outs().max_by_key(|out| out.since)?;
        let until = outs().map(|out| out.until).min()?;
        Some(Unusable { why: last.why, since: last.since, until })
    }

    /// Takes the key out of use, as a call with it failed. Says nothing if that is old news: several calls of one moment
    /// find the same, and a call may end long after its key was replaced.
    pub(super) fn disable(
        &mut self,
        picked: &Picked,
        why: Why,
        (model, hint): (&str, Option<Duration>),
        now: Instant,
    ) -> Option<Disabled> {
        let slot = &mut self.slots[picked.at];
        if slot.value != picked.value {
            return None;
        }
        let model = (why == Why::Forbidden).then(|| model.to_owned());
        let known = slot.outs.iter().position(|out| out.model == model);
        if known.is_some_and(|at| picked.picked <= slot.outs[at].since) {
            return None;
        }
        let before = known.map(|at| slot.outs.swap_remove(at)).filter(|out| out.why == why);
        let first = before.is_none();
        let times = before.map_or(0, |out| out.times + 1);
        let wait = why.wait(times, hint);
        slot.outs.push(Out { why, model, since: now, until: now + wait, times });
        Some(Disabled { id: slot.id.clone(), wait, first })
    }

    /// Forgets what was held against the key before this call, which it worked for.
    pub(super) fn worked(&mut self, picked: &Picked, model: &str) {
        let slot = &mut self.slots[picked.at];
        if slot.value == picked.value {
            slot.outs.retain(|out| !(out.holds_for(model) && picked.picked > out.since));
        }
    }

    /// Puts another value in a key's place, which is usable at once. Returns whether it is another.
    pub(super) fn replace(&mut self, at: usize, key: ApiKey) -> bool {
        let slot = &mut self.slots[at];
        let other = slot.key.expose() != key.expose();
        if other {
            slot.key = key;
            slot.value += 1;
            slot.outs.clear();
        }
        other
    }
}

#[cfg(test)]
mod tests;
