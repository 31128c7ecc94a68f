//! A change of one owner's budgets, whoever the owner is.

use tollgate_queue::directory::{Organisation, TeamRecord};
use tollgate_types::{Budget, Team};

use crate::exit::{Code, Failure};
use crate::live::diff::Change;
use crate::live::{Everybody, Operator};

/// The budgets of before and of now, and what is different.
pub(super) struct Changed {
    pub(super) before: Vec<Budget>,
    pub(super) after: Vec<Budget>,
    pub(super) changes: Vec<Change>,
}

/// Edits the budgets of a team, or of everybody; `edit` is asked again if somebody else changed them meanwhile.
pub(super) async fn budgets(
    operator: &Operator,
    team: Option<&Team>,
    command: &str,
    edit: impl Fn(&mut Vec<Budget>) -> Result<(), Failure>,
) -> Result<Changed, Failure> {
    match team {
        Some(team) => {
            let edit = |known: Option<&TeamRecord>| {
                let mut record = known.cloned().ok_or_else(|| unknown(team))?;
                edit(&mut record.budgets)?;
                Ok(record)
            };
            let done = operator.change(team, command, edit).await?;
            let before = done.before.map(|record| record.budgets).unwrap_or_default();
            Ok(Changed { before, after: done.after.budgets, changes: done.changes })
        }
        None => {
            let edit = |known: Option<&Organisation>| {
                let mut record = known.cloned().unwrap_or_default();
                edit(&mut record.budgets)?;
                Ok(record)
            };
            let done = operator.change(&Everybody, command, edit).await?;
            let before = done.before.map(|record| record.budgets).unwrap_or_default();
            Ok(Changed { before, after: done.after.budgets, changes: done.changes })
        }
    }
}

fn unknown(team: &Team) -> Failure {
    let failure = Failure::new(Code::Usage, format!("the team {team} is not registered"));
    failure.try_this(format!("`tollgate team add {team}`, or look at `tollgate team list`"))
}
