//! Requests, tokens and concurrency over all workers, by leased blocks.
//!
//! There is one [`Limit`] record per limited thing (a team, a key, a deployment), which all workers change by
//! compare-and-swap. A worker takes a *block* for the jobs that wait, and some more if it expects them, and lets jobs go
//! from its [`Permits`] in memory: a swap a second and worker, not one a job.
//!
//! ```
//! # use std::time::Duration;
//! # use tollgate_policy::limit::{Limit, Permits, Short};
//! # use tollgate_types::{UnixMillis, budget::Limits};
//! # let limits = Limits { requests_per_minute: Some(600), ..Limits::default() };
//! # let (mut stored, lease, now) = (Limit::open("team:search", limits), "w1", UnixMillis(1_000_000));
//! let mut permits = Permits::new(limits);
//! if let Err(Short::Until { .. }) = permits.spend(1_200, now) {
//!     let ask = permits.ask(&[1_200], &[], now);
//!     // Until one try is known to have worked; the same `ask` in each.
//!     let granted = loop {
//!         let mut record = stored.clone(); // read
//!         let granted = record.take(lease, &ask, now, now.plus(Duration::from_secs(30)));
//!         if !granted.worth_writing {
//!             break granted;
//!         }
//!         stored = record; // compare-and-swap; `continue` on a conflict, and when no answer came
//!         break granted;
//!     };
//!     permits.add(granted, now);
//! }
//! let permit = permits.spend(1_200, now).expect("it was just granted");
//! // … the call …
//! permits.finish(permit, Some(1_350), now);
//! ```
//!
//! # What holds
//!
//! - **No sliding minute at the provider sees more than the limit**, as long as a request is there within two seconds
//!   after it was spent, less twice what the clocks are wrong by. A minute's worth is granted in 64 s, so under load
//!   15/16 of the limit are reached. Tokens count as estimated until the answer is there; what it had more is a debt that
//!   later jobs wait for, what it had less is free again at once.
//! - **Evenly**: at most a fiftieth of the requests in one second, and after a short burst a 64th.
//! - **Nothing leaks.** A block that nobody uses is of no use two seconds later, and has left the window after 64,
//!   whether its worker lives or not. Slots are leased: anybody's next swap drops those of a lease that ended.
//! - **A slot's lease may end too early, where money's may not.** A worker that lost touch goes on with the calls that it
//!   has, while others take its slots: for that long the provider sees more calls at once than configured. The worst of
//!   it is a refusal that is tried again; it ends with those calls, and nothing has been counted wrong. A hold of money
//!   that ended too early would let a cap be overspent for good.
//! - **A swap whose answer was lost is done once**: it is known by its number, and what it granted is in the record.
//! - **No worker starves, and no big job.** Among workers that wait, those go first that had least, by tokens and
//!   requests: what they wait for is left to them, until there is enough or they no longer ask. Without this the nearest
//!   worker, or small jobs, would use up each second's share before the others come. Slots are handed over to those that
//!   wait long, without a call being broken off.
//! - **Clocks.** Going back never grants more; after a step back of more than five seconds nothing is granted for five,
//!   until it is clear that nobody goes on ahead. A jump ahead makes the past look older than it is, and lets through as
//!   much as the pace allows: a sixteenth and two bursts more in that minute. If workers disagree by more than five
//!   seconds, those are served whose clocks are ahead, and the limit is kept.

mod meter;
mod permits;
mod ring;
#[cfg(test)]
mod simulation;
mod take;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod under_load;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use tollgate_types::UnixMillis;
use tollgate_types::budget::Limits;

use meter::Meter;
pub use permits::{Ask, Missing, Permit, Permits, Short};

/// The version of the record that this code writes and reads.
pub const VERSION: u32 = 1;

/// What has been granted lately for one limited thing, and what may be granted still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    #[serde(deserialize_with = "this_version")]
    version: u32,
    /// What is limited, for people who read the record.
    subject: String,
    limits: Limits,
    #[serde(default, skip_serializing_if = "Meter::is_none")]
    requests: Meter,
    #[serde(default, skip_serializing_if = "Meter::is_none")]
    tokens: Meter,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    leases: BTreeMap<String, Lease>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt: Option<Doubt>,
}

fn this_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        VERSION => Ok(VERSION),
        other => Err(serde::de::Error::custom(format!("it has version {other}, which this process cannot read"))),
    }
}

