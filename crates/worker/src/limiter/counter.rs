//! The counter of one limited thing: what is in hand, who waits, and the task that asks for more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tollgate_policy::limit::{self, Ask, Granted, Limit, Permit, Permits};
use tollgate_queue::ServerClock;
use tollgate_queue::bucket::BucketError;
use tollgate_types::{Limits, UnixMillis};

use super::{Limited, Limiter, Need, Short};

/// One limited thing as this worker sees it.
pub(crate) struct Counter {
    limited: Limited,
    inner: Mutex<Inner>,
    wake: Notify,
    /// One ask at a time: the keeper's, or the last one at the end.
    asking: tokio::sync::Mutex<()>,
}

struct Inner {
    permits: Permits,
    limits: Limits,
    waiting: VecDeque<Waiter>,
    /// Jobs that lanes want to begin soon and that are not here yet.
    wanted: usize,
    /// What a job needed lately: what the wanted ones are asked for with.
    usual_tokens: u64,
    again_at: UnixMillis,
}

struct Waiter {
    tokens: u64,
    patience: Patience,
    answer: oneshot::Sender<Result<Permit, Short>>,
}

/// How long a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For one answer of the record.
    None,
    /// So long.
    Within(Duration),
}

/// A permit in a job's hands. Dropped, its slot is free; say [`Pass::used`] to correct what it was estimated at.
pub(crate) struct Pass {
    counter: Arc<Counter>,
    clock: ServerClock,
    permit: Option<Permit>,
}

/// Without an answer in so long the record is out of reach.
const ANSWER_MAX: Duration = Duration::from_secs(6);
/// Swaps that lost against others before the ask is given up.
const TRIES_MAX: u32 = 40;
/// What keeps an unanswered loop from spinning.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest sleep of a keeper that has nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// The most jobs that wait in their slots for one limited thing.
const WAITING_MAX: usize = 64;
/// The most jobs that are counted in hand, or asked for ahead.
const AHEAD_MAX: usize = 64;

impl Counter {
    pub(super) fn new(limited: Limited, limits: Limits) -> Counter {
        let inner = Inner {
            permits: Permits::new(limits),
            limits,
            waiting: VecDeque::new(),
            wanted: 0,
            usual_tokens: 1,
            again_at: UnixMillis(0),
        };
        Counter { limited, inner: Mutex::new(inner), wake: Notify::new(), asking: tokio::sync::Mutex::default() }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }

    pub(super) fn with_limits(&self, limits: Limits) {
        let mut inner = self.inner();
        if inner.limits != limits {
            inner.limits = limits;
            inner.permits.with_limits(limits);
            inner.again_at = UnixMillis(0);
            self.wake.notify_one();
        }
    }

    pub(super) async fn ask(
        self: &Arc<Self>,
        need: Need,
        patience: Patience,
        clock: &ServerClock,
    ) -> Result<Pass, Short> {
        let pass = |permit| Pass { counter: self.clone(), clock: clock.clone(), permit: Some(permit) };
        let answered = {
            let mut inner = self.inner();
            inner.wanted = inner.wanted.saturating_sub(1);
            inner.usual_tokens = (inner.usual_tokens * 7 + need.tokens) / 8;
            // Nobody overtakes.
            if inner.waiting.is_empty() {
                match inner.permits.spend(need.tokens, clock.now()) {
                    Ok(permit) => return Ok(pass(permit)),
                    Err(short @ limit::Short::Never { .. }) => return Err(self.short(&short)),
                    Err(limit::Short::Until { .. }) => {}
                }
            }
            let now = clock.now();
            let in_vain = patience == Patience::None && (inner.again_at > now || !inner.waiting.is_empty());
            if in_vain || inner.waiting.len() >= inner.waiting_max() {
                return Err(self.wait("others wait already"));
            }
            let (answer, answered) = oneshot::channel();
            inner.waiting.push_back(Waiter { tokens: need.tokens, patience, answer });
            answered
        };
        self.wake.notify_one();
        let within = match patience {
            Patience::None => ANSWER_MAX,
            Patience::Within(within) => within,
        };
        match timeout(within, answered).await {
            Ok(Ok(Ok(permit))) => Ok(pass(permit)),
            Ok(Ok(Err(short))) => Err(short),
            Ok(Err(_)) | Err(_) => Err(self.wait("its turn did not come in time")),
        }
    }

