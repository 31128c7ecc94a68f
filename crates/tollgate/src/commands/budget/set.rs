//! `budget set`: one budget, made, changed or removed.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tollgate_operate::budgets::{self, find};
use tollgate_types::budget::Then;
use tollgate_types::{Budget, Scope, Target, Usd, WhenSpent};

use super::Done;
use crate::accounts::owner_of;
use crate::commands::Cx;
use crate::config::Config;
use crate::config::check::Served;
use crate::exit::{Code, Failure, Outcome};
use crate::live::{By, Operator};
use crate::output;

/// The flags; what is left out stays as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whose money it is
    #[arg(value_name = "SCOPE")]
    scope: Scope,
    /// hour, day, week, month, or rolling with a length, such as "rolling 24h"
    #[arg(long, value_name = "WINDOW")]
    window: String,
    /// Where the window begins, such as Europe/Berlin; UTC for a new budget
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// The most that one window may cost, in dollars
    #[arg(long, value_name = "DOLLARS", allow_negative_numbers = true)]
    cap: Option<Usd>,
    /// What happens to a job that does not fit any more
    #[arg(long, value_name = "POLICY", value_parser = PossibleValuesParser::new(["wait", "downgrade", "reject"]).map(when_spent))]
    when_spent: Option<WhenSpent>,
    /// With downgrade: the cheaper model
    #[arg(long, value_name = "MODEL")]
    downgrade_to: Option<String>,
    /// With downgrade: the most that the cheaper model may cost, beside the cap; `none` for no limit
    #[arg(long, value_name = "DOLLARS|none", value_parser = or_none::<Usd>)]
    downgrade_cap: Option<OrNone<Usd>>,
    /// With downgrade: what happens when the cheaper model may not serve either
    #[arg(long, value_name = "POLICY", value_parser = PossibleValuesParser::new(["wait", "reject"]).map(then))]
    then: Option<Then>,
    /// Percentages of the cap at which an alert is sent, such as 50,80,100; `none` for none
    #[arg(long, value_name = "PERCENT,…|none", value_parser = alerts)]
    alert: Option<Alerts>,
    /// Remove the budget, with its raises
    #[arg(long, conflicts_with_all = ["cap", "when_spent", "downgrade_to", "downgrade_cap", "then", "alert"])]
    remove: bool,
    #[command(flatten)]
    pub(super) by: By,
}

/// A value, or that there is to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrNone<T> {
    Value(T),
    None,
}

impl<T: Copy> OrNone<T> {
    fn value(self) -> Option<T> {
        match self {
            OrNone::Value(value) => Some(value),
            OrNone::None => None,
        }
    }
}

fn or_none<T: std::str::FromStr>(text: &str) -> Result<OrNone<T>, T::Err> {
    if text == "none" { Ok(OrNone::None) } else { text.parse().map(OrNone::Value) }
}

/// Percentages, the lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alerts(Vec<u8>);

fn alerts(text: &str) -> Result<Alerts, String> {
    if text == "none" {
        return Ok(Alerts(Vec::new()));
    }
    let percent = |text: &str| text.trim().trim_end_matches('%').parse::<u8>();
    let percents: Result<Vec<u8>, _> = text.split(',').map(percent).collect();
    percents.map(Alerts).map_err(|_| format!("'{text}' is not a list of percentages up to 255 such as 50,80,100"))
}

fn when_spent(text: String) -> WhenSpent {
    match text.as_str() {
        "downgrade" => WhenSpent::Downgrade,
        "reject" => WhenSpent::Reject,
        _ => WhenSpent::Wait,
    }
}

fn then(text: String) -> Then {
    if text == "reject" { Then::Reject } else { Then::Wait }
}

pub(super) async fn run(args: &Args, operator: &Operator, config: &Config, cx: &Cx) -> Outcome {
    served(args.downgrade_to.as_deref(), config)?;
    let (team, on) = owner_of(&args.scope);
    let edit = |budgets: &mut Vec<Budget>| args.edit(budgets, &on);
    let done = budgets::change(operator, team.as_ref(), "budget set", edit).await?;
    let budget = |budgets: &[Budget]| {
        find(budgets, &on, &args.window, args.zone.as_deref()).map(|at| at.map(|at| budgets[at].clone()))
    };
    let (before, after) = (budget(&done.before)?, budget(&done.after)?);
    let change = match (&before, &after) {
        _ if done.changes.is_empty() => "unchanged",
        (None, _) => "created",
        (Some(_), Some(_)) => "updated",
        (Some(_), None) => "removed",
    };
    let window = after.as_ref().or(before.as_ref()).map_or_else(|| args.window.clone(), Budget::window_id);
    let changes = done.changes.into_iter().map(|change| change.what).collect();
    let done = Done { scope: args.scope.clone(), window, change, changes, budget: after };
    cx.output.record(&done, Done::text)?;
    Ok(Code::Ok)
}

/// A cheaper model that nobody serves would be no policy at all.
fn served(model: Option<&str>, config: &Config) -> Result<(), Failure> {
    let (Some(model), served) = (model, Served::by(config)) else { return Ok(()) };
    if let Some(reason) = served.refuses(model) {
        return Err(Failure::new(Code::Usage, format!("nothing was changed: --downgrade-to: {reason}")));
    }
    if !served.is_known() {
        output::say("warning: this configuration serves no model, so it is not known whether anything serves that one");
    }
    Ok(())
}

