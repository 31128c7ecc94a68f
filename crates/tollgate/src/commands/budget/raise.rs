//! `budget raise`: more money for a while, with who and why.

use tollgate_operate::budgets::{self, raise_cap, the_one};
use tollgate_types::{Budget, Raise, Scope, UnixMillis, Usd};

use super::Done;
use crate::accounts::{dollars, owner_of};
use crate::commands::{Cx, span};
use crate::config::values::Period;
use crate::exit::{Code, Outcome};
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
    let (team, _) = owner_of(&args.scope);
    let now = operator.now();
    let raise = args.raise(now, operator);
    let window = |budgets: &[Budget]| the_one(budgets, &args.scope, args.window.as_deref());
    let edit = |budgets: &mut Vec<Budget>| {
        let at = window(budgets)?;
        raise_cap(&mut budgets[at], raise.as_ref(), now)
    };
    let done = budgets::change(operator, team.as_ref(), "budget raise", edit).await?;
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
