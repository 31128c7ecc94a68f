//! External checkers: services that judge texts over HTTP, as rules of guardrails.
//!
//! Two contracts are spoken: OpenAI's moderations (<https://platform.openai.com/docs/api-reference/moderations>), and our
//! own, which is small enough to put before any model or library that finds names and addresses:
//!
//! ```text
//! POST {"version": 1, "side": "request", "team": "search", "texts": ["Ann Smith lives in …"]}
//! 200  {"flagged": true, "found": [{"kind": "PERSON", "value": "Ann Smith"}]}
//! ```
//!
//! Nothing here logs or repeats a text: failures are named by kind alone.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use tollgate_types::guardrails::Side;

use crate::http::Caller;
use crate::keys::Ring;

/// The most bytes of a checker's answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The most values of one answer that are redacted; a text with more is one to refuse.
const VALUES_MAX: usize = 1000;
/// The longest kind that a placeholder says.
const KIND_BYTES_MAX: usize = 32;

/// What a checker speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Our own contract.
    Tollgate,
    /// OpenAI's moderations.
    OpenAiModeration {
        /// The model that is asked for; the service's own choice if `None`.
        model: Option<String>,
        /// The categories that count; all if empty.
        categories: BTreeSet<String>,
    },
}

/// One external checker.
#[derive(Clone)]
pub struct Checker {
    url: Url,
    speaks: Speaks,
    keys: Arc<Ring>,
    timeout: Duration,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("speaks", &self.speaks).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What a checker is asked.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Question<'a> {
    /// What the texts are of.
    pub side: Side,
    /// Whose they are.
    pub team: &'a str,
    /// The texts.
    #[serde(skip)]
    pub texts: &'a [String],
}

/// What a checker says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Whether the rule fires.
    pub flagged: bool,
    /// What is to be redacted, if the checker can say: each a kind such as `PERSON`, and the text itself.
    pub found: Vec<(String, String)>,
}

impl fmt::Debug for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opinion").field("flagged", &self.flagged).field("found", &self.found.len()).finish()
    }
}

/// Why a checker is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It took too long.
    #[error("it did not answer in time")]
    Timeout,
    /// It could not be reached, or the connection broke.
    #[error("it could not be reached")]
    Unreachable,
    /// It refused.
    #[error("it answered with HTTP {0}")]
    Status(u16),
    /// What it said is not in its contract.
    #[error("its answer could not be used")]
    Unusable,
}

/// Why there is no such checker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckerError {
    /// The address is none.
    #[error("`url` is not an address such as https://checker.example.com/check")]
    Url,
}

impl Checker {
    /// A checker at an address, with the key that goes along as a bearer token: the first of the ring, if it has any.
    ///
    /// # Errors
    /// The address is not one of HTTP.
    pub fn new(url: &str, speaks: Speaks, keys: Arc<Ring>, timeout: Duration) -> Result<Checker, CheckerError> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url =
            parsed.filter(|url| url.username().is_empty() && url.password().is_none()).ok_or(CheckerError::Url)?;
        Ok(Checker { url, speaks, keys, timeout })
    }

    /// Whether it can say what is to be redacted.
    pub fn names_what_it_finds(&self) -> bool {
        self.speaks == Speaks::Tollgate
    }

    fn body(&self, question: &Question<'_>) -> Value {
        match &self.speaks {
            Speaks::Tollgate => serde_json::json!({
                "version": 1, "side": question.side, "team": question.team, "texts": question.texts,
            }),
            Speaks::OpenAiModeration { model: Some(model), .. } => {
                serde_json::json!({ "model": model, "input": question.texts })
            }
            Speaks::OpenAiModeration { model: None, .. } => serde_json::json!({ "input": question.texts }),
        }
    }

    fn read(&self, answer: &[u8]) -> Option<Opinion> {
        match &self.speaks {
            Speaks::Tollgate => read_own(answer),
            Speaks::OpenAiModeration { categories, .. } => read_moderation(answer, categories),
        }
    }
}

