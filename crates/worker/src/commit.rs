//! The commit: result and cost in one create-only publish, and what is booked when somebody else was first.

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_queue::{Commit, Delivery, Existing};
use tollgate_types::event::{CacheUse, EventKind};
use tollgate_types::job::VERSION;
use tollgate_types::result::{JobError, Response};
use tollgate_types::{AttemptRecord, ErrorCode, JobId, JobResult, ResultFacts, Status, UsageEvent};

use crate::answered;
use crate::context::Context;
use crate::end::{End, Outcome};
use crate::identify::Identity;
use crate::reply;
use crate::run::{Run, Unknown};

/// Commits the end of a run and returns the result that the producer gets: ours, or the one that was first.
pub(crate) async fn commit(
    delivery: &Delivery,
    identity: &Identity,
    mut run: Run,
    mut unknown: Unknown,
    mut end: End,
    cx: &Context,
) -> Bytes {
    // A message whose id belongs to another request is answered under an id of its own.
    if matches!(end.outcome, Outcome::Refused(ErrorCode::Conflict, _)) {
        run.job = own_id(delivery, &run, cx);
    }
    loop {
        let event = event(EventKind::Result, identity, &run, unknown, &end, cx);
        let line = line(identity, &run, unknown, &event, &end);
        match cx.results.commit(&run.job, identity.digest, &event, line.clone()).await {
            Commit::Won => {
                count(&event);
                return line;
            }
            Commit::TooLarge => {
                let message =
                    format!("the answer does not fit a message of {} bytes", cx.connection.payload_bytes_max());
                end.outcome = Outcome::Refused(ErrorCode::ResultTooLarge, message);
            }
            Commit::Lost(existing) => {
                book_beside(identity, &run, unknown, &end, &existing, cx).await;
                if existing.digest == identity.digest.to_string() {
                    return existing.payload;
                }
                end = answered::conflict(&run.job);
                unknown = Unknown::default();
                run.job = own_id(delivery, &run, cx);
            }
        }
    }
}

/// Says, before a redelivered run pays, that it may have: see [`EventKind::Started`].
///
/// Killed before it: nothing was paid. Killed after it: the run counts as unknown.
pub(crate) async fn journal(identity: &Identity, run: &Run, unknown: Unknown, cx: &Context) {
    let end = End { outcome: Outcome::Refused(ErrorCode::ProviderUnavailable, String::new()), attempts: Vec::new() };
    let mut event = event(EventKind::Started, identity, run, unknown, &end, cx);
    event.error_code = None;
    (event.unknown_attempts, event.unknown_nanousd) = (1, unknown.bound);
    cx.results.record(&event).await;
}

/// Books what a run spent that was not first. Killed before it: the winner, or our `started` record, counted us.
async fn book_beside(identity: &Identity, run: &Run, unknown: Unknown, end: &End, winner: &Existing, cx: &Context) {
    let same_message = winner.event.accepted_at == run.accepted_at && winner.event.class == run.class;
    let counted_by_winner = same_message && run.delivery == 1 && winner.event.delivery > 1;
    if end.attempts.is_empty() && !unknown.journaled {
        return;
    }
    metrics::counter!("tollgate_races_lost_total").increment(1);
    let mut event = event(EventKind::Extra, identity, run, unknown, end, cx);
    (event.unknown_attempts, event.unknown_nanousd) = unknown.with_extra(counted_by_winner);
    cx.results.record(&event).await;
}

/// The id of a message whose own id belongs to another request. Should even that be taken, the run's id makes it new.
fn own_id(delivery: &Delivery, run: &Run, cx: &Context) -> JobId {
    let own = JobId::from_sequence(cx.lanes.stream_created_ns(), delivery.place.sequence);
    if run.job == own { format!("{own}:{}", run.id).parse().expect("two short ids make an id") } else { own }
}

fn event(kind: EventKind, identity: &Identity, run: &Run, unknown: Unknown, end: &End, cx: &Context) -> UsageEvent {
    let named = identity.named();
    let (unknown_attempts, unknown_nanousd) = unknown.with_result(run.delivery);
    UsageEvent {
        version: VERSION,
        kind,
        job: run.job.clone(),
        team: run.team.clone(),
        class: run.class.clone(),
        run: run.id.clone(),
        worker: cx.config.name.clone(),
        delivery: run.delivery,
        status: end.status(),
        error_code: error_code(end),
        project: named.project,
        user: named.user,
        key: String::new(),
        labels: named.labels,
        model_requested: named.model,
        attempts: end.attempts.clone(),
        // A run that never found a price never paid, and neither did the deliveries before it.
        unknown_attempts: if unknown == Unknown::default() { 0 } else { unknown_attempts },
        unknown_nanousd,
        saved_nanousd: Default::default(),
        cache: CacheUse::Miss,
        stream: named.stream,
        guardrails: Vec::new(),
        accepted_at: run.accepted_at,
        queued_ms: run.queued_ms(),
        run_ms: run.elapsed_ms(),
    }
}

fn error_code(end: &End) -> Option<ErrorCode> {
    match &end.outcome {
        Outcome::Answered(..) => None,
        Outcome::Refused(code, _) => Some(*code),
    }
}

fn line(identity: &Identity, run: &Run, unknown: Unknown, event: &UsageEvent, end: &End) -> Bytes {
    let warnings = reply::warning(identity.reply_to(&run.team).as_ref()).into_iter().collect();
    let mut facts = ResultFacts::from_event(event, warnings);
    (facts.unknown_attempts, facts.unknown_nanousd) =
        if unknown == Unknown::default() { Default::default() } else { unknown.told(run.delivery) };
    let (response, error) = match &end.outcome {
        Outcome::Answered(answer, request_id) => {
            let body = one_line(&answer.body);
            (Some(Response { status_code: answer.http_status, request_id: request_id.clone(), body }), None)
        }
        Outcome::Refused(code, message) => (None, Some(JobError { code: *code, message: message.clone() })),
    };
    let custom_id = identity.named().custom_id;
    let result = JobResult { id: run.job.clone(), custom_id, response, error, tollgate: facts };
    Bytes::from(serde_json::to_vec(&result).expect("a result of texts and numbers always serialises"))
}

/// A result is one physical line, whatever the provider's taste: line breaks only stand between JSON's tokens.
fn one_line(body: &RawValue) -> Box<RawValue> {
    if !body.get().contains(['\n', '\r']) {
        return body.to_owned();
    }
    RawValue::from_string(body.get().replace(['\n', '\r'], " ")).expect("blanks between tokens change nothing")
}

fn count(event: &UsageEvent) {
    let status: Status = event.status;
    metrics::counter!("tollgate_jobs_total", "class" => event.class.clone(), "status" => status.as_str()).increment(1);
    let cost = u64::try_from(event.cost().0).unwrap_or(0);
    metrics::counter!("tollgate_cost_nanousd_total").increment(cost);
    metrics::histogram!("tollgate_job_queued_seconds", "class" => event.class.clone())
        .record(event.queued_ms as f64 / 1e3);
    let provider = |a: &AttemptRecord| a.provider.clone();
    for attempt in &event.attempts {
        let labels = [("provider", provider(attempt)), ("outcome", attempt.outcome.as_str().to_owned())];
        metrics::counter!("tollgate_attempts_total", &labels).increment(1);
        metrics::histogram!("tollgate_attempt_seconds", &labels).record(attempt.latency_ms as f64 / 1e3);
    }
}
