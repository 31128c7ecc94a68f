//! What one worker has in hand of one limited thing.

use std::collections::BTreeMap;

use thiserror::Error;
use tollgate_types::UnixMillis;
use tollgate_types::budget::Limits;

use super::ring::WINDOW;
use super::{Granted, Need, later, second_of};

/// For how many seconds a block is of use, the one in which it was granted included; the window reckons with it.
const USABLE_SECONDS: i64 = 2;
/// A clock that was set back makes a block look as if it lay ahead; further than this it is not used.
const AHEAD_SECONDS: i64 = 5;
/// How long idle slots and corrections are kept before they are worth a swap of their own.
const IDLE_MILLIS: i64 = 1_000;

/// What one worker holds in memory of one limited thing, from which it lets jobs go without a swap.
///
/// Nothing of it needs to survive: unused permits lose their worth within two seconds, and slots are leased.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Permits {
    limits: Limits,
    blocks: BTreeMap<i64, Unused>,
    /// Slots that the record says are this worker's, how many of them it may use (others wait for the rest), until
    /// when, and when to renew them.
    recorded: u32,
    held: u32,
    until: UnixMillis,
    renew_at: UnixMillis,
    /// Jobs that run. More than are held only when a lease ended too early or the limit was lowered.
    running: u32,
    idle_since: Option<UnixMillis>,
    less: BTreeMap<i64, u64>,
    more: u64,
    /// Since when there is something that the record should hear.
    untold_since: Option<UnixMillis>,
    again_at: UnixMillis,
    turn: u64,
}

/// What was granted in one second and not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unused {
    pub(super) requests: u32,
    pub(super) tokens: u64,
}

/// One job's permission to go to the provider; ends by [`Permits::finish`] or [`Permits::undo`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its slot is taken until it is finished or undone"]
pub struct Permit {
    request_of: Option<i64>,
    /// Tokens by the second in which they were granted.
    tokens_of: Vec<(i64, u64)>,
}

/// What a job lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// A request.
    Requests,
    /// Tokens.
    Tokens,
    /// A slot.
    Slots,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Missing::Requests => "requests",
            Missing::Tokens => "tokens",
            Missing::Slots => "slots",
        })
    }
}

/// Why a job may not go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Short {
    /// It has to wait: ask at `again_at`, which is now or earlier if nothing is known against asking at once.
    #[error("no {missing} left")]
    Until {
        /// What it lacks; the first of several.
        missing: Missing,
        /// When to ask.
        again_at: UnixMillis,
    },
    /// It will never be let go.
    #[error("it needs about {tokens} tokens, and {per_minute} are allowed in a minute")]
    Never {
        /// What it was estimated at.
        tokens: u64,
        /// The limit.
        per_minute: u64,
    },
}

/// What a worker wants from one swap, and what it hands in with it; made by [`Permits::ask`].
///
/// It ends in one of three ways: granted ([`Permits::add`]), not written for sure ([`Permits::keep`]), or given up with
/// its outcome unknown ([`Permits::lose`]).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what it hands in is no longer in hand"]
pub struct Ask {
    pub(super) turn: u64,
    /// The tokens of each job, in their order; the first so many wait, the others are expected.
    pub(super) jobs: Vec<u64>,
    pub(super) waiting: usize,
    /// What stays in hand for the first of them.
    pub(super) in_hand: Unused,
    /// The slots that are kept whatever is granted: of jobs that run, and free ones for those that wait.
    pub(super) holds: u32,
    /// How many of them are free.
    pub(super) free: u32,
    /// The slots that were held before.
    held: u32,
    pub(super) unused: BTreeMap<i64, Unused>,
    pub(super) less: BTreeMap<i64, u64>,
    pub(super) more: u64,
}

impl Ask {
    /// The number of its swap, for [`Limit::answer`](super::Limit::answer).
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// What the first `jobs`, of `tokens` together, need beyond what is in hand; nothing of what is not limited.
    pub(super) fn need(&self, jobs: u32, tokens: u64, limits: &Limits) -> Need {
        Need {
            requests: limits.requests_per_minute.map_or(0, |_| jobs.saturating_sub(self.in_hand.requests)),
            tokens: limits.tokens_per_minute.map_or(0, |_| tokens.saturating_sub(self.in_hand.tokens)),
            slots: limits.concurrency.map_or(0, |_| jobs.saturating_sub(self.free)),
        }
    }
}

impl Permits {
    /// Nothing in hand.
    pub fn new(limits: Limits) -> Permits {
        Permits {
            limits,
            blocks: BTreeMap::new(),
            recorded: 0,
            held: 0,
            until: UnixMillis::default(),
            renew_at: UnixMillis::default(),
            running: 0,
            idle_since: None,
            less: BTreeMap::new(),
            more: 0,
            untold_since: None,
            again_at: UnixMillis::default(),
            turn: 0,
        }
    }

