//! Who may write the sink's record, and so insert.
//!
//! The lease has no clock in it. A sink that stands by watches the record's revision; only when it has not changed for
//! three leases, by its own monotonic clock, does it swap itself in. The active one changes the record with every
//! batch, and touches it when idle. Whoever loses a swap is out of office at once.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tollgate_queue::state::{State, StateError};

use crate::backoff::delay;
use crate::manifest::{KEY, Manifest, Step};

/// How many leases a record must stay unchanged before somebody else may take it.
const PATIENCE: u32 = 3;

/// Why a time in office ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Somebody else holds the record now.
    Fenced,
    /// The process is to stop.
    Stopped,
}

/// A time in office: the record as we last wrote it.
#[derive(Debug)]
pub(crate) struct Lead {
    state: State,
    manifest: Manifest,
    revision: u64,
    written: Instant,
}

impl Lead {
    pub(crate) fn new(state: State, manifest: Manifest, revision: u64) -> Self {
        Lead { state, manifest, revision, written: Instant::now() }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How long ago the record was last written by us.
    pub(crate) fn age(&self) -> Duration {
        self.written.elapsed()
    }

    /// Stores a change of the record, however long it takes; tries at least once even when told to stop.
    ///
    /// Not cancel safe: dropped, the change may or may not be stored, and this `Lead` does not know.
    pub(crate) async fn advance(&mut self, step: Step, stop: &CancellationToken) -> Result<(), Left> {
        let next = self.manifest.step(step).expect("the active sink makes only permitted steps");
        self.store(next, stop).await
    }

    /// Stores the record unchanged: the new revision shows that somebody is there.
    pub(crate) async fn touch(&mut self, stop: &CancellationToken) -> Result<(), Left> {
        self.store(self.manifest.clone(), stop).await
    }

    async fn store(&mut self, next: Manifest, stop: &CancellationToken) -> Result<(), Left> {
        let mut failures = 0;
        loop {
            let asked = Instant::now();
            let error = match self.state.update(KEY, next.to_bytes(), self.revision).await {
                Ok(revision) => {
                    self.hold(next, revision, asked);
                    return Ok(());
                }
                Err(StateError::Conflict) => match self.state.get(KEY).await {
                    Ok(found) => match self.judge(found, &next)? {
                        // A try of ours that timed out was stored all the same.
                        Found::Stored(revision) => {
                            self.hold(next, revision, asked);
                            return Ok(());
                        }
                        Found::Older(revision) => {
                            self.revision = revision;
                            continue;
                        }
                    },
                    Err(error) => error,
                },
                Err(error) => error,
            };
            failures += 1;
            tracing::warn!(error = &error as &dyn std::error::Error, failures, "the sink's record was not stored");
            tokio::select! {
                () = stop.cancelled() => return Err(Left::Stopped),
                () = sleep(delay(failures)) => {}
            }
        }
    }

    fn hold(&mut self, manifest: Manifest, revision: u64, written: Instant) {
        self.manifest = manifest;
        self.revision = revision;
        self.written = written;
    }

    /// What it means that the record is not the one we thought: owner and term name one time in office, so nobody
    /// else writes a record with ours.
    fn judge(&self, found: Option<(bytes::Bytes, u64)>, next: &Manifest) -> Result<Found, Left> {
        let (bytes, revision) = found.ok_or(Left::Fenced)?;
        let there = Manifest::read(&bytes).map_err(|_| Left::Fenced)?;
        if (&there.owner, there.term) != (&self.manifest.owner, self.manifest.term) {
            return Err(Left::Fenced);
        }
        Ok(if there == *next { Found::Stored(revision) } else { Found::Older(revision) })
    }

    /// Leaves office, so that another takes over at once instead of after its patience. One try: it is only kindness.
    pub(crate) async fn release(self) {
        let Ok(left) = self.manifest.step(Step::Release) else { return };
        if let Err(error) = self.state.update(KEY, left.to_bytes(), self.revision).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the sink's record was not released");
        }
    }
}

enum Found {
    Stored(u64),
    Older(u64),
}

/// What one that stands by has seen.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: Option<(u64, Instant)>,
}

impl Watch {
    /// Whether the record may be taken: nobody holds it, it is ours from before, or it has not changed for too long.
    pub(crate) fn may_take(
        &mut self,
        manifest: &Manifest,
        revision: u64,
        name: &str,
        lease: Duration,
        now: Instant,
    ) -> bool {
        let since = match self.seen {
            Some((seen, since)) if seen == revision => since,
            _ => now,
        };
        self.seen = Some((revision, since));
        manifest.owner.is_empty() || manifest.owner == name || now.duration_since(since) >= lease * PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn a_record_is_taken_only_when_it_rested_for_three_leases() {
        let manifest = Manifest::new("18a", 0, "other");
        let start = Instant::now();
        let mut watch = Watch::default();
        let mut check = |revision, seconds, expected| {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(watch.may_take(&manifest, revision, "me", LEASE, now), expected, "{revision} at {seconds} s");
        };
        check(1, 0, false);
        check(1, 29, false);
        check(2, 30, false);
        check(2, 59, false);
        check(2, 60, true);
    }

    #[test]
    fn a_released_record_and_our_own_are_taken_at_once() {
        let now = Instant::now();
        let take = |owner: &str| Watch::default().may_take(&Manifest::new("18a", 0, owner), 1, "me", LEASE, now);
        assert!(take("") && take("me") && !take("other"));
    }
}
