//! One swap: books what a worker hands in, and grants what it can.

use tollgate_types::UnixMillis;

use super::meter::{Meter, Pace, Room};
use super::ring::WINDOW;
use super::{Ask, Doubt, Granted, Lease, Limit, Need, Taken, Waits, later, second_of};

/// When to look again for a slot. When one gets free is not known; looking costs a read, not a swap.
const SLOT_AGAIN_MILLIS: i64 = 200;
/// When to ask again for tokens at the latest. While a big job waits others get none, so its worker shows that it lives.
const TOKENS_AGAIN_MILLIS: i64 = 2_000;
/// From when before a waiting worker asks again it is left room, for how long after it should have asked, and when its
/// waiting is worth saying again. Not the whole time: what comes back while it sleeps would help nobody.
const EARLY_MILLIS: i64 = TOKENS_AGAIN_MILLIS;
const LATE_MILLIS: i64 = 2_000;
const LATE_WORTH_MILLIS: i64 = 1_000;

/// After how long without anything a worker that waits for a slot is handed one over. Handing over costs the time until it
/// looks again.
const HAND_OVER_SECONDS: i64 = 3;

/// How far ahead of a worker the record may be and its clock be taken for right; and for how long it must stay there
/// before the clocks of all are taken to have gone back.
const AHEAD_SECONDS: i64 = 5;
const DOUBT_MILLIS: i64 = 5_000;

/// The other workers, as far as one that asks has to mind them.
#[derive(Default)]
struct Others {
    /// How many there are, and the slots of all.
    count: u64,
    slots: u32,
    /// How many hold or wait for slots, and how many slots are to be handed over.
    want_slots: u32,
    slots_due: u32,
    /// What those wait for that go first: it is left to them.
    first: Need,
    /// How many wait, and how many of them were not served in this second: what there is is shared with them.
    waiting: u64,
    sharing: u64,
}

/// What may be granted to one worker.
struct Offer {
    requests: u64,
    tokens: Room,
    slots: u32,
}

/// A job that got nothing.
struct Refused {
    need: Need,
    lacks_slot: bool,
    /// Not just expected.
    waits: bool,
}

impl Limit {
    /// Books what a worker gives back and corrects, and grants what it can of what it asks for.
    ///
    /// Jobs are granted whole and in their order, as many as fit. The same `ask` may be tried again as long as it is not
    /// known to have been written: if it was, its answer is found and nothing changes. `now` is that of the try. `lease`
    /// names one run of a worker and is never used again; it lasts until `until`, which must be later than any try of
    /// this ask.
    ///
    /// A worker that dies before the record is written leaves nothing; one that dies just after leaves a block that
    /// counts for a minute, and slots until `until`.
    #[must_use = "it is in hand only when it was added"]
    pub fn take(&mut self, lease: &str, ask: &Ask, now: UnixMillis, until: UnixMillis) -> Granted {
        if let Some(answer) = self.answer(lease, ask.turn) {
            return answer;
        }
        let second = second_of(now);
        let judged = self.judge_clock(now);
        self.bring_to(second, now);
        let booked = self.book(ask, second);
        let before = self.leases.remove(lease).unwrap_or_default();
        let others = self.others(before.even_at, now);
        let slots_max = self.limits.concurrency.map_or(0, |most| most.saturating_sub(others.slots));

        let offer = self.offer(&others, slots_max.saturating_sub(ask.holds), second);
        let (granted, refused) = self.fitting(&offer, ask);
        self.requests.add(second, u64::from(granted.requests));
        self.tokens.add(second, granted.tokens);
        let slots = ask.holds.saturating_add(granted.slots).min(slots_max);
        let again_at = refused.as_ref().map(|refused| self.again_at(refused, now));

        let held = Lease {
            slots,
            until,
            turn: ask.turn,
            granted,
            served: if granted.is_none() { before.served } else { second },
            even_at: self.even_at(&before, granted, others.waiting, second),
            waits: refused.zip(again_at).and_then(|(refused, again_at)| refused.waits(again_at)),
        };
        let worth_writing = judged
            || booked
            || !granted.is_none()
            || slots != before.slots
            || held.is_renewed(&before, now)
            || held.is_news(&before, others.count);
        let until = if worth_writing { until } else { before.until };
        self.leases.insert(lease.to_owned(), held);
        Granted {
            worth_writing,
            again_at,
            second,
            requests: granted.requests,
            tokens: granted.tokens,
            slots,
            // What was granted just now is used.
            usable_slots: if granted.slots > 0 { slots } else { self.usable_slots(slots, &others) },
            until,
        }
    }

