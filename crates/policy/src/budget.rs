//! Budgets as rules: what an operator wrote, checked as a whole and made ready for the accounts that it caps.

use tollgate_types::budget::{BUDGETS_MAX, RAISES_MAX, Then};
use tollgate_types::job::NAME_BYTES_MAX;
use tollgate_types::{Budget, NanoUsd, Raise, Scope, Target, UnixMillis, Usd, WhenSpent};

use crate::account::{Caps, Pot};
use crate::window::{Window, WindowError};

/// The highest cap, with all its raises: a billion dollars in one window is a typing error.
pub const CAP_MAX: NanoUsd = NanoUsd(1_000_000_000 * 1_000_000_000);
/// The longest that a raise may hold; what lasts longer is another cap.
const RAISE_MS_MAX: i64 = 400 * 86_400_000;
/// The longest reason of a raise, in bytes: it is kept in the owner's record.
const REASON_BYTES_MAX: usize = 1024;

/// A budget that has been checked, with its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name of its window, which tells it apart in an account: [`Budget::window_id`].
    pub id: String,
    /// When its windows begin and end.
    pub window: Window,
    /// What the operator wrote.
    pub budget: Budget,
    /// When that was stored, by the server's clock: of two processes that know different caps the later one is right.
    pub as_of: UnixMillis,
}

/// Why budgets cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// One field of one budget is wrong.
    #[error("budget {budget}: `{field}` {problem}")]
    Field {
        /// Which budget: its target and window.
        budget: String,
        /// The field, as it is written.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// Two budgets have one name.
    #[error("budget {0} is there twice; keep one of the two, or give them different windows")]
    Twice(String),
    /// There are more than an account can hold.
    #[error("{0} budgets are more than the {BUDGETS_MAX} that one owner may have; remove some")]
    TooMany(usize),
}

