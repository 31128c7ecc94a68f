//! The life of one job, from delivery to settlement. Read this file first.
//!
//! ```text
//! deliver → identify → decode → parked already? → already answered? (and noted as in flight) → a copy under way?
//!         → admit (team, deadline, its time, reply) → stopped? (its batch) → elsewhere? (a body that fits no message is
//!           fetched) → route → screen the prompt → cache? → hold (money, permits; a cheaper model) → board → suspect?
//!           → call (again, at another deployment, by another model; deltas while it is written) → screen the answer
//!           → commit result with usage (its answer beside it if that fits no message)
//!                └────────────── park: a gate is closed; the job is kept behind it, then acked
//!         → reply → capture? → remove what lay elsewhere → keep the answer for others, let those come back who wait for it
//!         → ack
//! ```
//!
//! A crash at any arrow is repaired by redelivery: a job with a committed result only replays its tail (reply, ack); a
//! job without one runs again, and what earlier deliveries may have cost is counted as unknown, never as cost. Money
//! that a dead worker held comes back with its lease ([`crate::ledger`]).

use tollgate_policy::order::Cost;
use tollgate_queue::answers::KeptAnswer;
use tollgate_queue::{Delivery, Kept, Settlement};
use tracing::Instrument;

use crate::answered::Answered;
use crate::board::Entrance;
use crate::cache::{Cached, Looked};
use crate::call::Came;
use crate::capture::Sent;
use crate::context::Context;
use crate::end::End;
use crate::flight::{Boarding, Landing};
use crate::hold::Decision;
use crate::identify::Identity;
use crate::ledger::Money;
use crate::notes::Notes;
use crate::park::Parking;
use crate::route::Route;
use crate::run::{Run, Unknown};
use crate::running::Cancelled;
use crate::screen::{Passed, Told};
use crate::{
    admit, answered, cache, call, capture, commit, copies, deltas, elsewhere, flight, hold, identify, park, reply,
    route, screen, stopped, suspect,
};

