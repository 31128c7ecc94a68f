//! External checkers: services that judge texts over HTTP, as rules of guardrails.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Key;
use crate::config::values::Period;

/// One external checker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checker {
    /// What it speaks.
    pub kind: Kind,
    /// Where it is asked.
    pub url: String,
    /// Where its key comes from, which goes along as a bearer token.
    pub key: Option<Key>,
    /// From the question to the end of the answer.
    pub timeout: Period,
    /// With `openai-moderation`: the model that is asked for; the service's own choice if left out.
    pub model: Option<String>,
    /// With `openai-moderation`: the categories that count; all if empty.
    pub categories: BTreeSet<String>,
}

/// What a checker speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Our own contract, see `docs/guardrails.md`; it can name what is to be redacted.
    #[default]
    Tollgate,
    /// OpenAI's moderations endpoint, and copies of it.
    OpenaiModeration,
}

impl Default for Checker {
    fn default() -> Self {
        Checker {
            kind: Kind::default(),
            url: String::new(),
            key: None,
            timeout: Period::secs(2),
            model: None,
            categories: BTreeSet::new(),
        }
    }
}
