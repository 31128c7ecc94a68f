//! What a worker knows of each lane, and what it therefore pulls: pure, with `now` as an argument.
//!
//! Two kinds of pull. While lanes have a backlog, free slots go to them in the fair order and are asked for at once.
//! Slots that are left are lent to empty lanes as long pulls, so that a lone job starts the moment it arrives; a part
//! of them is always kept back for lanes that fill up meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_policy::order::{Candidate, Order};
use tollgate_queue::Backlog;
use tollgate_types::LaneKey;

/// Everything known about the lanes.
#[derive(Debug, Default)]
pub(crate) struct Board {
    lanes: Vec<Lane>,
    by_key: HashMap<LaneKey, usize>,
    order: Order,
}

/// One lane as this worker sees it.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Its name.
    pub(crate) key: Arc<LaneKey>,
    weight: u32,
    /// Jobs waiting or in flight anywhere, at the last count, less those that ended here since.
    backlog: usize,
    /// Jobs of it that run here.
    running: usize,
    /// Slots of pulls under way.
    pulled: usize,
    /// Jobs in the count that a pull did not find: other workers run them.
    elsewhere: usize,
    consumer: Consumer,
    last_job: Option<Instant>,
}

/// Whether the lane's consumer exists, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consumer {
    Missing,
    Asked,
    Ready,
}

/// A pull to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The lane's number.
    pub(crate) lane: usize,
    /// How many jobs.
    pub(crate) slots: usize,
    /// How long to wait for jobs that are not there yet; `None` for those that are.
    pub(crate) wait: Option<Duration>,
}

/// How long the server may hold a long pull: short enough that its slots come back soon when other lanes need them.
const LONG_PULL: Duration = Duration::from_secs(1);
/// A lane that had a job this recently is lent more than one slot.
const RECENT: Duration = Duration::from_secs(2);
/// The most slots that one long pull is lent.
const LENT_MAX: usize = 64;

impl Board {
    /// Takes in a fresh count. New lanes appear; lanes without jobs stay, to be waited on.
    pub(crate) fn count(&mut self, backlog: &Backlog, weight: impl Fn(&LaneKey) -> u32) {
        for lane in &mut self.lanes {
            lane.backlog = 0;
        }
        for (key, &jobs) in &backlog.lanes {
            let at = self.number(key);
            self.lanes[at].backlog = usize::try_from(jobs).unwrap_or(usize::MAX);
            self.lanes[at].weight = weight(key);
        }
        for lane in &mut self.lanes {
            lane.elsewhere = lane.elsewhere.min(lane.backlog.saturating_sub(lane.running));
        }
    }

    /// Forgets what pulls did not find: other workers may have given those jobs back.
    pub(crate) fn doubt(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.elsewhere = 0);
    }

    fn number(&mut self, key: &LaneKey) -> usize {
        if let Some(&at) = self.by_key.get(key) {
            return at;
        }
        let at = self.lanes.len();
        self.lanes.push(Lane {
            key: Arc::new(key.clone()),
            weight: 1,
            backlog: 0,
            running: 0,
            pulled: 0,
            elsewhere: 0,
            consumer: Consumer::Missing,
            last_job: None,
        });
        self.by_key.insert(key.clone(), at);
        at
    }

    /// A lane by its number.
    pub(crate) fn lane(&self, at: usize) -> &Lane {
        &self.lanes[at]
    }

    /// The number of a lane, if it is known.
    pub(crate) fn find(&self, key: &LaneKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// Every lane's name.
    pub(crate) fn keys(&self) -> Vec<Arc<LaneKey>> {
        self.lanes.iter().map(|lane| lane.key.clone()).collect()
    }

    /// How many lanes are known.
    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Up to `max` lanes with jobs and without a consumer; they count as asked from now on.
    pub(crate) fn take_unopened(&mut self, max: usize) -> Vec<usize> {
        let missing = self.lanes.iter().enumerate();
        let missing = missing.filter(|(_, lane)| lane.consumer == Consumer::Missing && lane.backlog > 0);
        let chosen: Vec<usize> = missing.map(|(at, _)| at).take(max).collect();
        chosen.iter().for_each(|&at| self.lanes[at].consumer = Consumer::Asked);
        chosen
    }

    /// The lane's consumer exists, or could not be made.
    pub(crate) fn opened(&mut self, at: usize, ready: bool) {
        self.lanes[at].consumer = if ready { Consumer::Ready } else { Consumer::Missing };
    }

    /// The lane's consumer went away.
    pub(crate) fn lost_consumer(&mut self, at: usize) {
        self.lanes[at].consumer = Consumer::Missing;
    }

    /// A pull of `slots` was sent.
    pub(crate) fn pulling(&mut self, at: usize, slots: usize) {
        self.lanes[at].pulled += slots;
    }

    /// A pull brought a job, which starts to run.
    pub(crate) fn started(&mut self, at: usize, now: Instant) {
        let lane = &mut self.lanes[at];
        lane.pulled = lane.pulled.saturating_sub(1);
        lane.running += 1;
        lane.last_job = Some(now);
    }

    /// A pull ended with `slots` unused. `drained` says that the lane had no more.
    pub(crate) fn returned(&mut self, at: usize, slots: usize, drained: bool) {
        let lane = &mut self.lanes[at];
        lane.pulled = lane.pulled.saturating_sub(slots);
        if drained {
            lane.elsewhere = lane.backlog.saturating_sub(lane.running);
        }
    }

    /// A job of the lane ended here. `settled` says that it left the queue.
    pub(crate) fn ended(&mut self, at: usize, settled: bool) {
        let lane = &mut self.lanes[at];
        lane.running = lane.running.saturating_sub(1);
        if settled {
            lane.backlog = lane.backlog.saturating_sub(1);
        }
    }

    /// What to pull with `free` of `concurrency` slots.
    pub(crate) fn plan(&mut self, free: usize, concurrency: usize, now: Instant) -> Vec<Wish> {
        let candidates: Vec<Candidate> = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.can_pull() && lane.available() > 0)
            .map(|(at, lane)| Candidate { lane: at, weight: lane.weight, available: lane.available() })
            .collect();
        let granted = self.order.grant(&candidates, free);
        let used: usize = granted.iter().map(|&(_, slots)| slots).sum();
        let mut wishes: Vec<Wish> = granted.into_iter().map(|(lane, slots)| Wish { lane, slots, wait: None }).collect();
        // One slot in four stays free for lanes that fill up; with few slots, none is lent.
        let kept_back = (concurrency / 4).max(1);
        let lent = self.lend((free - used).saturating_sub(kept_back), concurrency, now);
        wishes.extend(lent);
        wishes
    }

    fn lend(&self, mut budget: usize, concurrency: usize, now: Instant) -> Vec<Wish> {
        if budget == 0 {
            return Vec::new();
        }
        let recent = |lane: &Lane| lane.last_job.is_some_and(|at| now.duration_since(at) < RECENT);
        let busy = self.lanes.iter().filter(|lane| recent(lane)).count().max(1);
        let share = (concurrency / (2 * busy)).clamp(1, LENT_MAX);
        let mut empty: Vec<(usize, &Lane)> = self.lanes.iter().enumerate().collect();
        empty.retain(|(_, lane)| lane.can_pull() && lane.available() == 0);
        empty.sort_by_key(|(_, lane)| std::cmp::Reverse(lane.last_job));
        let mut wishes = Vec::new();
        for (at, lane) in empty {
            let slots = if recent(lane) { share } else { 1 }.min(budget);
            budget -= slots;
            wishes.push(Wish { lane: at, slots, wait: Some(LONG_PULL) });
            if budget == 0 {
                break;
            }
        }
        wishes
    }
}

