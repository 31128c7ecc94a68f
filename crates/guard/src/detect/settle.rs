//! Of what overlaps, which stays.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Found;
use super::scan::Rank;

/// What could be found.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) found: Found,
    pub(crate) rank: Rank,
    pub(crate) distance: usize,
}

/// Appends the best of the candidates, sorted by place: the surest, then the longest, then the one nearest to the word
/// that names it, then the earliest rule.
pub(crate) fn settle(mut candidates: Vec<Candidate>, found: &mut Vec<Found>) {
    candidates.sort_by_key(|Candidate { found, rank, distance }| {
        (Reverse(*rank), Reverse(found.range.len()), *distance, found.rule, found.range.start)
    });
    let mut taken: BTreeMap<usize, Found> = BTreeMap::new();
    for Candidate { found, .. } in candidates {
        let before = taken.range(..found.range.end).next_back();
        if before.is_none_or(|(_, before)| before.range.end <= found.range.start) {
            taken.insert(found.range.start, found);
        }
    }
    found.extend(taken.into_values());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(rule: usize, range: std::ops::Range<usize>, rank: Rank) -> Candidate {
        Candidate { found: Found { rule, range, word: 0 }, rank, distance: 0 }
    }

    fn check(candidates: Vec<Candidate>, kept: &[(usize, usize)]) {
        let mut found = Vec::new();
        settle(candidates, &mut found);
        let found: Vec<(usize, usize)> = found.into_iter().map(|found| (found.rule, found.range.start)).collect();
        assert_eq!(found, kept);
    }

    #[test]
    fn the_confirmed_goes_before_the_longer_and_the_longer_before_the_earlier_rule() {
        check(vec![candidate(0, 0..20, Rank::Formed), candidate(1, 4..8, Rank::Confirmed)], &[(1, 4)]);
        check(vec![candidate(0, 0..5, Rank::Formed), candidate(1, 3..20, Rank::Formed)], &[(1, 3)]);
        check(vec![candidate(1, 0..5, Rank::Formed), candidate(0, 0..5, Rank::Formed)], &[(0, 0)]);
        check(vec![candidate(0, 5..9, Rank::Formed), candidate(1, 0..5, Rank::Formed)], &[(1, 0), (0, 5)]);
    }
}