    /// Takes over configured limits. What is in hand stays: it was granted by the old ones.
    pub fn with_limits(&mut self, limits: Limits) {
        if self.limits != limits {
            self.limits = limits;
            self.again_at = UnixMillis::default();
        }
    }

    /// Lets one job of so many tokens go, if a request, its tokens and a slot are in hand; nothing is taken otherwise.
    ///
    /// # Errors
    /// What it lacks, and when to ask for it.
    pub fn spend(&mut self, tokens: u64, now: UnixMillis) -> Result<Permit, Short> {
        if let Some(per_minute) = self.limits.tokens_per_minute.filter(|&per_minute| tokens > per_minute) {
            return Err(Short::Never { tokens, per_minute });
        }
        let in_hand = self.in_hand(now);
        let missing = if self.limits.requests_per_minute.is_some() && in_hand.requests == 0 {
            Some(Missing::Requests)
        } else if self.limits.tokens_per_minute.is_some() && in_hand.tokens < tokens {
            Some(Missing::Tokens)
        } else if self.limits.concurrency.is_some() && self.free(now) == 0 {
            Some(Missing::Slots)
        } else {
            None
        };
        if let Some(missing) = missing {
            // Nothing is waited for longer than a window: if it looks so, the clock was set back.
            let longest = later(now, (WINDOW + 1) * 1_000);
            let again_at = if self.again_at > longest { now } else { self.again_at };
            return Err(Short::Until { missing, again_at });
        }
        let permit = self.draw(tokens, now);
        self.running = self.running.saturating_add(1);
        self.note_idle(now);
        Ok(permit)
    }

    /// How many jobs of so many tokens each could go by what is in hand; [`u32::MAX`] if nothing is limited.
    pub fn reach(&self, tokens: u64, now: UnixMillis) -> u32 {
        let in_hand = self.in_hand(now);
        let requests = self.limits.requests_per_minute.map_or(u32::MAX, |_| in_hand.requests);
        let by_tokens = |_| u32::try_from(in_hand.tokens / tokens.max(1)).unwrap_or(u32::MAX);
        let tokens = self.limits.tokens_per_minute.map_or(u32::MAX, by_tokens);
        let slots = self.limits.concurrency.map_or(u32::MAX, |_| self.free(now));
        requests.min(tokens).min(slots)
    }

    /// Ends a job that was sent, with the tokens that it really had if they are known.
    pub fn finish(&mut self, permit: Permit, tokens: Option<u64>, now: UnixMillis) {
        self.running = self.running.saturating_sub(1);
        self.note_idle(now);
        let Some(really) = tokens.filter(|_| self.limits.tokens_per_minute.is_some()) else { return };
        let estimated = permit.tokens_of.iter().fold(0u64, |sum, (_, tokens)| sum.saturating_add(*tokens));
        let mut less = estimated.saturating_sub(really);
        self.more = self.more.saturating_add(really.saturating_sub(estimated));
        for (granted_in, tokens) in permit.tokens_of.into_iter().rev() {
            let part = less.min(tokens);
            if part > 0 {
                *self.less.entry(granted_in).or_default() += part;
            }
            less -= part;
        }
        if really != estimated {
            self.note_untold(now);
        }
    }

    /// Takes back the permit of a job that was not sent: another limit refused it.
    pub fn undo(&mut self, permit: Permit, now: UnixMillis) {
        self.running = self.running.saturating_sub(1);
        self.note_idle(now);
        if let Some(granted_in) = permit.request_of {
            self.blocks.entry(granted_in).or_default().requests += 1;
        }
        for (granted_in, tokens) in permit.tokens_of {
            self.blocks.entry(granted_in).or_default().tokens += tokens;
        }
    }

