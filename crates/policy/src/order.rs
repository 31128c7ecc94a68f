//! Who goes next: shares slots among classes, and within a class among lanes, by what their jobs cost.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1997) on token cost, on two levels: the class with the smallest start
//! tag goes first, and within it the lane with the smallest. A lane picked pays its job's expected [`Cost`] over its
//! weight onto its tag ([`Order::next`]), and what the job really cost is settled when it is known
//! ([`Order::correct`]). Virtual time `V` is the largest start tag that was ever served, or the furthest tag of those who
//! take part, if corrections brought all of them back behind it; whoever begins to take part starts at `max(V, S)`: no
//! credit is saved while away, debt is kept. When nothing runs and nothing waits in a class,
//! nobody is left to be owed to, and all debts in it end. Classes are to the whole what lanes are to their class.
//!
//! # What is promised
//!
//! Let `x` be what the jobs of a lane that were *dispatched* in some stretch of time really cost, over its weight `w`;
//! `c` its dearest job; and `D` the slots. The same holds between classes, with the class's weight and dearest job.
//!
//! - **Exact costs.** Of two lanes of one class that are Ready throughout the stretch, however long:
//!   `|x_i - x_j| <= c_i/w_i + c_j/w_j`. `D` does not matter. On *completed* jobs it is `D + 1` times that (Jin, Chase,
//!   Kaur 2004).
//! - **Estimates.** Let `P` be the most by which estimates of a lane's jobs in flight at one time are too low in sum,
//!   `N` the same for too high. Then `|x_i - x_j| <= (c_i + P_i + N_i)/w_i + (c_j + P_j + N_j)/w_j`; and when a lane `i`
//!   is picked while `j` is Ready, it is ahead of it by `(c_i + P_i)/w_i + N_j/w_j` at most, reckoned from where both
//!   began to take part. `P` and `N` are sums over what is in flight: at most a lane's in-flight cap
//!   ([`Order::in_flight_cap`]) times its worst estimate.
//! - **Several workers**, each with an order of its own over the same lanes: the sum of their bounds, for lanes that
//!   are Ready at all of them. They need not know of each other.
//! - **No starvation.** A lane that becomes Ready with `S <= V` goes after at most one dispatch of each other Ready lane
//!   of its class, and a class likewise among classes (exact costs; lanes that come back from [`Standing::Held`] first
//!   use the place that they kept). A lane in debt waits only until `V` has come to it. All weights are above zero, and
//!   every dispatch is charged at least one unit, so `V` cannot stand still while others are served.
//! - **Work conserving.** [`Order::next`] answers `None` only if nobody is Ready.
//!
//! What is fair is cost, not slots: a lane whose calls are slow for what they cost holds more slots than its weight
//! says, up to its in-flight cap. A call that fails after a minute and is billed nothing would hold them for free;
//! settle jobs at no less than [`cost_of_time`], or a lane of such calls never pays and has no end.
//!
//! # What it costs
//!
//! All operations are `O(log n)` in the lanes of a class that are Ready; other lanes cost memory alone.

mod cost;
mod level;
#[cfg(test)]
mod tests;

pub use cost::{Cost, cost, cost_of_time, expected_cost};

use level::{Level, Member};

/// A lane in the order: stays the same while the lane exists, and is reused after it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(u32);

/// Whether a lane could take a slot now.
///
/// Coming from [`Idle`](Standing::Idle) or [`Closed`](Standing::Closed), a lane starts at the present: it was not
/// there to be served, so it is owed nothing for that time. Coming from [`Held`](Standing::Held) it keeps its place: a
/// round trip to the server or a moment at the cap is the order's own doing, and must not cost a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes no part: no job of it runs here, and none may start.
    Idle,
    /// Jobs of it run here, but no other may start for a reason outside of the order: nothing else waits, or a gate is
    /// closed (budget, rate, concurrency limit, pause, breaker). It counts for nobody's share.
    Closed,
    /// Jobs of it wait and may run, but not right now: it is at its in-flight cap, or a pull is under way.
    ///
    /// The place that it keeps is worth 128 of its dearest jobs at most, which a lane at its cap can only spend within its cap.
    /// Without that end a lane whose provider was slow for an hour would get up to twice its share for another.
    Held,
    /// Jobs of it wait, and it may take a slot.
    Ready,
}

impl Standing {
    /// Whether it competes for slots.
    fn takes_part(self) -> bool {
        match self {
            Standing::Held | Standing::Ready => true,
            Standing::Idle | Standing::Closed => false,
        }
    }
}

/// The order's memory between decisions: who takes part, and where each stands in virtual time.
///
/// Methods panic when they are given the id of a lane that left.
#[derive(Clone, Debug, Default)]
pub struct Order {
    root: Level<u8>,
    classes: Vec<Class>,
    lanes: Vec<Option<Lane>>,
    vacant: Vec<LaneId>,
}

#[derive(Clone, Debug, Default)]
struct Class {
    member: Member,
    lanes: Level<LaneId>,
}

#[derive(Clone, Debug)]
struct Lane {
    class: u8,
    member: Member,
}

/// Why indexing a lane cannot fail.
const PRESENT: &str = "the caller keeps no id of a lane that left";

impl Order {
    /// Sets the weight of a class; classes have weight 1 until told, and zero counts as one.
    ///
    /// `class` is a small index of the caller's choice.
    pub fn weigh_class(&mut self, class: u8, weight: u32) {
        let member = &mut entry(&mut self.classes, class).member;
        self.root.weigh(member, weight);
    }

