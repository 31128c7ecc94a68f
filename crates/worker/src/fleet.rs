//! The fleet: how every deployment is doing, as this worker sees it, and who is called next.
//!
//! The judgement is [`tollgate_policy::health`], the choice [`tollgate_policy::routing`]; here is the clock, the chance,
//! and the door that jobs parked behind a model come through. A provider's wish to be left alone is told to the other
//! workers ([`Fleet::keep`]); everything else each of them sees for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tollgate_policy::health::{Health, Outcome, Reading, Report, Standing, Ticket};
use tollgate_policy::routing::{self, Candidate, Choice, Strategy};
use tollgate_queue::control::{self, LeftAlone};
use tollgate_queue::{Connection, ServerClock};
use tollgate_types::NanoUsd;

use crate::gates::Allowance;
use crate::routes::{Priced, Routes};

/// A deployment, as all models that it serves and all workers name it.
type Name = (String, String);

/// How every deployment is doing.
pub(crate) struct Fleet {
    started: Instant,
    clock: ServerClock,
    members: Mutex<HashMap<Name, Health>>,
    /// Counts what could open or close a door.
    changes: watch::Sender<u64>,
    telling: mpsc::Sender<LeftAlone>,
    told: Mutex<Option<mpsc::Receiver<LeftAlone>>>,
}

/// A call that is under way. Dropped without an end, nobody waited for it.
pub(crate) struct Under {
    fleet: Arc<Fleet>,
    name: Name,
    ticket: Option<Ticket>,
}

/// A way of a leg with what a call costs there at most.
pub(crate) type Way<'a> = (&'a Priced, NanoUsd);

/// Wishes to be left alone that wait to be told; each of them is heard by whoever calls next, too.
const TELLING_MAX: usize = 256;
/// Before the other workers are listened to again after trouble.
const PAUSE: Duration = Duration::from_secs(1);
/// The part of a hint that is added by chance, so that not all workers are back in the same moment.
const JITTER: f64 = 0.1;

impl Fleet {
    pub(crate) fn new(routes: &Routes, clock: ServerClock) -> Arc<Fleet> {
        let members = routes.deployments().map(|priced| (name(priced), Health::default())).collect();
        let (telling, told) = mpsc::channel(TELLING_MAX);
        Arc::new(Fleet {
            started: Instant::now(),
            clock,
            members: Mutex::new(members),
            changes: watch::channel(0).0,
            telling,
            told: Mutex::new(Some(told)),
        })
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn members(&self) -> MutexGuard<'_, HashMap<Name, Health>> {
        self.members.lock().expect("no holder panics")
    }

    /// Told whenever a door may have moved.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whom to call, best first; or how long nobody takes calls.
    pub(crate) fn choose(
        &self,
        strategy: Strategy,
        ways: &[Way<'_>],
        reading: Reading,
    ) -> Result<Vec<usize>, Duration> {
        let now = self.now();
        let mut members = self.members();
        for (priced, _) in ways {
            members.entry(name(priced)).or_default();
        }
        let candidates: Vec<Candidate<'_>> = ways
            .iter()
            .map(|(priced, cost)| Candidate { weight: priced.weight, cost: *cost, health: &members[&name(priced)] })
            .collect();
        match routing::choose(strategy, &candidates, reading, now, &mut || rand::random_range(0.0..1.0)) {
            Choice::Nobody { until } => Err(until.saturating_sub(now)),
            Choice::Call(order) => {
                let standing = |at: usize| candidates[at].health.standing(now);
                let slow: Vec<Name> = (0..ways.len())
                    .filter(|&at| at != order[0] && standing(at) == Standing::Slow)
                    .map(|at| name(ways[at].0))
                    .collect();
                slow.iter().for_each(|name| members.get_mut(name).expect("it was just there").passed_over());
                Ok(order)
            }
        }
    }

    /// Begins a call, unless the deployment takes none any more. `first` says that it is the first of its run.
    pub(crate) fn begin(self: &Arc<Self>, priced: &Priced, reading: Reading, first: bool) -> Option<Under> {
        let now = self.now();
        let name = name(priced);
        let mut members = self.members();
        let health = members.entry(name.clone()).or_default();
        if health.room(now) == 0 {
            return None;
        }
        let ticket = Some(health.begin(reading, first, now));
        Some(Under { fleet: self.clone(), name, ticket })
    }

    /// Takes one try more than the first out of the deployment's budget, if it is there.
    pub(crate) fn may_try_more(&self, priced: &Priced) -> bool {
        let now = self.now();
        let may = self.members().entry(name(priced)).or_default().may_try_more(now);
        if !may {
            let provider = priced.deployment.provider.clone();
            metrics::counter!("tollgate_retries_denied_total", "provider" => provider).increment(1);
        }
        may
    }

    /// Sends no more calls to it for so long, and a little longer by chance, and tells the other workers.
    pub(crate) fn leave_alone(&self, priced: &Priced, wait: Duration) {
        let name = name(priced);
        let wait = wait.mul_f64(1.0 + rand::random_range(0.0..JITTER));
        self.shut(&name, wait);
        let until = self.clock.now().plus(wait);
        // Whoever does not hear it finds out with one call.
        let _ = self.telling.try_send(LeftAlone { provider: name.0, model: name.1, until });
    }

    /// Sends no more calls to it for so long, from here: the others may have other keys.
    pub(crate) fn shut_here(&self, priced: &Priced, wait: Duration) {
        self.shut(&name(priced), wait);
    }

    fn shut(&self, name: &Name, wait: Duration) {
        let until = self.now() + wait;
        self.members().entry(name.clone()).or_default().shut(until);
        self.changed();
    }

    /// How many calls a deployment takes.
    pub(crate) fn allowance(&self, priced: &Priced) -> Allowance {
        let now = self.now();
        match self.members().get(&name(priced)).map_or(usize::MAX, |health| health.room(now)) {
            0 => Allowance::Closed,
            usize::MAX => Allowance::Free,
            room => Allowance::UpTo(room),
        }
    }

    /// Why a deployment takes no calls, in words that follow its name; `None` if it takes some.
    pub(crate) fn why_closed(&self, priced: &Priced) -> Option<String> {
        let now = self.now();
        match self.members().get(&name(priced))?.standing(now) {
            Standing::Shut { until } => {
                let seconds = until.saturating_sub(now).as_secs_f64().ceil();
                Some(format!(
                    "is left alone for {seconds} s more, because it failed, asked for it, or has no key that works"
                ))
            }
            Standing::Full => Some("has as many calls at once as it bears".to_owned()),
            Standing::Probe => Some("is tried with one call at a time, because it failed".to_owned()),
            Standing::Ready | Standing::Slow => None,
        }
    }

    /// Whether any of these takes calls, or will as soon as one under way has ended.
    pub(crate) fn any_open<'a>(&self, mut those: impl Iterator<Item = &'a Priced>) -> bool {
        let now = self.now();
        let members = self.members();
        those.any(|priced| {
            let standing = members.get(&name(priced)).map(|health| health.standing(now));
            !matches!(standing, Some(Standing::Shut { .. }))
        })
    }

