//! From one record of the commit log to its rows: a pure function, because a batch that is sent again must be the
//! same batch.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_types::event::{ATTEMPTS_MAX, AttemptRecord, EventKind};
use tollgate_types::guardrails::{Followed, Side};
use tollgate_types::{Digest, UnixMillis, UsageEvent};
use uuid::Uuid;

use crate::row::{Kind, OutcomeColumn, Record, Row, SourceColumn};

/// The most rows that one record of a run within its bounds makes: its attempts and one more.
pub const ROWS_PER_EVENT_MAX: usize = ATTEMPTS_MAX + 1;

/// Where and when a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The incarnation of the stream.
    pub stream: &'a str,
    /// The record's sequence in it.
    pub seq: u64,
    /// When the server stored it.
    pub at: UnixMillis,
}

/// The rows of a record.
///
/// Each attempt is a row with its tokens and money. A result adds the job's row; an extra or started record adds an
/// unknown row if it changes what is unknown. So the sum of `cost_nanousd` over all rows is the sum of the records'
/// costs, and a job has exactly one job row.
pub fn rows(stamp: Stamp<'_>, event: &UsageEvent) -> Vec<Row> {
    let mut rows: Vec<Row> =
        event.attempts.iter().zip(1u16..).map(|(attempt, number)| attempt_row(stamp, event, attempt, number)).collect();
    match event.kind {
        EventKind::Result => rows.push(job_row(stamp, event)),
        EventKind::Extra | EventKind::Started => {
            if event.unknown_attempts != 0 || event.unknown_nanousd.0 != 0 {
                rows.push(unknown_row(stamp, event));
            }
        }
    }
    rows
}

fn attempt_row(stamp: Stamp<'_>, event: &UsageEvent, attempt: &AttemptRecord, number: u16) -> Row {
    Row {
        started_at: calendar(attempt.started_at),
        attempt: number,
        provider: attempt.provider.clone(),
        model: attempt.model.clone(),
        region: attempt.region.clone(),
        outcome: attempt.outcome.into(),
        error: attempt.error.clone(),
        http_status: attempt.http_status,
        usage_source: attempt.usage_source.into(),
        tokens_in: attempt.tokens.input,
        tokens_cache_read: attempt.tokens.cache_read,
        tokens_cache_write: attempt.tokens.cache_write,
        tokens_out: attempt.tokens.output,
        tokens_reasoning: attempt.tokens.reasoning,
        cost_nanousd: attempt.cost_nanousd.0,
        first_byte_ms: attempt.first_byte_ms,
        latency_ms: attempt.latency_ms,
        price_version: attempt.price_version.clone(),
        request_id: attempt.request_id.clone(),
        raw_usage: attempt.raw_usage.clone(),
        ..blank(stamp, event, Kind::Attempt, number)
    }
}

fn job_row(stamp: Stamp<'_>, event: &UsageEvent) -> Row {
    let hits = hits(event);
    let words = |word: for<'a> fn(&'a Fired<'_>) -> &'a str| hits.keys().map(|fired| word(fired).to_owned()).collect();
    Row {
        attempt: u16::try_from(event.attempts.len()).unwrap_or(u16::MAX),
        guardrails: rules_fired(event),
        risk: event.risk,
        guardrail_rules: words(|(rule, _, _)| rule),
        guardrail_sides: words(|(_, side, _)| side.as_str()),
        guardrail_actions: words(|(_, _, action)| action.as_str()),
        guardrail_counts: hits.values().copied().collect(),
        job_cost_nanousd: event.cost().0,
        saved_nanousd: event.saved_nanousd.0,
        unknown_attempts: event.unknown_attempts,
        unknown_nanousd: event.unknown_nanousd.0,
        queued_ms: event.queued_ms,
        latency_ms: event.run_ms,
        ..blank(stamp, event, Kind::Job, 0)
    }
}

/// The names of the rules, each once, whichever side they fired on.
fn rules_fired(event: &UsageEvent) -> Vec<String> {
    let names: BTreeSet<&String> = event.guardrails.iter().map(|hit| &hit.rule).collect();
    names.into_iter().cloned().collect()
}

/// A rule, what it looked at and what followed.
type Fired<'a> = (&'a str, Side, Followed);

