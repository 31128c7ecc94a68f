//! The scout: looks through the backlog, leasing nothing, and ends what waits in vain.
//!
//! One scout is active among all workers. It reads each waiting job once, keeps the deadlines, and commits `expired` for a
//! job within a second of its deadline wherever it waits; and it ends at once what can never run, however long the queue
//! before it is. A job that a worker has in its hands meanwhile is that worker's to end: it knows what was paid.
//!
//! It goes around in short rounds, each with a bound, so that a backlog of a million new jobs delays no deadline, and ten
//! thousand deadlines at once do not look like a scout that died.

mod risk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tollgate_queue::office::{Left, Office, Term};
use tollgate_queue::scan::Waiting as Stored;
use tollgate_queue::wait::ANSWER_UNUSED;
use tollgate_queue::{ApiError, Origin, QueueKey, Scan};
use tollgate_types::{ErrorCode, JobSpec, UnixMillis};

use crate::context::Context;
use crate::found;
use crate::verdict::{self, Passed, Waiting};
use crate::{admit, hopeless};

/// Looks after waiting jobs.
pub(crate) struct Scout {
    cx: Arc<Context>,
}

/// The key of the scout's office.
const KEY: &str = "scout";
/// Another scout takes over after three of these without a sign of life.
const LEASE: Duration = Duration::from_secs(3);
/// How often new jobs and deadlines are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// After so many jobs were judged the thread goes to others for a moment: one takes some ten microseconds.
const JUDGED_AT_ONCE: usize = 64;
/// A job in the hands of a worker gets so long after its deadline to be ended by it, who knows what it cost.
const GRACE_MS: i64 = 500;
/// The most deadlines that are kept: about 60 MB. What is beyond is ended when it is reached.
const DEADLINES_MAX: usize = 1_000_000;
/// Jobs ended in one round: about half a second of work.
const ENDED_AT_ONCE: usize = 2_000;
/// Jobs that are being ended at a time; each is three questions to the server.
const ENDING: usize = 32;
/// How long the office may take to be given up at an orderly end; else others take it after their patience.
const RELEASE: Duration = Duration::from_secs(1);
/// How often the consumers of answers that nobody waits for any more are dropped.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// Where a job with a deadline waits, in the order of the deadlines.
type Deadline = (UnixMillis, Origin, u64);

/// What one time in office knows.
#[derive(Default)]
struct Seen {
    /// The next sequence to read, by stream.
    next: BTreeMap<Origin, u64>,
    /// Jobs with a deadline.
    deadlines: BTreeSet<Deadline>,
}

impl Scout {
    pub(crate) fn new(cx: Arc<Context>) -> Scout {
        Scout { cx }
    }

    /// Stands by and looks until `stop`, then leaves office, so that another scout takes over at once. Dropped, another
    /// takes over after its patience.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let cx = self.cx;
        let mut office = Office::new(cx.state.clone(), KEY, &cx.config.name, LEASE);
        while let Some(mut term) = office.stand_by(&stop).await {
            match look_around(&mut term, &stop, &cx).await {
                Left::Fenced => tracing::info!("another scout took over"),
                Left::Stopped => {
                    if timeout(RELEASE, term.release()).await.is_err() {
                        tracing::debug!("the scout's office was not given up in time");
                    }
                    return;
                }
            }
        }
    }
}

async fn look_around(term: &mut Term, stop: &CancellationToken, cx: &Context) -> Left {
    let mut seen = Seen::default();
    let mut scan: Option<Scan> = None;
    let (mut touched, mut counted, mut tidied) = (Instant::now(), Instant::now(), Instant::now());
    loop {
        // A commit that is tried until the server answers must not keep a worker from its end.
        let more = tokio::select! {
            biased;
            () = stop.cancelled() => return Left::Stopped,
            more = go_around(&mut scan, &mut seen, &mut counted, cx) => more,
        };
        if tidied.elapsed() >= TIDY_EVERY {
            tidied = Instant::now();
            tidy(cx).await;
        }
        if touched.elapsed() >= LEASE / 3 {
            if let Err(left) = term.touch(stop).await {
                return left;
            }
            touched = Instant::now();
        }
        if !more {
            tokio::select! {
                () = stop.cancelled() => return Left::Stopped,
                () = sleep(LOOK) => {}
            }
        }
    }
}

/// Drops what the server keeps for answers that nobody waits for any more. What is left is dropped the next time.
async fn tidy(cx: &Context) {
    match timeout(RELEASE, cx.wait.drop_unused_answers(ANSWER_UNUSED)).await {
        Ok(Ok(dropped)) => tracing::debug!(dropped, "consumers of answers dropped"),
        Ok(Err(error)) => tracing::debug!(%error, "consumers of answers not dropped"),
        Err(_) => tracing::debug!("consumers of answers not all dropped in time"),
    }
}

/// One round; says whether there is more to do at once.
///
/// Cancel safe: a job that was about to be ended is judged again by the next scout.
async fn go_around(scan: &mut Option<Scan>, seen: &mut Seen, counted: &mut Instant, cx: &Context) -> bool {
    let scan = match scan {
        Some(scan) => scan,
        None => match Scan::open(&cx.connection, &cx.config.name).await {
            Ok(opened) => scan.insert(opened),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the backlog cannot be read yet");
                return false;
            }
        },
    };
    let mut more = false;
    for origin in [Origin::Jobs, Origin::Wait] {
        match read_some(origin, scan, seen, cx).await {
            Ok(left) => more |= left,
            Err(error) => tracing::warn!(%error, ?origin, "the backlog was not read"),
        }
    }
    match expire(scan, seen, cx).await {
        Ok(left) => more |= left,
        Err(error) => tracing::warn!(%error, "expired jobs were not ended"),
    }
    if counted.elapsed() >= risk::COUNT_EVERY {
        *counted = Instant::now();
        risk::count(scan, &mut seen.deadlines, cx).await;
    }
    more
}

