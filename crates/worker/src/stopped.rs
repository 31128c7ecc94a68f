//! Batches that are stopped: their lines end as cancelled when it is their turn, without a call.
//!
//! The sweep of a stopped batch goes through a backlog from its oldest job on ([`crate::desk`]), beside the workers, who
//! take from there too: it alone would be outrun where answers come at once. So whoever is about to run a line asks whether
//! its batch was stopped. What is not asked for is not read: stops that nobody's lines belong to cost nothing, however many
//! a team writes, and a worker that was just started knows of a stop with the first line that it takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tollgate_queue::Batches;
use tollgate_types::{BatchId, ErrorCode, JobId};

use crate::context::Context;
use crate::end::End;

/// How long it is believed that a batch is not stopped: so late a stop is known, at the cost of five questions a second for
/// each batch that runs here.
const FRESH: Duration = Duration::from_millis(200);
/// How long it is believed that a batch is stopped. Nothing takes a stop back but the end of its record's age.
const STAYS: Duration = Duration::from_secs(60);
/// Batches that are remembered: more than have lines in flight here.
const BATCHES_MAX: usize = 4096;

/// A team's batch.
type Of = (String, BatchId);

/// What is known of the batches whose lines run here.
pub(crate) struct Stopped {
    batches: Batches,
    known: Mutex<HashMap<Of, Arc<tokio::sync::Mutex<Known>>>>,
}

/// What was last heard of one batch.
#[derive(Default)]
struct Known {
    stopped: bool,
    /// Until when that is believed; nothing was heard before the first time.
    until: Option<Instant>,
}

impl Stopped {
    pub(crate) fn new(batches: Batches) -> Stopped {
        Stopped { batches, known: Mutex::default() }
    }

    /// Whether a job is a line of a batch that is stopped. All lines that wait to know share one question; without an answer
    /// the line goes on, and the sweep finds it or it has its answer. Cancel safe.
    async fn has(&self, team: &str, job: &JobId) -> bool {
        let Some((batch, _)) = BatchId::of_job(job) else { return false };
        let of = (team.to_owned(), batch);
        let known = self.entry(&of);
        let mut known = known.lock().await;
        if known.until.is_none_or(|until| until <= Instant::now()) {
            known.stopped = match self.batches.stop(&of.0, &of.1).await {
                Ok(stop) => stop.is_some(),
                Err(error) => {
                    tracing::warn!(%error, batch = %of.1, "it is not known whether a batch is stopped");
                    known.stopped
                }
            };
            known.until = Some(Instant::now() + if known.stopped { STAYS } else { FRESH });
        }
        known.stopped
    }

    fn entry(&self, of: &Of) -> Arc<tokio::sync::Mutex<Known>> {
        let mut known = self.known.lock().expect("no holder panics");
        if let Some(entry) = known.get(of) {
            return entry.clone();
        }
        if known.len() >= BATCHES_MAX {
            // Those that are being asked about are held by whoever asks.
            known.clear();
        }
        known.entry(of.clone()).or_default().clone()
    }
}

/// The end of a line whose batch is stopped; `None` for every other job.
pub(crate) async fn end_of(team: &str, job: &JobId, cx: &Context) -> Option<End> {
    cx.stopped.has(team, job).await.then(|| End::refused(ErrorCode::Cancelled, "its batch was stopped"))
}
