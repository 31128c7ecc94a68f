//! Batches: which there are, and the end of what waits of one.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tollgate_queue::batches::{Said, is_of_batch};
use tollgate_queue::scan::Waiting as Stored;
use tollgate_queue::service::{Stretch, Swept, WholeBatch};
use tollgate_queue::{ApiError, Batches, Origin};
use tollgate_types::{Team, headers};

use super::cancel::end;
use super::status::open;
use super::{Answer, Refusal};
use crate::context::Context;
use crate::found::{self, Found};
use crate::verdict::Passed;

/// How long one question reads on: whoever asks for the rest asks again.
const SWEEP_FOR: Duration = Duration::from_secs(5);
/// Ends that are committed at once: enough to hide the way to the server and back.
const ENDS_AT_ONCE: usize = 32;
/// Ends between two looks at the clock.
const ENDS_BETWEEN_LOOKS: usize = 128;
/// Batches of one answer: each is a few hundred bytes.
const LISTED_MAX: usize = 100;

/// What is asked for a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    /// Where to go on, as the last answer said.
    #[serde(default)]
    from: u64,
}

/// The team's batches, the oldest first, each with how it stands.
pub(super) async fn list(team: &Team, asked: &Listing, cx: &Context) -> Answer {
    let batches = Batches::new(cx.connection.client.clone());
    let unavailable = |error: ApiError| Refusal::unavailable(&error);
    let mut listed = Vec::new();
    let mut from = asked.from;
    while listed.len() < LISTED_MAX {
        let Some(Said { sequence, batch, .. }) = batches.next(Some(team), "spec", from).await.map_err(unavailable)?
        else {
            return Ok(json!({ "team": team, "batches": listed, "next": null }));
        };
        from = sequence + 1;
        let name = team.as_str();
        if let Some(spec) = batches.spec(name, &batch).await.map_err(unavailable)? {
            let progress = batches.progress(name, &batch).await.map_err(unavailable)?.map(|(progress, _)| progress);
            let submitted = batches.submitted(name, &batch).await.map_err(unavailable)?;
            let stop = batches.stop(name, &batch).await.map_err(unavailable)?;
            let done = batches.done(name, &batch).await.map_err(unavailable)?;
            let one: Value =
                json!({ "spec": spec, "progress": progress, "submitted": submitted, "stop": stop, "done": done });
            listed.push(one);
        }
    }
    Ok(json!({ "team": team, "batches": listed, "next": from }))
}

/// Cancels what waits or runs of a batch, as far as a few seconds go.
///
/// Killed in between: some are cancelled, and whoever asked asks again.
pub(super) async fn cancel(team: &str, asked: &WholeBatch, cx: &Context) -> Answer {
    // Who has what in his hands, as it is now.
    cx.in_flight.look_back().await.map_err(|error| Refusal::unavailable(&error))?;
    let mut scan = open(cx).await?;
    let begun = Instant::now();
    let mut swept = Swept { cancelled: 0, next: Some(asked.from.unwrap_or(Stretch { parked: false, sequence: 1 })) };
    while let Some(Stretch { parked, sequence }) = swept.next
        && begun.elapsed() < SWEEP_FOR
    {
        let (origin, filter) = match parked {
            false => (Origin::Jobs, format!("tollgate.jobs.*.{team}")),
            true => (Origin::Wait, format!("tollgate.wait.*.*.{team}.*")),
        };
        let page = scan.page(origin, &filter, sequence).await.map_err(|error| Refusal::unavailable(&error))?;
        let of_it: Vec<Found> = page.jobs.iter().filter_map(|stored| of_batch(origin, stored, asked, cx)).collect();
        let mut of_it = of_it.into_iter();
        while let Some(first) = of_it.next() {
            if begun.elapsed() >= SWEEP_FOR {
                swept.next = Some(Stretch { parked, sequence: first.sequence });
                return Ok(json!(swept));
            }
            let some = std::iter::once(first).chain(of_it.by_ref().take(ENDS_BETWEEN_LOOKS - 1));
            let ends = stream::iter(some.collect::<Vec<_>>()).map(|place| async move { end(team, &place, cx).await });
            let ended: Vec<Result<Passed, Refusal>> = ends.buffer_unordered(ENDS_AT_ONCE).collect().await;
            for won in ended {
                swept.cancelled += u64::from(won? == Passed::Won);
            }
        }
        swept.next = match page.next {
            Some(sequence) => Some(Stretch { parked, sequence }),
            // What is parked meanwhile comes to the end of that stream, which is read after this one.
            None => (!parked).then_some(Stretch { parked: true, sequence: 1 }),
        };
    }
    Ok(json!(swept))
}

/// The job of a message, if it is a line of the batch.
fn of_batch(origin: Origin, stored: &Stored, asked: &WholeBatch, cx: &Context) -> Option<Found> {
    let of_batch = |id: &str| is_of_batch(id, &asked.batch);
    // Cheap enough for every message of a backlog: the id is in a header, or the last token of the subject.
    let may_be =
        stored.header(headers::JOB_ID).is_some_and(of_batch) || stored.subject.rsplit('.').next().is_some_and(of_batch);
    let place = may_be.then(|| found::job(origin, stored, cx)).flatten();
    place.filter(|place| of_batch(place.waiting.job.as_str()))
}
