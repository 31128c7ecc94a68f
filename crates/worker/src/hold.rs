//! Hold: money and permits for a job, before anything is called; or what its budgets say instead.
//!
//! Several budgets may hold for a job: of everybody, its team, project, user and key, each over several windows. All must
//! have room for the most that one call can cost. The first that has none decides: the job waits, a cheaper model serves
//! it, or it ends.

use tollgate_policy::account::{Denied, DeniedKind, Next, Pot};
use tollgate_policy::order;
use tollgate_queue::Delivery;
use tollgate_queue::bucket::BucketError;
use tollgate_types::budget::Then;
use tollgate_types::{ErrorCode, Gate, JobSpec, NanoUsd, Scope, event};

use crate::board::Entrance;
use crate::context::Context;
use crate::end::End;
use crate::ledger::{Money, NoMoney};
use crate::limiter::{Limited, Need, Pass, Short};
use crate::park::{self, Parking, Until};
use crate::route::{self, Route};
use crate::run::{Named, Run};

/// What was decided of a job that could be called.
pub(crate) enum Decision {
    /// Everything is there.
    Go(Box<Held>),
    /// It waits behind a gate.
    Park(Parking),
    /// It ends.
    End(End),
}

/// What a job holds while it runs; dropped, it is given back.
pub(crate) struct Held {
    pub(crate) money: Money,
    /// Where it goes; by way of the cheaper model, if a budget said so.
    pub(crate) route: Route,
    pub(crate) downgraded_to: Option<String>,
    /// Permits of the team and the key.
    pub(crate) passes: Vec<Pass>,
    /// What it is expected to use.
    pub(crate) expected: Expected,
    /// Its place in the count of its model's gate, until it has a permit of a deployment.
    pub(crate) entrance: Entrance,
}

/// What a job is expected to use, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) prompt: u64,
    pub(crate) answer: u64,
}

impl Expected {
    /// Both together.
    pub(crate) fn tokens(self) -> u64 {
        self.prompt.saturating_add(self.answer)
    }

    /// What that is in the fair order.
    pub(crate) fn cost(self) -> order::Cost {
        order::expected_cost(self.prompt, self.answer)
    }
}

/// Bytes of a body per prompt token, for expectations; bounds count differently.
const BYTES_PER_TOKEN: usize = 4;

/// What a job is expected to use, from its size and what the team's answers of the model were like.
pub(crate) fn expected(job: &JobSpec, run: &Run, cx: &Context) -> Expected {
    let prompt = (job.body.len() / BYTES_PER_TOKEN).max(1) as u64;
    let estimates = cx.estimates.lock().expect("no holder panics");
    let answer = estimates.expected(&run.team, &job.request.model, job.request.max_tokens);
    Expected { prompt, answer: answer.saturating_mul(job.request.n) }
}

/// Holds what the job needs, or says what becomes of it.
pub(crate) async fn hold(
    job: &JobSpec,
    key: &str,
    (delivery, run): (&Delivery, &Run),
    route: Route,
    cx: &Context,
) -> Decision {
    if let Some(end) = above_its_own_cap(job, &route) {
        return Decision::End(end);
    }
    let named = Named::of(job);
    let scopes = event::scopes(&run.team, &named.project, &named.user, key);
    let (money, route, downgraded_to) = match with_money(job, scopes, route, &run.team, cx).await {
        Ok(found) => found,
        Err(decision) => return decision,
    };
    let expected = expected(job, run, cx);
    match permits(key, delivery, expected, cx).await {
        Ok(passes) => Decision::Go(Box::new(Held {
            money,
            route,
            downgraded_to,
            passes,
            expected,
            entrance: Entrance::default(),
        })),
        Err(decision) => decision,
    }
}

/// Whether the job could cost more than it allows itself.
pub(crate) fn above_its_own_cap(job: &JobSpec, route: &Route) -> Option<End> {
    let max = job.options.max_cost_usd?.0;
    (route.bound_of_one > max).then(|| {
        let bound = route.bound_of_one;
        let message = format!("one call can cost up to {bound}, and `max_cost_usd` is {max}; set a lower `max_tokens`");
        End::refused(ErrorCode::CostAboveMax, message)
    })
}

