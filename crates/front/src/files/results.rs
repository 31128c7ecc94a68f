//! The results of a batch as files: nothing is stored, their lines are written when somebody reads them.

use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use tokio_util::io::StreamReader;
use tollgate_bulk::results::ReadError;
use tollgate_bulk::side::{Input, Side};
use tollgate_bulk::{Bulk, RecordError};
use tollgate_client::Producer;
use tollgate_types::batch::{BatchDone, LINES_MAX};
use tollgate_types::{BatchId, BatchSpec, FileName};

use super::{files, seconds, unanswered, unknown};
use crate::Parts;
use crate::auth::Caller;
use crate::refused::Refused;

/// The batches of a caller's team.
pub(crate) fn bulk(parts: &Parts, team: &tollgate_types::Team) -> Bulk {
    Bulk::new(Producer::new(parts.switchboard.connection().client.clone(), team.clone()))
}

pub(crate) fn unread(error: &RecordError) -> Refused {
    tracing::warn!(%error, "the records of a batch were not read");
    Refused::later("files and batches cannot be reached now; try again")
}

/// One of the two files of an ended batch.
pub(crate) struct Results {
    spec: BatchSpec,
    done: BatchDone,
    side: Side,
    bulk: Bulk,
}

/// How many lines a side has.
pub(crate) fn lines_of(done: &BatchDone, side: Side) -> u64 {
    match side {
        Side::Output => done.tally.ends.succeeded,
        Side::Errors => done.jobs.saturating_sub(done.tally.ends.succeeded),
    }
}

/// Finds a file of results; one without lines is none.
pub(crate) async fn find(parts: &Parts, caller: &Caller, batch: &BatchId, side: Side) -> Result<Results, Refused> {
    let bulk = bulk(parts, &caller.record.team);
    let standing = bulk.standing(batch).await.map_err(|error| unread(&error))?;
    // Its submitter wrote the spec, and may write what it likes.
    let standing = standing.filter(|standing| standing.spec.jobs <= LINES_MAX).ok_or_else(unknown)?;
    let done = standing.done.filter(|done| lines_of(done, side) > 0).ok_or_else(unknown)?;
    Ok(Results { spec: standing.spec, done, side, bulk })
}

impl Results {
    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("{}_{}.jsonl", self.spec.id, self.side.as_str())
    }

    /// As OpenAI's clients know it. How many bytes it has is known once it is read.
    pub(crate) fn object(&self) -> Value {
        json!({
            "id": FileName::Results(self.spec.id.clone(), self.side).to_string(), "object": "file", "bytes": null,
            "created_at": seconds(self.done.ended_at), "expires_at": null, "filename": self.name(),
            "purpose": "batch_output", "status": "processed", "status_details": null,
            "tollgate": { "lines": lines_of(&self.done, self.side) },
        })
    }

    /// Its lines, with the names of requests from the uploaded file as long as that is there.
    pub(crate) async fn lines(
        self,
        parts: &Parts,
        team: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, ReadError>> + Send + use<>, Refused> {
        let Results { spec, done, side, bulk } = self;
        let batches = tollgate_queue::Batches::new(parts.switchboard.connection().client.clone());
        let order = batches.order(team, &spec.id).await.map_err(|error| unanswered(&error))?;
        let input = match order {
            Some((order, _)) => {
                let record = files(parts).record(team, &order.input, parts.clock.now()).await;
                record.map_err(|error| unanswered(&error))?
            }
            None => None,
        };
        let input = input.map(|record| -> Input { Box::pin(StreamReader::new(files(parts).read(team, &record))) });
        let lines = bulk.side(spec, &done, side, input).await;
        lines.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the results of a batch were not read");
            Refused::later("the results cannot be read now; try again")
        })
    }
}
