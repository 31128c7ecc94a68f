//! How a run ends: one of these reaches the commit, whatever happened before.

use tollgate_providers::Answer;
use tollgate_types::{AttemptRecord, ErrorCode, Rejection, Status};

/// The end of a job, with what was spent on the way.
#[derive(Debug)]
pub(crate) struct End {
    /// How.
    pub(crate) outcome: Outcome,
    /// The calls that were made, in order.
    pub(crate) attempts: Vec<AttemptRecord>,
}

/// What the producer gets.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The provider's answer.
    Answered(Box<Answer>, String),
    /// A reason.
    Refused(ErrorCode, String),
}

impl Outcome {
    /// How the job ended.
    pub(crate) fn status(&self) -> Status {
        match self {
            Outcome::Answered(..) => Status::Succeeded,
            Outcome::Refused(code, _) => code.status(),
        }
    }

    /// Why it did not succeed.
    pub(crate) fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Outcome::Answered(..) => None,
            Outcome::Refused(code, _) => Some(*code),
        }
    }
}

impl End {
    /// An end before anything was spent.
    pub(crate) fn refused(code: ErrorCode, message: impl Into<String>) -> End {
        End { outcome: Outcome::Refused(code, message.into()), attempts: Vec::new() }
    }

    /// Why the job's bytes are kept as a dead letter, if they are: nobody could run it, and it may be replayed.
    pub(crate) fn dead_letter(&self, decoded: bool) -> Option<ErrorCode> {
        match &self.outcome {
            Outcome::Refused(code, _) if leaves_a_letter(*code) => Some(*code),
            Outcome::Refused(code, _) if !decoded => Some(*code),
            Outcome::Answered(..) | Outcome::Refused(..) => None,
        }
    }
}

/// Whether a job that was a job and ended so is kept as a dead letter.
pub(crate) fn leaves_a_letter(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Poison | ErrorCode::UnknownTeam)
}

impl From<Rejection> for End {
    fn from(rejection: Rejection) -> End {
        End::refused(rejection.code, rejection.message)
    }
}
