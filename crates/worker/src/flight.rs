//! Flight: one call for all who ask the same at the same time.
//!
//! Whoever calls first claims the answer; who comes meanwhile is parked behind it, without a slot, a lease or a permit,
//! and comes back when the claim ends. Then the answer is there; or the worker died, and the next one claims; or there is
//! nothing to share, and all go on side by side.
//!
//! Claims are renewed while their job runs, and given up when it ends. Killed before the claim: nobody waits. Killed
//! while it is held: those who wait go on when its lease ends, or the job itself is delivered again before and takes its
//! claim over. Killed after the answer was kept and before the claim was given up: they wait for the lease, and hit.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tollgate_policy::cache::{Unkept, judge};
use tollgate_providers::Answer;
use tollgate_queue::answers::{Facts, KeptAnswer, Slot};
use tollgate_queue::flights::{Claim, LEASE, Lease};
use tollgate_queue::{ApiError, Connection, Flights};
use tollgate_types::{AttemptOutcome, AttemptRecord, ErrorCode, UnixMillis};

use crate::cache::{self, Ticket, Wanted};
use crate::call::Came;
use crate::context::Context;
use crate::end::{End, Outcome};
use crate::hold::Held;
use crate::park::Parking;
use crate::run::Run;

/// What a job does that has everything it needs for a call.
pub(crate) enum Boarding {
    /// It calls.
    Go(Flight),
    /// The answer came a moment ago.
    Hit(Box<KeptAnswer>),
    /// Another job is calling.
    Wait(Parking),
}

/// A call, and what becomes of it for others.
pub(crate) struct Flight {
    wanted: Option<Wanted>,
    claim: Option<Holding>,
}

/// What is left to do for others once the job has its end.
#[derive(Default)]
pub(crate) struct Landing {
    keeping: Keeping,
    claim: Option<Holding>,
    /// Whether those who wait are to go on side by side.
    apart: bool,
}

/// What becomes of the kept answer.
#[derive(Default)]
enum Keeping {
    /// If there is one, it stays.
    #[default]
    AsItIs,
    /// This one takes its place, of a call that began then.
    New(Box<(Wanted, KeptAnswer, UnixMillis)>),
    /// It goes: it was to be refreshed, and the answer that came is not kept.
    Gone(Slot),
}

impl Keeping {
    /// With an answer that is not kept.
    fn without(wanted: Wanted) -> Keeping {
        if wanted.refreshes { Keeping::Gone(wanted.slot) } else { Keeping::AsItIs }
    }
}

/// Claims the answer, if it may be shared.
pub(crate) async fn board(ticket: Ticket, run: &Run, cx: &Context) -> Boarding {
    let Ticket { wanted, shares } = ticket;
    let Some(wanted) = wanted else { return Boarding::Go(Flight { wanted: None, claim: None }) };
    if !shares {
        return Boarding::Go(Flight { wanted: Some(wanted), claim: None });
    }
    cx.config.crash.point("F1");
    let claim = match cx.claims.claim(&wanted, run).await {
        Ok(Claim::Ours(lease)) => Some(cx.claims.hold(lease)),
        Ok(Claim::Theirs) => match cache::wait(&wanted, cx) {
            Some(parking) => return Boarding::Wait(parking),
            None => None,
        },
        Ok(Claim::Alone) => None,
        Err(error) => {
            cache::failed("claim", &error);
            None
        }
    };
    cx.config.crash.point("F2");
    // Who claimed before us may have kept the answer between our look and our claim: it is kept before a claim ends.
    if let Some(claim) = claim {
        if let Some(answer) = cx.cache.find_shared(&wanted, cx).await {
            cx.claims.release(claim).await;
            return Boarding::Hit(Box::new(answer));
        }
        return Boarding::Go(Flight { wanted: Some(wanted), claim: Some(claim) });
    }
    Boarding::Go(Flight { wanted: Some(wanted), claim: None })
}

