//! Two messages of one id: whether another copy of a job is under way, so that this one waits for it.
//!
//! The server knows an id again for the duplicate window; a copy that is submitted later is another message. If the first
//! one has its result by the time the copy comes, [`crate::answered`] finds it; if it is parked, so is the copy, which is
//! then the same message. What is left is that both are in flight at once: then both would pay. So the copy steps
//! aside for a moment, and finds the result when it comes back.
//!
//! Whether there is a copy is asked of the server only where there can be one that is not known without asking. A copy
//! comes a whole window after the first, so
//!
//! - a first one that was young when it began is in flight for a while already, and known: everybody reads what the
//!   others have in flight every two seconds;
//! - a first one that was old by then asks for itself;
//! - a copy that comes right behind an old one comes out of a backlog, or after workers were away: for a minute after
//!   either, everybody asks.
//!
//! What is left is a pair that two workers take within two seconds of each other, of which neither saw anything old.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tollgate_queue::Delivery;
use tollgate_queue::in_flight::Entry;
use tollgate_queue::state::StateError;
use tollgate_types::UnixMillis;

use crate::context::Context;
use crate::park::Parking;
use crate::run::Run;

/// How long everybody asks after something old came, or after a worker began or was away.
const WATCHFUL: Duration = Duration::from_secs(60);

/// How long a copy steps aside at a time.
const ASIDE: Duration = Duration::from_secs(5);

/// Until when this worker asks whatever comes.
#[derive(Debug)]
pub(crate) struct Watchfulness(AtomicI64);

impl Watchfulness {
    /// Of a worker that begins now.
    pub(crate) fn new(now: UnixMillis) -> Watchfulness {
        let watchful = Watchfulness(AtomicI64::new(0));
        watchful.renew(now);
        watchful
    }

    /// Asks for a while from now on.
    pub(crate) fn renew(&self, now: UnixMillis) {
        self.0.fetch_max(now.plus(WATCHFUL).0, Ordering::Relaxed);
    }

    fn lasts(&self, now: UnixMillis) -> bool {
        now.0 < self.0.load(Ordering::Relaxed)
    }
}

/// The wait of a job of which another copy is under way; `None` if none is.
///
/// # Errors
/// It could not be asked; the job must not run.
pub(crate) async fn step_aside(
    delivery: &Delivery,
    run: &Run,
    entry: &Entry,
    cx: &Context,
) -> Result<Option<Parking>, StateError> {
    let window = cx.lanes.duplicate_window();
    if is_old(run.started_at.since(run.accepted_at), window) {
        cx.watchful.renew(run.started_at);
    }
    let must_ask = run.redelivered()
        || delivery.gate.is_some()
        || cx.watchful.lasts(run.started_at)
        || cx.in_flight.may_have_copy(entry);
    if !must_ask || !cx.in_flight.has_copy(entry).await? {
        return Ok(None);
    }
    metrics::counter!("tollgate_copies_total").increment(1);
    Ok(Some(Parking::until(cx.clock.now().plus(ASIDE), "another message of the same id is under way")))
}

/// Whether a job waited so long that a copy of it may be there. A tenth is for clocks that differ.
fn is_old(waited: Duration, window: Duration) -> bool {
    waited >= window - window / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_asks_for_a_minute_after_something_old() {
        let watchful = Watchfulness::new(UnixMillis(0));
        assert!(watchful.lasts(UnixMillis(59_999)) && !watchful.lasts(UnixMillis(60_000)));
        watchful.renew(UnixMillis(90_000));
        watchful.renew(UnixMillis(80_000));
        assert!(watchful.lasts(UnixMillis(149_999)) && !watchful.lasts(UnixMillis(150_000)));
    }

    #[test]
    fn a_job_is_old_from_nine_tenths_of_the_window_on() {
        let window = Duration::from_secs(120);
        assert!(!is_old(Duration::from_secs(107), window) && is_old(Duration::from_secs(108), window));
    }
}
