//! A policy's rules for one side of a job, each with what follows, and the detector that looks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::check;
use crate::detect::{Detector, Rule};
use crate::entity::{Entity, Group};
use crate::error::PolicyError;
use crate::policy::{Action, Policy, Side};

/// The rule that fires on a request with too many characters.
pub(crate) const SIZE: &str = "size";
/// The rule that fires on a request in a language that is not allowed.
pub(crate) const LANGUAGE: &str = "language";

/// What an operator's own rule or external checker adds to the risk by itself: as much as personal data.
const OWN_WEIGHT: u8 = 25;
/// What a request adds to the risk that is too large or in another language.
const SHAPE_WEIGHT: u8 = 10;
/// One rule that is looked for, and what follows.
#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) name: Arc<str>,
    /// What placeholders say.
    pub(crate) label: Arc<str>,
    pub(crate) action: Action,
    /// How many different words must be found; 1 for all but topics.
    pub(crate) at_least: usize,
}

/// The rules of one side.
#[derive(Debug)]
pub(crate) struct Clauses {
    pub(crate) side: Side,
    pub(crate) detector: Detector,
    /// In the order of the detector's rules.
    pub(crate) clauses: Vec<Clause>,
    /// What follows on a request that is too large.
    pub(crate) size: Option<(u64, Action)>,
    /// What follows on a request in another language than these.
    pub(crate) language: Option<(BTreeSet<String>, Action)>,
    pub(crate) checkers: BTreeMap<String, Action>,
    /// The longest text with spaces in it that a rule can fire on, in characters; `None` if nobody can say.
    pub(crate) longest: Option<usize>,
    /// Whether private keys are looked for, which are longer than anything else.
    pub(crate) private_keys: bool,
}

impl Clauses {
    pub(crate) fn new(policy: &Policy, side: Side, checkers: &BTreeSet<String>) -> Result<Clauses, PolicyError> {
        let table = table(policy, side);
        for (name, action) in table {
            check::named(policy, side, checkers, name, *action)?;
        }
        let (clauses, rules) = wanted(policy, table);
        let longest = longest(&rules);
        let private_keys = rules.iter().any(|rule| matches!(rule, Rule::Entity(Entity::PrivateKey)));
        let detector = Detector::new(&rules, policy.phone_country.as_deref()).map_err(check::of_rule)?;
        let detector = detector.heeding(clauses.iter().map(|clause| clause.action).collect());
        let of = |name: &str| table.get(name).copied().unwrap_or(Action::Block);
        let request = side == Side::Request;
        let size = policy.characters_max.filter(|_| request).map(|most| (most, of(SIZE)));
        let language = policy.languages.clone().filter(|all| request && !all.is_empty()).map(|all| (all, of(LANGUAGE)));
        Ok(Clauses {
            side,
            detector,
            clauses,
            size: size.filter(|(_, action)| *action != Action::Off),
            language: language.filter(|(_, action)| *action != Action::Off),
            checkers: applied(table, checkers),
            longest,
            private_keys,
        })
    }

    /// Whether anything is looked for.
    pub(crate) fn look(&self) -> bool {
        !self.clauses.is_empty() || self.size.is_some() || self.language.is_some()
    }
}

fn table(policy: &Policy, side: Side) -> &BTreeMap<String, Action> {
    match side {
        Side::Request => &policy.input,
        Side::Answer => &policy.output,
    }
}

/// The rules that are looked for on one side, in the order of the detector's.
fn wanted<'a>(policy: &'a Policy, table: &BTreeMap<String, Action>) -> (Vec<Clause>, Vec<Rule<'a>>) {
    let action = |name: &str| table.get(name).copied().filter(|action| *action != Action::Off);
    let mut found = Vec::new();
    for &entity in Entity::ALL {
        let said = table.get(entity.as_str()).or_else(|| table.get(entity.group().as_str()));
        if let Some(&action) = said.filter(|action| **action != Action::Off) {
            let clause = clause(entity.as_str(), entity.label(), action, 1);
            found.push((clause, Rule::Entity(entity)));
        }
    }
    for (name, list) in &policy.keywords {
        if let Some(action) = action(name) {
            let clause = clause(name, &label(name), action, list.at_least.max(1) as usize);
            found.push((clause, Rule::Keywords { name, words: &list.words }));
        }
    }
    for (name, pattern) in &policy.patterns {
        if let Some(action) = action(name) {
            let label = pattern.placeholder.clone().unwrap_or_else(|| label(name));
            found.push((clause(name, &label, action, 1), Rule::Pattern { name, regex: &pattern.regex }));
        }
    }
    found.into_iter().unzip()
}

/// The longest text with spaces in it that own words can be, if there is nothing longer.
fn longest(rules: &[Rule<'_>]) -> Option<usize> {
    let mut longest = 0;
    for rule in rules {
        match rule {
            Rule::Entity(entity) if entity.group() == Group::PromptSafety => return None,
            Rule::Entity(_) => {}
            Rule::Keywords { words, .. } => longest = longest.max(words.iter().map(String::len).max()?),
            Rule::Pattern { .. } => return None,
        }
    }
    Some(longest)
}

fn clause(name: &str, label: &str, action: Action, at_least: usize) -> Clause {
    Clause { name: name.into(), label: label.into(), action, at_least }
}

fn applied(table: &BTreeMap<String, Action>, checkers: &BTreeSet<String>) -> BTreeMap<String, Action> {
    let named = table.iter().filter(|(name, action)| checkers.contains(*name) && **action != Action::Off);
    named.map(|(name, action)| (name.clone(), *action)).collect()
}

/// What placeholders say for a rule of the operator's: its name in capitals.
pub(crate) fn label(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// What one rule adds to the risk: by its own name, its group's, or what its kind has by itself.
pub fn weight(policy: &Policy, rule: &str) -> u8 {
    let said = |name: &str| policy.risk.weights.get(name).copied();
    let entity = Entity::named(rule);
    let by_itself = || match (entity, rule) {
        (Some(entity), _) => entity.weight(),
        (None, SIZE | LANGUAGE) => SHAPE_WEIGHT,
        (None, _) => OWN_WEIGHT,
    };
    said(rule).or_else(|| entity.and_then(|entity| said(entity.group().as_str()))).unwrap_or_else(by_itself)
}
