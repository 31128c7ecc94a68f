//! The accounts as people read them: where every budget stands.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::Context;
use serde::Serialize;
use tollgate_policy::account::{Account, Purse, Standing};
use tollgate_policy::budget::rules_for;
use tollgate_queue::Directory;
use tollgate_queue::bucket::{Bucket, BucketError};
use tollgate_types::{Budget, NanoUsd, Scope, Target, Team, UnixMillis, Usd, WhenSpent, subjects};

use crate::live::diff::scope_of;

/// The beginning of the keys of account records.
const ACCOUNT: &str = "account.";

/// Every account record that can be read, by scope.
///
/// # Errors
/// The bucket cannot be read.
pub async fn read(context: &Context) -> Result<BTreeMap<Scope, Account>, BucketError> {
    let bucket = Bucket::open(context, subjects::LEDGER_BUCKET).await?;
    let mut accounts = BTreeMap::new();
    for version in bucket.read_all(ACCOUNT).await? {
        match serde_json::from_slice::<Account>(&version.value) {
            Ok(account) => drop(accounts.insert(account.scope().clone(), account)),
            Err(error) => tracing::warn!(key = version.key, %error, "an account is not read"),
        }
    }
    Ok(accounts)
}

/// The budgets of a team, or of everybody.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Whose they are; `None` is everybody.
    pub team: Option<Team>,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// When the server stored them.
    pub as_of: UnixMillis,
}

/// Everybody's budgets, then those of each team, as the live configuration has them.
pub fn owned(directory: &Directory) -> Vec<Owned> {
    let of = |team: Option<Team>| {
        let scope = team.as_ref().map_or(Scope::Organisation, |team| Scope::Team { team: team.to_string() });
        let (budgets, as_of) = directory.budgets_of(&scope);
        Owned { team, budgets, as_of }
    };
    let teams = directory.teams().into_iter().filter_map(|(name, _)| name.parse().ok());
    std::iter::once(None).chain(teams.map(Some)).map(of).collect()
}

/// Where one cap stands. Without sums it is the rule for each of a kind, such as `user:search/*`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Whose money it is.
    pub scope: Scope,
    /// The window.
    pub window: String,
    /// The cheaper model whose money it is, where a budget downgrades; else all money of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The cap now, with raises; nothing is no limit.
    pub cap_nanousd: Option<NanoUsd>,
    /// What results cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_nanousd: Option<NanoUsd>,
    /// What workers hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_nanousd: Option<NanoUsd>,
    /// What is left to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_nanousd: Option<NanoUsd>,
    /// What is settled in percent of the cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// By how much the cap was exceeded in this window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrun_nanousd: Option<NanoUsd>,
    /// When the window began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// When it ends; of a rolling one, when it next moves on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// From when on spend was counted, if the budget is newer than the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What happens when it is spent.
    pub when_spent: WhenSpent,
    /// What becomes of it if things go on like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_this_rate: Option<Projection>,
}

/// What becomes of a cap if spending goes on as it went in this window so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Projection {
    /// What will be settled when the window ends.
    pub at_end_nanousd: NanoUsd,
    /// When the cap will be spent, if that is before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent_at: Option<String>,
}

/// Where every budget stands that an owner has: for each account that it caps, and for what it names.
pub fn lines(owned: &Owned, accounts: &BTreeMap<Scope, Account>, now: UnixMillis) -> Vec<Line> {
    let team = owned.team.as_ref();
    let is_ours = |scope: &&Scope| scope.team() == team.map(Team::as_str);
    let named = owned.budgets.iter().map(|budget| scope_of(team, &budget.on));
    let scopes: BTreeSet<Scope> = named.chain(accounts.keys().filter(is_ours).cloned()).collect();
    let mut lines = Vec::new();
    for scope in scopes {
        if scope.name() == EACH {
            let rules = owned.budgets.iter().filter(|budget| scope_of(team, &budget.on) == scope);
            lines.extend(rules.map(|budget| rule(&scope, budget, now)));
        } else {
            lines.extend(of_scope(&scope, (&owned.budgets, owned.as_of), accounts.get(&scope), now));
        }
    }
    lines
}

/// The name that stands for each.
const EACH: &str = "*";

/// Where the budgets stand that cap one scope, which were stored at some time; without an account nothing was spent.
pub fn of_scope(
    scope: &Scope,
    (budgets, as_of): (&[Budget], UnixMillis),
    account: Option<&Account>,
    now: UnixMillis,
) -> Vec<Line> {
    // Budgets were checked before they were stored; one that was not is no rule.
    let rules = rules_for(budgets, as_of, scope).unwrap_or_default();
    let untouched = Account::open(scope.clone(), "", 0, now, &rules);
    let standing = account.unwrap_or(&untouched).standing(now, &rules);
    let line = |standing: &Standing| {
        let cheaper = rules.iter().find(|rule| rule.id == standing.window);
        let cheaper = cheaper.and_then(|rule| rule.budget.downgrade_to.clone());
        let main = purse(scope, standing, &standing.main, now);
        let downgraded =
            standing.downgraded.as_ref().map(|money| Line { model: cheaper, ..purse(scope, standing, money, now) });
        std::iter::once(main).chain(downgraded)
    };
    standing.iter().flat_map(line).collect()
}

