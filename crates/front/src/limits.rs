//! How fast a caller may go, and how much of that is left, in the headers of each vendor.
//!
//! What is taken of a limit stands in a record that all workers swap ([`tollgate_policy::limit`]). It is read here at most
//! once a second for each team and key, never written, and told as what it is: an estimate. Workers take permits in blocks,
//! so some of what is taken is not used yet; tokens count by estimates until the answer is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout};
use tollgate_policy::limit::{Limit, Taken};
use tollgate_queue::Records;
use tollgate_queue::ledger::limit_of_scope;
use tollgate_types::{Limits, Scope, UnixMillis};

use crate::Parts;
use crate::auth::Caller;
use crate::refused::Shape;

/// How long what was read is told again.
const FRESH: Duration = Duration::from_secs(1);
/// A call does not wait longer for what is left of its limits; without, only the limits are told.
const READ_WITHIN: Duration = Duration::from_millis(250);
/// Teams and keys that are remembered.
const SCOPES_MAX: usize = 4096;

/// What was last read of the limits' records.
#[derive(Default)]
pub(crate) struct Standings(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Standing>>>>);

#[derive(Default)]
struct Standing {
    /// The record; a limit of which nothing was ever taken has none.
    limit: Option<Limit>,
    read: Option<Instant>,
    /// Whether the last try to read it succeeded.
    known: bool,
}

/// One limit of a minute, and how much of it is left, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    limit: u64,
    remaining: Option<u64>,
    /// When all of it is there again, if nothing else is taken until then.
    whole_at: UnixMillis,
}

impl Standings {
    /// What is taken now; `None` if it cannot be said in time. Cancel safe.
    async fn taken(&self, scope: &Scope, records: &Records, now: UnixMillis) -> Option<Taken> {
        let key = limit_of_scope(scope);
        let standing = {
            let mut all = self.0.lock().expect("no holder panics");
            if all.len() >= SCOPES_MAX && !all.contains_key(&key) {
                all.clear();
            }
            all.entry(key.clone()).or_default().clone()
        };
        // Calls that come at once share one question.
        let mut standing = standing.lock().await;
        if standing.read.is_none_or(|read| read.elapsed() >= FRESH) {
            let read = timeout(READ_WITHIN, records.get(&key)).await;
            standing.known = true;
            match read {
                Ok(Ok(None)) => standing.limit = None,
                Ok(Ok(Some((record, _)))) => match serde_json::from_slice(&record) {
                    Ok(limit) => standing.limit = Some(limit),
                    Err(_) => standing.known = false,
                },
                Ok(Err(_)) | Err(_) => standing.known = false,
            }
            standing.read = Some(Instant::now());
        }
        standing.known.then(|| standing.limit.as_ref().map(|limit| limit.taken(now)).unwrap_or_default())
    }
}

/// Says in headers how fast the caller may go, where that is limited: of the team's limit and its key's the one of which
/// less is left.
pub(crate) async fn tell(
    headers: &mut HeaderMap,
    shape: Shape,
    caller: &Caller,
    (parts, standings): (&Parts, &Standings),
) {
    let Some(team) = parts.directory.team(caller.team()) else { return };
    let of_key = team.key_limits.get(caller.id.as_str()).or_else(|| team.key_limits.get("*")).copied();
    let name = || caller.team().to_owned();
    let scopes = [
        (Scope::Team { team: name() }, team.limits),
        (Scope::Key { team: name(), key: caller.id.as_str().to_owned() }, of_key.unwrap_or_default()),
    ];
    let now = parts.clock.now();
    let (mut requests, mut tokens) = (Vec::new(), Vec::new());
    for (scope, limits) in scopes {
        let Limits { requests_per_minute, tokens_per_minute, .. } = limits;
        if requests_per_minute.is_none() && tokens_per_minute.is_none() {
            continue;
        }
        let taken = standings.taken(&scope, &parts.records, now).await;
        let left = |limit: u64, of: fn(&Taken) -> (u64, UnixMillis)| Left {
            limit,
            remaining: taken.as_ref().map(|taken| limit.saturating_sub(of(taken).0)),
            whole_at: taken.as_ref().map_or(now, |taken| of(taken).1.max(now)),
        };
        requests.extend(
            requests_per_minute.map(|limit| left(limit.into(), |taken| (taken.requests, taken.requests_back_at))),
        );
        tokens.extend(tokens_per_minute.map(|limit| left(limit, |taken| (taken.tokens, taken.tokens_back_at))));
    }
    for (what, all) in [("requests", requests), ("tokens", tokens)] {
        if let Some(left) = narrowest(all) {
            say(headers, shape, (what, left), now);
        }
    }
}

