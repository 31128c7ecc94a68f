//! Where a job is, and why it is not running.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_queue::scan::Waiting as Stored;
use tollgate_queue::{Existing, Origin, QueueKey, Scan};
use tollgate_types::{ErrorCode, Gate, JobId, JobResult, JobSpec, LaneKey, event, headers};

use super::{Answer, Refusal};
use crate::context::Context;
use crate::found::{self, Found};
use crate::gates::Reason;
use crate::run::Named;
use crate::verdict::Waiting;
use crate::{park, route};

/// How many messages of a team's lanes are read to find a job: some twenty seconds of reading.
const READ_MAX: usize = 1_500_000;
/// How long the head of a lane is watched to tell how fast it moves.
const WATCH: Duration = Duration::from_secs(1);

/// Where the job is.
pub(super) async fn status(team: &str, job: &JobId, cx: &Context) -> Answer {
    if let Some(ended) = ended(team, job, cx).await? {
        return Ok(ended);
    }
    match find(team, job, cx).await? {
        Some(place) => Ok(waits(job, &place, cx)),
        // Between the two questions it may have ended.
        None => ended(team, job, cx).await?.ok_or_else(|| unknown(job)),
    }
}

/// Where the job is and why, with its place and when its turn may come.
pub(super) async fn explain(team: &str, job: &JobId, cx: &Context) -> Answer {
    if let Some(ended) = ended(team, job, cx).await? {
        return Ok(ended);
    }
    let Some(place) = find(team, job, cx).await? else {
        return ended(team, job, cx).await?.ok_or_else(|| unknown(job));
    };
    let mut answer = waits(job, &place, cx);
    let lane = &place.waiting.lane;
    if answer["state"] == "running" {
        return Ok(answer);
    }
    let reason = reason(&place, lane, cx).await?;
    if let Some(reason) = &reason {
        answer["gate"] = json!(reason.gate);
        answer["reason"] = json!(reason.message);
    }
    // What waits for its time stands in no queue yet.
    let Some(queue) = queue(&place, lane) else { return Ok(answer) };
    let unavailable = |error: tollgate_queue::ApiError| Refusal::unavailable(&error);
    let scan = open(cx).await?;
    let ahead = scan.count_before(&queue, place.sequence).await.map_err(unavailable)?;
    answer["ahead"] = json!(ahead);
    if reason.is_some() {
        return Ok(answer);
    }
    answer["reason"] = json!("it is open and waits for its turn");
    tokio::time::sleep(WATCH).await;
    let left = scan.count_before(&queue, place.sequence).await.map_err(unavailable)?;
    if let Some(seconds) = expected_seconds(ahead, left) {
        answer["expected_seconds"] = json!(seconds);
    }
    Ok(answer)
}

pub(super) async fn open(cx: &Context) -> Result<Scan, Refusal> {
    Scan::open(&cx.connection, &cx.config.name).await.map_err(|error| Refusal::unavailable(&error))
}

/// When a job's turn comes if its lane goes on as it did for a second; `None` if it did not move.
fn expected_seconds(before: u64, after: u64) -> Option<u64> {
    let moved = before.checked_sub(after).filter(|&moved| moved > 0)?;
    Some(after.div_ceil(moved))
}

/// What stands in the way of a job that does not run; `None` if nothing does, and its turn will come.
async fn reason(place: &Found, lane: &LaneKey, cx: &Context) -> Result<Option<Reason>, Refusal> {
    let shut = match (place.origin, &place.gate) {
        (_, Some(gate)) => cx.gates.why_shut(gate),
        (Origin::Wait, None) => Some(Reason { gate: "time", message: place.parked_for.clone().unwrap_or_default() }),
        (Origin::Jobs, None) => None,
    };
    match shut.or_else(|| cx.gates.why_closed(lane)) {
        Some(reason) => Ok(Some(reason)),
        None => own_reason(&place.waiting, cx).await,
    }
}

/// What the job itself would hear now. Another worker may know of a closed door what this one was never told.
async fn own_reason(waiting: &Waiting, cx: &Context) -> Result<Option<Reason>, Refusal> {
    let Ok(job) = JobSpec::decode(&waiting.payload, cx.config.payload_bytes_max) else { return Ok(None) };
    if let Some(parking) = park::behind_a_pause(&job.request.model, cx) {
        return Ok(Some(Reason { gate: "paused", message: parking.why }));
    }
    let Ok(route) = route::route(&job, &waiting.lane.team, cx) else { return Ok(None) };
    let named = Named::of(&job);
    let scopes = event::scopes(&waiting.lane.team, &named.project, &named.user, &waiting.key);
    let denied = cx.ledger.would_make_wait(scopes, route.bound_of_one).await;
    let denied = denied.map_err(|error| Refusal::unavailable(&error))?;
    Ok(denied.map(|denied| Reason { gate: "budget", message: denied.to_string() }))
}

/// The queue that a job stands in; `None` while it waits for its time.
fn queue(place: &Found, lane: &LaneKey) -> Option<QueueKey> {
    match (place.origin, &place.gate) {
        (Origin::Jobs, _) => Some(QueueKey::of_lane(lane.clone())),
        (Origin::Wait, Some(gate)) => Some(QueueKey::behind(gate.clone(), lane.clone())),
        (Origin::Wait, None) => None,
    }
}

fn unknown(job: &JobId) -> Refusal {
    let message =
        format!("unknown_job: {job} neither waits nor has a kept result; it may be older than results are kept");
    Refusal::new(404, message)
}

