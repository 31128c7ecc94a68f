//! What is different between two records of the live configuration, in words.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tollgate_queue::directory::{Organisation, TeamRecord};
use tollgate_types::budget::Then;
use tollgate_types::guardrails::{Action, Policy};
use tollgate_types::{Budget, CacheRules, Class, Limits, Raise, Scope, Target, Team, WhenSpent};

use crate::Period;

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is about, such as `team:search` or `user:search/*`; empty for what is no scope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The window of the budget that changed, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// What changed.
    pub what: String,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match &self.budget {
            Some(window) => write!(f, " ({} for {window})", self.scope),
            None => Ok(()),
        }
    }
}

/// The scope that a target caps, as it is written; each of a kind is `user:search/*`.
pub fn scope_of(team: Option<&Team>, target: &Target) -> Scope {
    let Some(team) = team.map(Team::to_string) else { return Scope::Organisation };
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "*".to_owned());
    match target {
        Target::Owner => Scope::Team { team },
        Target::Project(project) => Scope::Project { team, project: name(project) },
        Target::User(user) => Scope::User { team, user: name(user) },
        Target::Key(key) => Scope::Key { team, key: name(key) },
    }
}

/// What is different about a team; `None` is not registered.
pub fn team(team: &Team, before: Option<&TeamRecord>, after: Option<&TeamRecord>) -> Vec<Change> {
    let mut diff = Diff { team: Some(team), changes: Vec::new() };
    let nothing = TeamRecord::default();
    match (before, after) {
        (None, Some(after)) => diff.note(format!("registered with weight {}", after.weight)),
        (Some(_), None) => diff.note("removed".to_owned()),
        (Some(before), Some(after)) => diff.value("weight", before.weight, after.weight),
        (None, None) => {}
    }
    let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    diff.limits("", &before.limits, &after.limits);
    let keys: std::collections::BTreeSet<&String> = before.key_limits.keys().chain(after.key_limits.keys()).collect();
    for key in keys {
        let of = |record: &TeamRecord| record.key_limits.get(key).copied().unwrap_or_default();
        diff.limits(&format!("key {key}: "), &of(before), &of(after));
    }
    let (was, is) = (&before.access, &after.access);
    let lists = [
        ("models", &was.models, &is.models),
        ("providers", &was.providers, &is.providers),
        ("regions", &was.regions, &is.regions),
    ];
    let text = |list: &[String]| if list.is_empty() { "all".to_owned() } else { list.join(", ") };
    lists.into_iter().for_each(|(what, was, is)| diff.value(&format!("allowed {what}:"), text(was), text(is)));
    diff.guardrails(&before.guardrails, &after.guardrails);
    diff.cache(&before.cache, &after.cache);
    diff.value("results keep their texts", keep(before.results_keep_secs), keep(after.results_keep_secs));
    diff.value("capture", before.capture, after.capture);
    diff.budgets(&before.budgets, &after.budgets);
    diff.changes
}

/// How long results keep their texts, in words.
pub fn keep(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "as by default".to_owned(), |seconds| Period::secs(seconds).to_string())
}

/// What is different about everybody together.
pub fn organisation(before: Option<&Organisation>, after: Option<&Organisation>) -> Vec<Change> {
    let mut diff = Diff { team: None, changes: Vec::new() };
    let nothing = Organisation::default();
    let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    for class in Class::ALL {
        diff.value(&format!("weight of {class}"), before.class_weights.of(class), after.class_weights.of(class));
    }
    diff.guardrails(&before.guardrails, &after.guardrails);
    diff.cache(&before.cache, &after.cache);
    diff.value("results keep their texts", keep(before.results_keep_secs), keep(after.results_keep_secs));
    diff.budgets(&before.budgets, &after.budgets);
    diff.changes
}

struct Diff<'a> {
    team: Option<&'a Team>,
    changes: Vec<Change>,
}

