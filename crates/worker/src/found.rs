//! Found: a message of the backlog, read without leasing it, as the job that it is.

use tollgate_queue::Origin;
use tollgate_queue::delivery::Place;
use tollgate_queue::scan::Waiting as Stored;
use tollgate_queue::wait::ParkedCopy;
use tollgate_types::{Gate, JobId, JobSpec, LaneKey, NanoUsd, UnixMillis, headers, subjects};

use crate::context::Context;
use crate::route;
use crate::verdict::Waiting;

/// A job that waits, and where.
pub(crate) struct Found {
    /// The stream.
    pub(crate) origin: Origin,
    /// The sequence in it.
    pub(crate) sequence: u64,
    /// The gate behind which it is parked; `None` in its lane, and while it waits for its time.
    pub(crate) gate: Option<Gate>,
    /// What it waits for, as it was told when it was parked.
    pub(crate) parked_for: Option<String>,
    /// The job.
    pub(crate) waiting: Waiting,
}

/// The job of a message; `None` if the message is none, or of a lane that no consumer serves.
pub(crate) fn job(origin: Origin, stored: &Stored, cx: &Context) -> Option<Found> {
    let own = JobId::from_sequence(cx.lanes.stream_created_ns(), stored.sequence);
    let (lane, gate, id) = match origin {
        Origin::Jobs => (subjects::parse_jobs(&stored.subject)?, None, None),
        Origin::Wait => parked(&stored.subject)?,
    };
    if lane.is_stray() {
        return None;
    }
    let named = || stored.header(headers::JOB_ID).map(str::parse::<JobId>).and_then(Result::ok);
    let job = id.or_else(named).unwrap_or_else(|| own.clone());
    let accepted_at = stored.header(headers::PARKED_ACCEPTED_AT).and_then(|text| text.parse().ok());
    let accepted_at = accepted_at.filter(|_| origin == Origin::Wait).map_or(stored.at, UnixMillis);
    let waiting = Waiting {
        // A sequence of the other stream is no id.
        own: if origin == Origin::Jobs { own } else { job.clone() },
        job,
        lane,
        payload: stored.payload.clone(),
        key: stored.header(headers::KEY).unwrap_or_default().to_owned(),
        accepted_at,
        in_flight: None,
    };
    let parked_for = stored.header(headers::PARKED_FOR).filter(|_| origin == Origin::Wait).map(str::to_owned);
    Some(with_spend(Found { origin, sequence: stored.sequence, gate, parked_for, waiting }, cx))
}

/// The job of a parked copy.
pub(crate) fn copy(copy: ParkedCopy, cx: &Context) -> Found {
    let waiting = Waiting {
        own: copy.job.clone(),
        job: copy.job,
        lane: copy.lane,
        payload: copy.payload,
        key: String::new(),
        accepted_at: copy.accepted_at,
        in_flight: None,
    };
    let gate = match copy.until {
        tollgate_queue::Until::Gate(gate) => Some(gate),
        tollgate_queue::Until::Time(_) => None,
    };
    let parked_for = Some(copy.why);
    with_spend(Found { origin: Origin::Wait, sequence: copy.sequence, gate, parked_for, waiting }, cx)
}

/// Notes what a run may have paid, if somebody has or had it in his hands.
fn with_spend(mut found: Found, cx: &Context) -> Found {
    let place =
        Place { origin: found.origin, sequence: found.sequence, delivered: 1, accepted_at: found.waiting.accepted_at };
    found.waiting.in_flight = cx.in_flight.was_in_flight(&place).then(|| bound(&found.waiting, cx));
    found
}

/// The most that a run of it can cost.
fn bound(waiting: &Waiting, cx: &Context) -> NanoUsd {
    let job = JobSpec::decode(&waiting.payload, cx.config.payload_bytes_max);
    job.ok().and_then(|job| route::route(&job, &waiting.lane.team, cx).ok()).map_or(NanoUsd::ZERO, |route| route.bound)
}

/// Lane, gate and job of a subject of the stream of waiting jobs; those for later have no gate.
fn parked(subject: &str) -> Option<(LaneKey, Option<Gate>, Option<JobId>)> {
    if let Some((gate, lane, job)) = subjects::parse_wait(subject) {
        return Some((lane, Some(gate), Some(job)));
    }
    let tokens: Vec<&str> = subject.strip_prefix("tollgate.wait.later.")?.split('.').collect();
    let [class, team, job] = tokens[..] else { return None };
    let lane = LaneKey { class: class.to_owned(), team: team.to_owned() };
    Some((lane, None, Some(job.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_jobs_and_those_for_later_are_told_apart() {
        let lane = LaneKey { class: "batch".into(), team: "search".into() };
        let job: JobId = "a:1".parse().unwrap();
        let gate = Gate::of_model("m");
        let behind = parked(&subjects::wait(&gate, &lane, &job));
        assert_eq!(behind, Some((lane.clone(), Some(gate), Some(job.clone()))));
        assert_eq!(parked(&subjects::later(&lane, &job)), Some((lane, None, Some(job))));
        assert_eq!(parked("tollgate.jobs.batch.search"), None);
    }
}
