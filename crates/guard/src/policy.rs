//! What is looked for and what follows: plain data, as the configuration says it and as it is kept live.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The guardrails of everybody, or what a team says over them.
///
/// A rule is named by what it finds: an [entity](crate::Entity) such as `payment_card`, a group of them (`pii`,
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
