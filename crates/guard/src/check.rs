//! What is wrong with a policy, told so that it can be mended: the field, and the nearest name that is known.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_types::guardrails::RULE_NAME_BYTES_MAX;
use tollgate_types::spelling::distance;

use crate::clauses::{LANGUAGE, SIZE, label};
use crate::detect::{Detector, Rule, RuleError};
use crate::entity::{Entity, Group};
use crate::error::PolicyError;
use crate::guard::{RISK, TOO_MANY, UNREADABLE};
use crate::language::codes;
use crate::policy::{Action, Policy, Side};

/// The longest text that placeholders say. Restoring looks for as much.
const LABEL_BYTES_MAX: usize = 32;

/// Judges what one record says by itself: what it names may be another record's lists, or an external checker.
///
/// # Errors
/// Returns the first field that is wrong whatever stands beside it.
pub fn check(policy: &Policy) -> Result<(), PolicyError> {
    for (side, table) in [(Side::Request, &policy.input), (Side::Answer, &policy.output)] {
        if let Some(name) = table.keys().find(|name| !is_a_name(name)) {
            return Err(error(format!("{}.{name}", field(side)), misnamed()));
        }
    }
    let lists = policy.keywords.keys().map(|name| ("keywords", name));
    for (kind, name) in lists.chain(policy.patterns.keys().map(|name| ("patterns", name))) {
        well_named(policy, &BTreeSet::new(), name, &format!("{kind}.{name}"))?;
    }
    parts(policy)?;
    let words = policy.keywords.iter().map(|(name, list)| Rule::Keywords { name, words: &list.words });
    let patterns = policy.patterns.iter().map(|(name, pattern)| Rule::Pattern { name, regex: &pattern.regex });
    let rules: Vec<Rule<'_>> = words.chain(patterns).collect();
    Detector::new(&rules, policy.phone_country.as_deref()).map_err(of_rule)?;
    Ok(())
}

/// Whether a name is that of a rule, a group, or one of the policy's own lists and expressions; else it can only be an
/// external checker's.
pub fn knows(name: &str, policy: &Policy) -> bool {
    is_known(policy, &BTreeSet::new(), name)
}

/// Checks what holds for the policy as a whole, whichever side.
pub(crate) fn policy(policy: &Policy, checkers: &BTreeSet<String>) -> Result<(), PolicyError> {
    let own = policy.keywords.keys().map(|name| ("keywords", name));
    for (kind, name) in own.chain(policy.patterns.keys().map(|name| ("patterns", name))) {
        let path = format!("{kind}.{name}");
        well_named(policy, checkers, name, &path)?;
    }
    for name in policy.risk.weights.keys() {
        if !is_known(policy, checkers, name) {
            return Err(unknown(policy, checkers, name, format!("risk.weights.{name}")));
        }
    }
    parts(policy)
}

fn parts(policy: &Policy) -> Result<(), PolicyError> {
    for (name, list) in &policy.keywords {
        if list.at_least as usize > list.words.len() {
            let problem = format!("at least {} of {} words can never be found", list.at_least, list.words.len());
            return Err(error(format!("keywords.{name}.at_least"), problem));
        }
    }
    for (name, pattern) in &policy.patterns {
        if !pattern.placeholder.as_deref().is_none_or(is_label) {
            let problem = format!("not 1 to {LABEL_BYTES_MAX} of A-Z 0-9 _, beginning with a letter");
            return Err(error(format!("patterns.{name}.placeholder"), problem));
        }
    }
    for code in policy.languages.iter().flatten() {
        if !codes().any(|known| known == code) {
            let all: Vec<&str> = codes().collect();
            return Err(error(
                "languages".to_owned(),
                format!("`{code}` cannot be told; these can: {}", all.join(" ")),
            ));
        }
    }
    if let Some((name, weight)) = policy.risk.weights.iter().find(|(_, weight)| **weight > 100) {
        return Err(error(format!("risk.weights.{name}"), format!("{weight} is not from 0 to 100")));
    }
    match policy.risk.block_from {
        Some(from) if !(1..=100).contains(&from) => {
            Err(error("risk.block_from".to_owned(), format!("{from} is not from 1 to 100")))
        }
        Some(_) | None => Ok(()),
    }
}

fn well_named(policy: &Policy, checkers: &BTreeSet<String>, name: &str, path: &str) -> Result<(), PolicyError> {
    if !is_label(&label(name)) || !is_a_name(name) {
        return Err(error(path.to_owned(), misnamed()));
    }
    let twice = policy.keywords.contains_key(name) && policy.patterns.contains_key(name);
    if twice || checkers.contains(name) || built_in().any(|known| known == name) {
        return Err(error(path.to_owned(), "another rule has this name already".to_owned()));
    }
    Ok(())
}