impl Args {
    fn edit(&self, budgets: &mut Vec<Budget>, on: &Target) -> Result<(), Failure> {
        let found = find(budgets, on, &self.window, self.zone.as_deref())?;
        match (found, self.remove) {
            (Some(at), true) => drop(budgets.remove(at)),
            (None, true) => {
                let failure = Failure::new(Code::Failed, format!("{} has no budget for {}", self.scope, self.window));
                return Err(failure.try_this("look at `tollgate budget list`"));
            }
            (Some(at), false) => self.lay_over(&mut budgets[at]),
            (None, false) => {
                let mut budget = self.fresh(on)?;
                self.lay_over(&mut budget);
                budgets.push(budget);
            }
        }
        Ok(())
    }

    fn fresh(&self, on: &Target) -> Result<Budget, Failure> {
        let Some(cap_usd) = self.cap else {
            let what = format!("{} has no budget for {} yet, and a new one needs --cap", self.scope, self.window);
            return Err(Failure::new(Code::Usage, what).try_this("look at `tollgate budget list`"));
        };
        let (window, zone) = self.window.split_once('@').unwrap_or((&self.window, "UTC"));
        Ok(Budget {
            on: on.clone(),
            window: window.to_owned(),
            time_zone: self.zone.clone().unwrap_or_else(|| zone.to_owned()),
            cap_usd,
            when_spent: WhenSpent::default(),
            downgrade_to: None,
            downgrade_cap_usd: None,
            then: Then::default(),
            alert_percent: Vec::new(),
            raises: Vec::new(),
        })
    }

    fn lay_over(&self, budget: &mut Budget) {
        budget.cap_usd = self.cap.unwrap_or(budget.cap_usd);
        budget.when_spent = self.when_spent.unwrap_or(budget.when_spent);
        if self.when_spent.is_some_and(|policy| policy != WhenSpent::Downgrade) {
            // They belong to the policy that was just replaced.
            (budget.downgrade_to, budget.downgrade_cap_usd, budget.then) = (None, None, Then::default());
        }
        budget.downgrade_to = self.downgrade_to.clone().or_else(|| budget.downgrade_to.take());
        budget.downgrade_cap_usd = self.downgrade_cap.map_or(budget.downgrade_cap_usd, OrNone::value);
        budget.then = self.then.unwrap_or(budget.then);
        if let Some(Alerts(percents)) = &self.alert {
            budget.alert_percent = percents.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn edited(budgets: &str, flags: &str) -> Result<String, String> {
        let line = Line::try_parse_from(std::iter::once("set").chain(flags.split(' '))).map_err(|e| e.to_string())?;
        let mut budgets: Vec<Budget> = serde_json::from_str(budgets).expect("budgets");
        let (_, on) = owner_of(&line.args.scope);
        line.args.edit(&mut budgets, &on).map_err(|failure| failure.reason())?;
        Ok(serde_json::to_string(&budgets).expect("budgets are texts and numbers"))
    }

    #[test]
    fn a_budget_is_made_changed_and_removed() {
        let check = |before: &str, flags: &str, after: &str| {
            assert_eq!(edited(before, flags).as_deref(), Ok(after), "{flags}");
        };
        let cap = r#"[{"window":"day","cap_usd":"100"}]"#;
        check("[]", "team:a --window day --cap 100", cap);
        check(
            cap,
            "team:a --window day --cap 12.5 --alert 50,80",
            r#"[{"window":"day","cap_usd":"12.5","alert_percent":[50,80]}]"#,
        );
        let down = r#"[{"window":"day","cap_usd":"100","when_spent":"downgrade","downgrade_to":"mini","downgrade_cap_usd":"5"}]"#;
        check(cap, "team:a --window day --when-spent downgrade --downgrade-to mini --downgrade-cap 5", down);
        check(down, "team:a --window day --when-spent wait", cap);
        check(down, "team:a --window day --downgrade-cap none", &down.replace(r#","downgrade_cap_usd":"5""#, ""));
        check(cap, "team:a --window day --remove", "[]");
        check(
            "[]",
            "user:a/* --window hour@Europe/Berlin --cap 1",
            r#"[{"on":"user:*","window":"hour","time_zone":"Europe/Berlin","cap_usd":"1"}]"#,
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (flags, expected) in [
            ("team:a --window day", "needs --cap"),
            ("team:a --window day --remove", "has no budget for day"),
            ("team:a --window day --cap NaN", "'NaN' is not an amount of dollars"),
            ("team:a --window day --cap -5", "'-5' is not an amount of dollars"),
            ("team:a --window day --cap 1e400", "'1e400' is not an amount of dollars"),
            ("team:a --window day --cap 1 --when-spent panic", "possible values: wait, downgrade, reject"),
            ("team:a --window day --cap 1 --alert 500", "'500' is not a list of percentages"),
            ("planet:a --window day --cap 1", "is not a scope"),
            ("team:a --window day --remove --cap 1", "cannot be used with"),
        ] {
            let said = edited("[]", flags).expect_err(flags);
            assert!(said.contains(expected), "{flags}: {said}");
        }
    }
}
