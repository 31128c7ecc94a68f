//! One level of the order: members by start tag, and the virtual time among them. Classes are one, lanes another.

use std::collections::BTreeSet;

use super::{Cost, Standing};

/// A point in virtual time: cost over weight, in 2⁻³² of a cost unit, so that the largest weight still moves it.
///
/// It does not overflow: a job of a hundred billion tokens (under 2⁴⁰ cost units) moves a member of weight 1 by less
/// than 2⁷², and 2⁵⁵ of those fit; even of charges of `u64::MAX` it takes two billion. After that it saturates, and
/// members at the end go in the order of their keys.
type Tag = i128;

const FRACTION_BITS: u32 = 32;

/// How many of its dearest jobs the place is worth that a member keeps while it is Held.
///
/// With jobs that all take as long as they cost, a member that took its cap of twice its share `s` at once falls behind
/// by at most `slots * s * (1 - 2s)` of its jobs until the first of them ends, which is `slots / 8` for the worst `s`.
/// This is enough for a worker of a thousand slots.
const KEPT_JOBS: Tag = 128;
/// A dear job is forgotten within some tens of jobs.
const FORGET: Tag = 16;

/// What one member of a level is entitled to, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Member {
    weight: u32,
    standing: Standing,
    /// The start tag of its next job.
    start: Tag,
    /// Virtual time when it last began to take part; no correction brings it before that.
    floor: Tag,
    /// How far behind virtual time it may be after it was Held.
    kept: Tag,
}

impl Default for Member {
    fn default() -> Self {
        Member { weight: 1, standing: Standing::Idle, start: 0, floor: 0, kept: 0 }
    }
}

impl Member {
    pub(super) fn weight(&self) -> u64 {
        u64::from(self.weight)
    }

    /// Moves it up to `to`, if it is behind.
    fn lift(&mut self, to: Tag) {
        self.start = self.start.max(to);
        self.floor = self.floor.max(to);
    }

    /// How far `cost` moves it.
    fn distance(&self, cost: i128) -> Tag {
        (cost << FRACTION_BITS) / i128::from(self.weight)
    }
}

/// The members that are Ready in their order, and what is known of all together. The members are the caller's.
#[derive(Clone, Debug)]
pub(super) struct Level<K> {
    ready: BTreeSet<(Tag, K)>,
    /// Those who take part, Ready or Held, in the same order.
    taking_part: BTreeSet<(Tag, K)>,
    /// The largest start tag that was ever served.
    served: Tag,
    /// The largest start tag that any member ever had.
    furthest: Tag,
    /// The sum of the weights of those who take part.
    weights: u64,
    /// How many members are not Idle.
    busy: usize,
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        Level { ready: BTreeSet::new(), taking_part: BTreeSet::new(), served: 0, furthest: 0, weights: 0, busy: 0 }
    }
}

impl<K: Copy + Ord> Level<K> {
    /// A member that is Idle and owes nothing.
    pub(super) fn newcomer(&self, weight: u32) -> Member {
        let now = self.now();
        Member { weight: weight.max(1), start: now, floor: now, ..Member::default() }
    }

    /// Virtual time: the largest start tag that was ever served, or where the furthest of those who take part stands, if
    /// all of them were brought back behind that by what their jobs really cost.
    fn now(&self) -> Tag {
        self.taking_part.last().map_or(self.served, |&(tag, _)| tag.min(self.served))
    }

    pub(super) fn weigh(&mut self, member: &mut Member, weight: u32) {
        let before = member.weight();
        member.weight = weight.max(1);
        if member.standing.takes_part() {
            self.weights = self.weights - before + member.weight();
        }
    }

    pub(super) fn stand(&mut self, key: K, member: &mut Member, to: Standing) {
        let from = member.standing;
        if from == to {
            return;
        }
        self.take_out(key, member);
        match (from.takes_part(), to.takes_part()) {
            (false, true) => {
                member.lift(self.now());
                self.weights += member.weight();
            }
            (true, false) => self.weights -= member.weight(),
            (true, true) => member.lift(self.now().saturating_sub(member.kept)),
            (false, false) => {}
        }
        match (from == Standing::Idle, to == Standing::Idle) {
            (true, false) => self.busy += 1,
            (false, true) => self.busy -= 1,
            (true, true) | (false, false) => {}
        }
        member.standing = to;
        self.put_in(key, member);
        self.rest();
    }