impl Lane {
    /// A lane has one pull under way at a time: its jobs do not say which pull brought them.
    fn can_pull(&self) -> bool {
        self.consumer == Consumer::Ready && self.pulled == 0
    }

    fn available(&self) -> usize {
        self.backlog.saturating_sub(self.running + self.elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(lanes: &[(&str, u64)]) -> Board {
        let mut board = Board::default();
        let key = |team: &str| LaneKey { class: "batch".into(), team: team.into() };
        let lanes = lanes.iter().map(|&(team, jobs)| (key(team), jobs)).collect();
        board.count(&Backlog { lanes }, |_| 1);
        let open = board.take_unopened(usize::MAX);
        open.into_iter().for_each(|at| board.opened(at, true));
        board
    }

    #[test]
    fn a_backlog_gets_all_slots_at_once() {
        let mut board = board(&[("a", 1000)]);
        assert_eq!(board.plan(8, 8, Instant::now()), [Wish { lane: 0, slots: 8, wait: None }]);
    }

    #[test]
    fn what_a_pull_did_not_find_is_not_asked_for_again_until_doubted() {
        let mut board = board(&[("a", 5)]);
        board.pulling(0, 5);
        board.returned(0, 5, true);
        let wishes = board.plan(8, 8, Instant::now());
        assert!(wishes.iter().all(|wish| wish.wait.is_some()), "only a long pull: {wishes:?}");
        board.doubt();
        assert_eq!(board.plan(8, 8, Instant::now())[0], Wish { lane: 0, slots: 5, wait: None });
    }

    #[test]
    fn an_idle_worker_waits_on_empty_lanes_and_keeps_slots_back() {
        let mut board = board(&[("a", 1), ("b", 1)]);
        board.count(&Backlog::default(), |_| 1);
        let wishes = board.plan(8, 8, Instant::now());
        assert_eq!(wishes.len(), 2);
        assert!(wishes.iter().all(|wish| wish.wait.is_some()));
        assert!(wishes.iter().map(|wish| wish.slots).sum::<usize>() <= 6);
    }

    #[test]
    fn a_single_slot_is_never_lent_away() {
        let mut board = board(&[("a", 1), ("b", 1)]);
        board.count(&Backlog::default(), |_| 1);
        assert_eq!(board.plan(1, 1, Instant::now()), []);
    }

    #[test]
    fn jobs_that_end_here_leave_the_count() {
        let mut board = board(&[("a", 3)]);
        board.pulling(0, 3);
        (0..3).for_each(|_| board.started(0, Instant::now()));
        (0..3).for_each(|_| board.ended(0, true));
        assert!(board.plan(8, 8, Instant::now()).iter().all(|wish| wish.wait.is_some()));
    }
}