    fn short(&self, short: &limit::Short) -> Short {
        match short {
            limit::Short::Never { .. } => {
                Short::Never { message: format!("the job can never pass the limit of {}: {short}", self.limited) }
            }
            limit::Short::Until { .. } => self.wait(&short.to_string()),
        }
    }

    fn wait(&self, why: &str) -> Short {
        Short::Wait { message: format!("the limits of {} leave nothing: {why}", self.limited) }
    }

    /// How many usual jobs could go by what is in hand. With `busy`, more is asked for.
    pub(super) fn in_hand(&self, busy: bool, clock: &ServerClock) -> usize {
        let mut inner = self.inner();
        let now = clock.now();
        let jobs = inner.permits.reach(inner.usual_tokens, now) as usize;
        let free = jobs.saturating_sub(inner.waiting.len());
        let ahead = inner.ahead();
        if busy && free < ahead && inner.wanted < ahead {
            inner.wanted = ahead;
            if inner.again_at <= now {
                self.wake.notify_one();
            }
        }
        free
    }

    /// Asks for permits whenever jobs wait or are wanted, and hands in what is idle, for ever.
    pub(super) async fn keep(&self, limiter: &Limiter) {
        loop {
            let now = limiter.clock.now();
            let (wants, due_at) = {
                let mut inner = self.inner();
                inner.waiting.retain(|waiter| !waiter.answer.is_closed());
                let due_at = inner.permits.due_at().unwrap_or(UnixMillis(i64::MAX));
                let wants = inner.wants();
                (wants, if wants { due_at.min(inner.again_at) } else { due_at })
            };
            if due_at > now {
                let wait = Duration::from_millis(u64::try_from(due_at.0.saturating_sub(now.0)).unwrap_or(0)).min(IDLE);
                tokio::select! {
                    () = sleep(wait) => {}
                    () = self.wake.notified() => {}
                }
                continue;
            }
            let answered = self.swap(limiter, wants).await;
            self.serve(limiter);
            if !answered {
                sleep(PAUSE).await;
            }
        }
    }

    /// Hands in what is unused, once.
    pub(super) async fn hand_in(&self, limiter: &Limiter) {
        self.swap(limiter, false).await;
    }

    /// One ask of the record. Returns whether there was an answer.
    ///
    /// Killed anywhere: requests and tokens that were granted run out unused, slots come back with their lease.
    async fn swap(&self, limiter: &Limiter, wants: bool) -> bool {
        let _turn = self.asking.lock().await;
        let now = limiter.clock.now();
        let (ask, limits) = {
            let mut inner = self.inner();
            let (waiting, expected) = if wants { inner.jobs() } else { Default::default() };
            (inner.permits.ask(&waiting, &expected, now), inner.limits)
        };
        match self.write(limiter, &ask, limits).await {
            Ok(granted) => {
                let mut inner = self.inner();
                inner.again_at = granted.again_at.unwrap_or(UnixMillis(0));
                inner.wanted = 0;
                let news = granted.worth_writing;
                inner.permits.add(granted, limiter.clock.now());
                drop(inner);
                if news {
                    limiter.changed();
                }
                true
            }
            Err(BucketError::Unknown(cause)) => {
                tracing::warn!(limited = %self.limited, error = &*cause as &dyn std::error::Error, "a swap was not answered");
                self.inner().permits.lose(ask, limiter.clock.now());
                false
            }
            Err(error) => {
                tracing::warn!(limited = %self.limited, error = &error as &dyn std::error::Error, "no permits");
                self.inner().permits.keep(ask, limiter.clock.now());
                false
            }
        }
    }