impl Diff<'_> {
    fn note(&mut self, what: String) {
        let scope = scope_of(self.team, &Target::Owner).to_string();
        self.changes.push(Change { scope, budget: None, what });
    }

    fn value<T: PartialEq + std::fmt::Display>(&mut self, name: &str, before: T, after: T) {
        if before != after {
            self.note(format!("{name} {before} -> {after}"));
        }
    }

    fn cache(&mut self, before: &CacheRules, after: &CacheRules) {
        let said = |rules: &CacheRules| {
            let rules = serde_json::to_value(rules).expect("rules always serialise");
            let of = |field: &str| rules.get(field).map_or_else(|| "not set".to_owned(), |value| value.to_string());
            ["mode", "ttl_seconds", "temperature_max", "shared_by", "answer_bytes_max", "tool_calls"]
                .map(|field| (field, of(field).replace('"', "")))
        };
        for ((field, before), (_, after)) in said(before).into_iter().zip(said(after)) {
            self.value(&format!("cache {field}"), before, after);
        }
    }

    fn limits(&mut self, prefix: &str, before: &Limits, after: &Limits) {
        let numbers = |limits: &Limits| {
            [
                ("requests_per_minute", limits.requests_per_minute.map(u64::from)),
                ("tokens_per_minute", limits.tokens_per_minute),
                ("concurrency", limits.concurrency.map(u64::from)),
            ]
        };
        let text = |number: Option<u64>| number.map_or_else(|| "no limit".to_owned(), |number| number.to_string());
        for ((name, before), (_, after)) in numbers(before).into_iter().zip(numbers(after)) {
            self.value(&format!("{prefix}{name}"), text(before), text(after));
        }
    }

    /// By their parts, so that the line stays short; words and expressions are not repeated.
    fn guardrails(&mut self, before: &Policy, after: &Policy) {
        for (side, was, is) in [("input", &before.input, &after.input), ("output", &before.output, &after.output)] {
            let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            let text = |action: Option<&Action>| action.map_or("not said", |action| action.as_str());
            for name in names {
                self.value(&format!("guardrails {side} {name}:"), text(was.get(name)), text(is.get(name)));
            }
        }
        let rest = |policy: &Policy| Policy { input: Default::default(), output: Default::default(), ..policy.clone() };
        if rest(before) != rest(after) {
            self.note("guardrails: lists, patterns or settings changed".to_owned());
        }
    }

    fn budgets(&mut self, before: &[Budget], after: &[Budget]) {
        let same = |a: &Budget, b: &Budget| a.on == b.on && a.window_id() == b.window_id();
        for budget in before {
            match after.iter().find(|other| same(budget, other)) {
                None => self.budget(budget, format!("budget removed, which was {}", terms(budget))),
                Some(other) if other == budget => {}
                Some(other) => self.changed(budget, other),
            }
        }
        for budget in after.iter().filter(|budget| !before.iter().any(|other| same(budget, other))) {
            self.budget(budget, format!("budget added: {}", terms(budget)));
            budget.raises.iter().for_each(|raise| self.budget(budget, raised(raise)));
        }
    }

    fn changed(&mut self, before: &Budget, after: &Budget) {
        let (was, is) = (terms(before), terms(after));
        let capped_anew = Budget { cap_usd: after.cap_usd, ..before.clone() };
        if was != is && terms(&capped_anew) == is {
            self.budget(after, format!("cap ${} -> ${}", before.cap_usd, after.cap_usd));
        } else if was != is {
            self.budget(after, format!("{was} -> {is}"));
        }
        for raise in after.raises.iter().filter(|raise| !before.raises.contains(raise)) {
            self.budget(after, raised(raise));
        }
        for raise in before.raises.iter().filter(|raise| !after.raises.contains(raise)) {
            let what = format!("raise of ${} until {} ended", raise.amount_usd, raise.until.to_rfc3339());
            self.budget(after, what);
        }
    }

    fn budget(&mut self, budget: &Budget, what: String) {
        let scope = scope_of(self.team, &budget.on).to_string();
        self.changes.push(Change { scope, budget: Some(budget.window_id()), what });
    }
}