impl Rule {
    /// Checks a budget that was stored at `as_of`.
    ///
    /// # Errors
    /// Names the first field that is wrong, and what would be right.
    pub fn new(budget: &Budget, as_of: UnixMillis) -> Result<Rule, BudgetError> {
        let wrong =
            |(field, problem): (&'static str, String)| BudgetError::Field { budget: name(budget), field, problem };
        let window = Window::parse(&budget.window, &budget.time_zone).map_err(|error| {
            let field = match error {
                WindowError::Unknown(_) | WindowError::Length(_) => "window",
                WindowError::Zone(_) | WindowError::Spelling(..) => "time_zone",
            };
            wrong((field, format!("does not do: {error}")))
        })?;
        check_caps(budget).map_err(wrong)?;
        check_downgrade(budget).map_err(wrong)?;
        check_alerts(&budget.alert_percent).map_err(wrong)?;
        budget.raises.iter().try_for_each(check_raise).map_err(wrong)?;
        Ok(Rule { id: budget.window_id(), window, budget: budget.clone(), as_of })
    }

    /// The caps at `now`.
    pub(crate) fn caps_at(&self, now: UnixMillis) -> Caps {
        let cap = self.budget.cap_at(now);
        match self.budget.when_spent {
            WhenSpent::Downgrade => {
                Caps::Apart { main: cap, downgraded: self.budget.downgrade_cap_usd.map(|Usd(cap)| cap) }
            }
            WhenSpent::Wait | WhenSpent::Reject => Caps::Together(cap),
        }
    }

    /// The highest cap of a pot from `now` on, with the raises that are known to come; `None` is no cap.
    pub(crate) fn highest_cap(&self, pot: Pot, now: UnixMillis) -> Option<NanoUsd> {
        let starts = self.budget.raises.iter().map(|raise| raise.from).filter(|&from| from > now);
        starts.chain([now]).filter_map(|at| self.caps_at(at).cap_of(pot)).max()
    }
}

/// Checks the budgets of one owner together.
///
/// # Errors
/// Names the first budget that is wrong, or two that are the same.
pub fn check_budgets(budgets: &[Budget]) -> Result<(), BudgetError> {
    if budgets.len() > BUDGETS_MAX {
        return Err(BudgetError::TooMany(budgets.len()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for budget in budgets {
        Rule::new(budget, UnixMillis::default())?;
        if !seen.insert((&budget.on, budget.window_id())) {
            return Err(BudgetError::Twice(name(budget)));
        }
    }
    Ok(())
}

/// The rules for one scope, out of the budgets of its owner, which were stored at `as_of`: the organisation's for the
/// organisation, else its team's.
///
/// All of them hold, but of two with the same window the one that names the scope goes before the one for each
/// (`user:*`): that is how one user gets more, or less, than the others.
///
/// # Errors
/// Names the first of them that is wrong; budgets that [`check_budgets`] passed are not.
pub fn rules_for(budgets: &[Budget], as_of: UnixMillis, scope: &Scope) -> Result<Vec<Rule>, BudgetError> {
    let covering = |budget: &&Budget| budget.on.covers(scope);
    let named = budgets.iter().filter(covering).filter(|budget| !is_for_each(&budget.on));
    let for_each = budgets.iter().filter(covering).filter(|budget| is_for_each(&budget.on));
    let mut rules: Vec<Rule> = Vec::new();
    for budget in named.chain(for_each) {
        let id = budget.window_id();
        if rules.iter().all(|rule| rule.id != id) {
            rules.push(Rule::new(budget, as_of)?);
        }
    }
    Ok(rules)
}

fn is_for_each(target: &Target) -> bool {
    match target {
        Target::Owner => false,
        Target::Project(name) | Target::User(name) | Target::Key(name) => name.is_none(),
    }
}

/// What a budget is called in messages, cut so that they stay a line.
fn name(budget: &Budget) -> String {
    let window: String = budget.window_id().chars().take(96).collect();
    let target: String = budget.on.to_string().chars().take(96).collect();
    format!("on {target:?} for {window:?}")
}

type Wrong = (&'static str, String);

fn check_caps(budget: &Budget) -> Result<(), Wrong> {
    let amount = |field, Usd(amount): Usd| match amount {
        NanoUsd(..0) => Err((field, format!("is {amount}; write an amount of at least 0"))),
        _ if amount > CAP_MAX => Err((field, format!("is {amount}; write at most {}", Usd(CAP_MAX)))),
        _ => Ok(()),
    };
    amount("cap_usd", budget.cap_usd)?;
    budget.downgrade_cap_usd.map_or(Ok(()), |cap| amount("downgrade_cap_usd", cap))?;
    let raises = &budget.raises;
    if raises.len() > RAISES_MAX {
        let problem = format!("has {} raises; at most {RAISES_MAX} are kept, remove expired ones", raises.len());
        return Err(("raises", problem));
    }
    let raised = raises.iter().map(|raise| raise.amount_usd.0).sum::<NanoUsd>() + budget.cap_usd.0;
    if raised > CAP_MAX {
        return Err(("raises", format!("come to {raised} with the cap; together they may be {}", Usd(CAP_MAX))));
    }
    Ok(())
}

fn check_downgrade(budget: &Budget) -> Result<(), Wrong> {
    let only = |field| Err((field, "is for `when_spent = \"downgrade\"` only; leave it out".to_owned()));
    match (budget.when_spent, &budget.downgrade_to) {
        (WhenSpent::Downgrade, None) => Err(("downgrade_to", "is missing; name the cheaper model".to_owned())),
        (WhenSpent::Downgrade, Some(model)) if model.is_empty() || model.len() > NAME_BYTES_MAX => {
            Err(("downgrade_to", format!("has {} bytes; name a model in 1 to {NAME_BYTES_MAX}", model.len())))
        }
        (WhenSpent::Downgrade, Some(_)) => Ok(()),
        (WhenSpent::Wait | WhenSpent::Reject, Some(_)) => only("downgrade_to"),
        (WhenSpent::Wait | WhenSpent::Reject, None) if budget.downgrade_cap_usd.is_some() => only("downgrade_cap_usd"),
        (WhenSpent::Wait | WhenSpent::Reject, None) => match budget.then {
            Then::Wait => Ok(()),
            Then::Reject => only("then"),
        },
    }
}

fn check_alerts(percents: &[u8]) -> Result<(), Wrong> {
    if percents.first() == Some(&0) || !percents.is_sorted_by(|a, b| a < b) {
        let problem = format!("is {percents:?}; write different percentages from 1 to 255, the lowest first");
        return Err(("alert_percent", problem));
    }
    Ok(())
}

fn check_raise(raise: &Raise) -> Result<(), Wrong> {
    let wrong = |problem: String| Err(("raises", problem));
    if raise.amount_usd.0 <= NanoUsd::ZERO {
        return wrong(format!("hold {}; a raise is more than 0", raise.amount_usd.0));
    }
    if raise.until <= raise.from {
        let (from, until) = (raise.from.to_rfc3339(), raise.until.to_rfc3339());
        return wrong(format!("hold one from {from} until {until}; its end must be later than its start"));
    }
    if raise.until.0.saturating_sub(raise.from.0) > RAISE_MS_MAX {
        return wrong("hold one for more than 400 days; change `cap_usd` instead".to_owned());
    }
    if raise.author.is_empty() || raise.author.len() > NAME_BYTES_MAX {
        return wrong(format!("hold one whose author is not named in 1 to {NAME_BYTES_MAX} bytes"));
    }
    if raise.reason.len() > REASON_BYTES_MAX {
        return wrong(format!("hold one whose reason is longer than {REASON_BYTES_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(json: &str) -> Budget {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_budget_that_makes_no_sense_is_refused_with_field_and_fix() {
        let check = |json: &str, says: &[&str]| {
            let message = Rule::new(&budget(json), UnixMillis::default()).unwrap_err().to_string();
            assert!(says.iter().all(|part| message.contains(part)), "{json}: {message}");
        };
        check(r#"{"window":"year","cap_usd":1}"#, &[r#"on "owner" for "year""#, "`window`", "month"]);
        check(r#"{"window":"day","cap_usd":1,"time_zone":"Mars"}"#, &["`time_zone`", "Europe/Berlin"]);
        check(r#"{"window":"day","cap_usd":1000000001}"#, &["`cap_usd`", "at most 1000000000"]);
        check(
            r#"{"window":"day","cap_usd":1,"when_spent":"downgrade"}"#,
            &["`downgrade_to`", "name the cheaper model"],
        );
        check(
            r#"{"window":"day","cap_usd":1,"when_spent":"downgrade","downgrade_to":""}"#,
            &["`downgrade_to`", "1 to 256"],
        );
        check(r#"{"window":"day","cap_usd":1,"downgrade_to":"m"}"#, &["`downgrade_to`", "leave it out"]);
        check(r#"{"window":"day","cap_usd":1,"downgrade_cap_usd":1}"#, &["`downgrade_cap_usd`", "leave it out"]);
        check(r#"{"window":"day","cap_usd":1,"when_spent":"reject","then":"reject"}"#, &["`then`", "leave it out"]);
        for percents in ["[0]", "[50,50]", "[80,50]"] {
            check(
                &format!(r#"{{"window":"day","cap_usd":1,"alert_percent":{percents}}}"#),
                &["`alert_percent`", "lowest first"],
            );
        }
        let raised = |raise: &str| format!(r#"{{"window":"day","cap_usd":"999999999","raises":[{raise}]}}"#);
        check(&raised(r#"{"amount_usd":0,"from":1,"until":2,"author":"a"}"#), &["`raises`", "more than 0"]);
        check(&raised(r#"{"amount_usd":2,"from":1,"until":2,"author":"a"}"#), &["`raises`", "together"]);
        check(&raised(r#"{"amount_usd":1,"from":2,"until":2,"author":"a"}"#), &["`raises`", "later than its start"]);
        check(
            &raised(r#"{"amount_usd":1,"from":0,"until":9223372036854775807,"author":"a"}"#),
            &["`raises`", "`cap_usd`"],
        );
        check(&raised(r#"{"amount_usd":1,"from":1,"until":2,"author":""}"#), &["`raises`", "author"]);
    }

    #[test]
    fn amounts_below_zero_are_refused_even_where_the_wire_form_let_them_pass() {
        let mut negative = budget(r#"{"window":"day","cap_usd":1}"#);
        negative.cap_usd = Usd(NanoUsd(-1));
        assert!(Rule::new(&negative, UnixMillis::default()).unwrap_err().to_string().contains("at least 0"));
    }

    #[test]
    fn budgets_of_one_owner_are_checked_together() {
        let each = |windows: &[&str]| -> Vec<Budget> {
            windows.iter().map(|window| budget(&format!(r#"{{"window":"{window}","cap_usd":1}}"#))).collect()
        };
        assert_eq!(check_budgets(&each(&["day", "week", "rolling 24h"])), Ok(()));
        assert!(check_budgets(&each(&["day", "day"])).unwrap_err().to_string().contains("twice"));
        let minutes: Vec<String> = (1..=33).map(|minutes| format!("rolling {minutes}m")).collect();
        let minutes: Vec<&str> = minutes.iter().map(String::as_str).collect();
        assert_eq!(check_budgets(&each(&minutes)), Err(BudgetError::TooMany(33)));
        let mut same = each(&["day", "day"]);
        same[1].time_zone = "Europe/Berlin".into();
        assert_eq!(check_budgets(&same), Ok(()), "another zone is another window");
        same[1].time_zone = "UTC".into();
        same[1].on = "user:*".parse().unwrap();
        assert_eq!(check_budgets(&same), Ok(()), "another target is another budget");
    }

    #[test]
    fn the_budget_that_names_a_user_goes_before_the_one_for_each() {
        let budgets = [
            budget(r#"{"on":"user:*","window":"day","cap_usd":1}"#),
            budget(r#"{"on":"user:ann","window":"day","cap_usd":5}"#),
            budget(r#"{"on":"user:*","window":"month","cap_usd":9}"#),
            budget(r#"{"window":"day","cap_usd":100}"#),
        ];
        let check = |scope: &str, expected: &[(&str, &str)]| {
            let rules = rules_for(&budgets, UnixMillis::default(), &scope.parse().unwrap()).unwrap();
            let found: Vec<_> = rules.iter().map(|rule| (rule.id.as_str(), rule.budget.cap_usd.to_string())).collect();
            let found: Vec<_> = found.iter().map(|(id, cap)| (*id, cap.as_str())).collect();
            assert_eq!(found, expected, "{scope}");
        };
        check("user:a/ann", &[("day", "5"), ("month", "9")]);
        check("user:a/bob", &[("day", "1"), ("month", "9")]);
        check("team:a", &[("day", "100")]);
        check("project:a/x", &[]);
    }
}
