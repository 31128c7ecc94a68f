//! A set of sequences, small where they lie side by side.

use std::collections::BTreeMap;

/// A set of sequences: the first and the last of each run.
#[derive(Clone, Debug, Default)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Puts one in; says whether it is new.
    pub fn insert(&mut self, sequence: u64) -> bool {
        if self.contains(sequence) {
            return false;
        }
        let last = self.0.remove(&(sequence + 1)).unwrap_or(sequence);
        match self.0.range_mut(..sequence).next_back() {
            Some((_, before)) if *before + 1 == sequence => *before = last,
            _ => drop(self.0.insert(sequence, last)),
        }
        true
    }

    /// Whether one is in.
    pub fn contains(&self, sequence: u64) -> bool {
        self.0.range(..=sequence).next_back().is_some_and(|(_, last)| *last >= sequence)
    }

    /// Whether all from `first` to `last`, both included, are in.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        first > last || self.0.range(..=first).next_back().is_some_and(|(_, end)| *end >= last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(sequences in prop::collection::vec(1u64..60, 0..80)) {
            let (mut ranges, mut plain) = (Ranges::default(), BTreeSet::new());
            for sequence in sequences {
                prop_assert_eq!(ranges.insert(sequence), plain.insert(sequence));
            }
            for first in 1..60 {
                prop_assert_eq!(ranges.contains(first), plain.contains(&first));
                for last in first..60 {
                    prop_assert_eq!(ranges.covers(first, last), (first..=last).all(|s| plain.contains(&s)));
                }
            }
            let touching = ranges.0.iter().zip(ranges.0.keys().skip(1)).any(|((_, end), next)| end + 1 >= *next);
            prop_assert!(!touching, "runs that touch are one");
        }
    }
}