    async fn write(&self, limiter: &Limiter, ask: &Ask, limits: Limits) -> Result<Granted, BucketError> {
        let key = self.limited.key();
        for tries in 0..TRIES_MAX {
            let now = limiter.clock.now();
            let found = limiter.records.get(&key).await?;
            let read = found.as_ref().and_then(|(value, _)| serde_json::from_slice::<Limit>(value).ok());
            let mut record = read.unwrap_or_else(|| Limit::open(self.limited.to_string(), limits));
            record.with_limits(limits);
            let granted = record.take(&limiter.process, ask, now, now.plus(limiter.lease_time));
            if !granted.worth_writing {
                return Ok(granted);
            }
            let value = serde_json::to_vec(&record).expect("a record of numbers always serialises");
            let written = match found {
                None => limiter.records.create(&key, value.into()).await,
                Some((_, revision)) => limiter.records.update(&key, value.into(), revision).await,
            };
            match written {
                Ok(_) => return Ok(granted),
                // The record knows this ask by its turn, should it have been written.
                Err(BucketError::Conflict) => {}
                Err(error @ BucketError::Unknown(_)) if tries + 1 == TRIES_MAX => return Err(error),
                Err(BucketError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
            let ceiling = 1u64 << tries.min(5);
            sleep(Duration::from_micros(rand::random_range(200..=ceiling * 1000))).await;
        }
        Err(BucketError::Conflict)
    }

    /// Lets those go who wait, in their order, as far as it reaches; those without patience hear that it did not.
    fn serve(&self, limiter: &Limiter) {
        let now = limiter.clock.now();
        let mut inner = self.inner();
        while let Some(waiter) = inner.waiting.pop_front() {
            if waiter.answer.is_closed() {
                continue;
            }
            match inner.permits.spend(waiter.tokens, now) {
                Ok(permit) => {
                    // Whoever went away in this moment gives it back.
                    if let Err(Ok(permit)) = waiter.answer.send(Ok(permit)) {
                        inner.permits.undo(permit, now);
                    }
                }
                Err(short @ limit::Short::Never { .. }) => drop(waiter.answer.send(Err(self.short(&short)))),
                Err(_) => {
                    inner.waiting.push_front(waiter);
                    break;
                }
            }
        }
        let (patient, others): (VecDeque<Waiter>, VecDeque<Waiter>) =
            std::mem::take(&mut inner.waiting).into_iter().partition(|waiter| waiter.patience != Patience::None);
        inner.waiting = patient;
        for waiter in others {
            let _ = waiter.answer.send(Err(self.wait("there is no permit in hand")));
        }
    }
}

impl Inner {
    fn wants(&self) -> bool {
        !self.waiting.is_empty() || self.wanted > 0
    }

    /// The tokens of each job that waits, in their order, and of each that is expected.
    fn jobs(&self) -> (Vec<u64>, Vec<u64>) {
        let waiting = self.waiting.iter().map(|waiter| waiter.tokens);
        (waiting.collect(), vec![self.usual_tokens; self.wanted])
    }

    /// How many jobs it is sensible to ask for ahead of their coming: about what a second brings.
    fn ahead(&self) -> usize {
        let requests = self.limits.requests_per_minute.map_or(AHEAD_MAX, |n| n.div_ceil(50) as usize);
        let slots = self.limits.concurrency.map_or(AHEAD_MAX, |n| n as usize);
        let tokens = self
            .limits
            .tokens_per_minute
            .map_or(AHEAD_MAX, |n| usize::try_from(n / 50 / self.usual_tokens.max(1)).unwrap_or(AHEAD_MAX));
        requests.min(slots).min(tokens).clamp(1, AHEAD_MAX)
    }

    fn waiting_max(&self) -> usize {
        self.ahead().clamp(2, WAITING_MAX)
    }
}

impl Pass {
    /// The job was called and used so many tokens.
    pub(crate) fn used(mut self, tokens: u64) {
        if let Some(permit) = self.permit.take() {
            self.counter.inner().permits.finish(permit, Some(tokens), self.clock.now());
            self.counter.wake.notify_one();
        }
    }
}

impl Drop for Pass {
    /// The job may have been sent: what it was estimated at stays counted.
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.counter.inner().permits.finish(permit, None, self.clock.now());
            self.counter.wake.notify_one();
        }
    }
}