    /// When one job of so many tokens could go if nothing else were granted until then, which is now or later; `None`
    /// if never. For people: workers hear it from [`take`](Limit::take).
    pub fn next_at(&self, tokens: u64, now: UnixMillis) -> Option<UnixMillis> {
        if self.limits.tokens_per_minute.is_some_and(|per_minute| tokens > per_minute) {
            return None;
        }
        let (mut then, second) = (self.clone(), second_of(now));
        then.bring_to(second, now);
        let (requests_at, tokens_at) = then.fits_in(Need { requests: 1, tokens, slots: 1 }, second);
        let start = UnixMillis(requests_at.max(tokens_at).saturating_mul(1000));
        let slots = then.leases.values().fold(0, |sum: u32, held| sum.saturating_add(held.slots));
        let lacks_slot = self.limits.concurrency.is_some_and(|most| slots >= most);
        Some(start.max(if lacks_slot { later(now, SLOT_AGAIN_MILLIS) } else { now }))
    }

    /// How much is taken now.
    pub fn taken(&self, now: UnixMillis) -> Taken {
        let (mut then, second) = (self.clone(), second_of(now));
        then.bring_to(second, now);
        Taken {
            requests: then.requests.in_a_minute(second),
            tokens: then.tokens.in_a_minute(second),
            requests_back_at: UnixMillis(then.requests.empty_at().saturating_mul(1000)),
            tokens_back_at: UnixMillis(then.tokens.empty_at().saturating_mul(1000)),
            slots: then.leases.values().fold(0, |sum, held| sum.saturating_add(held.slots)),
            waiting: then.leases.values().filter(|held| held.waits.is_some()).count(),
        }
    }

    /// Doubts a clock that is far behind the record, and sets the record back when nobody went on there for a while: it
    /// would stay closed until that time has come. Returns whether it decided anything.
    ///
    /// What was granted last was granted before now, and everything else as long before it as the record says.
    fn judge_clock(&mut self, now: UnixMillis) -> bool {
        let (last, second) = (self.requests.last().max(self.tokens.last()), second_of(now));
        let ahead = last.saturating_sub(second);
        if ahead <= AHEAD_SECONDS {
            return self.doubt.take().is_some();
        }
        match &self.doubt {
            Some(doubt) if doubt.last != last => {}
            Some(doubt) if now < later(doubt.since, DOUBT_MILLIS) => return false,
            Some(_) => {
                self.requests.set_back(ahead);
                self.tokens.set_back(ahead);
                for held in self.leases.values_mut() {
                    (held.served, held.even_at, held.waits) = (held.served.min(second), held.even_at.min(second), None);
                }
                self.doubt = None;
                return true;
            }
            None => {}
        }
        self.doubt = Some(Doubt { last, since: now });
        true
    }

    /// Drops what is over.
    fn bring_to(&mut self, second: i64, now: UnixMillis) {
        for held in self.leases.values_mut() {
            held.slots = if now < held.until { held.slots } else { 0 };
            held.waits.take_if(|waits| waits.until <= now);
        }
        // A lease that ended is still known for as long as what it was granted counts.
        let remembered = second.saturating_sub(WINDOW);
        self.leases.retain(|_, held| now < held.until || held.waits.is_some() || held.served > remembered);
        let waits_for =
            self.leases.values().filter_map(|held| held.waits.as_ref()).map(|waits| waits.need.tokens).max();
        // What is not limited is not kept.
        match self.limits.requests_per_minute {
            Some(per_minute) => self.requests.bring_to(second, Pace::of_requests(per_minute), 0),
            None => self.requests = Meter::default(),
        }
        match self.limits.tokens_per_minute {
            Some(per_minute) => self.tokens.bring_to(second, Pace::of_tokens(per_minute), waits_for.unwrap_or(0)),
            None => self.tokens = Meter::default(),
        }
    }

