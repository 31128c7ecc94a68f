//! Kept answers: one message for each request, which the server forgets when its time is over.
//!
//! Nothing hangs on them. An answer that cannot be read is one that is not there, one that cannot be kept costs one more
//! call; so every question here has a short limit, and no caller fails because of it. Killed before or after a publish:
//! the answer is not kept, or is, and both are whole states.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tollgate_types::{Digest, JobId, NanoUsd, Tokens, UnixMillis, headers, subjects};

use crate::api::{self, ApiError};

/// A job waits no longer than this for what is only a saving.
const ASK_MAX: Duration = Duration::from_secs(1);
/// The version of the header's object.
const VERSION: u32 = 1;
/// Subjects in one page of the server's count.
const PAGES_MAX: usize = 64;

/// Where an answer is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The team.
    pub team: String,
    /// The digest of the model's name.
    pub model: String,
    /// The digest of the request.
    pub key: Digest,
}

impl Slot {
    /// The subject.
    pub fn subject(&self) -> String {
        subjects::cached(&self.team, &self.model, &self.key)
    }
}

/// Of what call an answer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The version of this object; 1.
    pub version: u32,
    /// The job that the provider was called for.
    pub job: JobId,
    /// The operator's name of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// What the call cost.
    pub cost_nanousd: NanoUsd,
    /// What the call used.
    pub tokens: Tokens,
    /// The provider's id of the request.
    pub request_id: String,
    /// When the answer was kept, by the server's clock.
    pub at: UnixMillis,
}

/// A kept answer.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    /// Of what call it is.
    pub facts: Facts,
    /// The provider's body, byte for byte.
    pub body: Bytes,
}

/// How many answers are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// All of them.
    pub answers: u64,
    /// Their bytes, with their headers.
    pub bytes: u64,
    /// By team and digest of the model's name.
    #[serde(skip)]
    pub by_model: BTreeMap<(String, String), u64>,
}

/// Whose answers are to be forgotten; nothing named means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Purge {
    /// One team's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// One model's, by the digest of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// One request's, by its digest as hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Purge {
    /// That of one request.
    pub fn of(slot: &Slot) -> Purge {
        Purge { team: Some(slot.team.clone()), model: Some(slot.model.clone()), key: Some(slot.key.to_string()) }
    }

    /// Whether it reaches an answer.
    pub fn reaches(&self, slot: &Slot) -> bool {
        self.team.as_ref().is_none_or(|team| *team == slot.team)
            && self.model.as_ref().is_none_or(|model| *model == slot.model)
            && self.key.as_ref().is_none_or(|key| *key == slot.key.to_string())
    }

    fn filter(&self) -> String {
        let [team, model, key] = [&self.team, &self.model, &self.key].map(|token| token.as_deref().unwrap_or("*"));
        format!("tollgate.cache.{team}.{model}.{key}")
    }
}

impl Facts {
    /// The version that this code writes.
    pub const VERSION: u32 = VERSION;
}

/// The stream of kept answers. It may be missing: then nothing is kept.
#[derive(Clone)]
pub struct Answers {
    client: Client,
}

impl Answers {
    /// Over a connection; nothing is asked yet.
    pub fn new(client: &Client) -> Answers {
        Answers { client: client.clone() }
    }

