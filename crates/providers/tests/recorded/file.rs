//! The form of a file of exchanges.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_types::Tokens;

/// Exchanges with one deployment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Where the vendor documents the replies.
    #[serde(rename = "source")]
    _source: String,
    pub(crate) provider: Provider,
    pub(crate) cases: Vec<Case>,
}

/// What an operator would configure.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) base_path: String,
    #[serde(default)]
    pub(crate) api_version: Option<String>,
    #[serde(default)]
    pub(crate) bearer: bool,
    #[serde(default)]
    pub(crate) context_tokens: Option<u64>,
    #[serde(default = "yes")]
    pub(crate) with_key: bool,
}

fn yes() -> bool {
    true
}

/// One exchange.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) about: String,
    /// What the producer publishes; a short chat if it does not matter.
    #[serde(default = "short_chat")]
    pub(crate) job: Value,
    /// What must reach the vendor.
    #[serde(default)]
    pub(crate) sent: Option<Sent>,
    /// What the vendor replies; absent if nothing may reach it.
    #[serde(default)]
    pub(crate) reply: Option<Reply>,
    /// What comes of it: this, or `failure`.
    #[serde(default)]
    answer: Option<Answer>,
    #[serde(default)]
    failure: Option<Failure>,
}

fn short_chat() -> Value {
    json!({ "body": { "model": "alias", "messages": [{ "role": "user", "content": "Hello!" }] } })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    pub(crate) path: String,
    /// Headers by name; `null` is a header that must not be there.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Option<String>>,
    pub(crate) body: Value,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reply {
    #[serde(default = "ok")]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The body as it stands in the file.
    #[serde(default)]
    json: Option<Box<RawValue>>,
    /// A body that is no JSON.
    #[serde(default)]
    text: Option<String>,
}

fn ok() -> u16 {
    200
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        self.json.as_deref().map(RawValue::get).or(self.text.as_deref()).expect("a reply has a body")
    }
}

impl Case {
    pub(crate) fn expected(&self) -> Expected<'_> {
        match (&self.answer, &self.failure) {
            (Some(answer), None) => Expected::Answer(answer),
            (None, Some(failure)) => Expected::Failure(failure),
            _ => panic!("{}: either an answer or a failure comes of it", self.about),
        }
    }
}

pub(crate) enum Expected<'a> {
    Answer(&'a Answer),
    Failure(&'a Failure),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) finish: String,
    /// Absent if the vendor does not say.
    #[serde(default)]
    pub(crate) tokens: Option<Tokens>,
    /// The answer without `created`; absent if it is the vendor's, byte for byte.
    #[serde(default)]
    pub(crate) body: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// A `FailureKind`.
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) retry_after_ms: Option<u64>,
    #[serde(default = "not_billed")]
    pub(crate) billed: String,
    #[serde(default)]
    pub(crate) message: Option<String>,
    /// What the vendor says was used all the same.
    #[serde(default)]
    pub(crate) used: Option<Tokens>,
}

fn not_billed() -> String {
    "No".to_owned()
}
