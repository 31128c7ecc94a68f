//! What a worker knows of each lane, and what it therefore pulls: pure, with `now` as an argument.
//!
//! A lane is one class of one team. Its jobs stand in queues: the lane's own, and one for each gate that some of them
//! were parked behind; a parked job is older, so those come first. Slots are shared among *lanes*, so a team gains
//! nothing by having jobs parked.
//!
//! Two kinds of pull. While lanes have work that may run, free slots go to them in the fair order and are asked for at
//! once. Slots that are left are lent to empty lanes as long pulls, so that a lone job starts the moment it arrives; a
//! part of them is always kept back for lanes that fill up meanwhile.

mod lane;
mod lend;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_policy::order::{Cost, LaneId, Order, Standing};
use tollgate_queue::QueueKey;
use tollgate_types::{Gate, LaneKey};

use crate::gates::Allowance;
use lane::Asked;
pub(crate) use lane::{Entering, Lane, Queue};

/// Everything known about the lanes.
#[derive(Debug, Default)]
pub(crate) struct Board {
    lanes: Vec<Option<Lane>>,
    vacant: Vec<usize>,
    by_key: HashMap<LaneKey, usize>,
    by_id: HashMap<LaneId, usize>,
    /// Jobs on their way through each gate.
    gates: HashMap<Gate, Asked>,
    order: Order,
}

/// A queue of a lane, by numbers that hold while the lane is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct At {
    /// The lane's number.
    pub(crate) lane: usize,
    /// The queue's number in the lane; 0 is the lane's own.
    pub(crate) queue: usize,
}

/// A pull to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Which queue.
    pub(crate) at: At,
    /// How many jobs.
    pub(crate) slots: usize,
    /// What the order charged for each, until the job tells what it really costs; nothing for a lent slot.
    pub(crate) charged: Cost,
    /// How long to wait for jobs that are not there yet; `None` for those that are.
    pub(crate) wait: Option<Duration>,
}

/// What the board asks of whoever knows which lanes and gates are open.
pub(crate) trait Doors {
    /// How many jobs of the lane may begin now; a busy lane wants more permits if it has few.
    fn lane(&self, lane: &LaneKey, busy: bool) -> Allowance;
    /// How many jobs behind the gate may begin now, over all lanes.
    fn gate(&self, gate: &Gate) -> Allowance;
    /// Class number, class weight and team weight of a lane.
    fn weights(&self, lane: &LaneKey) -> Weights;
}

/// A lane's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    /// The class's number.
    pub(crate) class: u8,
    /// The class's weight against other classes.
    pub(crate) of_class: u32,
    /// The team's weight against other teams of the class.
    pub(crate) of_team: u32,
}

/// A lane that was idle for so long is forgotten; it comes back with its next job.
const FORGET_AFTER: Duration = Duration::from_secs(300);