/// What a budget says, without its raises.
pub fn terms(budget: &Budget) -> String {
    let mut terms = format!("cap ${}, then {}", budget.cap_usd, when_spent(budget));
    if !budget.alert_percent.is_empty() {
        let percents: Vec<String> = budget.alert_percent.iter().map(|percent| format!("{percent} %")).collect();
        terms.push_str(&format!("; alerts at {}", percents.join(", ")));
    }
    terms
}

/// What happens when a budget is spent.
pub fn when_spent(budget: &Budget) -> String {
    match budget.when_spent {
        WhenSpent::Wait => "wait".to_owned(),
        WhenSpent::Reject => "reject".to_owned(),
        WhenSpent::Downgrade => {
            let to = budget.downgrade_to.as_deref().unwrap_or_default();
            let more = budget.downgrade_cap_usd.map(|cap| format!(" for ${cap} more")).unwrap_or_default();
            let then = match budget.then {
                Then::Wait => "wait",
                Then::Reject => "reject",
            };
            format!("{to}{more}, then {then}")
        }
    }
}

fn raised(raise: &Raise) -> String {
    let because = if raise.reason.is_empty() { String::new() } else { format!(": {}", raise.reason) };
    format!("raised by ${} until {}{because}", raise.amount_usd, raise.until.to_rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> TeamRecord {
        serde_json::from_str(json).expect("a record")
    }

    #[test]
    fn every_difference_is_said_once_with_its_scope() {
        let before = record(
            r#"{"weight":1,"limits":{"concurrency":3},"budgets":[
                {"window":"day","cap_usd":"10"},{"window":"hour","cap_usd":7},
                {"window":"month","cap_usd":"50","raises":[{"amount_usd":5,"from":0,"until":1000,"author":"a"}]},
                {"on":"user:*","window":"day","cap_usd":"1"}]}"#,
        );
        let after = record(
            r#"{"weight":2,"limits":{"requests_per_minute":60},"key_limits":{"k":{"concurrency":1}},"budgets":[
                {"window":"day","cap_usd":"12.5","when_spent":"downgrade","downgrade_to":"mini","alert_percent":[80]},
                {"window":"hour","cap_usd":8},
                {"window":"month","cap_usd":"50","raises":[{"amount_usd":7,"from":0,"until":2000,"author":"a","reason":"launch"}]},
                {"on":"project:x","window":"week","cap_usd":"9","when_spent":"reject"}]}"#,
        );
        let name: Team = "search".parse().expect("a team");
        let said: Vec<String> = team(&name, Some(&before), Some(&after)).iter().map(Change::to_string).collect();
        let expected = [
            "weight 1 -> 2",
            "requests_per_minute no limit -> 60",
            "concurrency 3 -> no limit",
            "key k: concurrency no limit -> 1",
            "cap $10, then wait -> cap $12.5, then mini, then wait; alerts at 80 % (team:search for day)",
            "cap $7 -> $8 (team:search for hour)",
            "raised by $7 until 1970-01-01T00:00:02Z: launch (team:search for month)",
            "raise of $5 until 1970-01-01T00:00:01Z ended (team:search for month)",
            "budget removed, which was cap $1, then wait (user:search/* for day)",
            "budget added: cap $9, then reject (project:search/x for week)",
        ];
        assert_eq!(said, expected);
        assert!(team(&name, Some(&after), Some(&after)).is_empty());
    }

    #[test]
    fn a_team_that_comes_or_goes_is_said() {
        let name: Team = "a".parse().expect("a team");
        let said = |before, after| team(&name, before, after).into_iter().map(|c| c.what).collect::<Vec<_>>();
        let weighty = record(r#"{"weight":3}"#);
        assert_eq!(said(None, Some(&weighty)), ["registered with weight 3"]);
        assert_eq!(said(Some(&TeamRecord::default()), None), ["removed"]);
    }
}
