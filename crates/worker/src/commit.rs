//! The commit: result and cost in one create-only publish, and what is booked when somebody else was first.

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_queue::{Commit, Delivery, Existing};
use tollgate_types::event::{CacheUse, EventKind};
use tollgate_types::job::VERSION;
use tollgate_types::result::{JobError, Response};
use tollgate_types::{AttemptRecord, ErrorCode, JobId, JobResult, NanoUsd, ResultFacts, Status, UsageEvent};

use crate::answered;
use crate::cache::Cached;
use crate::context::Context;
use crate::elsewhere;
use crate::end::{End, Outcome};
use crate::identify::Identity;
use crate::ledger::Money;
use crate::meters;
use crate::reply;
use crate::run::{Run, Unknown};
use crate::screen::Told;

/// What a run may have paid beside its attempts, and with whose money.
#[derive(Default)]
pub(crate) struct Paid {
    pub(crate) unknown: Unknown,
    pub(crate) money: Option<Money>,
    pub(crate) downgraded_to: Option<String>,
    pub(crate) told: Told,
    pub(crate) cached: Cached,
}

/// The result that is in the log.
pub(crate) struct Committed {
    /// Its line, which the producer gets.
    pub(crate) line: Bytes,
    /// Whether it is this run's, and an answer.
    pub(crate) answered: bool,
}

/// What a run spent that does not end the job.
#[derive(Default)]
pub(crate) struct Spent {
    pub(crate) attempts: Vec<AttemptRecord>,
    pub(crate) unknown: Unknown,
    pub(crate) money: Option<Money>,
}

/// Commits the end of a run and returns the result that the producer gets: ours, or the one that was first.
pub(crate) async fn commit(
    delivery: &Delivery,
    identity: &Identity,
    mut run: Run,
    end: End,
    paid: Paid,
    cx: &Context,
) -> Committed {
    let End { mut outcome, attempts } = end;
    let Paid { mut unknown, mut money, downgraded_to, told, cached } = paid;
    // A message whose id belongs to another request is answered under an id of its own.
    if matches!(outcome, Outcome::Refused(ErrorCode::Conflict, _)) {
        run.job = own_id(delivery, &run, cx);
    }
    let mut event = event(EventKind::Result, identity, &run, attempts, cx);
    event.downgraded_to = downgraded_to.unwrap_or_default();
    (event.guardrails, event.risk) = (told.most_telling(), told.risk);
    (event.cache, event.kept, event.saved_nanousd) = (cached.used, cached.kept.map(|kept| *kept), cached.saved);
    event.hold = money.as_ref().and_then(Money::record);
    // From the first publish on the record may be in the log, whatever we hear of it.
    money.iter_mut().for_each(Money::goes_into_a_record);
    loop {
        (event.status, event.error_code) = (outcome.status(), outcome.error_code());
        (event.unknown_attempts, event.unknown_nanousd) = unknown.with_result(run.delivery);
        let line = line(identity, &run, (unknown, &told.warnings), &event, outcome);
        let (commit, line) = elsewhere::commit(&run.job, identity.digest, &event, line, cx).await;
        match commit {
            Commit::Won => {
                cx.meters.finished(&event);
                meters::fired(&told.hits);
                return Committed { line, answered: event.status == Status::Succeeded };
            }
            // What is forgotten is neither told nor kept.
            Commit::WonAndEmptied(line) => {
                cx.meters.finished(&event);
                return Committed { line, answered: false };
            }
            Commit::TooLarge => {
                let max = cx.connection.payload_bytes_max();
                let message =
                    format!("the answer does not fit a message of {max} bytes, and could not be put beside it");
                outcome = Outcome::Refused(ErrorCode::ResultTooLarge, message);
                // It got nothing, so nothing was saved.
                event.saved_nanousd = NanoUsd::ZERO;
            }
            Commit::Lost(existing) => {
                if !book_beside(&mut event, &run, unknown, &existing, cx).await {
                    money.iter_mut().for_each(Money::is_in_no_record);
                }
                if existing.answers(&identity.digest) {
                    return Committed { line: existing.payload, answered: false };
                }
                outcome = answered::conflict(&run.job).outcome;
                unknown = Unknown::default();
                run.job = own_id(delivery, &run, cx);
                (event.kind, event.job, event.attempts) = (EventKind::Result, run.job.clone(), Vec::new());
                // What was held is in the record beside.
                event.hold = None;
                (event.cache, event.kept, event.saved_nanousd) = (CacheUse::Bypass, None, NanoUsd::ZERO);
            }
        }
    }
}

/// Says, before a redelivered run pays, that it may have: see [`EventKind::Started`].
///
/// Killed before it: nothing was paid. Killed after it: the run counts as unknown.
pub(crate) async fn journal(identity: &Identity, run: &Run, unknown: Unknown, cx: &Context) {
    let mut event = event(EventKind::Started, identity, run, Vec::new(), cx);
    (event.unknown_attempts, event.unknown_nanousd) = (1, unknown.bound);
    cx.results.record(&event).await;
}

