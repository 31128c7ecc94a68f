//! How a deployment is doing, as one worker sees it: whether it takes calls, how many, and how slow it has become.
//!
//! A worker keeps one [`Health`] for each deployment. It [`begin`](Health::begin)s every call here and
//! [`end`](Health::end)s it with what came of it; in between it asks for the deployment's [`Standing`] and leaves the
//! choice among several to [`crate::routing`].
//!
//! Four things are kept, each in a file of its own: a circuit [`breaker`], an adaptive limit on calls at once
//! ([`pace`]), the [`latency`] against its own recent normal, and one [`budget`] for all retries and fallbacks.
//!
//! `now` is the reading of a clock that never goes back, as the time since any fixed point. Each worker judges by itself:
//! what all must know, a provider's wish to be left alone, they tell each other ([`Health::shut`]).

pub mod breaker;
pub mod budget;
pub mod latency;
pub mod pace;

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate_types::FailureKind;

use breaker::{Breaker, Gate};
use budget::RetryBudget;
use latency::Latency;
use pace::Pace;

/// What may be asked of a deployment now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes calls.
    Ready,
    /// It takes calls, and is well above its own normal: others first, except for a call now and then that shows whether
    /// it is over.
    Slow,
    /// Its breaker is half open, and the one call that tries it may go.
    Probe,
    /// It has as many calls at once as it bears now.
    Full,
    /// It takes no calls before then, and perhaps not then.
    Shut {
        /// When it is worth another look.
        until: Duration,
    },
}

/// How an answer is read, because a whole answer's first byte is its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// At once, when it is complete.
    Whole,
    /// As it is written.
    Streamed,
}

/// What came of a call, as far as the deployment's health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; the first of what the model wrote was there after so long.
    Answered {
        /// From the start of the call.
        first_token: Duration,
    },
    /// It did not take the request, which says nothing against it.
    Refused,
    /// It has too much to do.
    Limited,
    /// It did not answer in time.
    TimedOut,
    /// It failed.
    Failed,
    /// Nobody waited for the end.
    Abandoned,
}

impl Outcome {
    /// What a failure says of the deployment; exhaustive, so that a new kind of failure gets its place.
    pub fn of(kind: FailureKind) -> Outcome {
        match kind {
            FailureKind::Connect
            | FailureKind::Reset
            | FailureKind::ServerError
            | FailureKind::NotAgain
            | FailureKind::BadResponse => Outcome::Failed,
            FailureKind::FirstByteTimeout | FailureKind::TotalTimeout => Outcome::TimedOut,
            FailureKind::RateLimited => Outcome::Limited,
            // Keys, quotas and wrong names are no outage: a retry elsewhere is another matter.
            FailureKind::QuotaExhausted
            | FailureKind::Auth
            | FailureKind::NotFound
            | FailureKind::ContextLength
            | FailureKind::ContentPolicy
            | FailureKind::InvalidRequest
            | FailureKind::Unsupported => Outcome::Refused,
            FailureKind::Deadline => Outcome::Abandoned,
        }
    }
}

/// A call that has begun; give it to [`Health::end`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a call that is never ended counts as running for ever"]
pub struct Ticket {
    number: u64,
    reading: Reading,
    began: Duration,
    probe: bool,
}

/// How one deployment is doing.
#[derive(Clone, Debug, Default)]
pub struct Health {
    breaker: Breaker,
    pace: Pace,
    whole: Latency,
    streamed: Latency,
    budget: RetryBudget,
    shut_until: Duration,
    answered_at: Option<Duration>,
    /// Calls that have begun and not ended, by their number.
    running: BTreeMap<u64, (Duration, Reading)>,
    next: u64,
    /// The last call that began while it was slow, and how many went elsewhere since.
    slow_try: Duration,
    passed_over: u32,
}

/// A slow deployment gets one of so many calls, at least so far apart: enough to see that it is over, too few to be felt
/// at the 95th percentile.
const ONE_OF: u32 = 40;
const SLOW_TRY_EVERY: Duration = Duration::from_secs(1);
/// And one after so long whatever goes elsewhere.
const SLOW_TRY_LATEST: Duration = Duration::from_secs(60);

impl Health {
    /// What may be asked of it.
    pub fn standing(&self, now: Duration) -> Standing {
        if self.shut_until > now {
            return Standing::Shut { until: self.shut_until };
        }
        match self.breaker.gate(now) {
            Gate::Shut { until } => Standing::Shut { until },
            Gate::Probe => Standing::Probe,
            Gate::Open if !self.pace.has_room(self.running.len()) => Standing::Full,
            Gate::Open if self.is_slow(now) => Standing::Slow,
            Gate::Open => Standing::Ready,
        }
    }

    /// How many more calls it bears at once; `usize::MAX` without a limit.
    pub fn room(&self, now: Duration) -> usize {
        match self.standing(now) {
            Standing::Shut { .. } | Standing::Full => 0,
            Standing::Probe => 1,
            Standing::Ready | Standing::Slow => self.pace.room(self.running.len()),
        }
    }

