//! Captures: what was asked and what was answered, of teams that want that kept; best effort, and counted where it fails.
//!
//! A capture is create-only: when a job is forgotten, an empty message takes its place, and one that comes late is
//! refused by the server.

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_queue::{Existing, texts};
use tollgate_types::job::VERSION;
use tollgate_types::{Captured, JobResult, JobSpec};

use crate::context::Context;
use crate::screen;

/// Whether the team's prompts and answers are captured.
pub(crate) fn is_on(team: &str, cx: &Context) -> bool {
    cx.directory.team(team).is_some_and(|team| team.capture)
}

/// What went to providers, and what came back.
pub(crate) struct Sent {
    /// The body as it left.
    pub(crate) request: Bytes,
    /// The answer with placeholders for what was taken out of the request, if the producer gets another.
    pub(crate) answer: Option<Box<RawValue>>,
}

/// Captures a job that was called, with its body as it was sent and the result line as it is delivered, but for what
/// guardrails took out of the request and put back into the answer: that is in no capture.
///
/// Killed before it, or between it and the ack: the job is delivered again, and [`again`] captures it, or finds it
/// captured.
pub(crate) async fn keep(team: &str, sent: Sent, line: &Bytes, cx: &Context) {
    let Some(captured) = captured(team, sent, line) else { return };
    let payload = serde_json::to_vec(&captured).expect("texts always serialise").into();
    if let Err(error) = texts::capture(&cx.connection, team, &captured.job, payload).await {
        tracing::warn!(%error, "not captured");
        metrics::counter!("tollgate_captures_lost_total").increment(1);
    }
}

/// The id is the line's: a message whose own id belongs to another request was answered under another.
fn captured(team: &str, sent: Sent, line: &[u8]) -> Option<Captured> {
    let mut result: JobResult = serde_json::from_slice(line).ok()?;
    let job = result.id.clone();
    let request = serde_json::from_slice::<&RawValue>(&sent.request).ok()?.to_owned();
    if let (Some(response), Some(answer)) = (&mut result.response, sent.answer) {
        response.body = answer;
    }
    let result = serde_json::value::to_raw_value(&result).expect("a result always serialises");
    Some(Captured { version: VERSION, team: team.to_owned(), job, request, result })
}

/// Captures a job whose run ended between its commit and its ack.
pub(crate) async fn again(job: &JobSpec, existing: &Existing, cx: &Context) {
    let event = &existing.event;
    // A prompt that lay elsewhere is fetched for a run, not for this.
    let gone = existing.is_tombstone || job.elsewhere().is_some();
    if gone || event.attempts.is_empty() || !is_on(&event.team, cx) {
        return;
    }
    // What guardrails took out of it is in the result again, and can be told from the rest no more.
    match screen::request(job, &event.team, cx).await {
        Ok(passed) if !passed.changed() => {
            let sent = Sent { request: job.body.clone(), answer: None };
            keep(&event.team, sent, &existing.payload, cx).await;
        }
        Ok(_) | Err(_) => metrics::counter!("tollgate_captures_lost_total").increment(1),
    }
}