/// Finds money: of the budgets as they are, else with a cheaper model where they say so. Each account can send the job to
/// a cheaper model once, so this ends.
async fn with_money(
    job: &JobSpec,
    scopes: Vec<Scope>,
    mut route: Route,
    team: &str,
    cx: &Context,
) -> Result<(Money, Route, Option<String>), Decision> {
    let mut parts = cx.ledger.parts(scopes);
    let mut downgraded_to = None;
    loop {
        let denied = match cx.ledger.hold(parts.clone(), route.bound_of_one).await {
            Ok(money) => return Ok((money, route, downgraded_to)),
            Err(NoMoney::Denied(denied)) => denied,
            Err(NoMoney::Unavailable(error)) => return Err(unavailable(&error)),
        };
        let Next::Downgrade { to } = denied.next() else { return Err(verdict(&denied, cx)) };
        let part = parts.iter_mut().find(|part| part.scope == denied.scope).expect("a part was denied");
        match route::by_model(to, job, team, cx) {
            Ok(cheaper) => (route, downgraded_to, part.pot) = (cheaper, Some(to.to_owned()), Pot::Downgraded),
            // It is not served, not for this team, or has no price: the budget's next word counts.
            Err(_) => return Err(without_cheaper(&denied, cx)),
        }
        if let Some(parking) = park::behind_a_pause(to, cx) {
            return Err(Decision::Park(parking));
        }
    }
}

/// Without the record nobody may spend: the job waits a moment and asks again.
fn unavailable(error: &BucketError) -> Decision {
    tracing::error!(error = error as &dyn std::error::Error, "an account is not available");
    Decision::Park(Parking::moment("an account's record cannot be reached"))
}

/// What becomes of a job without money.
fn verdict(denied: &Denied, cx: &Context) -> Decision {
    match denied.next() {
        Next::WaitForHolds | Next::WaitForWindow => wait_for(denied, denied.to_string()),
        Next::Reject => Decision::End(End::refused(ErrorCode::OverBudget, denied.to_string())),
        Next::Downgrade { .. } => without_cheaper(denied, cx),
    }
}

/// What becomes of a job that a cheaper model cannot serve.
fn without_cheaper(denied: &Denied, cx: &Context) -> Decision {
    let to = denied.downgrade_to.as_deref().unwrap_or_default();
    let message = format!("{denied}; the cheaper model {to:?} cannot serve it");
    match (denied.then, denied.kind) {
        (Then::Wait, DeniedKind::Spent | DeniedKind::Pending) => {
            cx.ledger.cannot_downgrade(denied, message.clone());
            wait_for(denied, message)
        }
        (Then::Wait, DeniedKind::Never) | (Then::Reject, _) => {
            Decision::End(End::refused(ErrorCode::OverBudget, message))
        }
    }
}

fn wait_for(denied: &Denied, why: String) -> Decision {
    Decision::Park(Parking { until: Until::Gate(Gate::Account(denied.scope.account())), why })
}

/// Holds as much as one more call needs beside what the calls so far cost; nothing happens if that is held already.
///
/// # Errors
/// What becomes of the job instead.
pub(crate) async fn cover(held: &mut Held, needed: NanoUsd, cx: &Context) -> Result<(), Decision> {
    match held.money.raise_to(needed).await {
        Ok(()) => Ok(()),
        Err(NoMoney::Denied(denied)) => Err(match denied.next() {
            // It comes again by a gate that is open, and then begins with the cheaper model.
            Next::Downgrade { .. } => wait_for(&denied, denied.to_string()),
            Next::WaitForHolds | Next::WaitForWindow | Next::Reject => verdict(&denied, cx),
        }),
        Err(NoMoney::Unavailable(error)) => Err(unavailable(&error)),
    }
}

/// Permits of the team and of the key.
async fn permits(key: &str, delivery: &Delivery, expected: Expected, cx: &Context) -> Result<Vec<Pass>, Decision> {
    let need = Need { tokens: expected.tokens() };
    let team = || delivery.lane.team.clone();
    let key = (!key.is_empty()).then(|| Scope::Key { team: team(), key: key.to_owned() });
    let mut passes = Vec::new();
    for scope in [Some(Scope::Team { team: team() }), key].into_iter().flatten() {
        let limited = Limited::Scope(scope.clone());
        // A team's limit closes the lane, whose parked jobs are served first; a key's lets the lane's jobs come here.
        if !scope.is_lane_wide()
            && cx.limiter.limits(&limited)
            && let Some(parking) = park::behind_others(Gate::Account(scope.account()), delivery, cx)
        {
            return Err(Decision::Park(parking));
        }
        match cx.limiter.pass(&limited, need).await {
            Ok(pass) => passes.extend(pass),
            Err(Short::Never { message }) => {
                return Err(Decision::End(End::refused(ErrorCode::OverLimit, message)));
            }
            Err(Short::Wait { message }) => {
                let until = Until::Gate(Gate::Account(scope.account()));
                return Err(Decision::Park(Parking { until, why: message }));
            }
        }
    }
    Ok(passes)
}
