//! The cache of answers, as decisions: which job uses it, which requests are the same, and which answers are worth
//! keeping.

mod canonical;
mod whole;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tollgate_types::{CacheMode, CacheRules, CacheWish, Digest, Endpoint};

pub use canonical::UNKEYED;
pub use whole::{Unkept, judge};

/// How a job uses the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    None,
    /// A kept answer, a shared call, or a call whose answer is kept.
    Use,
    /// A call whose answer is kept.
    Refresh,
}

/// Decides how a job uses the cache, from what it asks and what is configured for its team.
///
/// A temperature above the highest keeps only those jobs away that did not ask: who writes `use` means it.
pub fn way(wish: Option<CacheWish>, rules: &CacheRules, temperature: Option<f64>) -> Way {
    match (rules.mode(), wish) {
        (CacheMode::Off, _) | (_, Some(CacheWish::Bypass)) | (CacheMode::Bypass, None) => Way::None,
        (CacheMode::Bypass | CacheMode::Use, Some(CacheWish::Use)) => Way::Use,
        (CacheMode::Bypass | CacheMode::Use, Some(CacheWish::Refresh)) => Way::Refresh,
        (CacheMode::Use, None) => match temperature {
            Some(asked) if rules.temperature_max().is_below(asked) => Way::None,
            Some(_) | None => Way::Use,
        },
    }
}

/// The `temperature` that a body sets; `None` if it leaves it to the provider.
pub fn temperature(body: &[u8]) -> Option<f64> {
    #[derive(Deserialize)]
    struct Sampled {
        #[serde(default)]
        temperature: Option<f64>,
    }
    serde_json::from_slice::<Sampled>(body).ok()?.temperature
}

/// Whether a body asks the provider to search the web first: what it finds grows old, as with a tool.
pub fn searches(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chat {
        #[serde(default)]
        web_search_options: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Chat>(body).is_ok_and(|chat| chat.web_search_options.is_some())
}

/// A request, as far as it decides what the answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The team; no other's answer is ever used.
    pub team: &'a str,
    /// The project or user whose jobs share answers, with the word for what it is; empty for the whole team.
    pub shared_by: (&'a str, &'a str),
    /// The model, as the job asked for it.
    pub model: &'a str,
    /// What it is for.
    pub endpoint: Endpoint,
    /// The tags that its deployment must have.
    pub tags: &'a BTreeSet<String>,
    /// The body as it would be sent.
    pub body: &'a [u8],
}

/// The key of a request: two have the same if, and only if, nothing that may change the answer differs between them.
/// `None` for a body that is no JSON object.
pub fn key(asked: &Asked<'_>) -> Option<Digest> {
    let body = canonical::canonical(asked.body)?;
    let (kind, name) = asked.shared_by;
    let mut parts: Vec<&[u8]> = vec![
        b"answer 2",
        asked.team.as_bytes(),
        kind.as_bytes(),
        name.as_bytes(),
        asked.model.as_bytes(),
        asked.endpoint.as_str().as_bytes(),
    ];
    parts.extend(asked.tags.iter().map(|tag| tag.as_bytes()));
    parts.push(&body);
    Some(Digest::of(&parts))
}

#[cfg(test)]
mod tests;