    /// Adds a lane, [`Idle`](Standing::Idle) at first. Zero weight counts as one.
    pub fn enter(&mut self, class: u8, weight: u32) -> LaneId {
        let member = entry(&mut self.classes, class).lanes.newcomer(weight);
        let lane = Some(Lane { class, member });
        if let Some(id) = self.vacant.pop() {
            self.lanes[id.at()] = lane;
            return id;
        }
        let id = LaneId(u32::try_from(self.lanes.len()).expect("memory ends before four billion lanes"));
        self.lanes.push(lane);
        id
    }

    /// Changes a lane's weight. What it was charged so far stays; what is charged and corrected from now on counts by
    /// the new weight.
    pub fn weigh(&mut self, lane: LaneId, weight: u32) {
        let Lane { class, member } = self.lanes[lane.at()].as_mut().expect(PRESENT);
        self.classes[usize::from(*class)].lanes.weigh(member, weight);
    }

    /// Says how a lane stands now.
    pub fn stand(&mut self, lane: LaneId, standing: Standing) {
        let Lane { class: key, member } = self.lanes[lane.at()].as_mut().expect(PRESENT);
        let class = &mut self.classes[usize::from(*key)];
        class.lanes.stand(lane, member, standing);
        let standing = class.lanes.standing();
        self.root.stand(*key, &mut class.member, standing);
    }

    /// Picks the lane that the next slot goes to, and charges it what its next job is expected to cost.
    ///
    /// Ties go to the class with the smaller index and to the lane with the smaller id. `None` if no lane is
    /// [`Ready`](Standing::Ready). The lane stays Ready until it is told to stand otherwise.
    pub fn next(&mut self, expected: impl FnOnce(LaneId) -> Cost) -> Option<LaneId> {
        let class = self.root.first()?;
        let lane = self.classes[usize::from(class)].lanes.first().expect("a class is ready while one of its lanes is");
        self.charge(lane, expected(lane));
        Some(lane)
    }

    /// Charges a lane for a job that started without [`next`](Order::next): it arrived on a slot that was lent.
    pub fn charge(&mut self, lane: LaneId, expected: Cost) {
        let Lane { class: key, member } = self.lanes[lane.at()].as_mut().expect(PRESENT);
        let class = &mut self.classes[usize::from(*key)];
        class.lanes.dispatch(lane, member, expected);
        self.root.dispatch(*key, &mut class.member, expected);
    }

    /// Adds `by` cost units to what a lane was charged: the actual cost less the estimate, or less than zero to give
    /// an unused grant back.
    ///
    /// Nothing that is given back brings a lane before the virtual time at which it last began to take part.
    pub fn correct(&mut self, lane: LaneId, by: i64) {
        let Lane { class: key, member } = self.lanes[lane.at()].as_mut().expect(PRESENT);
        let class = &mut self.classes[usize::from(*key)];
        class.lanes.correct(lane, member, by);
        self.root.correct(*key, &mut class.member, by);
    }

    /// How many jobs of a lane may run here at once, of `slots` in all.
    ///
    /// Twice its share of the slots and at least two while other lanes take part (stand Held or Ready), else all.
    /// Twice, so that slow jobs and a burst do not cost a lane its share of the work; no more, so that a lane whose
    /// jobs cost more than expected cannot take all slots before the first of them is settled. The caps of those who
    /// take part are at least `slots` in sum, so they leave no slot idle; but they rise when a lane stops taking part:
    /// ask again for lanes that stand Held at their cap when a slot is free and nobody is Ready.
    pub fn in_flight_cap(&self, lane: LaneId, slots: usize) -> usize {
        let lane = self.lanes[lane.at()].as_ref().expect(PRESENT);
        let class = &self.classes[usize::from(lane.class)];
        let (weight, class_weight) = (lane.member.weight(), class.member.weight());
        let (sum, class_sum) = (class.lanes.sum_with(&lane.member), self.root.sum_with(&class.member));
        if weight == sum && class_weight == class_sum {
            return slots;
        }
        let twice = u128::from(weight * class_weight).saturating_mul(slots as u128).saturating_mul(2);
        let share = twice.div_ceil(u128::from(sum) * u128::from(class_sum));
        usize::try_from(share).unwrap_or(usize::MAX).max(2).min(slots)
    }

    /// Whether a lane could leave and enter again without gaining or losing by it: it is Idle and in nobody's debt.
    pub fn may_leave(&self, lane: LaneId) -> bool {
        let lane = self.lanes[lane.at()].as_ref().expect(PRESENT);
        self.classes[usize::from(lane.class)].lanes.owes_nothing(&lane.member)
    }

    /// Takes a lane out. A debt that it has is forgotten; see [`may_leave`](Order::may_leave).
    pub fn leave(&mut self, lane: LaneId) {
        self.stand(lane, Standing::Idle);
        self.lanes[lane.at()] = None;
        self.vacant.push(lane);
    }

    /// How many lanes there are.
    pub fn len(&self) -> usize {
        self.lanes.len() - self.vacant.len()
    }

    /// Whether there is no lane.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl LaneId {
    fn at(self) -> usize {
        self.0 as usize
    }
}

fn entry(classes: &mut Vec<Class>, class: u8) -> &mut Class {
    let at = usize::from(class);
    if classes.len() <= at {
        classes.resize_with(at + 1, Class::default);
    }
    &mut classes[at]
}