/// What one worker holds, the last swap that it did, and what it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    #[serde(default, skip_serializing_if = "is_zero")]
    slots: u32,
    until: UnixMillis,
    /// The number of its last swap, and what that granted: how a swap is known again whose answer was lost.
    turn: u64,
    #[serde(default, skip_serializing_if = "Need::is_none")]
    granted: Need,
    /// The second in which something was last granted to it.
    served: i64,
    /// The second in which it is even: by then its share of the limit has brought what it was granted. Who is even first
    /// goes first.
    even_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waits: Option<Waits>,
}

/// What a worker was refused that has a job waiting; others leave it room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waits {
    need: Need,
    /// It has asked again by then, or is gone.
    until: UnixMillis,
}

/// Somebody's clock is behind the record: its own, or everybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Doubt {
    /// The last second of the record. When it goes on, others are alive there, and the one that doubts is wrong.
    last: i64,
    since: UnixMillis,
}

/// What some jobs need on top of what their worker has in hand, or were granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Need {
    #[serde(skip_serializing_if = "is_zero")]
    requests: u32,
    #[serde(skip_serializing_if = "is_zero")]
    tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    slots: u32,
}

fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

impl Need {
    fn is_none(&self) -> bool {
        *self == Need::default()
    }

    fn beyond(self, less: Need) -> Need {
        Need {
            requests: self.requests.saturating_sub(less.requests),
            tokens: self.tokens.saturating_sub(less.tokens),
            slots: self.slots.saturating_sub(less.slots),
        }
    }

    fn and(self, more: Need) -> Need {
        Need {
            requests: self.requests.saturating_add(more.requests),
            tokens: self.tokens.saturating_add(more.tokens),
            slots: self.slots.saturating_add(more.slots),
        }
    }
}

/// What a worker was granted; goes to [`Permits::add`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Whether the record says anything new. If not, there is nothing to write, and nothing was granted.
    pub worth_writing: bool,
    /// When it is worth asking again for the first job that got nothing; `None` if all did.
    pub again_at: Option<UnixMillis>,
    second: i64,
    requests: u32,
    tokens: u64,
    /// All slots that the record says are the worker's, and how many it may use: fewer if others wait for them.
    slots: u32,
    usable_slots: u32,
    until: UnixMillis,
}

impl Limit {
    /// A record of which nothing was taken yet. `subject` is for people.
    ///
    /// What ran before there was a record is not known to it: within the first minute there may be that much more.
    pub fn open(subject: impl Into<String>, limits: Limits) -> Limit {
        Limit {
            version: VERSION,
            subject: subject.into(),
            limits,
            requests: Meter::default(),
            tokens: Meter::default(),
            leases: BTreeMap::new(),
            doubt: None,
        }
    }

    /// What is limited.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The limits that it keeps.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes over configured limits; call it before each [`take`](Limit::take).
    ///
    /// A lower limit holds for what is granted from now on: what has been granted leaves the window first.
    pub fn with_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What a swap of this lease granted, if the record has it: for a swap whose answer was lost.
    pub fn answer(&self, lease: &str, turn: u64) -> Option<Granted> {
        let held = self.leases.get(lease).filter(|held| held.turn == turn)?;
        let Need { requests, tokens, .. } = held.granted;
        Some(Granted {
            worth_writing: false,
            again_at: None,
            second: held.served,
            requests,
            tokens,
            slots: held.slots,
            usable_slots: held.slots,
            until: held.until,
        })
    }
}

/// How much of its limits is taken; zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Requests that were granted in the last minute and not handed back.
    pub requests: u64,
    /// Tokens that were granted in the last minute, as far as they are known by their answers, by estimates otherwise.
    pub tokens: u64,
    /// When none of those requests counts any more, if nothing else is granted until then; now or earlier if none does.
    pub requests_back_at: UnixMillis,
    /// The same for the tokens.
    pub tokens_back_at: UnixMillis,
    /// Slots of all workers, free ones included.
    pub slots: u32,
    /// How many workers wait.
    pub waiting: usize,
}

/// The second of the server's clock in which a point lies.
fn second_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(1000)
}

fn later(than: UnixMillis, by_millis: i64) -> UnixMillis {
    UnixMillis(than.0.saturating_add(by_millis))
}
