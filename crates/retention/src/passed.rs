//! How far the settler and the sink are: what lies behind both may be removed.

use tollgate_queue::commit_log::CommitLog;
use tollgate_queue::state::{State, StateError};
use tollgate_queue::tombs::Passed;
use tollgate_settler::Progress;
use tollgate_sink::{ProgressError, SinkProgress};

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
    let sink = SinkProgress::read(state).await?;
    let sunk = sink.map(|sink| if sink.stream == log.identity() { sink.committed_seq } else { 0 });
    Ok(Passed { settled, sunk })
}