impl Flight {
    /// Takes what came of the calls: a copy of an answer that is worth keeping, as the provider gave it; what the
    /// guardrails make of it is told by [`Landing::screened`].
    pub(crate) fn land(self, came: &Came, run: &Run, held: &Held, cx: &Context) -> Landing {
        let Flight { wanted, claim } = self;
        let Some(wanted) = wanted else { return Landing::default() };
        let apart = |claim| Landing { keeping: Keeping::AsItIs, claim, apart: true };
        let end = match came {
            Came::End(end) => end,
            Came::Park(..) => return apart(claim),
        };
        match &end.outcome {
            Outcome::Answered(answer, request_id) => match worth(end, answer, held, &wanted) {
                Ok(attempt) => {
                    let facts = Facts {
                        version: Facts::VERSION,
                        job: run.job.clone(),
                        provider: attempt.provider.clone(),
                        model: attempt.model.clone(),
                        cost_nanousd: attempt.cost_nanousd,
                        tokens: attempt.tokens,
                        request_id: request_id.clone(),
                        at: cx.clock.now(),
                    };
                    let body = Bytes::copy_from_slice(answer.body.get().as_bytes());
                    let keeping = Keeping::New(Box::new((wanted, KeptAnswer { facts, body }, attempt.started_at)));
                    Landing { keeping, claim, apart: false }
                }
                Err(unkept) => {
                    metrics::counter!("tollgate_cache_unkept_total", "why" => unkept.as_str()).increment(1);
                    Landing { keeping: Keeping::without(wanted), claim, apart: true }
                }
            },
            // That says nothing of the others: the next one calls.
            Outcome::Refused(ErrorCode::Cancelled | ErrorCode::DeadlineExceeded, _) => {
                Landing { claim, ..Landing::default() }
            }
            Outcome::Refused(..) => apart(claim),
        }
    }
}

/// The call that brought an answer which is worth keeping.
fn worth<'a>(end: &'a End, answer: &Answer, held: &Held, wanted: &Wanted) -> Result<&'a AttemptRecord, Unkept> {
    let attempt = end.attempts.last().filter(|attempt| attempt.outcome == AttemptOutcome::Ok);
    let attempt = attempt.ok_or(Unkept::Unreadable)?;
    let asked_for = held.route.legs[0].deployments.iter().map(|(priced, _)| &priced.deployment);
    let is_of_it = |model: &str, provider: &str| {
        asked_for.clone().any(|deployment| deployment.model == model && deployment.provider == provider)
    };
    if held.downgraded_to.is_some() || !is_of_it(&attempt.model, &attempt.provider) {
        return Err(Unkept::StandIn);
    }
    if answer.http_status != cache::OK {
        return Err(Unkept::NotWhole);
    }
    judge(wanted.endpoint, answer.body.get(), &wanted.rules).map(|()| attempt)
}

impl Landing {
    /// Takes in what the guardrails made of the answer, with how the job ends now. Of one that they refuse, nothing is
    /// kept and nobody shares it; of one that they changed, the body that they left, with its placeholders.
    pub(crate) fn screened(&mut self, end: &End, body: Option<&RawValue>) {
        let Keeping::New(keeping) = &mut self.keeping else { return };
        if let Some(body) = body {
            keeping.1.body = Bytes::copy_from_slice(body.get().as_bytes());
        }
        if let Outcome::Refused(..) = end.outcome
            && let Keeping::New(keeping) = std::mem::take(&mut self.keeping)
        {
            (self.keeping, self.apart) = (Keeping::without(keeping.0), true);
        }
    }

    /// Keeps the answer, if this run's result is the one that counts, and then lets those come back who wait for it.
    ///
    /// Killed before the answer is kept: who waits goes on when the claim's lease ends. Killed after it: the same, and
    /// finds it.
    pub(crate) async fn end(self, answered: bool, cx: &Context) {
        let Landing { keeping, claim, mut apart } = self;
        match keeping {
            Keeping::New(keeping) if answered => {
                let (wanted, answer, called_at) = *keeping;
                cx.config.crash.point("K1");
                // One that cannot be kept would make them call one after the other.
                apart |= !cx.cache.keep(&wanted, answer, called_at, cx).await;
                cx.config.crash.point("K2");
            }
            Keeping::Gone(slot) => cx.cache.drop_kept(&slot).await,
            Keeping::New(_) | Keeping::AsItIs => {}
        }
        match claim {
            Some(claim) if apart => cx.claims.leave_alone(claim).await,
            Some(claim) => cx.claims.release(claim).await,
            None => {}
        }
    }
}