    /// Whether a slow deployment is due for a call that shows how it is.
    pub fn slow_try_is_due(&self, now: Duration) -> bool {
        let since = now.saturating_sub(self.slow_try);
        since >= SLOW_TRY_LATEST || (since >= SLOW_TRY_EVERY && self.passed_over >= ONE_OF)
    }

    /// Another deployment was taken because this one is slow.
    pub fn passed_over(&mut self) {
        self.passed_over = self.passed_over.saturating_add(1);
    }

    /// What a call costs in time, to compare deployments by: the peak of its recent latency, decaying, times the calls
    /// that wait for it, this one included.
    ///
    /// Peak EWMA as Finagle and linkerd have it: a slow answer counts at once, and is forgotten slowly.
    pub fn load(&self, reading: Reading, now: Duration) -> f64 {
        self.latency(reading).peak_ms(now) * (self.running.len() + 1) as f64
    }

    /// A call begins. `first` says that it is the first of its job's run, and earns a part of a retry.
    pub fn begin(&mut self, reading: Reading, first: bool, now: Duration) -> Ticket {
        if self.is_slow(now) {
            (self.slow_try, self.passed_over) = (now, 0);
        }
        if first {
            self.budget.earn(now);
        }
        let probe = self.breaker.begin(now);
        let number = self.next;
        self.next += 1;
        self.running.insert(number, (now, reading));
        Ticket { number, reading, began: now, probe }
    }

    /// A call is over.
    pub fn end(&mut self, ticket: Ticket, outcome: Outcome, now: Duration) {
        let at_once = self.running.len();
        self.running.remove(&ticket.number);
        match outcome {
            Outcome::Answered { first_token } => {
                self.answered_at = Some(now);
                self.latency_mut(ticket.reading).observe(first_token, now);
                self.breaker.succeeded(ticket.began, ticket.probe, now);
                if self.is_slow(now) {
                    self.pace.slow_down(at_once, ticket.began, now);
                } else {
                    self.pace.answered(at_once);
                }
            }
            Outcome::Refused => self.breaker.succeeded(ticket.began, ticket.probe, now),
            Outcome::Limited => {
                self.breaker.gave_no_sign(ticket.probe);
                self.pace.back_off(at_once, ticket.began, now);
            }
            Outcome::TimedOut => {
                self.breaker.failed(ticket.began, ticket.probe, now);
                self.pace.back_off(at_once, ticket.began, now);
            }
            Outcome::Failed => self.breaker.failed(ticket.began, ticket.probe, now),
            Outcome::Abandoned => self.breaker.gave_no_sign(ticket.probe),
        }
    }

    /// It asked to be left alone until then.
    pub fn shut(&mut self, until: Duration) {
        self.shut_until = self.shut_until.max(until);
    }

    /// Takes one try more than the first out of the budget, if it is there.
    pub fn may_try_more(&mut self, now: Duration) -> bool {
        self.budget.spend(now)
    }

    /// Whether it has answered anybody since then: what fails now fails for a reason of its own.
    pub fn answered_since(&self, then: Duration) -> bool {
        self.answered_at.is_some_and(|at| at > then)
    }

    /// Whether it is well above its own normal: by its answers, or because calls wait for far longer than they used to.
    pub fn is_slow(&self, now: Duration) -> bool {
        let waits_long = |late| self.many_wait_longer(late, now);
        self.whole.is_slow() || self.streamed.is_slow() || self.whole.late_after().is_some_and(waits_long)
    }

    /// Only of whole answers: what is being streamed may take as long as it is long.
    fn many_wait_longer(&self, than: Duration, now: Duration) -> bool {
        const MANY: usize = 3;
        let waiting = self.running.values().filter(|(_, reading)| *reading == Reading::Whole);
        let (all, late) = waiting
            .fold((0, 0), |(all, late), (began, _)| (all + 1, late + usize::from(now.saturating_sub(*began) > than)));
        late >= MANY && late * 2 >= all
    }

    fn latency(&self, reading: Reading) -> &Latency {
        match reading {
            Reading::Whole => &self.whole,
            Reading::Streamed => &self.streamed,
        }
    }

    fn latency_mut(&mut self, reading: Reading) -> &mut Latency {
        match reading {
            Reading::Whole => &mut self.whole,
            Reading::Streamed => &mut self.streamed,
        }
    }

    /// How it is doing, for people.
    pub fn report(&self, now: Duration) -> Report {
        Report {
            standing: self.standing(now),
            running: self.running.len(),
            limit: self.pace.limit(),
            recent: self.whole.recent().or(self.streamed.recent()),
            usual: self.whole.usual().or(self.streamed.usual()),
            retries_left: self.budget.left(now),
        }
    }
}

/// How a deployment is doing, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// What may be asked of it.
    pub standing: Standing,
    /// Calls that run.
    pub running: usize,
    /// The most calls at once that it is given, if there is a limit now.
    pub limit: Option<usize>,
    /// The time to the first token lately.
    pub recent: Option<Duration>,
    /// The same as it usually is.
    pub usual: Option<Duration>,
    /// Retries and fallbacks that may be made now.
    pub retries_left: f64,
}

#[cfg(test)]
mod tests;
