//! Lending: free slots wait on empty lanes, so that a lone job starts the moment it arrives.

use std::time::{Duration, Instant};

use super::{At, Board, Doors, Lane, Wish};

/// How long the server may hold a long pull: short enough that its slots come back soon when other lanes need them.
const LONG_PULL: Duration = Duration::from_secs(1);
/// A lane that had a job this recently is lent more than one slot.
const RECENT: Duration = Duration::from_secs(2);
/// The most slots that one long pull is lent.
const LENT_MAX: usize = 64;

impl Board {
    /// Long pulls on the own queues of empty lanes, the busiest first, with up to `budget` of `concurrency` slots.
    pub(super) fn lend(
        &mut self,
        mut budget: usize,
        concurrency: usize,
        doors: &impl Doors,
        now: Instant,
    ) -> Vec<Wish> {
        if budget == 0 {
            return Vec::new();
        }
        let recent = |lane: &Lane| lane.last_job.is_some_and(|at| now.duration_since(at) < RECENT);
        let busy = self.lanes().filter(|lane| recent(lane)).count().max(1);
        let share = (concurrency / (2 * busy)).clamp(1, LENT_MAX);
        let mut empty: Vec<(usize, &Lane)> =
            self.lanes.iter().enumerate().filter_map(|(at, lane)| Some((at, lane.as_ref()?))).collect();
        empty.retain(|(_, lane)| lane.queues[0].can_pull() && lane.queues[0].available() == 0);
        empty.sort_by_key(|(_, lane)| std::cmp::Reverse(lane.last_job));
        let mut lent = Vec::new();
        for (at, lane) in empty {
            let may_begin = doors.lane(&lane.key, false).left(lane.asked.now());
            let slots = if recent(lane) { share } else { 1 }.min(budget).min(may_begin);
            if slots == 0 {
                continue;
            }
            budget -= slots;
            lent.push(Wish { at: At { lane: at, queue: 0 }, slots, charged: 0, wait: Some(LONG_PULL) });
            if budget == 0 {
                break;
            }
        }
        for wish in &lent {
            self.pulling(wish);
        }
        lent
    }
}