fn purse(scope: &Scope, standing: &Standing, purse: &Purse, now: UnixMillis) -> Line {
    Line {
        scope: scope.clone(),
        window: standing.window.clone(),
        model: None,
        cap_nanousd: purse.cap,
        settled_nanousd: Some(purse.settled),
        held_nanousd: Some(purse.held),
        left_nanousd: purse.left,
        percent: purse.cap.and_then(|cap| percent(purse.settled, cap)),
        overrun_nanousd: Some(purse.overrun),
        starts: Some(standing.starts.to_rfc3339()),
        ends: Some(standing.ends.to_rfc3339()),
        since: standing.since.map(UnixMillis::to_rfc3339),
        when_spent: standing.when_spent,
        at_this_rate: projection(standing, purse, now),
    }
}

/// A rule for each of a kind: every account that it caps has sums of its own.
fn rule(scope: &Scope, budget: &Budget, now: UnixMillis) -> Line {
    Line {
        scope: scope.clone(),
        window: budget.window_id(),
        model: None,
        cap_nanousd: Some(budget.cap_at(now)),
        settled_nanousd: None,
        held_nanousd: None,
        left_nanousd: None,
        percent: None,
        overrun_nanousd: None,
        starts: None,
        ends: None,
        since: None,
        when_spent: budget.when_spent,
        at_this_rate: None,
    }
}

/// To a tenth; nothing of nothing is no percentage.
#[allow(clippy::cast_precision_loss, reason = "a percentage for people, of numbers that were divided before")]
fn percent(part: NanoUsd, whole: NanoUsd) -> Option<f64> {
    let permille = (whole > NanoUsd::ZERO).then(|| i128::from(part.0) * 1000 / i128::from(whole.0))?;
    Some(permille as f64 / 10.0)
}

/// Less than this says nothing about a rate.
const RATE_MS_MIN: i64 = 60_000;

/// Rolling windows have none: what falls off is as much as what comes in, if things go on as they were.
fn projection(standing: &Standing, purse: &Purse, now: UnixMillis) -> Option<Projection> {
    let from = standing.since.unwrap_or(standing.starts).max(standing.starts);
    let (elapsed, ahead) = (now.0.saturating_sub(from.0), standing.ends.0.saturating_sub(now.0));
    if standing.window.starts_with("rolling ") || elapsed < RATE_MS_MIN || purse.settled <= NanoUsd::ZERO {
        return None;
    }
    let times = |amount: i64, by: i64, over: i64| i128::from(amount) * i128::from(by) / i128::from(over);
    let more = i64::try_from(times(purse.settled.0, ahead, elapsed)).unwrap_or(i64::MAX);
    let left = purse.cap.map(|cap| cap - purse.settled).filter(|&left| left > NanoUsd::ZERO);
    let spent_at = left.filter(|left| left.0 < more).map(|left| {
        let in_ms = i64::try_from(times(left.0, elapsed, purse.settled.0)).unwrap_or(i64::MAX);
        UnixMillis(now.0.saturating_add(in_ms)).to_rfc3339()
    });
    Some(Projection { at_end_nanousd: purse.settled + NanoUsd(more), spent_at })
}

impl Line {
    /// The header of [`Line::row`].
    pub const HEADER: [&'static str; 9] = ["scope", "window", "model", "cap", "settled", "held", "left", "%", "ends"];

    /// A row of a table for people.
    pub fn row(&self) -> Vec<String> {
        let none = || "–".to_owned();
        let money = |amount: Option<NanoUsd>| amount.map_or_else(none, dollars);
        let of_sums = |amount| self.settled_nanousd.map_or_else(none, |_| money(amount));
        let no_limit = |amount: Option<NanoUsd>| amount.map_or_else(|| "no limit".to_owned(), dollars);
        vec![
            self.scope.to_string(),
            self.window.clone(),
            self.model.clone().unwrap_or_else(|| "any".to_owned()),
            no_limit(self.cap_nanousd),
            money(self.settled_nanousd),
            money(self.held_nanousd),
            of_sums(self.left_nanousd),
            self.percent.map_or_else(none, |percent| format!("{percent:.1}")),
            self.ends.clone().unwrap_or_else(none),
        ]
    }
}

/// An amount as short as it is exact.
pub fn dollars(amount: NanoUsd) -> String {
    if amount < NanoUsd::ZERO { format!("-${}", Usd(-amount)) } else { format!("${}", Usd(amount)) }
}

/// Whose budgets cap a scope, and which of them: the owner's team and the target. The name `*` means each.
pub fn owner_of(scope: &Scope) -> (Option<Team>, Target) {
    let team = scope.team().map(|team| team.parse().expect("a scope's team is a team"));
    let name = |name: &String| (name != EACH).then(|| name.clone());
    let target = match scope {
        Scope::Organisation | Scope::Team { .. } => Target::Owner,
        Scope::Project { project, .. } => Target::Project(name(project)),
        Scope::User { user, .. } => Target::User(name(user)),
        Scope::Key { key, .. } => Target::Key(name(key)),
    };
    (team, target)
}

#[cfg(test)]
mod tests {
    use tollgate_policy::account::{Ask, Pot};

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn budgets() -> Vec<Budget> {
        let json = r#"[{"window":"day","cap_usd":"10","when_spent":"downgrade","downgrade_to":"mini"},
            {"on":"user:*","window":"hour","cap_usd":"1"},{"on":"project:x","window":"rolling 24h","cap_usd":"2"}]"#;
        serde_json::from_str(json).expect("budgets")
    }

