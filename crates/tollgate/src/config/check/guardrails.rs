//! What guardrails and external checkers may not be told.

use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_guard::{Action, Guard, Policy};
use tollgate_providers::Ring;

use super::{Checker, build};
use crate::config::sections::CheckerKind;

/// The shortest and the longest wait for a checker: a job waits for it, with its slot.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

impl Checker<'_> {
    pub(super) fn checkers(&mut self) {
        for (name, settings) in &self.config.checkers {
            let at = format!("checkers.{name}");
            if !is_a_rule(name) {
                self.problem(&at, "a checker's name is a rule's: 1 to 48 characters of a-z 0-9 _ -");
            }
            if tollgate_guard::knows(name, &Policy::default()) {
                self.problem(&at, format!("'{name}' is a rule of Tollgate's own; choose another name"));
            }
            let made = tollgate_providers::Checker::new(
                &settings.url,
                build::speaks(settings),
                Ring::of_none(name),
                settings.timeout.0,
            );
            if let Err(error) = made {
                self.problem(format!("{at}.url"), error.to_string().replace("`url`", "this"));
            }
            if let Some(key) = &settings.key {
                self.key(&format!("{at}.key"), key);
            }
            self.period(&format!("{at}.timeout"), settings.timeout, TIMEOUT.0, TIMEOUT.1);
            let only = "it is for `kind = \"openai-moderation\"` alone";
            if settings.kind != CheckerKind::OpenaiModeration && settings.model.is_some() {
                self.problem(format!("{at}.model"), only);
            }
            if settings.kind != CheckerKind::OpenaiModeration && !settings.categories.is_empty() {
                self.problem(format!("{at}.categories"), only);
            }
        }
    }

    pub(super) fn guardrails(&mut self) {
        let config = self.config;
        let everybodys = config.guardrails.clone().unwrap_or_default();
        self.policy("guardrails", &everybodys);
        let of_teams = config.teams.values().filter_map(|team| team.guardrails.as_ref());
        let tables = of_teams.chain([&everybodys]).flat_map(|policy| [&policy.input, &policy.output]);
        if let Err(error) = tollgate_guard::all_applied(&everybodys, tables) {
            self.problem(format!("guardrails.{}", error.path), error.problem);
        }
        for (name, team) in &config.teams {
            let Some(own) = &team.guardrails else { continue };
            let at = format!("teams.{name}.guardrails");
            let policy = own.over(&everybodys);
            self.policy(&at, &policy);
            if let Err(error) = tollgate_guard::all_applied(own, [&policy.input, &policy.output]) {
                self.problem(format!("{at}.{}", error.path), error.problem);
            }
        }
    }

    fn policy(&mut self, at: &str, policy: &Policy) {
        let checkers: BTreeSet<String> = self.config.checkers.keys().cloned().collect();
        if let Err(error) = Guard::new(policy, &checkers) {
            self.problem(format!("{at}.{}", error.path), error.problem);
        }
        for (side, rules) in [("input", &policy.input), ("output", &policy.output)] {
            for (rule, action) in rules {
                let kind = self.config.checkers.get(rule).map(|checker| checker.kind);
                if kind == Some(CheckerKind::OpenaiModeration) && *action == Action::Redact {
                    let reason = "moderations do not say what is to be redacted; use flag or block";
                    self.problem(format!("{at}.{side}.{rule}"), reason);
                }
            }
        }
    }
}

fn is_a_rule(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=tollgate_types::guardrails::RULE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}