/// The claims of this worker, which it renews.
pub(crate) struct Claims {
    pub(crate) flights: Flights,
    held: Arc<HeldClaims>,
    /// Since when the server has not said which claims stand.
    unread_since: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct HeldClaims {
    numbers: AtomicU64,
    by_number: Mutex<HashMap<u64, Shared>>,
    /// Of runs that were dropped where they stood.
    dropped: Mutex<Vec<Shared>>,
    more_dropped: Notify,
}

/// A claim that its run and the keeper share: nobody gives up what the other renews in the same moment.
type Shared = Arc<tokio::sync::Mutex<Option<Lease>>>;

/// A claim of a run. Dropped, it is given up soon.
pub(crate) struct Holding {
    number: u64,
    lease: Shared,
    held: Arc<HeldClaims>,
}

/// Three renewals may fail before a claim ends.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Claims that are renewed at a time.
const RENEWED_AT_ONCE: usize = 32;

impl Claims {
    /// None yet.
    pub(crate) fn new(connection: &Connection) -> Claims {
        Claims { flights: Flights::new(&connection.client), held: Arc::default(), unread_since: Mutex::default() }
    }

    /// Which of the answers that jobs wait for, by short digest, are being fetched.
    ///
    /// If the server does not say, all of them, for as long as a claim lasts: after that none can be relied on, and who
    /// waits calls for himself. Where there is no stream, there are no claims.
    pub(crate) async fn aloft(&self, waited_for: HashSet<String>) -> HashSet<String> {
        let digests: Vec<String> = waited_for.iter().cloned().collect();
        let said = self.flights.aloft(&digests).await;
        let mut unread_since = self.unread_since.lock().expect("no holder panics");
        let error = match said {
            Ok(aloft) => {
                *unread_since = None;
                return aloft;
            }
            Err(error) => error,
        };
        tracing::warn!(%error, "claims not read");
        let absent = matches!(error, ApiError::Absent { .. });
        let since = *unread_since.get_or_insert_with(Instant::now);
        if absent || since.elapsed() >= LEASE { HashSet::new() } else { waited_for }
    }

    async fn claim(&self, wanted: &Wanted, run: &Run) -> Result<Claim, ApiError> {
        self.flights.claim(&wanted.claimant(run)).await
    }

    fn hold(&self, lease: Lease) -> Holding {
        let held = self.held.clone();
        let number = held.numbers.fetch_add(1, Ordering::Relaxed);
        let lease = Arc::new(tokio::sync::Mutex::new(Some(lease)));
        held.by_number.lock().expect("no holder panics").insert(number, lease.clone());
        Holding { number, lease, held }
    }

    async fn release(&self, claim: Holding) {
        if let Some(lease) = claim.lease.lock().await.take()
            && let Err(error) = self.flights.release(lease).await
        {
            cache::failed("release", &error);
        }
    }

    async fn leave_alone(&self, claim: Holding) {
        if let Some(lease) = claim.lease.lock().await.take()
            && let Err(error) = self.flights.leave_alone(lease).await
        {
            cache::failed("leave_alone", &error);
        }
    }

    /// Renews what is held, and gives up what was dropped; for ever.
    pub(crate) async fn keep(&self) {
        let mut renew = tokio::time::interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = renew.tick() => self.renew_all().await,
                () = self.held.more_dropped.notified() => self.give_up_dropped().await,
            }
        }
    }

    async fn renew_all(&self) {
        let held: Vec<Shared> = self.held.by_number.lock().expect("no holder panics").values().cloned().collect();
        let renew = |shared: Shared| async move {
            let mut lease = shared.lock().await;
            let Some(known) = lease.as_mut() else { return };
            match self.flights.renew(known).await {
                Ok(true) => {}
                // Another run of the job has it, or it ended while the server was away: others may call too.
                Ok(false) => *lease = None,
                Err(error) => cache::failed("renew", &error),
            }
        };
        stream::iter(held).for_each_concurrent(RENEWED_AT_ONCE, renew).await;
    }

    /// Gives up the claims of runs that were dropped: also at an orderly end, when nobody renews any more.
    pub(crate) async fn give_up_dropped(&self) {
        let dropped = std::mem::take(&mut *self.held.dropped.lock().expect("no holder panics"));
        for shared in dropped {
            if let Some(lease) = shared.lock().await.take()
                && let Err(error) = self.flights.release(lease).await
            {
                cache::failed("release", &error);
            }
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.by_number.lock().expect("no holder panics").remove(&self.number);
        // Given up in good order, there is nothing left; a keeper that renews it now will not again.
        if self.lease.try_lock().map_or(true, |lease| lease.is_some()) {
            self.held.dropped.lock().expect("no holder panics").push(self.lease.clone());
            self.held.more_dropped.notify_one();
        }
    }
}