impl Board {
    /// Takes in a fresh count of the lanes' own queues. New lanes appear; lanes without jobs stay for a while, to be
    /// waited on.
    pub(crate) fn count(&mut self, counts: &HashMap<LaneKey, u64>, doors: &impl Doors, now: Instant) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.queues[0].counted(counts.get(&*lane.key).copied().unwrap_or(0));
        }
        for (key, &jobs) in counts {
            if !self.by_key.contains_key(key) {
                let at = self.enter(key, doors, now);
                self.lane_mut(at).queues[0].counted(jobs);
            }
        }
        self.forget_idle(now);
        self.refresh(doors, now);
    }

    /// Takes in a fresh count of the queues of parked jobs.
    pub(crate) fn count_parked(&mut self, counts: &HashMap<(Gate, LaneKey), u64>, doors: &impl Doors, now: Instant) {
        for lane in self.lanes.iter_mut().flatten() {
            for queue in &mut lane.queues[1..] {
                let key = queue.gate().map(|gate| (gate.clone(), (*lane.key).clone()));
                queue.counted(key.and_then(|key| counts.get(&key).copied()).unwrap_or(0));
            }
        }
        for ((gate, key), &jobs) in counts {
            if jobs == 0 {
                continue;
            }
            let at = self.by_key.get(key).copied().unwrap_or_else(|| self.enter(key, doors, now));
            let lane = self.lane_mut(at);
            let (queue, left) = lane.queue_of(gate);
            lane.queues[queue].counted(jobs);
            if let Some(left) = left.filter(|left| self.gates.get(left).is_some_and(|asked| asked.now() == 0)) {
                self.gates.remove(&left);
            }
        }
        self.refresh(doors, now);
    }

    /// Weighs every lane again and looks which may take slots: after a count, and when a door moved.
    pub(crate) fn refresh(&mut self, doors: &impl Doors, now: Instant) {
        for at in 0..self.lanes.len() {
            let Some(lane) = &mut self.lanes[at] else { continue };
            let weights = doors.weights(&lane.key);
            lane.open = doors.lane(&lane.key, !lane.is_idle());
            let id = lane.id;
            self.order.weigh_class(weights.class, weights.of_class);
            self.order.weigh(id, weights.of_team);
            self.stand(at, doors, now);
        }
    }

    /// Forgets what pulls did not find: other workers may have given those jobs back.
    pub(crate) fn doubt(&mut self) {
        self.lanes.iter_mut().flatten().flat_map(|lane| &mut lane.queues).for_each(|queue| queue.elsewhere = 0);
    }

    fn enter(&mut self, key: &LaneKey, doors: &impl Doors, now: Instant) -> usize {
        let weights = doors.weights(key);
        self.order.weigh_class(weights.class, weights.of_class);
        let id = self.order.enter(weights.class, weights.of_team);
        let lane = Lane::new(key.clone(), id, now);
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            self.lanes.len() - 1
        });
        self.lanes[at] = Some(lane);
        self.by_key.insert(key.clone(), at);
        self.by_id.insert(id, at);
        at
    }

    /// A lane that nothing happened in for long leaves, once the order owes it nothing and it owes nothing.
    fn forget_idle(&mut self, now: Instant) {
        for at in 0..self.lanes.len() {
            let Some(lane) = &self.lanes[at] else { continue };
            if lane.is_idle() && now.duration_since(lane.busy_at) >= FORGET_AFTER && self.order.may_leave(lane.id) {
                self.order.leave(lane.id);
                self.by_key.remove(&*lane.key);
                self.by_id.remove(&lane.id);
                self.lanes[at] = None;
                self.vacant.push(at);
            }
        }
    }

    /// A lane by its number, if it is still known.
    pub(crate) fn lane(&self, at: usize) -> Option<&Lane> {
        self.lanes.get(at)?.as_ref()
    }

    fn lane_mut(&mut self, at: usize) -> &mut Lane {
        self.lanes[at].as_mut().expect("a number is used only while its lane is known")
    }

    /// A queue by its numbers, if its lane is still known.
    pub(crate) fn queue(&self, at: At) -> Option<&Queue> {
        self.lane(at.lane)?.queues.get(at.queue)
    }

    fn queue_mut(&mut self, at: At) -> Option<&mut Queue> {
        self.lanes.get_mut(at.lane)?.as_mut()?.queues.get_mut(at.queue)
    }

    /// The numbers of a queue, if it is known.
    pub(crate) fn find(&self, key: &QueueKey) -> Option<At> {
        let lane = *self.by_key.get(&*key.lane)?;
        let queue = self.lane(lane)?.queues.iter().position(|queue| queue.key.gate == key.gate)?;
        Some(At { lane, queue })
    }

    /// Every lane's name.
    pub(crate) fn keys(&self) -> Vec<Arc<LaneKey>> {
        self.lanes.iter().flatten().map(|lane| lane.key.clone()).collect()
    }

    /// Every lane that is known.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().flatten()
    }

    /// Jobs of open lanes that wait, as far as is known: slots that run nothing meanwhile are idle.
    pub(crate) fn waiting_in_the_open(&self) -> usize {
        let open = self.lanes().filter(|lane| lane.open == Allowance::Free);
        open.map(|lane| lane.queues[0].waiting()).fold(0, usize::saturating_add)
    }

    /// How many lanes are known.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Up to `max` queues with jobs and without a consumer; they count as asked from now on.
    pub(crate) fn take_unopened(&mut self, max: usize) -> Vec<At> {
        let mut chosen = Vec::new();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            for (queue, of) in lane.queues.iter_mut().enumerate() {
                if chosen.len() == max {
                    return chosen;
                }
                if of.ask_for_consumer() {
                    chosen.push(At { lane: number, queue });
                }
            }
        }
        chosen
    }

    /// The queue's consumer exists, or could not be made.
    pub(crate) fn opened(&mut self, at: At, ready: bool, doors: &impl Doors, now: Instant) {
        if let Some(queue) = self.queue_mut(at) {
            queue.opened(ready);
            self.stand(at.lane, doors, now);
        }
    }

    /// The queue's consumer went away.
    pub(crate) fn lost_consumer(&mut self, at: At) {
        if let Some(queue) = self.queue_mut(at) {
            queue.opened(false);
        }
    }

    /// A pull of a wish was not sent: what was charged for it goes back.
    pub(crate) fn not_sent(&mut self, wish: Wish) {
        self.returned(wish.at, wish.slots, wish.charged, false);
    }

    /// A pull brought a job, which starts to run; `charged` is what its grant cost, 0 for a lent slot. Returns what the
    /// order has charged for it now, and its place in the counts.
    pub(crate) fn started(&mut self, at: At, charged: Cost, now: Instant) -> (Cost, Entrance) {
        let Some(lane) = self.lanes.get_mut(at.lane).and_then(Option::as_mut) else { return Default::default() };
        lane.started(at.queue, now);
        let gate = lane.queues[at.queue].gate().and_then(|gate| Some((gate.clone(), self.gates.get(gate)?.entering())));
        let entrance = Entrance { lane: Some(lane.asked.entering()), gate };
        if charged > 0 {
            return (charged, entrance);
        }
        let expected = lane.cost.expected();
        self.order.charge(lane.id, expected);
        (expected, entrance)
    }

    /// A pull ended with `slots` unused, `charged` each. `drained` says that the queue had no more.
    pub(crate) fn returned(&mut self, at: At, slots: usize, charged: Cost, drained: bool) {
        let Some(lane) = self.lanes.get_mut(at.lane).and_then(Option::as_mut) else { return };
        let back = i64::try_from(charged.saturating_mul(slots as u64)).unwrap_or(i64::MAX);
        self.order.correct(lane.id, -back);
        lane.queues[at.queue].returned(slots, drained);
        self.count_back(at, slots);
    }

    /// A job told more of what it costs: the estimate once it was read, the truth once it ended.
    pub(crate) fn correct(&mut self, lane: usize, by: i64) {
        if let Some(lane) = self.lane(lane) {
            self.order.correct(lane.id, by);
        }
    }

    /// A job ended here. `settled` says that it left its queue; `cost` is what it came to, if it was called.
    pub(crate) fn ended(&mut self, at: At, settled: bool, cost: Option<Cost>) {
        let Some(lane) = self.lanes.get_mut(at.lane).and_then(Option::as_mut) else { return };
        lane.queues[at.queue].ended(settled);
        if let Some(cost) = cost {
            lane.cost.observe(cost);
        }
    }

    /// Looks again whether a lane may take slots: after anything happened in it.
    pub(crate) fn look(&mut self, lane: usize, doors: &impl Doors, now: Instant) {
        if self.lane(lane).is_some() {
            self.stand(lane, doors, now);
        }
    }

    fn stand(&mut self, at: usize, doors: &impl Doors, now: Instant) {
        let Some(lane) = self.lane(at) else { return };
        let standing = self.standing(lane, doors);
        let lane = self.lane_mut(at);
        if !lane.is_idle() {
            lane.busy_at = now;
        }
        let id = lane.id;
        self.order.stand(id, standing);
    }

    fn standing(&self, lane: &Lane, doors: &impl Doors) -> Standing {
        // None of its jobs may start: it is owed nothing for that time.
        let apart = if lane.in_flight() > 0 { Standing::Closed } else { Standing::Idle };
        if lane.open.left(lane.asked.now()) == 0 {
            return apart;
        }
        let waiting = lane.queues.iter().filter(|queue| queue.available() > 0 && self.passes(queue, doors));
        match waiting.map(Queue::can_pull).max() {
            None => apart,
            Some(false) => Standing::Held,
            Some(true) => Standing::Ready,
        }
    }

    /// Whether one more job of a queue may pass its gate.
    fn passes(&self, queue: &Queue, doors: &impl Doors) -> bool {
        queue.gate().is_none_or(|gate| doors.gate(gate).left(self.gates.get(gate).map_or(0, Asked::now)) > 0)
    }

    /// Of a lane that is not open without limit, its door is asked anew for each slot: a job that went through since the
    /// lane was weighed has left the count of those on their way, and took what the door let through.
    fn ask_door_again(&mut self, at: usize, doors: &impl Doors) {
        let lane = self.lane_mut(at);
        if lane.open != Allowance::Free {
            lane.open = doors.lane(&lane.key, true);
        }
    }

    /// The queue of a lane that its next slot goes to: parked jobs first, they are older.
    fn next_queue(&self, at: usize, doors: &impl Doors) -> Option<usize> {
        let lane = self.lane(at)?;
        if lane.open.left(lane.asked.now()) == 0 {
            return None;
        }
        let could = |queue: &Queue| queue.can_pull() && queue.available() > 0 && self.passes(queue, doors);
        (1..lane.queues.len()).chain([0]).find(|&number| could(&lane.queues[number]))
    }

    /// What to pull with `free` of `concurrency` slots.
    pub(crate) fn plan(&mut self, free: usize, concurrency: usize, doors: &impl Doors, now: Instant) -> Vec<Wish> {
        let mut wishes: Vec<Wish> = Vec::new();
        let mut granted = 0;
        let mut at_their_cap = Vec::new();
        while granted < free {
            let (lanes, by_id) = (&self.lanes, &self.by_id);
            let expected =
                |id| by_id.get(&id).and_then(|&at| lanes[at].as_ref()).map_or(0, |lane| lane.cost.expected());
            let Some(id) = self.order.next(expected) else {
                // Caps rise when others stop taking part: who was at his may not be any more.
                if self.stand_again(&mut at_their_cap, concurrency, doors, now) {
                    continue;
                }
                break;
            };
            let at = self.by_id[&id];
            self.ask_door_again(at, doors);
            let charged = self.lane_mut(at).cost.expected();
            let capped = self.lane_mut(at).in_flight() >= self.order.in_flight_cap(id, concurrency);
            let Some(queue) = self.next_queue(at, doors).filter(|_| !capped) else {
                // Nothing for it now: the charge goes back, and it stands aside until something happens in it.
                self.order.correct(id, -i64::try_from(charged).unwrap_or(i64::MAX));
                if capped {
                    self.order.stand(id, Standing::Held);
                    at_their_cap.push(at);
                } else {
                    self.stand(at, doors, now);
                }
                continue;
            };
            let at = At { lane: at, queue };
            self.count_asked(&Wish { at, slots: 1, charged, wait: None });
            granted += 1;
            match wishes.iter_mut().find(|wish| wish.at == at) {
                Some(wish) => wish.slots += 1,
                None => wishes.push(Wish { at, slots: 1, charged, wait: None }),
            }
        }
        for wish in &wishes {
            let (lane, queue) = (wish.at.lane, wish.at.queue);
            self.lane_mut(lane).queues[queue].pulling = true;
            self.stand(lane, doors, now);
        }
        // One slot in four stays free for lanes that fill up; with few slots, none is lent.
        let kept_back = (concurrency / 4).max(1);
        wishes.extend(self.lend((free - granted).saturating_sub(kept_back), concurrency, doors, now));
        wishes
    }

    /// Lets those of `lanes` stand again that are below their cap now; says whether there were any.
    fn stand_again(&mut self, lanes: &mut Vec<usize>, concurrency: usize, doors: &impl Doors, now: Instant) -> bool {
        let before = lanes.len();
        for at in std::mem::take(lanes) {
            let Some(lane) = self.lane(at) else { continue };
            if lane.in_flight() < self.order.in_flight_cap(lane.id, concurrency) {
                self.stand(at, doors, now);
            } else {
                lanes.push(at);
            }
        }
        lanes.len() < before
    }

    fn pulling(&mut self, wish: &Wish) {
        self.count_asked(wish);
        self.lane_mut(wish.at.lane).queues[wish.at.queue].pulling = true;
    }

    fn count_asked(&mut self, wish: &Wish) {
        let lane = self.lanes[wish.at.lane].as_mut().expect("a wish is of a known lane");
        lane.asked.add(wish.slots);
        let queue = &mut lane.queues[wish.at.queue];
        queue.pulled += wish.slots;
        if let Some(gate) = queue.gate() {
            self.gates.entry(gate.clone()).or_default().add(wish.slots);
        }
    }

    /// Counts slots as not asked for any more.
    fn count_back(&mut self, at: At, slots: usize) {
        let Some(lane) = self.lane(at.lane) else { return };
        lane.asked.sub(slots);
        if let Some(asked) = lane.queues[at.queue].gate().and_then(|gate| self.gates.get(gate)) {
            asked.sub(slots);
        }
    }
}

/// A started job's place in the counts of its lane and its gate, each held until what that door lets through is decided.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    lane: Option<Entering>,
    gate: Option<(Gate, Entering)>,
}

impl Entrance {
    /// Money and the permits of team and key are decided: only a model's gate still has to know of the job, until it has
    /// a permit of a deployment.
    pub(crate) fn through_the_lane(&mut self) {
        self.lane = None;
        self.gate.take_if(|(gate, _)| match gate {
            Gate::Due | Gate::Account(_) | Gate::Answer(_) => true,
            Gate::Model(_) => false,
        });
    }
}

#[cfg(test)]
mod tests;