/// What the scout reads of a stream.
fn filter(origin: Origin) -> &'static str {
    match origin {
        Origin::Jobs => "tollgate.jobs.>",
        Origin::Wait => "tollgate.wait.>",
    }
}

/// Reads a page of what came since the last look, and says whether there is more.
async fn read_some(origin: Origin, scan: &mut Scan, seen: &mut Seen, cx: &Context) -> Result<bool, ApiError> {
    let from = seen.next.get(&origin).copied().unwrap_or(1);
    let page = scan.page(origin, filter(origin), from).await?;
    if origin == Origin::Wait {
        serve_all(&page.jobs, cx).await?;
    }
    let mut hopeless = Vec::new();
    for (number, stored) in page.jobs.iter().enumerate() {
        if number % JUDGED_AT_ONCE == JUDGED_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        match judge(origin, stored, cx) {
            Judged::Hopeless(judged) => hopeless.push(judged),
            Judged::Until(at) if seen.deadlines.len() < DEADLINES_MAX => {
                seen.deadlines.insert((at, origin, stored.sequence));
            }
            Judged::Until(_) | Judged::Fine => {}
        }
    }
    stream::iter(hopeless)
        .for_each_concurrent(ENDING, |judged| async move {
            let (waiting, code, message) = *judged;
            if verdict::pass(&waiting, code, &message, cx).await == Passed::Won {
                tracing::info!(job = %waiting.job, team = waiting.lane.team, %code, "a job that can never run was ended");
            }
        })
        .await;
    // Only now: dropped before, they are judged again by the next scout.
    let next = page.next.or_else(|| page.jobs.last().map(|last| last.sequence + 1));
    seen.next.insert(origin, next.unwrap_or(from));
    Ok(page.next.is_some())
}

/// Makes sure that every queue with a parked job in it has its consumer, without which nobody would count it. Whoever
/// parked made one; but the server itself sends a job on when its time has come, which may be long after.
async fn serve_all(parked: &[Stored], cx: &Context) -> Result<(), ApiError> {
    let queues = parked.iter().filter_map(|stored| QueueKey::of_subject(&stored.subject));
    for queue in queues.filter(|queue| !queue.lane.is_stray()).collect::<BTreeSet<_>>() {
        cx.wait.ensure(&queue).await?;
    }
    Ok(())
}

/// What a look at a waiting job says.
enum Judged {
    /// It can never run.
    Hopeless(Box<(Waiting, ErrorCode, String)>),
    /// It can, until then.
    Until(UnixMillis),
    /// It can wait.
    Fine,
}

fn judge(origin: Origin, stored: &Stored, cx: &Context) -> Judged {
    // What cannot be read is ended when it is reached, which costs nothing.
    let Ok(job) = JobSpec::decode(&stored.payload, cx.config.payload_bytes_max) else { return Judged::Fine };
    let Some(found) = found::job(origin, stored, cx) else { return Judged::Fine };
    // Of a body that lies elsewhere nobody knows yet what it asks for.
    if job.elsewhere().is_some() {
        return job.options.deadline.map_or(Judged::Fine, |deadline| Judged::Until(deadline.at));
    }
    if let Some((code, message)) = hopeless::why(&job, &found.waiting, cx) {
        return Judged::Hopeless(Box::new((found.waiting, code, message)));
    }
    job.options.deadline.map_or(Judged::Fine, |deadline| Judged::Until(deadline.at))
}

/// Ends what waits past its deadline, the oldest first, and says whether there is more.
async fn expire(scan: &Scan, seen: &mut Seen, cx: &Context) -> Result<bool, ApiError> {
    let due = UnixMillis(cx.clock.now().0 - GRACE_MS);
    let over: Vec<Deadline> = seen.deadlines.range(..(due, Origin::Jobs, 0)).take(ENDED_AT_ONCE).copied().collect();
    if over.is_empty() {
        return Ok(false);
    }
    // Who has which job in his hands: those ends may have been paid for.
    if let Err(error) = cx.in_flight.look_back().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "jobs in flight not read");
    }
    let ends =
        stream::iter(over.iter().copied()).map(|deadline| async move { (deadline, end(scan, deadline, cx).await) });
    let mut ends = ends.buffer_unordered(ENDING);
    let mut failed = None;
    while let Some((deadline, ended)) = ends.next().await {
        match ended {
            Ok(()) => drop(seen.deadlines.remove(&deadline)),
            // It stays, and is looked at again with the next round.
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(over.len() == ENDED_AT_ONCE),
    }
}

/// Ends a job whose deadline passed, if it still waits.
async fn end(scan: &Scan, (_, origin, sequence): Deadline, cx: &Context) -> Result<(), ApiError> {
    let Some(stored) = scan.one(origin, sequence).await? else { return Ok(()) };
    let Ok(job) = JobSpec::decode(&stored.payload, cx.config.payload_bytes_max) else { return Ok(()) };
    let Some(found) = found::job(origin, &stored, cx) else { return Ok(()) };
    let message = admit::expiry_message(&job);
    if verdict::pass(&found.waiting, ErrorCode::DeadlineExceeded, &message, cx).await == Passed::Won {
        metrics::counter!("tollgate_expired_in_queue_total").increment(1);
    }
    Ok(())
}