/// Books what a run spent before its job is parked.
///
/// Killed before it: the next delivery counts this one as unknown. Killed between it and the park: the same, although
/// this record says what was spent; unknown is an upper bound, and this makes it a high one.
pub(crate) async fn book_before_parking(identity: &Identity, run: &Run, spent: Spent, cx: &Context) {
    let Spent { attempts, unknown, mut money } = spent;
    if attempts.is_empty() && !unknown.journaled {
        return;
    }
    let mut event = event(EventKind::Extra, identity, run, attempts, cx);
    event.hold = money.as_ref().and_then(Money::record);
    (event.unknown_attempts, event.unknown_nanousd) = unknown.with_extra(false);
    money.iter_mut().for_each(Money::goes_into_a_record);
    cx.results.record(&event).await;
}

/// Books what a run spent that was not first, and says whether there was anything. Killed before it: the winner, or our
/// `started` record, counted us.
async fn book_beside(event: &mut UsageEvent, run: &Run, unknown: Unknown, winner: &Existing, cx: &Context) -> bool {
    let same_message = winner.event.accepted_at == run.accepted_at && winner.event.class == run.class;
    let counted_by_winner = same_message && run.delivery == 1 && winner.event.delivery > 1;
    if event.attempts.is_empty() && !unknown.journaled {
        return false;
    }
    metrics::counter!("tollgate_races_lost_total").increment(1);
    event.kind = EventKind::Extra;
    (event.unknown_attempts, event.unknown_nanousd) = unknown.with_extra(counted_by_winner);
    cx.results.record(event).await;
    true
}

/// The id of a message whose own id belongs to another request. Should even that be taken, the run's id makes it new.
fn own_id(delivery: &Delivery, run: &Run, cx: &Context) -> JobId {
    let own = JobId::from_sequence(cx.lanes.stream_created_ns(), delivery.place.sequence);
    // A parked copy's sequence is one of another stream.
    let taken = run.job == own || delivery.gate.is_some();
    if taken { format!("{own}:{}", run.id).parse().expect("two short ids make an id") } else { own }
}

/// What is said of a run whatever its end; status and unknown spend are the caller's.
fn event(kind: EventKind, identity: &Identity, run: &Run, attempts: Vec<AttemptRecord>, cx: &Context) -> UsageEvent {
    let named = identity.named();
    UsageEvent {
        version: VERSION,
        kind,
        job: run.job.clone(),
        team: run.team.clone(),
        class: run.class.clone(),
        run: run.id.clone(),
        worker: cx.config.name.clone(),
        delivery: run.delivery,
        status: Status::Failed,
        error_code: None,
        project: named.project,
        user: named.user,
        key: identity.key().to_owned(),
        labels: named.labels,
        model_requested: named.model,
        attempts,
        unknown_attempts: 0,
        unknown_nanousd: NanoUsd::ZERO,
        saved_nanousd: NanoUsd::ZERO,
        cache: CacheUse::Bypass,
        kept: None,
        stream: named.stream,
        guardrails: Vec::new(),
        risk: 0,
        hold: None,
        downgraded_to: String::new(),
        endpoint: named.endpoint,
        traceparent: identity.traceparent().to_owned(),
        accepted_at: run.accepted_at,
        queued_ms: run.queued_ms(),
        run_ms: run.elapsed_ms(),
    }
}

/// What a result's own facts take beside the answer, in bytes, so that it does not grow step by step.
const FACTS_BYTES: usize = 1536;

fn line(
    identity: &Identity,
    run: &Run,
    (unknown, warned): (Unknown, &[String]),
    event: &UsageEvent,
    outcome: Outcome,
) -> Bytes {
    let warnings = reply::warning(identity.reply_to(&run.team).as_ref()).into_iter().chain(warned.iter().cloned());
    let mut facts = ResultFacts::from_event(event, warnings.collect());
    (facts.unknown_attempts, facts.unknown_nanousd) = unknown.told(run.delivery);
    let (response, error) = match outcome {
        Outcome::Answered(answer, request_id) => {
            let body = one_line(answer.body);
            (Some(Response { status_code: answer.http_status, request_id, body }), None)
        }
        Outcome::Refused(code, message) => (None, Some(JobError { code, message })),
    };
    let custom_id = identity.custom_id().map(str::to_owned);
    let bytes = FACTS_BYTES + response.as_ref().map_or(0, |response| response.body.get().len());
    let result = JobResult { id: run.job.clone(), custom_id, response, error, tollgate: facts };
    let mut line = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut line, &result).expect("a result of texts and numbers always serialises");
    Bytes::from(line)
}

/// A result is one physical line, whatever the provider's taste: line breaks only stand between JSON's tokens.
fn one_line(body: Box<RawValue>) -> Box<RawValue> {
    if !body.get().contains(['\n', '\r']) {
        return body;
    }
    RawValue::from_string(body.get().replace(['\n', '\r'], " ")).expect("blanks between tokens change nothing")
}
