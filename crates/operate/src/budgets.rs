//! Changes of one owner's budgets, whoever the owner is.

use tollgate_queue::directory::{Organisation, TeamRecord};
use tollgate_types::budget::RAISES_MAX;
use tollgate_types::{Budget, Raise, Scope, Target, Team, UnixMillis};

use crate::accounts::owner_of;
use crate::exit::{Code, Failure};
use crate::live::diff::Change;
use crate::live::{Everybody, Operator};

/// The budgets of before and of now, and what is different.
pub struct Changed {
    /// The budgets of before.
    pub before: Vec<Budget>,
    /// Those of now.
    pub after: Vec<Budget>,
    /// What is different.
    pub changes: Vec<Change>,
}

/// Edits the budgets of a team, or of everybody; `edit` is asked again if somebody else changed them meanwhile.
///
/// # Errors
/// What `edit` says, with nothing changed; that the team is not registered; what cannot be written.
pub async fn change(
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

/// Finds the budget of a scope that is meant: by its window, or the only one.
///
/// # Errors
/// There is none, or there are several.
pub fn the_one(budgets: &[Budget], scope: &Scope, window: Option<&str>) -> Result<usize, Failure> {
    let (_, on) = owner_of(scope);
    let of_scope: Vec<usize> = (0..budgets.len()).filter(|&at| budgets[at].on == on).collect();
    let missing = || {
        let failure = Failure::new(Code::Failed, format!("{scope} has no such budget"));
        failure.try_this("look at `tollgate budget list`")
    };
    match (window, &of_scope[..]) {
        (Some(window), _) => find(budgets, &on, window, None)?.ok_or_else(missing),
        (None, [one]) => Ok(*one),
        (None, []) => Err(missing()),
        (None, several) => {
            let names: Vec<String> = several.iter().map(|&at| budgets[at].window_id()).collect();
            let failure = Failure::new(Code::Usage, format!("{scope} has several budgets"));
            Err(failure.try_this(format!("name one of them with --window: {}", names.join(", "))))
        }
    }
}

/// Finds a budget by its window: its name, or its whole name with the zone, such as `day@Europe/Berlin`.
///
/// # Errors
/// Several have that window.
pub fn find(budgets: &[Budget], on: &Target, window: &str, zone: Option<&str>) -> Result<Option<usize>, Failure> {
    let matches = |budget: &Budget| {
        let by_name = budget.window == window && zone.is_none_or(|zone| budget.time_zone == zone);
        budget.on == *on && (by_name || budget.window_id() == window)
    };
    let found: Vec<usize> = (0..budgets.len()).filter(|&at| matches(&budgets[at])).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let names: Vec<String> = found.iter().map(|&at| budgets[at].window_id()).collect();
            let failure = Failure::new(Code::Usage, format!("several budgets have the window {window}"));
            Err(failure.try_this(format!("name one of them with --window: {}", names.join(", "))))
        }
    }
}

/// Adds a raise, or ends those that hold. Expired ones make room; the audit remembers them.
///
/// A raise that is there already is not added again: the swap whose answer was lost is repeated on what it wrote.
///
/// # Errors
/// As many as there may be hold already.
pub fn raise_cap(budget: &mut Budget, raise: Option<&Raise>, now: UnixMillis) -> Result<(), Failure> {
    match raise {
        None => budget.raises.clear(),
        Some(raise) => {
            budget.raises.retain(|known| known.until > now);
            if budget.raises.contains(raise) {
                return Ok(());
            }
            if budget.raises.len() >= RAISES_MAX {
                let failure = Failure::new(Code::Usage, format!("{RAISES_MAX} raises hold already"));
                return Err(failure.try_this("change the cap with `tollgate budget set`, or end them with --end"));
            }
            budget.raises.push(raise.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(until: i64) -> Raise {
        let amount_usd = "50".parse().expect("dollars");
        Raise { amount_usd, from: UnixMillis(0), until: UnixMillis(until), author: "ann".into(), reason: String::new() }
    }

    fn budget() -> Budget {
        serde_json::from_str(r#"{"window":"day","cap_usd":"10"}"#).expect("a budget")
    }

    #[test]
    fn a_raise_is_added_once_and_expired_ones_go() {
        let mut budget = budget();
        raise_cap(&mut budget, Some(&raise(10)), UnixMillis(0)).expect("there is room");
        raise_cap(&mut budget, Some(&raise(10)), UnixMillis(0)).expect("it is there already");
        assert_eq!(budget.raises, [raise(10)]);
        raise_cap(&mut budget, Some(&raise(20)), UnixMillis(10)).expect("there is room");
        assert_eq!(budget.raises, [raise(20)]);
        raise_cap(&mut budget, None, UnixMillis(11)).expect("they end");
        assert!(budget.raises.is_empty());
    }

    #[test]
    fn there_is_an_end_to_raises() {
        let mut budget = budget();
        for until in 1..=RAISES_MAX {
            raise_cap(&mut budget, Some(&raise(until as i64)), UnixMillis(0)).expect("there is room");
        }
        let refused = raise_cap(&mut budget, Some(&raise(99)), UnixMillis(0)).expect_err("there is none");
        assert!(refused.reason().contains("16 raises hold already"));
    }

    #[test]
    fn a_budget_is_found_by_its_window_and_zone() {
        let json = r#"[{"window":"day","cap_usd":1,"time_zone":"Europe/Berlin"},{"window":"month","cap_usd":1},
            {"window":"month","cap_usd":1,"time_zone":"Europe/Berlin"},{"on":"user:*","window":"day","cap_usd":1}]"#;
        let budgets: Vec<Budget> = serde_json::from_str(json).expect("budgets");
        let found = |window: &str, zone| find(&budgets, &Target::Owner, window, zone);
        assert_eq!(found("day", None).expect("one"), Some(0));
        assert_eq!(found("day@Europe/Berlin", None).expect("one"), Some(0));
        assert_eq!(found("month", Some("UTC")).expect("one"), Some(1));
        assert_eq!(found("day", Some("UTC")).expect("none"), None);
        let both = found("month", None).expect_err("two");
        assert_eq!(both.remedy(), Some("name one of them with --window: month, month@Europe/Berlin"));
    }
}