    /// Books what comes back and what was estimated wrongly; returns whether there was anything.
    fn book(&mut self, ask: &Ask, second: i64) -> bool {
        for (&granted_in, unused) in &ask.unused {
            self.requests.take_off(granted_in, u64::from(unused.requests));
            self.tokens.take_off(granted_in, unused.tokens);
        }
        for (&granted_in, &tokens) in &ask.less {
            self.tokens.take_off(granted_in, tokens);
        }
        if self.limits.tokens_per_minute.is_some() {
            self.tokens.add(second, ask.more);
        }
        !(ask.unused.is_empty() && ask.less.is_empty() && ask.more == 0)
    }

    /// Sums up the leases that are left, for one that is even at a second.
    fn others(&self, even_at: i64, now: UnixMillis) -> Others {
        let second = second_of(now);
        let mut others = Others::default();
        for held in self.leases.values() {
            let soon = held.waits.as_ref().filter(|waits| waits.until <= later(now, EARLY_MILLIS + LATE_MILLIS));
            let need = soon.map(|waits| waits.need).unwrap_or_default();
            others.count += 1;
            others.slots = others.slots.saturating_add(held.slots);
            others.want_slots += u32::from(held.slots > 0 || need.slots > 0);
            if held.served <= second.saturating_sub(HAND_OVER_SECONDS) {
                others.slots_due = others.slots_due.saturating_add(need.slots);
            }
            // Within a second nobody goes first: all come at its start, and what is left to somebody may not be used.
            if held.even_at.saturating_add(1) < even_at {
                others.first = others.first.and(need);
            }
            others.waiting += u64::from(need.requests > 0);
            others.sharing += u64::from(need.requests > 0 && held.served < second);
        }
        others
    }

    /// What there is, less what is left to those who go first, and shared with all who wait.
    fn offer(&self, others: &Others, free_slots: u32, second: i64) -> Offer {
        if self.doubt.is_some() {
            // Those ahead would not count it.
            return Offer { requests: 0, tokens: Room { pace: 0, window: 0 }, slots: 0 };
        }
        let share = |all: u64| all.div_ceil(others.sharing.saturating_add(1));
        let requests = match self.limits.requests_per_minute.map(Pace::of_requests) {
            Some(pace) => {
                let room = self.requests.room(pace, second);
                let all = room.pace.min(room.window);
                share(all).min(all.saturating_sub(share(all).saturating_mul(u64::from(others.first.requests))))
            }
            None => u64::MAX,
        };
        let tokens = match self.limits.tokens_per_minute.map(Pace::of_tokens) {
            Some(pace) => {
                let room = self.tokens.room(pace, second);
                Room {
                    pace: share(room.pace).min(room.pace.saturating_sub(others.first.tokens)),
                    window: room.window.saturating_sub(others.first.tokens),
                }
            }
            None => Room::UNLIMITED,
        };
        Offer { requests, tokens, slots: free_slots.saturating_sub(others.first.slots) }
    }

    /// What the first jobs need, as many as fit; and the first that does not.
    fn fitting(&self, offer: &Offer, ask: &Ask) -> (Need, Option<Refused>) {
        let (mut fitting, mut total) = (Need::default(), 0u64);
        for (before, &tokens) in (0u32..).zip(&ask.jobs) {
            total = total.saturating_add(tokens);
            let need = ask.need(before.saturating_add(1), total, &self.limits);
            // A job begins within the pace; only the window must have room for all of it.
            let tokens_fit = need.tokens == fitting.tokens
                || fitting.tokens < offer.tokens.pace && need.tokens <= offer.tokens.window;
            let lacks_slot = need.slots > offer.slots;
            if !tokens_fit || lacks_slot || u64::from(need.requests) > offer.requests {
                let need = need.beyond(fitting);
                // What can never be granted must not keep the others waiting, nor a clock that may be wrong.
                let may_fit = self.limits.tokens_per_minute.is_none_or(|per_minute| need.tokens <= per_minute);
                let waits =
                    may_fit && self.doubt.is_none() && usize::try_from(before).is_ok_and(|before| before < ask.waiting);
                return (fitting, Some(Refused { need, lacks_slot, waits }));
            }
            fitting = need;
        }
        (fitting, None)
    }

