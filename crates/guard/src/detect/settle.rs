//! Of what overlaps, which stays.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Found;
use super::scan::Rank;
use crate::policy::Action;
use crate::{Entity, Group};

/// What could be found.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) claim: Claim,
    pub(crate) found: Found,
    pub(crate) rank: Rank,
    pub(crate) distance: usize,
}

/// What a candidate says of its place. Claims of one kind exclude each other: a number is a card or a phone's. Claims of
/// different kinds can all be true of one place, and a rule must not be lost because another one fires there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Claim {
    /// What it is.
    Thing,
    /// What it tries to do.
    Tripwire,
    /// That one of the operator's own rules names it.
    Own { rule: usize },
}

impl Claim {
    pub(crate) fn of(entity: Entity) -> Claim {
        match entity.group() {
            Group::Pii | Group::Secrets => Claim::Thing,
            Group::PromptSafety => Claim::Tripwire,
        }
    }
}

/// Appends the best of the candidates of each claim, sorted by place: of those that more than their looks speaks for, the
/// strictest, so that no token leaves because it stands in an address that is only flagged; then the surest, then the
/// longest, then the one nearest to the word that names it, then the earliest rule.
pub(crate) fn settle(mut candidates: Vec<Candidate>, strictness: &[Action], found: &mut Vec<Found>) {
    let least = strictness.iter().min();
    candidates.sort_by_key(|Candidate { found, rank, distance, .. }| {
        let strict = if *rank == Rank::Formed { least } else { strictness.get(found.rule) };
        (Reverse(strict.copied()), Reverse(*rank), Reverse(found.range.len()), *distance, found.rule, found.range.start)
    });
    let mut taken: BTreeMap<(Claim, usize), Found> = BTreeMap::new();
    for Candidate { claim, found, .. } in candidates {
        let before = taken.range((claim, 0)..(claim, found.range.end)).next_back();
        if before.is_none_or(|(_, before)| before.range.end <= found.range.start) {
            taken.insert((claim, found.range.start), found);
        }
    }
    let settled = found.len();
    found.extend(taken.into_values());
    found[settled..].sort_by_key(|found| (found.range.start, found.range.end, found.rule));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(rule: usize, range: std::ops::Range<usize>, rank: Rank) -> Candidate {
        Candidate { claim: Claim::Thing, found: Found { rule, range, word: 0 }, rank, distance: 0 }
    }

    fn own(rule: usize, range: std::ops::Range<usize>) -> Candidate {
        Candidate { claim: Claim::Own { rule }, ..candidate(rule, range, Rank::Formed) }
    }

    fn check(candidates: Vec<Candidate>, kept: &[(usize, usize)]) {
        let mut found = Vec::new();
        settle(candidates, &[], &mut found);
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

    #[test]
    fn the_stricter_goes_before_the_laxer_where_more_than_looks_speaks_for_it() {
        let strictness = [Action::Flag, Action::Block];
        let kept = |first: Rank, second: Rank| {
            let mut found = Vec::new();
            settle(vec![candidate(0, 0..20, first), candidate(1, 4..8, second)], &strictness, &mut found);
            found[0].rule
        };
        assert_eq!(kept(Rank::Certain, Rank::Confirmed), 1);
        assert_eq!(kept(Rank::Certain, Rank::Said), 1);
        assert_eq!(kept(Rank::Formed, Rank::Said), 1);
        assert_eq!(kept(Rank::Confirmed, Rank::Formed), 0, "what only looks right stops nothing that is known");
    }

    #[test]
    fn a_rule_of_the_operators_is_found_beside_whatever_else_is() {
        check(vec![candidate(0, 0..9, Rank::Certain), own(1, 2..4), own(2, 3..12)], &[(0, 0), (1, 2), (2, 3)]);
        check(vec![own(1, 2..4), own(1, 0..9)], &[(1, 0)]);
    }
}
