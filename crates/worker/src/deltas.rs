//! Deltas: pieces of the answer, published while the provider writes it, for jobs that ask for a stream.
//!
//! They are a courtesy: not stored, and never waited for. Whoever reads along and leaves, or a connection that is gone,
//! changes nothing about the read or the books; pieces that cannot be published are left out, and the gap shows.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tollgate_guard::{Sieve, Sifted};
use tollgate_providers::{Call, Called, chunks_of_answer};
use tollgate_types::job::VERSION;
use tollgate_types::{DeltaEvent, DeltaMessage, Endpoint, JobSpec, subjects};

use crate::context::Context;
use crate::end::{End, Outcome};
use crate::routes::Priced;
use crate::run::Run;
use crate::screen::{Passed, WholeFirst};

/// Pieces that wait to be published; a provider that is faster for longer loses some.
const WAITING_MAX: usize = 1024;
/// A connection that takes no piece in so long takes none any more in this attempt.
const PUBLISH_MAX: Duration = Duration::from_secs(1);

/// Whether a job's answer is published as it is written.
pub(crate) fn are_wanted(job: &JobSpec) -> bool {
    job.request.stream_at.is_some() && job.request.endpoint != Endpoint::Embeddings
}

/// Makes a call and publishes what comes of it as it comes, if the job wants that and its guardrails let it; what they
/// hold back leaves when it is surely clean.
///
/// Cancel safety: as of the call.
pub(crate) async fn call(priced: &Priced, call: &Call<'_>, passed: &Passed<'_>, run: &Run, cx: &Context) -> Called {
    let sieve = match passed.sieve() {
        Ok(sieve) if are_wanted(&passed.job) => sieve,
        Ok(_) | Err(WholeFirst) => return cx.caller.call(&priced.deployment, call).await,
    };
    let (pieces, waiting) = mpsc::channel(WAITING_MAX);
    let calling = async {
        let outlet = Mutex::new(Outlet { sieve, seq: 0, pieces });
        let on_delta = |chunk: Bytes| outlet.lock().expect("no holder panics").take(chunk);
        let called = cx.caller.call(&priced.deployment, &Call { deltas: Some(&on_delta), ..*call }).await;
        outlet.into_inner().expect("no holder panics").close();
        called
    };
    // Side by side, so that a connection that stands does not hold up the read. Publishing ends with the call.
    let (called, ()) = tokio::join!(calling, publish(waiting, call.attempt, run, cx));
    called
}

/// Where pieces leave.
struct Outlet {
    sieve: Option<Sieve>,
    /// The number of the last piece.
    seq: u64,
    pieces: mpsc::Sender<(u64, Bytes)>,
}

impl Outlet {
    /// Takes a chunk of the provider's. Before the channel, which may lose pieces: nothing is judged by halves.
    fn take(&mut self, chunk: Bytes) {
        let sifted = match &mut self.sieve {
            None => return self.give(chunk),
            Some(sieve) => sieve.push(&chunk),
        };
        self.give_all(sifted);
    }

    fn close(mut self) {
        if let Some(sifted) = self.sieve.as_mut().map(Sieve::finish) {
            self.give_all(sifted);
        }
    }

    /// What is blocked leaves no further; how the job ends is said by its result.
    fn give_all(&mut self, sifted: Sifted) {
        match sifted {
            Sifted::Pass(chunks) => chunks.into_iter().for_each(|chunk| self.give(chunk.into())),
            Sifted::Blocked { .. } => {}
        }
    }

    fn give(&mut self, chunk: Bytes) {
        self.seq += 1;
        // A full channel loses the piece, and its number shows that.
        let _ = self.pieces.try_send((self.seq, chunk));
    }
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

/// Publishes the answer of a job whose guardrails let nothing leave before they had seen all of it.
pub(crate) async fn withheld(end: &End, passed: &Passed<'_>, run: &Run, cx: &Context) {
    if passed.sieve().is_err() {
        replay(end, &passed.job, run, cx).await;
    }
}

/// Publishes an answer that is there, in pieces as if it were written now, if the job wants that and has one.
pub(crate) async fn replay(end: &End, job: &JobSpec, run: &Run, cx: &Context) {
    let Outcome::Answered(answer, _) = &end.outcome else { return };
    let body = &answer.body;
    // A response that is there is read from its result.
    if !are_wanted(job) || job.request.endpoint != Endpoint::ChatCompletions {
        return;
    }
    let (pieces, waiting) = mpsc::channel(WAITING_MAX);
    let sending = async move {
        for (chunk, seq) in chunks_of_answer(body).into_iter().zip(1..) {
            // Whoever publishes ends when the connection takes nothing any more, not before.
            let _ = pieces.send((seq, chunk)).await;
        }
    };
    tokio::join!(sending, publish(waiting, 1, run, cx));
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