/// Why a job is left without a result for now; it is delivered again when its lease ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfinished {
    /// The commit log could not be asked: running the job might pay twice.
    #[error("cannot tell whether the job has a result")]
    Lookup(#[source] tollgate_queue::ApiError),
    /// The stream of waiting jobs could not be asked: a copy of the job may wait or run.
    #[error("cannot tell whether the job was parked")]
    Parked(#[source] tollgate_queue::ApiError),
    /// It is not known who is in flight: a copy of the job may be.
    #[error("cannot tell whether another message of the same id is under way")]
    Copies(#[source] tollgate_queue::state::StateError),
    /// The job could not be kept behind its gate.
    #[error("cannot park the job")]
    Park(#[source] tollgate_queue::ApiError),
    /// No more jobs may wait behind gates: this one stays in its lane, and comes again with its lease.
    #[error("no more jobs may be parked; raise [streams] wait_max or wait_bytes_max")]
    NoRoom,
    /// The body could not be fetched.
    #[error("cannot fetch the body")]
    Elsewhere(#[source] tollgate_queue::ApiError),
    /// The dead letter could not be kept.
    #[error("cannot keep the dead letter")]
    DeadLetter(#[source] tollgate_queue::ApiError),
}

/// What the dispatcher hands to a life.
pub(crate) struct Start {
    /// Its place in the counts of lane and gate, until money and permits are decided.
    pub(crate) entrance: Entrance,
    /// What the order was charged for it, and the way to correct that.
    pub(crate) notes: Notes,
}

/// What the dispatcher learns from a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lived {
    /// Whether the job left its queue.
    pub(crate) settled: bool,
    /// What it came to in the fair order, if it was called.
    pub(crate) cost: Option<Cost>,
}

/// Runs one delivery to its end and settles it, once.
///
/// When the worker gives up its jobs, the run is dropped where it stands and the job is handed to another worker.
pub(crate) async fn live(delivery: Delivery, start: Start, cx: &Context) -> Lived {
    let identity = identify::identify(&delivery, cx);
    let Start { entrance, mut notes } = start;
    let span = tracing::info_span!("job", job = %identity.job, team = delivery.lane.team, class = delivery.lane.class,
        delivery = delivery.place.delivered, traceparent = delivery.traceparent());
    async {
        let job = identity.job.clone();
        let settlement = tokio::select! {
            biased;
            () = cx.giving_up.cancelled() => {
                suspect::handed_back(&delivery.lane.team, &job, delivery.place.delivered, cx).await;
                Settlement::Release
            }
            outcome = run(&delivery, identity, entrance, &mut notes, cx) => match outcome {
                Ok(()) => Settlement::Done,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "job not completed");
                    Settlement::Abandon
                }
            },
        };
        delivery.settle(settlement).await;
        cx.config.crash.point("C10");
        Lived { settled: settlement == Settlement::Done, cost: notes.cost() }
    }
    .instrument(span)
    .await
}

async fn run(
    delivery: &Delivery,
    identity: Identity,
    entrance: Entrance,
    notes: &mut Notes,
    cx: &Context,
) -> Result<(), Unfinished> {
    let run = Run::begin(delivery, identity.job.clone(), cx);
    cx.config.crash.point("C1");
    // Before the question for a result: a cancellation is announced after its commit, so it is heard here or found there.
    let cancelled = cx.running.enter(&run.team, &run.job);

    // Before the question for a result: a copy that is gone by now has its result by now.
    if run.redelivered() && park::has_another_copy(delivery, &identity, cx).await.map_err(Unfinished::Parked)? {
        return Ok(());
    }

    // Before anything that could cost: an id that has its result gets that result again, and that this job is in
    // flight is kept where a crash cannot reach it. Both questions go out at once.
    let redelivered = run.redelivered();
    let entering = cx.in_flight.enter(&delivery.place, &run.team, &identity.job);
    let (looked, entry) = tokio::join!(answered::look(&identity, run.clone(), cx), entering);
    let run = match looked? {
        Answered::No(run) => run,
        Answered::Same(existing) => {
            if let (true, Ok(sent)) = (redelivered, identity.spec()) {
                capture::again(sent, &existing, cx).await;
            }
            reply::send(identity.reply_to(&delivery.lane.team), existing.payload, cx).await;
            elsewhere::done(&identity, &delivery.lane.team, existing.event.error_code, cx).await;
            return Ok(());
        }
        // The id belongs to another request: this message is answered under an id of its own.
        Answered::Conflict(run, end) => return finish(delivery, &identity, run, Work::only(end), cx).await,
    };

    cx.config.crash.point("C2");
    let done = match copies::step_aside(delivery, &run, &entry, cx).await.map_err(Unfinished::Copies)? {
        None => work(delivery, &identity, &run, (entrance, notes, &cancelled), cx).await,
        Some(parking) => Done::Park(parking, commit::Spent::default()),
    };
    match done {
        Done::Work(work) => finish(delivery, &identity, run, *work, cx).await,
        Done::Left(error) => Err(error),
        Done::Park(parking, spent) => {
            // What was spent on the way is booked before the job leaves our hands.
            commit::book_before_parking(&identity, &run, spent, cx).await;
            match park::park(delivery, &identity, &run, parking, cx).await.map_err(Unfinished::Park)? {
                Kept::New | Kept::Already => Ok(()),
                Kept::NoRoom => Err(Unfinished::NoRoom),
                Kept::Conflict => {
                    let conflict = Work::only(answered::conflict(&run.job));
                    finish(delivery, &identity, run, conflict, cx).await
                }
            }
        }
    }
}

/// What the steps before the commit came to.
enum Done {
    /// This is the job's end.
    Work(Box<Work>),
    /// It waits; what was spent on the way.
    Park(Parking, commit::Spent),
    /// It is left without a result for now.
    Left(Unfinished),
}

impl From<elsewhere::NotFetched> for Done {
    fn from(reason: elsewhere::NotFetched) -> Done {
        match reason {
            elsewhere::NotFetched::End(end) => Done::work(Work::only(end)),
            elsewhere::NotFetched::Later(parking) => Done::Park(parking, commit::Spent::default()),
            elsewhere::NotFetched::Unknown(error) => Done::Left(Unfinished::Elsewhere(error)),
        }
    }
}

impl Done {
    fn work(work: Work) -> Done {
        Done::Work(Box::new(work))
    }
}

/// What came of the steps before the commit.
struct Work {
    end: End,
    unknown: Unknown,
    /// Held until the commit: what an answer does to the worker that commits it counts too.
    slot: suspect::Slot,
    money: Option<Money>,
    downgraded_to: Option<String>,
    /// What the records say of the guardrails.
    told: Told,
    /// What the records say of the cache.
    cached: Cached,
    /// What is left to do for others who want the same answer.
    landing: Landing,
    /// What was sent to providers and what came back, if it was called.
    sent: Option<Sent>,
}

impl Work {
    /// An end before anything could have been paid, on any delivery.
    fn only(end: End) -> Work {
        Work::unpaid(end, Unknown::default())
    }

    /// An end at which this run paid nothing; earlier deliveries may have.
    fn unpaid(end: End, unknown: Unknown) -> Work {
        Work {
            end,
            unknown,
            slot: None,
            money: None,
            downgraded_to: None,
            told: Told::default(),
            cached: Cached::bypassed(),
            landing: Landing::default(),
            sent: None,
        }
    }

    /// An answer that was given before. It needs no money, no permit and no provider; the guardrails of now hold for it.
    async fn hit(answer: KeptAnswer, mut screened: Passed<'_>, run: &Run, unknown: Unknown, cx: &Context) -> Work {
        let (end, cached) = cache::play(answer);
        let (end, _) = screened.answer(end, &run.team, cx).await;
        deltas::replay(&end, &screened.job, run, cx).await;
        Work { cached: cached.of(&end), ..Work::unpaid(end, unknown).telling(screened.told) }
    }

    /// The same, with what the records say of the guardrails.
    fn telling(self, told: Told) -> Work {
        Work { told, ..self }
    }
}

/// Whether it may run now, as what, and where: the job as its guardrails let it go on, with its way; or its end, or until
/// when it waits.
async fn ready<'a>(
    delivery: &Delivery,
    identity: &'a Identity,
    run: &Run,
    cx: &Context,
) -> Result<(Passed<'a>, Route), Box<Done>> {
    let job = match identity.spec() {
        Ok(job) => job,
        Err(rejection) => return Err(Done::work(Work::only(rejection.clone().into())).into()),
    };
    admit::admit(job, run, cx).map_err(|end| Done::work(Work::only(end)))?;
    let mut stopped = stopped::end_of(&run.team, &run.job, cx).await;
    if !run.redelivered()
        && let Some(end) = stopped.take()
    {
        return Err(Done::work(Work::only(end)).into());
    }
    if let Some(at) = admit::its_time(job, delivery, cx) {
        return Err(Done::Park(Parking::until(at, "`not_before` has not come"), commit::Spent::default()).into());
    }
    let job = elsewhere::fetch(identity, job, run, cx).await.map_err(Done::from)?;
    let route = route::route(job, &run.team, cx).map_err(|end| Done::work(Work::only(end)))?;
    // What earlier deliveries may have cost is known only now.
    if let Some(end) = stopped {
        return Err(Done::work(Work::unpaid(end, callable(&route))).into());
    }
    let unpaid = |(end, told): (End, Told)| Done::work(Work::unpaid(end, callable(&route)).telling(told));
    let screened = screen::request(job, &run.team, cx).await.map_err(unpaid)?;
    // What it can cost goes by what leaves.
    let route = match screened.changed() {
        true => {
            route::route(&screened.job, &run.team, cx).map_err(|end| Done::work(Work::unpaid(end, callable(&route))))?
        }
        false => route,
    };
    Ok((screened, route))
}

fn callable(route: &Route) -> Unknown {
    Unknown { callable: true, bound: route.bound, journaled: false }
}

/// Everything between "it has no result" and "this is its end", or "it must wait".
async fn work(
    delivery: &Delivery,
    identity: &Identity,
    run: &Run,
    (entrance, notes, cancelled): (Entrance, &mut Notes, &Cancelled),
    cx: &Context,
) -> Done {
    let (mut screened, route) = match ready(delivery, identity, run, cx).await {
        Ok(ready) => ready,
        Err(done) => return *done,
    };
    let mut unknown = callable(&route);
    // Before money, permits and pauses: a kept answer needs none of them, and who waits for one should hold none.
    let ticket = match cache::look(&screened.job, run, &route, cx).await {
        Looked::Go(ticket) => ticket,
        Looked::Hit(answer) => return Done::work(Work::hit(*answer, screened, run, unknown, cx).await),
        Looked::Wait(parking) => return Done::Park(parking, commit::Spent::default()),
    };
    let cached = ticket.cached();
    if let Some(parking) = park::behind_its_model(&screened.job.request.model, delivery, cx) {
        return Done::Park(parking, commit::Spent::default());
    }
    if admit::expired(&screened.job, cx) {
        return Done::work(Work::unpaid(admit::expiry(&screened.job), unknown).telling(screened.told));
    }
    let mut held = match hold::hold(&screened.job, identity.key(), (delivery, run), route, cx).await {
        Decision::Go(held) => *held,
        Decision::Park(parking) => return Done::Park(parking, commit::Spent::default()),
        Decision::End(end) => return Done::work(Work::unpaid(end, unknown).telling(screened.told)),
    };
    // What the lane's door counts knows of it now: others may be asked for.
    held.entrance = entrance;
    held.entrance.through_the_lane();
    notes.expected(held.expected.cost());
    // With money and permits in hand: a job that claims and then waits for them would make all others wait.
    let flight = match flight::board(ticket, run, cx).await {
        Boarding::Go(flight) => flight,
        Boarding::Hit(answer) => return Done::work(Work::hit(*answer, screened, run, unknown, cx).await),
        Boarding::Wait(parking) => return Done::Park(parking, commit::Spent::default()),
    };

    // A job that was given up again and again runs one at a time, marked, so that what kills the worker is known.
    let slot = match suspect::guard(run, cx).await {
        Ok(slot) => slot,
        Err(end) => return Done::work(Work::unpaid(end, unknown).telling(screened.told)),
    };

    // A first delivery that dies is counted by the next; a later one counts itself before it pays.
    if run.redelivered() {
        cx.config.crash.point("C3");
        commit::journal(identity, run, unknown, cx).await;
        unknown.journaled = true;
    }
    cx.config.crash.point("C4");
    let came = call::call(delivery, &screened, run, &mut held, cancelled, cx).await;
    cx.config.crash.point("C5");
    notes.used(came.attempts());
    let mut landing = flight.land(&came, run, &held, cx);
    let hold::Held { money, downgraded_to, passes, .. } = held;
    let tokens = came.attempts().iter().map(|attempt| attempt.tokens.total()).sum();
    passes.into_iter().for_each(|pass| pass.used(tokens));
    match came {
        Came::End(end) => {
            let (end, body) = screened.answer(end, &run.team, cx).await;
            landing.screened(&end, body.as_deref());
            deltas::withheld(&end, &screened, run, cx).await;
            let Passed { job, told, .. } = screened;
            let sent = Some(Sent { request: job.body.clone(), answer: body });
            Done::work(Work { end, unknown, slot, money: Some(money), downgraded_to, told, cached, landing, sent })
        }
        Came::Park(parking, attempts) => {
            suspect::survived(slot, &run.team, &run.job, cx).await;
            landing.end(false, cx).await;
            Done::Park(parking, commit::Spent { attempts, unknown, money: Some(money) })
        }
    }
}

/// The tail: commit, copy, and only then may the delivery be acked.
async fn finish(
    delivery: &Delivery,
    identity: &Identity,
    run: Run,
    Work { end, unknown, slot, money, downgraded_to, told, cached, landing, sent }: Work,
    cx: &Context,
) -> Result<(), Unfinished> {
    let dead = end.dead_letter(identity.spec().is_ok());
    if let Some(reason) = dead {
        cx.dead.bury(delivery, &run.job, reason).await.map_err(Unfinished::DeadLetter)?;
    }
    let read_along = identity.spec().is_ok_and(deltas::are_wanted).then(|| run.clone());
    let paid = commit::Paid { unknown, money, downgraded_to, told, cached };
    let sent = sent.filter(|_| !end.attempts.is_empty() && capture::is_on(&run.team, cx));
    let committed = commit::commit(delivery, identity, run, end, paid, cx).await;
    cx.config.crash.point("C6");
    suspect::survived(slot, &delivery.lane.team, &identity.job, cx).await;
    reply::send(identity.reply_to(&delivery.lane.team), committed.line.clone(), cx).await;
    if let Some(run) = read_along {
        deltas::end(&run, cx).await;
    }
    if let Some(sent) = sent {
        capture::keep(&delivery.lane.team, sent, &committed.line, cx).await;
    }
    elsewhere::done(identity, &delivery.lane.team, dead, cx).await;
    // After the reply: nobody waits for others' sake.
    landing.end(committed.answered, cx).await;
    cx.config.crash.point("C9");
    Ok(())
}