    /// The kept answer, if there is one. Cancel safe.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn find(&self, slot: &Slot) -> Result<Option<KeptAnswer>, ApiError> {
        let subject = format!("$JS.API.DIRECT.GET.{}.{}", subjects::CACHE_STREAM, slot.subject());
        let asked = timeout(ASK_MAX, api::raw(&self.client, subject, None, Bytes::new())).await;
        let message = asked.map_err(|_| ApiError::Unknown)??;
        match message.status.map(|status| status.as_u16()) {
            None => Ok(read(message)),
            Some(404) => Ok(None),
            Some(code) => {
                Err(ApiError::Refused { code: u64::from(code), description: message.description.unwrap_or_default() })
            }
        }
    }

    /// Keeps an answer for so long, in the place of what was kept before.
    ///
    /// Cancelled or without an answer, it may be kept.
    ///
    /// # Errors
    /// Why it is not, or not certainly.
    pub async fn keep(&self, slot: &Slot, answer: &KeptAnswer, ttl: Duration) -> Result<(), ApiError> {
        let mut sent = HeaderMap::new();
        sent.insert(headers::TTL, format!("{}s", ttl.as_secs().max(1)));
        sent.insert(headers::CACHED, ascii(&answer.facts));
        sent.insert(headers::FROM_JOB, answer.facts.job.as_str());
        let kept = api::acknowledged(&self.client, slot.subject(), sent, answer.body.clone());
        timeout(ASK_MAX, kept).await.map_err(|_| ApiError::Unknown)?
    }

    /// Forgets answers, and says how many there were. What workers hold in memory is not reached by this: see
    /// [`control::announce_purged`](crate::control::announce_purged).
    ///
    /// # Errors
    /// Why the server did not.
    pub async fn purge(&self, purge: &Purge) -> Result<u64, ApiError> {
        api::purge(&self.client, subjects::CACHE_STREAM, &purge.filter()).await
    }

    /// How many answers are kept, of which teams and models.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn contents(&self) -> Result<Contents, ApiError> {
        #[derive(Deserialize)]
        struct Info {
            #[serde(default)]
            total: usize,
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            messages: u64,
            bytes: u64,
            #[serde(default)]
            subjects: Option<BTreeMap<String, u64>>,
        }
        let subject = format!("$JS.API.STREAM.INFO.{}", subjects::CACHE_STREAM);
        let (mut contents, mut offset) = (Contents::default(), 0);
        for _ in 0..PAGES_MAX {
            let question = serde_json::json!({ "subjects_filter": ">", "offset": offset });
            let Info { total, state } = api::ask(&self.client, subject.clone(), question.to_string().into()).await?;
            (contents.answers, contents.bytes) = (state.messages, state.bytes);
            let page = state.subjects.unwrap_or_default();
            offset += page.len();
            let ended = page.is_empty();
            for (subject, count) in page {
                let tokens: Vec<&str> = subject.split('.').collect();
                if let ["tollgate", "cache", team, model, _] = tokens[..] {
                    *contents.by_model.entry((team.to_owned(), model.to_owned())).or_default() += count;
                }
            }
            if ended || offset >= total {
                break;
            }
        }
        Ok(contents)
    }
}

fn read(message: Message) -> Option<KeptAnswer> {
    let facts = message.headers.as_ref()?.get(headers::CACHED)?;
    let facts: Facts = serde_json::from_str(facts.as_str()).ok()?;
    (facts.version == VERSION).then_some(KeptAnswer { facts, body: message.payload })
}

/// JSON that a header takes.
fn ascii(facts: &Facts) -> String {
    let text = serde_json::to_string(facts).expect("texts and numbers always serialise");
    if text.is_ascii() {
        return text;
    }
    let mut units = [0; 2];
    let escaped = |c: char| match c.is_ascii() {
        true => c.to_string(),
        false => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_fit_a_header_and_read_back() {
        let facts = Facts {
            version: VERSION,
            job: "search:1".parse().unwrap(),
            provider: "ü😀".to_owned(),
            model: "m".to_owned(),
            cost_nanousd: NanoUsd(7),
            tokens: Tokens::default(),
            request_id: "r\n1".to_owned(),
            at: UnixMillis(5),
        };
        let text = ascii(&facts);
        assert!(text.is_ascii() && !text.contains('\n'), "{text}");
        assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
    }

    #[test]
    fn a_purge_reaches_what_it_names() {
        let slot = |team: &str, model: &str| Slot { team: team.into(), model: model.into(), key: Digest::of(&[]) };
        let purge = |team: Option<&str>, model: Option<&str>| Purge {
            team: team.map(Into::into),
            model: model.map(Into::into),
            key: None,
        };
        let other = Slot { key: Digest::of(&[b"x"]), ..slot("a", "m") };
        assert!(Purge::of(&other).reaches(&other) && !Purge::of(&other).reaches(&slot("a", "m")));
        assert_eq!(Purge::of(&other).filter(), other.subject());
        assert!(Purge::default().reaches(&slot("a", "m")));
        assert!(purge(Some("a"), None).reaches(&slot("a", "m")) && !purge(Some("a"), None).reaches(&slot("b", "m")));
        assert!(!purge(Some("a"), Some("n")).reaches(&slot("a", "m")));
        assert_eq!(purge(Some("a"), None).filter(), "tollgate.cache.a.*.*");
    }
}
