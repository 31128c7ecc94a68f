//! Notes: what a job tells the fair order of its cost, while it runs.
//!
//! A lane is charged what its jobs cost lately when a slot is granted, what the job is expected to cost once it was
//! read, and what it did cost once it was called.

use std::time::Instant;

use tokio::sync::mpsc;
use tollgate_policy::order::{self, Cost};
use tollgate_types::{AttemptRecord, Tokens};

/// A correction of what a lane was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// The lane's number on the board.
    pub(crate) lane: usize,
    /// By how much.
    pub(crate) by: i64,
}

/// Corrections that wait for the dispatcher; more than this and a job tells its whole difference at its end.
pub(crate) const NOTES_MAX: usize = 4096;

/// The notes of one job.
#[derive(Debug)]
pub(crate) struct Notes {
    lane: usize,
    charged: Cost,
    cost: Option<Cost>,
    since: Instant,
    to: mpsc::Sender<Note>,
}

impl Notes {
    /// For a job of a lane that was charged so much.
    pub(crate) fn new(lane: usize, charged: Cost, to: mpsc::Sender<Note>) -> Notes {
        Notes { lane, charged, cost: None, since: Instant::now(), to }
    }

    /// The job was read: it is expected to cost so much.
    pub(crate) fn expected(&mut self, cost: Cost) {
        self.tell(cost);
    }

    /// The job was called: this is what it used.
    pub(crate) fn used(&mut self, attempts: &[AttemptRecord]) {
        let tokens: Tokens = attempts.iter().fold(Tokens::default(), |sum, attempt| sum + attempt.tokens);
        // A job that held its slot and used nothing, such as one that timed out, is not free: else its lane would stay
        // first for ever.
        let cost = order::cost(&tokens).max(order::cost_of_time(self.since.elapsed()));
        self.cost = Some(cost);
        self.tell(cost);
    }

    /// What the job came to, if it was called.
    pub(crate) fn cost(&self) -> Option<Cost> {
        self.cost
    }

    fn tell(&mut self, cost: Cost) {
        let signed = |cost: Cost| i64::try_from(cost).unwrap_or(i64::MAX);
        let by = signed(cost).saturating_sub(signed(self.charged));
        // A full channel loses nothing: what was charged stays as it was told last.
        if by != 0 && self.to.try_send(Note { lane: self.lane, by }).is_ok() {
            self.charged = cost;
        }
    }
}

impl Drop for Notes {
    /// A job that was never called costs nothing: it was parked, refused, or answered from the log.
    fn drop(&mut self) {
        if self.cost.is_none() {
            self.tell(0);
        }
    }
}