    /// Asks for the jobs that wait, and for some more that are expected within a second, by the tokens of each.
    ///
    /// Name all that wait: with none, everything unused is handed in, and a place in line is lost. What is handed in is
    /// no longer in hand, whether the swap works or not. One ask at a time.
    pub fn ask(&mut self, waiting: &[u64], expected: &[u64], now: UnixMillis) -> Ask {
        self.turn += 1;
        let jobs = [waiting, expected].concat();
        let second = second_of(now);
        let (unused, in_hand) = std::mem::take(&mut self.blocks)
            .into_iter()
            .partition(|(granted_in, _)| jobs.is_empty() || !is_usable(*granted_in, second));
        self.blocks = in_hand;
        let free = self.free(now).min(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
        let held = self.held;
        // Lowered already here: what the record is about to take back must not be spent while the swap is on its way.
        self.held = self.held.min(self.running.saturating_add(free));
        (self.idle_since, self.untold_since) = (None, None);
        Ask {
            turn: self.turn,
            jobs,
            waiting: waiting.len(),
            in_hand: self.in_hand(now),
            holds: self.running.saturating_add(free),
            free,
            held,
            unused,
            less: std::mem::take(&mut self.less),
            more: std::mem::take(&mut self.more),
        }
    }

    /// Adds what was granted. What [`spend`](Permits::spend) finds then is what there is: others may have spent
    /// meanwhile.
    pub fn add(&mut self, granted: Granted, now: UnixMillis) {
        if granted.requests > 0 || granted.tokens > 0 {
            let block = self.blocks.entry(granted.second).or_default();
            block.requests = block.requests.saturating_add(granted.requests);
            block.tokens = block.tokens.saturating_add(granted.tokens);
        }
        (self.recorded, self.held) = (granted.slots, granted.usable_slots);
        if granted.until != self.until {
            let half = granted.until.0.saturating_sub(now.0) / 2;
            (self.until, self.renew_at) = (granted.until, later(now, half));
        }
        self.again_at = granted.again_at.unwrap_or_default();
        self.note_idle(now);
    }

    /// Takes back an ask that was not written for sure.
    pub fn keep(&mut self, ask: Ask, now: UnixMillis) {
        for (granted_in, unused) in ask.unused {
            let block = self.blocks.entry(granted_in).or_default();
            block.requests = block.requests.saturating_add(unused.requests);
            block.tokens = block.tokens.saturating_add(unused.tokens);
        }
        for (granted_in, tokens) in ask.less {
            *self.less.entry(granted_in).or_default() += tokens;
        }
        self.more = self.more.saturating_add(ask.more);
        self.held = ask.held;
        self.note_idle(now);
        self.note_untold(now);
    }

    /// Gives up an ask of which nobody knows whether it was written. What would make room twice is forgotten, what takes
    /// room is said again: too little may be granted for a minute, never too much.
    pub fn lose(&mut self, ask: Ask, now: UnixMillis) {
        self.more = self.more.saturating_add(ask.more);
        // The record may hold more slots for this worker than it knows of; the next ask says how many it should.
        self.note_untold(now);
    }

    /// When an ask is due even if no job waits: to hand in what is unused, to correct, to keep slots. `None` if there is
    /// nothing to say, and past when it is due now.
    pub fn due_at(&self) -> Option<UnixMillis> {
        let unused = self.blocks.first_key_value().map(|(granted_in, _)| usable_until(*granted_in));
        let untold = self.untold_since.map(|since| later(since, IDLE_MILLIS));
        // What others wait for is handed over at once.
        let idle =
            self.idle_since.map(|since| if self.held < self.recorded { since } else { later(since, IDLE_MILLIS) });
        let renew = (self.limits.concurrency.is_some() && self.recorded > 0).then_some(self.renew_at);
        [unused, untold, idle, renew].into_iter().flatten().min()
    }

    /// What is unused and still of use.
    fn in_hand(&self, now: UnixMillis) -> Unused {
        let second = second_of(now);
        let usable = self.blocks.iter().filter(|(granted_in, _)| is_usable(**granted_in, second));
        usable.fold(Unused::default(), |sum, (_, block)| Unused {
            requests: sum.requests.saturating_add(block.requests),
            tokens: sum.tokens.saturating_add(block.tokens),
        })
    }

    /// Slots that are held and not in use; none when the lease has ended, because others may have them.
    fn free(&self, now: UnixMillis) -> u32 {
        if now < self.until { self.held.saturating_sub(self.running) } else { 0 }
    }

    /// Takes a request and tokens from the oldest blocks that have them.
    fn draw(&mut self, tokens: u64, now: UnixMillis) -> Permit {
        let second = second_of(now);
        let mut permit = Permit { request_of: None, tokens_of: Vec::new() };
        let mut missing = tokens;
        for (&granted_in, block) in self.blocks.iter_mut().filter(|(granted_in, _)| is_usable(**granted_in, second)) {
            if permit.request_of.is_none() && block.requests > 0 {
                block.requests -= 1;
                permit.request_of = Some(granted_in);
            }
            let part = missing.min(block.tokens);
            if part > 0 {
                block.tokens -= part;
                missing -= part;
                permit.tokens_of.push((granted_in, part));
            }
        }
        self.blocks.retain(|_, block| *block != Unused::default());
        permit
    }

    fn note_idle(&mut self, now: UnixMillis) {
        let has_free = self.limits.concurrency.is_some() && self.recorded > self.running;
        self.idle_since = if has_free { self.idle_since.or(Some(now)) } else { None };
    }

    fn note_untold(&mut self, now: UnixMillis) {
        self.untold_since.get_or_insert(now);
    }
}

/// When what was granted in a second loses its worth.
fn usable_until(granted_in: i64) -> UnixMillis {
    UnixMillis(granted_in.saturating_add(USABLE_SECONDS).saturating_mul(1000))
}

/// Whether what was granted in one second may be used in another.
fn is_usable(granted_in: i64, second: i64) -> bool {
    (-AHEAD_SECONDS..USABLE_SECONDS).contains(&second.saturating_sub(granted_in))
}