/// The first of a record's own lists and expressions that no table names, so that it is never looked for. `tables` are
/// those that may name it: the record's own, and of everybody's record those of all teams.
///
/// # Errors
/// Returns where it stands, and that nothing follows from it.
pub fn all_applied<'a>(
    record: &Policy,
    tables: impl IntoIterator<Item = &'a BTreeMap<String, Action>>,
) -> Result<(), PolicyError> {
    let named: BTreeSet<&str> = tables.into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let lists = record.keywords.keys().map(|name| ("keywords", name));
    let mut own = lists.chain(record.patterns.keys().map(|name| ("patterns", name)));
    match own.find(|(_, name)| !named.contains(name.as_str())) {
        None => Ok(()),
        Some((kind, name)) => {
            let problem =
                format!("nothing follows from it: name it in `input` or `output`, such as {name} = \"block\"");
            Err(error(format!("{kind}.{name}"), problem))
        }
    }
}

/// A rule's name stands in results, metrics and tables.
fn is_a_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=RULE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

fn misnamed() -> String {
    format!("a rule's name is 1 to {LABEL_BYTES_MAX} of a-z 0-9 _ -, beginning with a letter")
}

fn is_label(text: &str) -> bool {
    let of = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=LABEL_BYTES_MAX).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(of)
}

pub(crate) fn named(
    policy: &Policy,
    side: Side,
    checkers: &BTreeSet<String>,
    name: &str,
    action: Action,
) -> Result<(), PolicyError> {
    let path = format!("{}.{name}", field(side));
    if !is_known(policy, checkers, name) {
        return Err(unknown(policy, checkers, name, path));
    }
    let whole = name == SIZE || name == LANGUAGE;
    if whole && side == Side::Answer {
        return Err(error(path, "it looks at requests alone: name it in `input`".to_owned()));
    }
    if name == SIZE && action != Action::Off && policy.characters_max.is_none() {
        return Err(error(path, "`characters_max` is not set".to_owned()));
    }
    if name == LANGUAGE && action != Action::Off && policy.languages.as_ref().is_none_or(BTreeSet::is_empty) {
        return Err(error(path, "`languages` is not set".to_owned()));
    }
    if action == Action::Redact && whole {
        return Err(error(path, "there is nothing that it could redact: use `flag` or `block`".to_owned()));
    }
    Ok(())
}

fn built_in() -> impl Iterator<Item = &'static str> {
    let entities = Entity::ALL.iter().map(|entity| entity.as_str());
    let others = [SIZE, LANGUAGE, RISK, UNREADABLE, TOO_MANY];
    entities.chain(Group::ALL.iter().map(|group| group.as_str())).chain(others)
}

/// What can be named: in `input`, `output` and the weights.
fn names<'a>(policy: &'a Policy, checkers: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
    let entities = Entity::ALL.iter().map(|entity| entity.as_str());
    let built_in = entities.chain(Group::ALL.iter().map(|group| group.as_str())).chain([SIZE, LANGUAGE]);
    let own = policy.keywords.keys().chain(policy.patterns.keys()).chain(checkers);
    built_in.chain(own.map(String::as_str))
}

fn is_known(policy: &Policy, checkers: &BTreeSet<String>, name: &str) -> bool {
    names(policy, checkers).any(|known| known == name)
}

fn unknown(policy: &Policy, checkers: &BTreeSet<String>, name: &str, path: String) -> PolicyError {
    let nearest = names(policy, checkers).min_by_key(|known| distance(known, name));
    let near = nearest.filter(|known| distance(known, name) <= 2 + name.len() / 4);
    let problem = match near {
        Some(near) => format!("no rule has this name; did you mean `{near}`?"),
        None => {
            "no rule has this name: it is neither built in, nor one of `keywords` or `patterns`, nor a checker".into()
        }
    };
    error(path, problem)
}

fn error(path: String, problem: String) -> PolicyError {
    PolicyError { path, problem }
}

/// Where the rule that cannot be looked for stands in the policy.
pub(crate) fn of_rule(rule: RuleError) -> PolicyError {
    let path = match &rule {
        RuleError::Country { .. } => "phone_country".to_owned(),
        RuleError::EmptyWord { name, .. } | RuleError::ManyWords { name } => format!("keywords.{name}.words"),
        RuleError::LooksAround { name }
        | RuleError::BadRegex { name, .. }
        | RuleError::LargeRegex { name }
        | RuleError::EmptyMatch { name } => format!("patterns.{name}.regex"),
    };
    error(path, rule.to_string())
}

fn field(side: Side) -> &'static str {
    match side {
        Side::Request => "input",
        Side::Answer => "output",
    }
}
