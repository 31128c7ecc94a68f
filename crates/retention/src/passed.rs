//! How far the settler and the sink are: what lies behind both may be removed.

use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::{State, StateError};
use tollgate_settler::Progress;
use tollgate_sink::{ProgressError, SinkProgress};

/// How far those have come who must have read a record before it may be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Everything up to this sequence is folded into the accounts.
    pub settled: u64,
    /// Everything up to this sequence is in ClickHouse; `None` if there has never been a sink.
    pub sunk: Option<u64>,
}

impl Passed {
    /// Whether the record with this sequence may be removed.
    pub fn allows(&self, sequence: u64) -> bool {
        sequence <= self.settled && self.sunk.is_none_or(|sunk| sequence <= sunk)
    }
}

/// Why it is not known how far they are; then nothing may be removed.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// That of the settler cannot be read.
    #[error("the progress of the settler cannot be read")]
    Settler(#[from] StateError),
    /// That of the sink cannot be read.
    #[error("the progress of the sink cannot be read")]
    Sink(#[from] ProgressError),
}

/// How far both are in this log. In another incarnation of it they are nowhere.
///
/// A sink counts as soon as one has ever run: its record stays. Where ClickHouse was given up for good, the operator
/// deletes that record (`docs/privacy.md`), else nothing is removed any more.
///
/// # Errors
/// [`PassedError`].
pub async fn passed(state: &State, log: &CommitLog) -> Result<Passed, PassedError> {
    let settler = Progress::read(state).await?;
    let settled = if settler.log == log.identity() { settler.through } else { 0 };
    Ok(Passed { settled, sunk: sunk(state, log).await? })
}

/// How far the sink is in this log; `None` if there has never been one.
pub(crate) async fn sunk(state: &State, log: &CommitLog) -> Result<Option<u64>, ProgressError> {
    let sink = SinkProgress::read(state).await?;
    Ok(sink.map(|sink| if sink.stream == log.identity() { sink.committed_seq } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_may_go_when_everybody_has_read_it_who_must() {
        let settled = Passed { settled: 9, sunk: None };
        assert!(settled.allows(9) && !settled.allows(10));
        let both = Passed { sunk: Some(5), ..settled };
        assert!(both.allows(5) && !both.allows(6));
        assert!(!Passed { settled: 4, sunk: Some(9) }.allows(5));
    }
}
