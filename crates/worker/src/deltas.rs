//! Deltas: pieces of the answer, published while the provider writes it, for jobs that ask for a stream.
//!
//! They are a courtesy: not stored, and never waited for. Whoever reads along and leaves, or a connection that is gone,
//! changes nothing about the read or the books; pieces that cannot be published are left out, and the gap shows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tollgate_providers::{Call, Called};
use tollgate_types::job::VERSION;
use tollgate_types::{DeltaEvent, DeltaMessage, Endpoint, JobSpec, subjects};

use crate::context::Context;
use crate::routes::Priced;
use crate::run::Run;

/// Pieces that wait to be published; a provider that is faster for longer loses some.
const WAITING_MAX: usize = 1024;
/// A connection that takes no piece in so long takes none any more in this attempt.
const PUBLISH_MAX: Duration = Duration::from_secs(1);

/// Whether a job's answer is published as it is written.
pub(crate) fn are_wanted(job: &JobSpec) -> bool {
    job.request.stream_at.is_some() && job.request.endpoint == Endpoint::ChatCompletions
}

/// Makes a call and publishes what comes of it as it comes, if the job wants that.
///
/// Cancel safety: as of the call.
pub(crate) async fn call(priced: &Priced, call: &Call<'_>, job: &JobSpec, run: &Run, cx: &Context) -> Called {
    if !are_wanted(job) {
        return cx.caller.call(&priced.deployment, call).await;
    }
    let (pieces, waiting) = mpsc::channel(WAITING_MAX);
    let calling = async {
        let seq = AtomicU64::new(1);
        let on_delta = move |chunk: Bytes| {
            // A full channel loses the piece, and its number shows that.
            let _ = pieces.try_send((seq.fetch_add(1, Ordering::Relaxed), chunk));
        };
        cx.caller.call(&priced.deployment, &Call { deltas: Some(&on_delta), ..*call }).await
    };
    // Side by side, so that a connection that stands does not hold up the read. Publishing ends with the call.
    let (called, ()) = tokio::join!(calling, publish(waiting, call.attempt, run, cx));
    called
}

async fn publish(mut waiting: mpsc::Receiver<(u64, Bytes)>, attempt: u32, run: &Run, cx: &Context) {
    let mut heard = send(run, &message(run, attempt, 0, DeltaEvent::Start), cx).await;
    while let Some((seq, chunk)) = waiting.recv().await {
        if !heard {
            continue;
        }
        let Some(chunk) = String::from_utf8(chunk.into()).ok().and_then(|text| RawValue::from_string(text).ok()) else {
            continue;
        };
        let delta = DeltaMessage { chunk: Some(chunk), ..message(run, attempt, seq, DeltaEvent::Delta) };
        heard = send(run, &delta, cx).await;
    }
}

/// Says that a job has its result, to those who read along.
///
/// Killed before it: the reader waits for the result itself, as he should.
pub(crate) async fn end(run: &Run, cx: &Context) {
    send(run, &message(run, 0, 0, DeltaEvent::End), cx).await;
}

fn message(run: &Run, attempt: u32, seq: u64, event: DeltaEvent) -> DeltaMessage {
    DeltaMessage { version: VERSION, job: run.job.clone(), run: run.id.clone(), attempt, seq, event, chunk: None }
}

/// Whether the connection took it.
async fn send(run: &Run, message: &DeltaMessage, cx: &Context) -> bool {
    let subject = subjects::stream(&run.team, &message.job);
    let payload = serde_json::to_vec(message).expect("texts and numbers always serialise");
    let sent = timeout(PUBLISH_MAX, cx.connection.client.publish(subject, payload.into())).await;
    matches!(sent, Ok(Ok(())))
}
