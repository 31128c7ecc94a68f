//! Captures: what was asked and what was answered, of teams that want that kept; best effort, and counted where it fails.
//!
//! A capture is create-only: when a job is forgotten, an empty message takes its place, and one that comes late is
//! refused by the server.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_queue::{Existing, texts};
use tollgate_types::job::VERSION;
use tollgate_types::{Captured, JobId, JobSpec};

use crate::context::Context;
use crate::screen;

/// Whether the team's prompts and answers are captured.
pub(crate) fn is_on(team: &str, cx: &Context) -> bool {
    cx.directory.team(team).is_some_and(|team| team.capture)
}

/// Captures a job that was called, with its body as it was sent and the result line as it is delivered.
///
/// Killed before it, or between it and the ack: the job is delivered again, and [`again`] captures it, or finds it
/// captured.
pub(crate) async fn keep(team: &str, sent: &Bytes, line: &Bytes, cx: &Context) {
    let Some(captured) = captured(team, sent, line) else { return };
    let payload = serde_json::to_vec(&captured).expect("texts always serialise").into();
    if let Err(error) = texts::capture(&cx.connection, team, &captured.job, payload).await {
        tracing::warn!(%error, "not captured");
        metrics::counter!("tollgate_captures_lost_total").increment(1);
    }
}

/// The id is the line's: a message whose own id belongs to another request was answered under another.
fn captured(team: &str, sent: &[u8], line: &[u8]) -> Option<Captured> {
    #[derive(Deserialize)]
    struct Line {
        id: JobId,
    }
    let Line { id: job } = serde_json::from_slice(line).ok()?;
    let raw = |json: &[u8]| serde_json::from_slice::<&RawValue>(json).map(ToOwned::to_owned).ok();
    Some(Captured { version: VERSION, team: team.to_owned(), job, request: raw(sent)?, result: raw(line)? })
}

/// Captures a job whose run ended between its commit and its ack.
pub(crate) async fn again(job: &JobSpec, existing: &Existing, cx: &Context) {
    let event = &existing.event;
    if existing.is_tombstone || event.attempts.is_empty() || !is_on(&event.team, cx) {
        return;
    }
    // As it was sent: without what the guardrails took out, and not at all if they would not let it leave now.
    if let Ok(passed) = screen::request(job, &event.team, cx).await {
        keep(&event.team, &passed.job.body, &existing.payload, cx).await;
    }
}