/// How often each fired; one that the record names twice is added up, so that a rollup counts its job once.
fn hits(event: &UsageEvent) -> BTreeMap<Fired<'_>, u32> {
    let mut hits = BTreeMap::new();
    for hit in &event.guardrails {
        let count: &mut u32 = hits.entry((hit.rule.as_str(), hit.on, hit.action)).or_default();
        *count = count.saturating_add(hit.count);
    }
    hits
}

fn unknown_row(stamp: Stamp<'_>, event: &UsageEvent) -> Row {
    Row {
        unknown_attempts: event.unknown_attempts,
        unknown_nanousd: event.unknown_nanousd.0,
        ..blank(stamp, event, Kind::Unknown, 0)
    }
}

/// What all rows of a record share; every count and sum is zero.
fn blank(stamp: Stamp<'_>, event: &UsageEvent, kind: Kind, number: u16) -> Row {
    let record = Record::from(event.kind);
    let (last, kept) = (event.attempts.last(), event.kept.as_ref());
    let of_last = |field: fn(&AttemptRecord) -> &String| last.map(field).cloned().unwrap_or_default();
    Row {
        event_id: event_id(event, record, kind, number),
        kind,
        record,
        ts: calendar(stamp.at),
        accepted_at: calendar(event.accepted_at),
        started_at: calendar(UnixMillis(event.accepted_at.0.saturating_add_unsigned(event.queued_ms))),
        stream: stamp.stream.to_owned(),
        stream_seq: stamp.seq,
        job_id: event.job.to_string(),
        run: event.run.clone(),
        worker: event.worker.clone(),
        delivery: event.delivery,
        attempt: 0,
        team: event.team.clone(),
        class: event.class.clone(),
        project: event.project.clone(),
        api_key_id: event.key.clone(),
        end_user: event.user.clone(),
        labels: event.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        model_requested: event.model_requested.clone(),
        provider: kept.map_or_else(|| of_last(|a| &a.provider), |kept| kept.provider.clone()),
        model: final_model(event).to_owned(),
        region: of_last(|a| &a.region),
        status: event.status.into(),
        error_code: event.error_code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        outcome: OutcomeColumn::None,
        error: String::new(),
        http_status: 0,
        cache: event.cache.into(),
        streamed: event.stream,
        guardrails: Vec::new(),
        risk: 0,
        guardrail_rules: Vec::new(),
        guardrail_sides: Vec::new(),
        guardrail_actions: Vec::new(),
        guardrail_counts: Vec::new(),
        usage_source: SourceColumn::None,
        tokens_in: 0,
        tokens_cache_read: 0,
        tokens_cache_write: 0,
        tokens_out: 0,
        tokens_reasoning: 0,
        cost_nanousd: 0,
        job_cost_nanousd: 0,
        saved_nanousd: 0,
        unknown_attempts: 0,
        unknown_nanousd: 0,
        queued_ms: 0,
        first_byte_ms: 0,
        latency_ms: 0,
        price_version: String::new(),
        request_id: String::new(),
        raw_usage: String::new(),
    }
}

/// The model that a job is counted under: the last one called, that of its kept answer, else the one asked for.
pub(crate) fn final_model(event: &UsageEvent) -> &str {
    let called = event.attempts.last().map(|attempt| &attempt.model);
    called.or(event.kept.as_ref().map(|kept| &kept.model)).unwrap_or(&event.model_requested)
}

/// A stable name of a row: a record that is stored twice makes the same rows twice, which shows.
fn event_id(event: &UsageEvent, record: Record, kind: Kind, number: u16) -> Uuid {
    let digest = Digest::of(&[
        event.team.as_bytes(),
        event.job.as_str().as_bytes(),
        event.run.as_bytes(),
        &[record as u8, kind as u8],
        &number.to_be_bytes(),
    ]);
    let hex = digest.to_string();
    Uuid::from_u128(u128::from_str_radix(&hex[..32], 16).expect("a digest prints as 64 hexadecimal digits"))
}

/// A point in time within the table's calendar (1970 to 2299), so that a nonsensical clock cannot fail an insert.
fn calendar(at: UnixMillis) -> i64 {
    const LAST: i64 = 10_413_791_999_999;
    at.0.clamp(0, LAST)
}

#[cfg(test)]
mod tests;
