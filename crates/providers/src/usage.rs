//! What a provider may credibly say was used: what the adapters of all vendors ask of its counts.

use serde_json::value::RawValue;
use tollgate_types::Tokens;
use tollgate_types::event::RAW_USAGE_BYTES_MAX;
use tollgate_types::job::MAX_TOKENS_MAX;

use crate::adapter::{Reported, Sent};

/// What a usage object says, taken apart.
pub(crate) struct Counts {
    /// The counts, in disjoint buckets.
    pub(crate) tokens: Tokens,
    /// Whether the provider says how much of the answer was reasoning.
    pub(crate) reasoning_is_known: bool,
    /// Answer tokens that leave no text: audio, and predictions that were not used.
    pub(crate) silent: u64,
}

/// Keeps the object, and its counts if they are within what the request and the answer can hold.
pub(crate) fn report(raw: &RawValue, counts: Option<Counts>, sent: &Sent<'_>, answer_text_bytes: usize) -> Reported {
    let possible = counts.filter(|counts| prompt_is_possible(counts, sent));
    let possible = possible.filter(|counts| answer_is_possible(counts, sent, answer_text_bytes));
    Reported { tokens: possible.map(|counts| counts.tokens), raw: compact(raw.get()) }
}

/// A field that is absent (`Some(None)`), a count (`Some(Some(_))`), or no count at all (`None`).
pub(crate) fn count(field: Option<&RawValue>) -> Option<Option<u64>> {
    field.map(|raw| raw.get().parse().ok()).map_or(Some(None), |count: Option<u64>| count.map(Some))
}

/// Hidden system prompts and chat templates of self-hosted models, which no byte of the request shows.
const HIDDEN_PROMPT_TOKENS: u64 = 1024;

fn prompt_is_possible(counts: &Counts, sent: &Sent<'_>) -> bool {
    let prompt = counts.tokens.prompt();
    let bytes = sent.body.len() as u64;
    if prompt <= bytes.saturating_mul(2).saturating_add(HIDDEN_PROMPT_TOKENS) {
        return true;
    }
    // A short address can stand for a large picture, a long file or a long conversation, and a search brings pages along.
    const BY_REFERENCE: [&str; 12] = [
        "\"image_url\"",
        "\"file\"",
        "\"file_id\"",
        "\"file_url\"",
        "\"input_audio\"",
        "\"web_search",
        "\"file_search",
        "\"mcp\"",
        "\"previous_response_id\"",
        "\"conversation\"",
        "\"item_reference\"",
        "\"prompt\"",
    ];
    let text = std::str::from_utf8(sent.body).unwrap_or_default();
    prompt <= MAX_TOKENS_MAX && BY_REFERENCE.iter().any(|word| text.contains(word))
}

/// Tokens around an answer's text that are not in it: ends of turns, headers of tool calls.
const FRAME_TOKENS: u64 = 4096;
/// The longest answer of any model that is known. Some providers count reasoning and do not say so.
const UNTOLD_REASONING_TOKENS: u64 = 131_072;

fn answer_is_possible(counts: &Counts, sent: &Sent<'_>, answer_text_bytes: usize) -> bool {
    let tokens = &counts.tokens;
    let n = sent.n.max(1);
    let asked_for = sent.max_tokens.unwrap_or(MAX_TOKENS_MAX).saturating_mul(n);
    if tokens.output > asked_for.saturating_mul(2).saturating_add(64) || tokens.reasoning > MAX_TOKENS_MAX * n {
        return false;
    }
    let untold = if counts.reasoning_is_known { FRAME_TOKENS } else { UNTOLD_REASONING_TOKENS };
    let bytes = answer_text_bytes as u64;
    tokens.output <= bytes.saturating_mul(2).saturating_add(untold.saturating_mul(n)).saturating_add(counts.silent)
}

/// The object without white space between its parts; empty if it does not fit a usage record.
fn compact(json: &str) -> String {
    // White space can make a small object long, but not without limit: then it is somebody's game.
    if json.len() > 16 * RAW_USAGE_BYTES_MAX {
        return String::new();
    }
    let (mut in_text, mut escaped) = (false, false);
    let keep = |c: &char| {
        let keep = in_text || !c.is_ascii_whitespace();
        match c {
            '"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = in_text && *c == '\\' && !escaped;
        keep
    };
    let text: String = json.chars().filter(keep).collect();
    if text.len() > RAW_USAGE_BYTES_MAX { String::new() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_own_object_is_kept_compact_or_not_at_all() {
        assert_eq!(compact("{ \"a b\\\" c\" :\n 1,\"d\\\\\" : [ 2 ] }"), r#"{"a b\" c":1,"d\\":[2]}"#);
        assert_eq!(compact(&format!("{{\"a\":{}1}}", " ".repeat(1000))), r#"{"a":1}"#);
        assert_eq!(compact(&format!("{{\"a\":\"{}\"}}", "x".repeat(RAW_USAGE_BYTES_MAX))), "");
        assert_eq!(compact(&" ".repeat(1_000_000)), "");
    }
}
