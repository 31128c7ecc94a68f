//! Guardrails as plain data: what is looked for and what follows, as the configuration says it and as it is kept live; and
//! what is told of it in results and usage events.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The guardrails of everybody, or what a team says over them.
///
/// A rule is named by what it finds: an entity such as `payment_card`, a group of them (`pii`,
/// `secrets`, `prompt_safety`), one of the operator's own `keywords` and `patterns`, or an external checker. The narrower
/// name wins. What is left out is as of everybody's; of everybody's, as it is by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What follows when a rule fires on a request, by the rule's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub input: BTreeMap<String, Action>,
    /// What follows when a rule fires on an answer, by the rule's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub output: BTreeMap<String, Action>,
    /// Whether what was redacted in the request is put back into the answer; it is, by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<bool>,
    /// What follows when a rule cannot be applied, such as an external checker that does not answer; `block` by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// The country whose national phone numbers are found, as two letters; without it only international ones are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_country: Option<String>,
    /// The operator's own lists of words: deny-lists and topics.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keywords: BTreeMap<String, Keywords>,
    /// The operator's own regular expressions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub patterns: BTreeMap<String, Pattern>,
    /// The most characters of all texts of a request together; the rule `size` fires above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters_max: Option<u64>,
    /// The languages that requests may be written in, as two-letter codes of ISO 639-1; the rule `language` fires on a
    /// text that is surely in another. All if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<BTreeSet<String>>,
    /// How what fired becomes one number.
    #[serde(skip_serializing_if = "Risk::is_default")]
    pub risk: Risk,
}

/// What follows when a rule cannot be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The job ends, as `blocked`.
    #[default]
    Block,
    /// The job goes on, and its result says so.
    Allow,
}

/// What follows when a rule fires. The order is the strictness: of two that fire on one job the later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The rule is not looked for.
    Off,
    /// It is told in the result, and nothing else happens.
    Flag,
    /// What was found is replaced by a placeholder that says its kind.
    Redact,
    /// The job ends, as `blocked`.
    Block,
}

impl Action {
    /// The word in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Off => "off",
            Action::Flag => "flag",
            Action::Redact => "redact",
            Action::Block => "block",
        }
    }
}

/// A list of words and phrases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keywords {
    /// The words; found whole, whatever their case.
    pub words: Vec<String>,
    /// How many different ones must be in a job before the rule fires; a topic has more than one. 1 if 0.
    pub at_least: u32,
}

/// A regular expression of the `regex` crate, whose time is linear in the text whatever it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pattern {
    /// The expression.
    pub regex: String,
    /// What placeholders say, such as `TICKET`; the rule's name in capitals if left out.
    pub placeholder: Option<String>,
}

/// How what fired becomes one number from 0 to 100. A tripwire: it says that somebody should look, not that all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Risk {
    /// What each rule that fired adds, by the rule's or its group's name; what is not named has the weight that its kind
    /// has by itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, u8>,
    /// A request of at least this risk is blocked; none if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_from: Option<u8>,
}

impl Risk {
    fn is_default(&self) -> bool {
        *self == Risk::default()
    }
}

impl Policy {
    /// What a team says, over what holds for everybody: rule by rule, list by list.
    pub fn over(&self, everybodys: &Policy) -> Policy {
        let both = |own: &BTreeMap<String, Action>, other: &BTreeMap<String, Action>| over(own, other);
        Policy {
            input: both(&self.input, &everybodys.input),
            output: both(&self.output, &everybodys.output),
            restore: self.restore.or(everybodys.restore),
            on_failure: self.on_failure.or(everybodys.on_failure),
            phone_country: self.phone_country.clone().or_else(|| everybodys.phone_country.clone()),
            keywords: over(&self.keywords, &everybodys.keywords),
            patterns: over(&self.patterns, &everybodys.patterns),
            characters_max: self.characters_max.or(everybodys.characters_max),
            languages: self.languages.clone().or_else(|| everybodys.languages.clone()),
            risk: Risk {
                weights: over(&self.risk.weights, &everybodys.risk.weights),
                block_from: self.risk.block_from.or(everybodys.risk.block_from),
            },
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }
}

fn over<V: Clone>(own: &BTreeMap<String, V>, other: &BTreeMap<String, V>) -> BTreeMap<String, V> {
    let mut all = other.clone();
    all.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

/// The most different rules that one job tells of; with more, the last ones are counted in metrics alone.
pub const HITS_MAX: usize = 16;
/// The longest name of a rule, in bytes.
pub const RULE_NAME_BYTES_MAX: usize = 48;

/// A guardrail rule that fired on a job. What it found is told nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hit {
    /// The rule's name.
    pub rule: String,
    /// Where.
    pub on: Side,
    /// What followed.
    pub action: Followed,
    /// How often, at least.
    pub count: u32,
}

/// What of a job a rule looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The prompt, with everything that goes along.
    Request,
    /// What the model wrote.
    Answer,
}

/// What followed when a rule fired; the order is by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Followed {
    /// The rule could not be applied, and the job went on, as the team wants it.
    Passed,
    /// Nothing but this line.
    Flag,
    /// It was replaced by a placeholder.
    Redact,
    /// The job ended.
    Block,
}

impl Side {
    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Request => "request",
            Side::Answer => "answer",
        }
    }
}

impl Followed {
    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Followed::Flag => "flag",
            Followed::Redact => "redact",
            Followed::Block => "block",
            Followed::Passed => "passed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_says_over_everybody_rule_by_rule() {
        let read = |json: &str| serde_json::from_str::<Policy>(json).expect("a policy");
        let everybody = read(
            r#"{"input":{"pii":"redact","secrets":"block"},"restore":false,"risk":{"weights":{"jailbreak":50},"block_from":80},
                "keywords":{"codenames":{"words":["Falcon"]}}}"#,
        );
        let team = read(r#"{"input":{"pii":"off"},"output":{"secrets":"redact"},"risk":{"weights":{"jailbreak":10}}}"#);
        let expected = read(
            r#"{"input":{"pii":"off","secrets":"block"},"output":{"secrets":"redact"},"restore":false,
                "risk":{"weights":{"jailbreak":10},"block_from":80},"keywords":{"codenames":{"words":["Falcon"]}}}"#,
        );
        assert_eq!(team.over(&everybody), expected);
        assert_eq!(Policy::default().over(&everybody), everybody);
        assert_eq!(serde_json::to_string(&Policy::default()).expect("it serialises"), "{}");
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for bad in [r#"{"inputs":{}}"#, r#"{"input":{"pii":"mask"}}"#, r#"{"risk":{"weights":{"pii":256}}}"#] {
            assert!(serde_json::from_str::<Policy>(bad).is_err(), "{bad}");
        }
    }
}
