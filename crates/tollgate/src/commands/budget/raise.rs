//! `budget raise`: more money for a while, with who and why.

use tollgate_types::budget::RAISES_MAX;
use tollgate_types::{Budget, Raise, Scope, UnixMillis, Usd};

use super::{Done, change, find};
use crate::accounts::{dollars, owner_of};
use crate::commands::{Cx, span};
use crate::config::values::Period;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("length").args(["lasts", "until", "end"]).required(true)))]
pub(super) struct Args {
    /// Whose money it is
    #[arg(value_name = "SCOPE")]
    scope: Scope,
    /// Which of its budgets, if there are several
    #[arg(long, value_name = "WINDOW")]
    window: Option<String>,
    /// By how much, in dollars
    #[arg(long = "by", value_name = "DOLLARS", allow_negative_numbers = true, required_unless_present = "end")]
    amount: Option<Usd>,
    /// For how long, such as 2h
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<Period>,
    /// Until when, such as 2026-12-01 or 2026-12-01T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = span::point)]
    until: Option<UnixMillis>,
    /// End every raise of the budget now
    #[arg(long, conflicts_with = "amount")]
    end: bool,
    #[command(flatten)]
    pub(super) by: By,
}

pub(super) async fn run(args: &Args, operator: &Operator, cx: &Cx) -> Outcome {
    let (team, on) = owner_of(&args.scope);
    let now = operator.now();
    let raise = args.raise(now, operator);
    let window = |budgets: &[Budget]| -> Result<usize, Failure> {
        let of_scope: Vec<usize> = (0..budgets.len()).filter(|&at| budgets[at].on == on).collect();
        let missing = || {
            let what = format!("{} has no such budget", args.scope);
            Failure::new(Code::Failed, what).try_this("look at `tollgate budget list`")
        };
        match (&args.window, &of_scope[..]) {
            (Some(window), _) => find(budgets, &on, window, None)?.ok_or_else(missing),
            (None, [one]) => Ok(*one),
            (None, []) => Err(missing()),
            (None, several) => {
                let names: Vec<String> = several.iter().map(|&at| budgets[at].window_id()).collect();
                let failure = Failure::new(Code::Usage, format!("{} has several budgets", args.scope));
                Err(failure.try_this(format!("name one of them with --window: {}", names.join(", "))))
            }
        }
    };
    let edit = |budgets: &mut Vec<Budget>| {
        let at = window(budgets)?;
        edit(&mut budgets[at], raise.as_ref(), now)
    };
    let done = change::budgets(operator, team.as_ref(), "budget raise", edit).await?;
    let budget = done.after[window(&done.after)?].clone();
    let mut changes: Vec<String> = done.changes.into_iter().map(|change| change.what).collect();
    changes.push(format!("the cap is {} now", dollars(budget.cap_at(now))));
    let change = match (args.end, changes.len()) {
        (_, 1) => "unchanged",
        (true, _) => "raises ended",
        (false, _) => "raised",
    };
    let window = budget.window_id();
    let done = Done { scope: args.scope.clone(), window, change, changes, budget: Some(budget) };
    cx.output.record(&done, Done::text)?;
    Ok(Code::Ok)
}

impl Args {
    fn raise(&self, now: UnixMillis, operator: &Operator) -> Option<Raise> {
        let until = self.lasts.map(|lasts| now.plus(lasts.0)).or(self.until);
        let (amount_usd, until) = self.amount.zip(until)?;
        let (author, reason) = (operator.author().to_owned(), operator.reason().to_owned());
        Some(Raise { amount_usd, from: now, until, author, reason })
    }
}

/// Adds a raise, or ends those that hold. Expired ones make room; the audit remembers them.
///
/// A raise that is there already is not added again: the swap whose answer was lost is repeated on what it wrote.
fn edit(budget: &mut Budget, raise: Option<&Raise>, now: UnixMillis) -> Result<(), Failure> {
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
        edit(&mut budget, Some(&raise(10)), UnixMillis(0)).expect("there is room");
        edit(&mut budget, Some(&raise(10)), UnixMillis(0)).expect("it is there already");
        assert_eq!(budget.raises, [raise(10)]);
        edit(&mut budget, Some(&raise(20)), UnixMillis(10)).expect("there is room");
        assert_eq!(budget.raises, [raise(20)]);
        edit(&mut budget, None, UnixMillis(11)).expect("they end");
        assert!(budget.raises.is_empty());
    }

    #[test]
    fn there_is_an_end_to_raises() {
        let mut budget = budget();
        for until in 1..=RAISES_MAX {
            edit(&mut budget, Some(&raise(until as i64)), UnixMillis(0)).expect("there is room");
        }
        let refused = edit(&mut budget, Some(&raise(99)), UnixMillis(0)).expect_err("there is none");
        assert!(refused.reason().contains("16 raises hold already"));
    }
}
