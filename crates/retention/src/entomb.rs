//! Entombing: a result's tombstone is stored, then it is looked once more whether the result may go, and then it goes.
//!
//! The second look is what makes a first sink that comes at any moment count each record once (`tollgate_sink`,
//! `entombed.rs`): a sink whose record was created after that look has the tombstone in front of it when it begins, and
//! counts that; for one whose record was created before it, the result stays until that sink has passed it. So a tombstone
//! that lies there already, whoever put it there and was killed, never makes its result go unseen either.

use tollgate_queue::ApiError;
use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::State;
use tollgate_queue::tombs::{Lying, Tombs};
use tollgate_sink::ProgressError;
use tollgate_types::{ErrorCode, JobId};

use crate::passed::{Passed, sunk};

/// What became of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entombed {
    /// Its texts are gone since now.
    Now,
    /// They were gone before.
    Before,
    /// Not everybody who must read it first has; it may have its tombstone already.
    NotPassed,
    /// The job has no result.
    NoResult,
}

/// Why a result was not entombed; it is to be repeated.
#[derive(Debug, thiserror::Error)]
pub enum EntombError {
    /// The server did not do it.
    #[error("the server did not do it")]
    Api(#[from] ApiError),
    /// It is not known whether there is a sink.
    #[error(transparent)]
    Sink(#[from] ProgressError),
}

/// Puts tombstones in the place of results.
pub struct Entomb<'a> {
    tombs: &'a Tombs,
    state: &'a State,
    log: &'a CommitLog,
    passed: Passed,
}

/// How often the last message on a subject may change while a tombstone is put there.
const TRIES: usize = 8;

impl<'a> Entomb<'a> {
    /// With what was known of the readers when the work began.
    pub fn new(tombs: &'a Tombs, state: &'a State, log: &'a CommitLog, passed: Passed) -> Entomb<'a> {
        Entomb { tombs, state, log, passed }
    }

    /// Removes the texts of a job's result, if everybody has read it who must. Idempotent.
    ///
    /// # Errors
    /// [`EntombError`].
    pub async fn job(&self, team: &str, job: &JobId, code: ErrorCode) -> Result<Entombed, EntombError> {
        for _ in 0..TRIES {
            let Some(lying) = self.tombs.find(team, job).await? else { return Ok(Entombed::NoResult) };
            if let Some(entombed) = self.lying(&lying, code).await? {
                return Ok(entombed);
            }
        }
        Err(ApiError::Unknown.into())
    }

    /// The same for a result that was read; `None` if it is not the last on its subject any more.
    ///
    /// # Errors
    /// [`EntombError`].
    pub async fn lying(&self, lying: &Lying, code: ErrorCode) -> Result<Option<Entombed>, EntombError> {
        if let Some(tombstone) = lying.tombstone {
            // Somebody may have been killed before he came to it.
            return self.bury(tombstone.sequence, Entombed::Before).await.map(Some);
        }
        if lying.is_empty() {
            return Ok(Some(Entombed::Before));
        }
        if !self.passed.allows(lying.sequence) {
            return Ok(Some(Entombed::NotPassed));
        }
        if !self.tombs.raise(lying, code, self.passed.sunk.is_some()).await? {
            return Ok(None);
        }
        self.bury(lying.sequence, Entombed::Now).await.map(Some)
    }

    /// Removes a result that has its tombstone, if no sink has still to meet it.
    async fn bury(&self, sequence: u64, done: Entombed) -> Result<Entombed, EntombError> {
        // A sink that was there only moves on.
        let known = self.passed.sunk.is_some_and(|sunk| sequence <= sunk);
        if !known && sunk(self.state, self.log).await?.is_some_and(|sunk| sequence > sunk) {
            return Ok(Entombed::NotPassed);
        }
        self.tombs.bury(sequence).await?;
        Ok(done)
    }
}