pub(super) async fn ended(team: &str, job: &JobId, cx: &Context) -> Result<Option<Value>, Refusal> {
    let found = cx.results.find(team, job).await.map_err(|error| Refusal::unavailable(&error))?;
    Ok(found.map(|existing| {
        let event = &existing.event;
        json!({
            "job": job,
            "state": "ended",
            "status": event.status,
            "error_code": event.error_code,
            "class": event.class,
            "model_requested": event.model_requested,
            "downgraded_to": event.downgraded_to,
            "cost_nanousd": event.cost(),
            "accepted_at": event.accepted_at.to_rfc3339(),
            "queued_ms": event.queued_ms,
            "run_ms": event.run_ms,
            "texts_gone": texts_gone(&existing),
        })
    }))
}

/// Why an ended job's texts are gone; `None` if they are kept.
fn texts_gone(existing: &Existing) -> Option<ErrorCode> {
    if !existing.is_tombstone {
        return existing.event.error_code.filter(|code| *code == ErrorCode::Forgotten);
    }
    let line = serde_json::from_slice::<JobResult>(&existing.payload).ok();
    line.and_then(|line| line.error).map(|error| error.code).or(Some(ErrorCode::Forgotten))
}

fn waits(job: &JobId, place: &Found, cx: &Context) -> Value {
    let running = place.waiting.in_flight.is_some() || cx.running.has(&place.waiting.lane.team, job);
    let state = match (running, place.origin) {
        (true, _) => "running",
        (false, Origin::Jobs) => "waiting",
        (false, Origin::Wait) => "parked",
    };
    json!({
        "job": job,
        "state": state,
        "class": place.waiting.lane.class,
        "accepted_at": place.waiting.accepted_at.to_rfc3339(),
        "parked_for": place.parked_for,
        "parked_behind": place.gate.as_ref().map(Gate::token),
    })
}

/// Finds a job that has no result.
pub(super) async fn find(team: &str, job: &JobId, cx: &Context) -> Result<Option<Found>, Refusal> {
    let (mut found, whole) = find_all(team, &BTreeSet::from([job.clone()]), cx).await?;
    match found.remove(job) {
        None if !whole => {
            let message = format!("too_many: {READ_MAX} waiting jobs were read, and {job} is not among them");
            Err(Refusal::new(503, message))
        }
        found => Ok(found),
    }
}

/// Finds jobs that have no result: parked, by their subjects; else by reading the team's lanes, once for all. Says also
/// whether they were read to their end, which they are not once all are found.
pub(super) async fn find_all(
    team: &str,
    jobs: &BTreeSet<JobId>,
    cx: &Context,
) -> Result<(BTreeMap<JobId, Found>, bool), Refusal> {
    // Who has what in his hands, as it is now.
    cx.in_flight.look_back().await.map_err(|error| Refusal::unavailable(&error))?;
    let mut found = BTreeMap::new();
    find_parked(team, jobs, &mut found, cx).await?;
    if found.len() == jobs.len() {
        return Ok((found, true));
    }
    let mut scan = open(cx).await?;
    let (filter, sought) = (format!("tollgate.jobs.*.{team}"), Sought::new(jobs));
    let (mut from, mut read) = (1, 0);
    loop {
        let page = scan.page(Origin::Jobs, &filter, from).await.map_err(|error| Refusal::unavailable(&error))?;
        for stored in page.jobs.iter().filter(|stored| sought.may_be(stored)) {
            let place = found::job(Origin::Jobs, stored, cx).filter(|place| jobs.contains(&place.waiting.job));
            if let Some(place) = place {
                found.entry(place.waiting.job.clone()).or_insert(place);
            }
        }
        read += page.jobs.len();
        if found.len() == jobs.len() {
            return Ok((found, true));
        }
        let Some(next) = page.next else {
            // Parked while their lane was read.
            find_parked(team, jobs, &mut found, cx).await?;
            return Ok((found, true));
        };
        if read >= READ_MAX {
            return Ok((found, false));
        }
        from = next;
    }
}

async fn find_parked(
    team: &str,
    jobs: &BTreeSet<JobId>,
    found: &mut BTreeMap<JobId, Found>,
    cx: &Context,
) -> Result<(), Refusal> {
    for job in jobs {
        if !found.contains_key(job)
            && let Some(copy) =
                cx.wait.find_parked(team, job).await.map_err(|error| Refusal::unavailable(&error))?.pop()
        {
            found.insert(job.clone(), found::copy(copy, cx));
        }
    }
    Ok(())
}

/// What is looked for in a lane.
struct Sought<'a> {
    ids: HashSet<&'a str>,
    /// Of those whose ids may be made from their sequence.
    sequences: HashSet<u64>,
}

impl Sought<'_> {
    fn new(jobs: &BTreeSet<JobId>) -> Sought<'_> {
        let sequences = jobs.iter().filter_map(|job| job.as_str().rsplit(':').next()?.parse().ok());
        Sought { ids: jobs.iter().map(JobId::as_str).collect(), sequences: sequences.collect() }
    }

    /// Whether a message may be one of the jobs: cheap, and right unless it has no id of its own.
    fn may_be(&self, stored: &Stored) -> bool {
        match stored.header(headers::JOB_ID) {
            Some(id) if id.parse::<JobId>().is_ok() => self.ids.contains(id),
            Some(_) | None => self.sequences.contains(&stored.sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_expected_from_how_fast_the_lane_moves() {
        assert_eq!(expected_seconds(100, 90), Some(9));
        assert_eq!(expected_seconds(100, 99), Some(99));
        assert_eq!(expected_seconds(100, 100), None, "it stands still");
        assert_eq!(expected_seconds(100, 120), None, "it cannot grow before us, but a count is no promise");
        assert_eq!(expected_seconds(5, 0), Some(0));
    }
}