/// The one of which less is left; where that is not known, the smaller one.
fn narrowest(all: Vec<Left>) -> Option<Left> {
    all.into_iter().min_by_key(|left| (left.remaining.unwrap_or(left.limit), left.limit))
}

fn say(headers: &mut HeaderMap, shape: Shape, (what, left): (&str, Left), now: UnixMillis) {
    let Left { limit, remaining, whole_at } = left;
    let name = |of: &str| match shape {
        Shape::OpenAi => format!("x-ratelimit-{of}-{what}"),
        Shape::Anthropic => format!("anthropic-ratelimit-{what}-{of}"),
    };
    let mut put = |of: &str, value: String| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name(of)), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    put("limit", limit.to_string());
    let Some(remaining) = remaining else { return };
    put("remaining", remaining.to_string());
    put(
        "reset",
        match shape {
            Shape::OpenAi => in_go(whole_at.since(now)),
            // To the second, as Anthropic has it, and not before it is true.
            Shape::Anthropic => UnixMillis((whole_at.0 + 999).div_euclid(1000) * 1000).to_rfc3339(),
        },
    );
}

/// A length of time as OpenAI writes it, in whole seconds: `0s`, `59s`, `1m0s`.
fn in_go(length: Duration) -> String {
    let seconds = length.as_millis().div_ceil(1000);
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(limit: u64, remaining: Option<u64>) -> Left {
        Left { limit, remaining, whole_at: UnixMillis(61_500) }
    }

    #[test]
    fn the_limit_that_is_used_up_first_is_told() {
        let check = |all: &[Left], expected: Option<u64>| {
            assert_eq!(narrowest(all.to_vec()).map(|left| left.limit), expected, "{all:?}");
        };
        check(&[], None);
        check(&[left(1000, Some(10)), left(100, Some(50))], Some(1000));
        check(&[left(1000, Some(900)), left(100, Some(50))], Some(100));
        check(&[left(1000, None), left(100, None)], Some(100));
    }

    #[test]
    fn each_vendor_has_its_own_words_for_it() {
        let told = |shape, left| {
            let mut headers = HeaderMap::new();
            say(&mut headers, shape, ("tokens", left), UnixMillis(1_000));
            let mut all: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            all.sort();
            all
        };
        assert_eq!(
            told(Shape::OpenAi, left(100, Some(7))),
            ["x-ratelimit-limit-tokens: 100", "x-ratelimit-remaining-tokens: 7", "x-ratelimit-reset-tokens: 1m1s",]
        );
        assert_eq!(
            told(Shape::Anthropic, left(100, Some(7))),
            [
                "anthropic-ratelimit-tokens-limit: 100",
                "anthropic-ratelimit-tokens-remaining: 7",
                "anthropic-ratelimit-tokens-reset: 1970-01-01T00:01:02Z",
            ]
        );
        assert_eq!(
            told(Shape::OpenAi, left(100, None)),
            ["x-ratelimit-limit-tokens: 100"],
            "what is not known is not told"
        );
    }

    #[test]
    fn a_length_of_time_is_written_as_openai_does() {
        assert_eq!(
            [0, 1, 59_001, 60_000, 61_000].map(|ms| in_go(Duration::from_millis(ms))),
            ["0s", "1s", "1m0s", "1m0s", "1m1s"]
        );
    }
}