impl Caller {
    /// Asks a checker. Never retries: a job waits for it.
    ///
    /// Cancel safe: nothing is kept of the question.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn check(&self, checker: &Checker, question: &Question<'_>) -> Result<Opinion, Unanswered> {
        timeout(checker.timeout, self.ask(checker, question)).await.unwrap_or(Err(Unanswered::Timeout))
    }

    async fn ask(&self, checker: &Checker, question: &Question<'_>) -> Result<Opinion, Unanswered> {
        let body = serde_json::to_vec(&checker.body(question)).expect("texts always serialise");
        let json = HeaderValue::from_static("application/json");
        let mut request = self.client().post(checker.url.clone()).header(CONTENT_TYPE, json).body(body);
        if let Some((_, key)) = checker.keys.keys().first() {
            request = request.header(AUTHORIZATION, key.header("Bearer "));
        }
        let mut response = request.send().await.map_err(|_| Unanswered::Unreachable)?;
        if !response.status().is_success() {
            return Err(Unanswered::Status(response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| Unanswered::Unreachable)? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Unanswered::Unusable);
            }
            answer.extend_from_slice(&chunk);
        }
        checker.read(&answer).ok_or(Unanswered::Unusable)
    }
}

fn read_own(answer: &[u8]) -> Option<Opinion> {
    #[derive(Deserialize)]
    struct Answer {
        flagged: bool,
        #[serde(default)]
        found: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        kind: String,
        value: String,
    }
    let Answer { flagged, found } = serde_json::from_slice(answer).ok()?;
    if found.len() > VALUES_MAX {
        return None;
    }
    let well = |found: &Found| is_a_kind(&found.kind) && !found.value.trim().is_empty();
    if !found.iter().all(well) {
        return None;
    }
    Some(Opinion { flagged, found: found.into_iter().map(|found| (found.kind, found.value)).collect() })
}

/// Whether a text can stand in a placeholder.
fn is_a_kind(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=KIND_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) && text.as_bytes()[0].is_ascii_uppercase()
}

fn read_moderation(answer: &[u8], categories: &BTreeSet<String>) -> Option<Opinion> {
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        flagged: bool,
        #[serde(default)]
        categories: std::collections::BTreeMap<String, Option<bool>>,
    }
    let Answer { results } = serde_json::from_slice(answer).ok()?;
    // A category that it does not know never counts: nobody would see that it is misspelt.
    let knows = |one: &One| categories.iter().all(|name| one.categories.contains_key(name));
    if !results.iter().all(knows) {
        return None;
    }
    let counts = |one: &One| match categories.is_empty() {
        true => one.flagged,
        false => one.categories.iter().any(|(name, &on)| on == Some(true) && categories.contains(name)),
    };
    (!results.is_empty()).then(|| Opinion { flagged: results.iter().any(counts), found: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(answer: &str) -> Option<(bool, usize)> {
        read_own(answer.as_bytes()).map(|opinion| (opinion.flagged, opinion.found.len()))
    }

    #[test]
    fn our_own_contract_is_read_whole_or_not_at_all() {
        assert_eq!(own(r#"{"flagged":false}"#), Some((false, 0)));
        assert_eq!(own(r#"{"flagged":true,"found":[{"kind":"PERSON","value":"Ann"}],"more":1}"#), Some((true, 1)));
        for bad in [
            "{}",
            "[]",
            r#"{"flagged":"yes"}"#,
            r#"{"flagged":true,"found":[{"kind":"person","value":"Ann"}]}"#,
            r#"{"flagged":true,"found":[{"kind":"A>B","value":"Ann"}]}"#,
            r#"{"flagged":true,"found":[{"kind":"PERSON","value":" "}]}"#,
        ] {
            assert_eq!(own(bad), None, "{bad}");
        }
    }

    #[test]
    fn of_moderations_the_named_categories_count() {
        let answer = br#"{"id":"modr-1","model":"omni","results":[{"flagged":true,"categories":
            {"violence":true,"hate":false,"sexual/minors":null}},{"flagged":false,"categories":
            {"violence":false,"hate":false,"sexual/minors":false}}]}"#;
        let flagged = |names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            read_moderation(answer, &names).map(|opinion| opinion.flagged)
        };
        assert_eq!(flagged(&[]), Some(true));
        assert_eq!(flagged(&["violence"]), Some(true));
        assert_eq!(flagged(&["hate", "sexual/minors"]), Some(false));
        assert_eq!(flagged(&["violence", "violance"]), None, "it would never count");
        assert_eq!(read_moderation(br#"{"results":[]}"#, &BTreeSet::new()), None);
    }

    #[test]
    fn an_address_is_of_http_and_holds_no_password() {
        let made = |url: &str| Checker::new(url, Speaks::Tollgate, Ring::of_none("c"), Duration::from_secs(1)).is_ok();
        assert!(made("http://127.0.0.1:9/check") && made("https://c.example.com"));
        for bad in ["", "c.example.com", "ftp://x/y", "https://u:p@x/y", "http://"] {
            assert!(!made(bad), "{bad}");
        }
    }
}
