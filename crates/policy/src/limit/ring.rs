//! What was granted in which second.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The seconds over which grants are summed: any so many in a row hold at most a minute's limit.
///
/// What is granted in second `s` is used at the earliest at `s` and, because it is of no use from `s + 2` on, reaches
/// the provider before `s + 2 s + delay`. With clocks that are wrong by up to `e`, what a minute at the provider can see
/// was granted within `60 s + 2 s + delay + 2e`, so 64 seconds are enough as long as `delay + 2e` is at most two.
pub(super) const WINDOW: i64 = 64;
/// Counts by second of the server's clock; seconds without are left out.
///
/// On the wire: pairs of a second and a count, the first second whole and each further one as its distance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring(BTreeMap<i64, u64>);

impl Ring {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts `count` more in a second.
    pub(super) fn add(&mut self, second: i64, count: u64) {
        if count > 0 {
            let bucket = self.0.entry(second).or_default();
            *bucket = bucket.saturating_add(count);
        }
    }

    /// Counts up to `count` less in a second, if it is still kept; returns how much it was.
    pub(super) fn take_off(&mut self, second: i64, count: u64) -> u64 {
        let Some(bucket) = self.0.get_mut(&second) else { return 0 };
        let taken = count.min(*bucket);
        *bucket -= taken;
        if *bucket == 0 {
            self.0.remove(&second);
        }
        taken
    }

    /// Drops what has left the window.
    pub(super) fn drop_old(&mut self, second: i64) {
        self.0 = self.0.split_off(&second.saturating_sub(WINDOW - 1));
    }

    /// The last second in which something was granted.
    pub(super) fn last(&self) -> Option<i64> {
        self.0.last_key_value().map(|(last, _)| *last)
    }

    /// Makes all of it so many seconds earlier.
    pub(super) fn set_back(&mut self, by: i64) {
        self.0 = self.0.iter().map(|(second, count)| (second.saturating_sub(by), *count)).collect();
    }

    /// What was granted from a second on. What lies ahead of now is always in it: a faster clock granted it.
    pub(super) fn since(&self, second: i64) -> u64 {
        self.0.range(second..).fold(0, |sum, (_, &count)| sum.saturating_add(count))
    }
}

impl Serialize for Ring {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = 0;
        serializer.collect_seq(self.0.iter().map(|(&second, &count)| {
            let distance = second.saturating_sub(before);
            before = second;
            (distance, count)
        }))
    }
}

impl<'de> Deserialize<'de> for Ring {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut ring = Ring::default();
        let mut second = 0i64;
        for (distance, count) in Vec::<(i64, u64)>::deserialize(deserializer)? {
            second = second.saturating_add(distance);
            ring.add(second, count);
        }
        Ok(ring)
    }
}