    fn take_out(&mut self, key: K, member: &Member) {
        if member.standing == Standing::Ready {
            self.ready.remove(&(member.start, key));
        }
        if member.standing.takes_part() {
            self.taking_part.remove(&(member.start, key));
        }
    }

    fn put_in(&mut self, key: K, member: &Member) {
        if member.standing == Standing::Ready {
            self.ready.insert((member.start, key));
        }
        if member.standing.takes_part() {
            self.taking_part.insert((member.start, key));
        }
    }

    /// How the whole level stands as a member of the one above.
    pub(super) fn standing(&self) -> Standing {
        if !self.ready.is_empty() {
            Standing::Ready
        } else if self.weights > 0 {
            Standing::Held
        } else if self.busy > 0 {
            Standing::Closed
        } else {
            Standing::Idle
        }
    }

    /// The Ready member with the smallest start tag.
    pub(super) fn first(&self) -> Option<K> {
        self.ready.first().map(|&(_, key)| key)
    }

    /// Charges a member for a job that starts now.
    pub(super) fn dispatch(&mut self, key: K, member: &mut Member, cost: Cost) {
        if !member.standing.takes_part() {
            member.lift(self.now());
        }
        // Not beyond those who wait, also when the member is not the first of them.
        let served = self.ready.first().map_or(member.start, |&(tag, _)| tag.min(member.start));
        self.served = self.served.max(served);
        // A member that is charged nothing would be the first for ever.
        let distance = member.distance(i128::from(cost.max(1)));
        // The dearest of its jobs lately, not the last: one small job is no reason to lose the place.
        member.kept = distance.saturating_mul(KEPT_JOBS).max(member.kept - member.kept / FORGET);
        self.advance(key, member, distance);
    }

    /// Charges a member `by` more, or less, for jobs that started before.
    pub(super) fn correct(&mut self, key: K, member: &mut Member, by: i64) {
        self.advance(key, member, member.distance(i128::from(by)));
    }

    fn advance(&mut self, key: K, member: &mut Member, distance: Tag) {
        self.take_out(key, member);
        member.start = member.start.saturating_add(distance).max(member.floor);
        self.furthest = self.furthest.max(member.start);
        self.put_in(key, member);
        self.rest();
    }

    /// Ends all debts when nothing runs and nothing waits: there is nobody who could be owed.
    fn rest(&mut self) {
        if self.busy == 0 {
            self.served = self.furthest;
        }
    }

    /// The weights of those who take part, and of `member` in any case.
    pub(super) fn sum_with(&self, member: &Member) -> u64 {
        if member.standing.takes_part() { self.weights } else { self.weights + member.weight() }
    }

    pub(super) fn owes_nothing(&self, member: &Member) -> bool {
        member.standing == Standing::Idle && member.start <= self.now()
    }
}

#[cfg(test)]
impl<K: Copy + Ord + std::fmt::Debug> Level<K> {
    /// Compares what is kept here with what a walk over all members finds.
    pub(super) fn check<'a>(&self, members: impl Iterator<Item = (K, &'a Member)>) {
        let (mut ready, mut taking_part, mut weights, mut busy) = (Vec::new(), Vec::new(), 0, 0);
        for (key, member) in members {
            assert!(member.start >= member.floor, "{key:?}: {member:?}");
            assert!(member.start <= self.furthest, "{key:?}: {member:?}");
            if member.standing == Standing::Ready {
                ready.push((member.start, key));
            }
            if member.standing.takes_part() {
                taking_part.push((member.start, key));
            }
            weights += if member.standing.takes_part() { member.weight() } else { 0 };
            busy += usize::from(member.standing != Standing::Idle);
        }
        ready.sort_unstable();
        taking_part.sort_unstable();
        assert_eq!(self.ready.iter().copied().collect::<Vec<_>>(), ready);
        assert_eq!(self.taking_part.iter().copied().collect::<Vec<_>>(), taking_part);
        assert_eq!((self.weights, self.busy), (weights, busy));
    }
}