    /// When what was refused may fit, if nothing else is granted until then.
    fn again_at(&self, refused: &Refused, now: UnixMillis) -> UnixMillis {
        let second = second_of(now);
        let start_of = |second: i64| UnixMillis(second.saturating_mul(1000));
        if self.doubt.is_some() {
            return start_of(second.saturating_add(1));
        }
        let (requests_at, tokens_at) = self.fits_in(refused.need, second);
        if refused.lacks_slot {
            return later(now, SLOT_AGAIN_MILLIS).max(start_of(requests_at.max(tokens_at)));
        }
        // What fits now was left to others.
        let next = second.saturating_add(1);
        start_of(requests_at.max(next)).max(start_of(tokens_at.max(next)).min(later(now, TOKENS_AGAIN_MILLIS)))
    }

    /// The seconds in which the requests and the tokens fit, from this one on.
    fn fits_in(&self, need: Need, second: i64) -> (i64, i64) {
        let requests = self.limits.requests_per_minute.map(Pace::of_requests);
        let tokens = self.limits.tokens_per_minute.map(Pace::of_tokens);
        (
            requests.map_or(second, |pace| self.requests.next(pace, second, u64::from(need.requests))),
            tokens.map_or(second, |pace| self.tokens.next(pace, second, need.tokens)),
        )
    }

    /// When a worker is even that was granted something, while so many others wait.
    fn even_at(&self, before: &Lease, granted: Need, waiting: u64, second: i64) -> i64 {
        if granted.is_none() {
            return before.even_at;
        }
        let of_requests = self.limits.requests_per_minute.map(Pace::of_requests);
        let of_tokens = self.limits.tokens_per_minute.map(Pace::of_tokens);
        let requests = of_requests.map_or(0, |pace| pace.seconds_of(u64::from(granted.requests), waiting + 1));
        let tokens = of_tokens.map_or(0, |pace| pace.seconds_of(granted.tokens, waiting + 1));
        before.even_at.max(second).saturating_add(requests.max(tokens))
    }

    /// How many of its slots a worker may go on to use: it hands over those that are due, down to its share.
    fn usable_slots(&self, slots: u32, others: &Others) -> u32 {
        let share = self.limits.concurrency.unwrap_or(0) / others.want_slots.saturating_add(1);
        slots.min(slots.saturating_sub(others.slots_due).max(share))
    }
}

impl Refused {
    /// What it waits for: others leave it that. While it lacks a slot, it could not use anything else.
    fn waits(&self, again_at: UnixMillis) -> Option<Waits> {
        let need = match self.lacks_slot {
            true => Need { slots: 1, ..Need::default() },
            false => Need { requests: 1, tokens: self.need.tokens, slots: 0 },
        };
        self.waits.then(|| Waits { need, until: later(again_at, LATE_MILLIS) })
    }
}

impl Lease {
    /// Whether a quarter of the time has passed of a lease that holds slots; its worker renews it when half has.
    fn is_renewed(&self, before: &Lease, now: UnixMillis) -> bool {
        self.slots > 0 && before.until.since(now) < self.until.since(now) * 3 / 4
    }

    /// Whether what it waits for is news to the others.
    fn is_news(&self, before: &Lease, others: u64) -> bool {
        match (&before.waits, &self.waits) {
            (None, None) => false,
            (Some(_), None) => true,
            (None, Some(_)) => others > 0,
            (Some(before), Some(now)) => {
                others > 0 && (before.need != now.need || later(before.until, LATE_WORTH_MILLIS) < now.until)
            }
        }
    }
}