    /// A point in time, for [`Fleet::any_answered_since`].
    pub(crate) fn point(&self) -> Duration {
        self.now()
    }

    /// Whether any of these has answered somebody since then.
    pub(crate) fn any_answered_since<'a>(&self, then: Duration, mut those: impl Iterator<Item = &'a Priced>) -> bool {
        let members = self.members();
        those.any(|priced| members.get(&name(priced)).is_some_and(|health| health.answered_since(then)))
    }

    /// How each deployment is doing, by provider and model.
    pub(crate) fn reports(&self) -> Vec<(Name, Report)> {
        let now = self.now();
        self.members().iter().map(|(name, health)| (name.clone(), health.report(now))).collect()
    }

    /// Tells the other workers who wants to be left alone, and hears it from them, for ever.
    pub(crate) async fn keep(self: Arc<Self>, connection: &Connection) {
        let told = self.told.lock().expect("no holder panics").take();
        let mut told = told.expect("a fleet is kept once");
        loop {
            let Ok(mut wishes) = control::left_alone(connection).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            loop {
                tokio::select! {
                    Some(wish) = told.recv() => {
                        if let Err(error) = control::announce_left_alone(connection, &wish).await {
                            tracing::warn!(%error, "a provider's wish to be left alone was not passed on");
                        }
                    }
                    heard = wishes.next() => match heard {
                        Some(wish) => self.heard(wish),
                        None => break,
                    },
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn heard(&self, wish: LeftAlone) {
        let wait = wish.until.since(self.clock.now());
        if wait > Duration::ZERO {
            self.shut(&(wish.provider, wish.model), wait);
        }
    }

    /// Sets the gauges of every deployment.
    pub(crate) fn measure(&self) {
        for ((provider, model), report) in self.reports() {
            let labels = [("provider", provider), ("model", model)];
            let open = f64::from(!matches!(report.standing, Standing::Shut { .. }));
            metrics::gauge!("tollgate_deployment_open", &labels).set(open);
            metrics::gauge!("tollgate_deployment_slow", &labels).set(f64::from(report.standing == Standing::Slow));
            metrics::gauge!("tollgate_deployment_calls", &labels).set(report.running as f64);
            let limit = report.limit.map_or(f64::INFINITY, |limit| limit as f64);
            metrics::gauge!("tollgate_deployment_limit", &labels).set(limit);
            if let Some(recent) = report.recent {
                metrics::gauge!("tollgate_deployment_first_token_seconds", &labels).set(recent.as_secs_f64());
            }
        }
    }
}

impl Under {
    /// The call is over.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = self.fleet.now();
        let mut members = self.fleet.members();
        let health = members.entry(self.name.clone()).or_default();
        let (before, took_none) = (health.standing(now), health.room(now) == 0);
        health.end(ticket, outcome, now);
        let (after, takes_none) = (health.standing(now), health.room(now) == 0);
        drop(members);
        // Only then: whoever hears it looks at every door.
        if took_none != takes_none {
            self.fleet.changed();
        }
        if matches!(before, Standing::Shut { .. }) != matches!(after, Standing::Shut { .. }) || is_slower(before, after)
        {
            let (provider, model) = &self.name;
            tracing::info!(provider, model, ?before, ?after, "a deployment's health changed");
        }
    }
}

fn is_slower(before: Standing, after: Standing) -> bool {
    before != Standing::Slow && after == Standing::Slow
}

impl Drop for Under {
    fn drop(&mut self) {
        self.finish(Outcome::Abandoned);
    }
}

fn name(priced: &Priced) -> Name {
    (priced.deployment.provider.clone(), priced.deployment.model.clone())
}