    fn account(scope: &str, held: i64, now: UnixMillis) -> (Scope, Account) {
        let scope: Scope = scope.parse().expect("a scope");
        let rules = rules_for(&budgets(), UnixMillis::default(), &scope).expect("rules");
        let mut account = Account::open(scope.clone(), "log", 0, now, &rules);
        let ask = Ask {
            lease: "w",
            pot: Pot::Main,
            amount: NanoUsd(held),
            until: now.plus(std::time::Duration::from_secs(9)),
        };
        account.take(&ask, now, &rules).expect("it fits");
        (scope, account)
    }

    #[test]
    fn every_account_with_a_budget_and_every_named_rule_has_a_line() {
        let now = UnixMillis(5 * HOUR);
        let accounts = [account("team:a", 500_000_000, now), account("user:a/ann", 1, now), account("team:b", 1, now)];
        let owned =
            Owned { team: Some("a".parse().expect("a team")), budgets: budgets(), as_of: UnixMillis::default() };
        let lines = lines(&owned, &accounts.into(), now);
        let rows: Vec<String> = lines.iter().map(|line| line.row()[..8].join("|")).collect();
        assert_eq!(
            rows,
            [
                "team:a|day|any|$10|$0|$0.5|$9.5|0.0",
                "team:a|day|mini|no limit|$0|$0|–|–",
                "project:a/x|rolling 24h|any|$2|$0|$0|$2|0.0",
                "user:a/*|hour|any|$1|–|–|–|–",
                "user:a/ann|hour|any|$1|$0|$0.000000001|$0.999999999|0.0",
            ]
        );
        assert_eq!(lines[0].ends.as_deref(), Some("1970-01-02T00:00:00Z"));
    }

    #[test]
    fn a_rate_says_when_a_cap_will_be_spent() {
        let check = |settled: i64, since: Option<i64>, window: &str, expected: Option<(i64, Option<&str>)>| {
            let standing = Standing {
                window: window.into(),
                starts: UnixMillis(0),
                ends: UnixMillis(24 * HOUR),
                since: since.map(UnixMillis),
                when_spent: WhenSpent::Wait,
                main: Purse {
                    cap: Some(NanoUsd(1000)),
                    settled: NanoUsd(settled),
                    held: NanoUsd(0),
                    left: None,
                    overrun: NanoUsd(0),
                },
                downgraded: None,
            };
            let found = projection(&standing, &standing.main, UnixMillis(6 * HOUR));
            let found = found.as_ref().map(|p| (p.at_end_nanousd.0, p.spent_at.as_deref()));
            assert_eq!(found, expected);
        };
        check(100, None, "day", Some((400, None)));
        check(500, None, "day", Some((2000, Some("1970-01-01T12:00:00Z"))));
        check(500, Some(5 * HOUR), "day", Some((9500, Some("1970-01-01T07:00:00Z"))));
        check(1000, None, "day", Some((4000, None)));
        check(0, None, "day", None);
        check(500, None, "rolling 24h", None);
        check(500, Some(6 * HOUR - 1), "day", None);
    }

    #[test]
    fn a_scope_names_its_owner_and_a_target() {
        let check = |scope: &str, team: Option<&str>, target: &str| {
            let (found, on) = owner_of(&scope.parse().expect("a scope"));
            assert_eq!((found.as_ref().map(Team::as_str), on.to_string().as_str()), (team, target));
            let scope_again = scope_of(found.as_ref(), &on);
            assert_eq!(scope_again.to_string(), scope);
        };
        check("organisation", None, "owner");
        check("team:a", Some("a"), "owner");
        check("project:a/x", Some("a"), "project:x");
        check("user:a/*", Some("a"), "user:*");
        check("key:a/k", Some("a"), "key:k");
    }

    #[test]
    fn percentages_are_cut_to_a_tenth() {
        assert_eq!(percent(NanoUsd(1), NanoUsd(3)), Some(33.3));
        assert_eq!(percent(NanoUsd(1), NanoUsd(0)), None);
    }
}
