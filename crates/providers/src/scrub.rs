//! Makes a provider's message safe to pass on: one bounded line without keys.

use crate::keys::ApiKey;

/// The most characters of a message that are kept.
pub(crate) const MESSAGE_CHARS_MAX: usize = 300;

const MASK: &str = "[key]";

/// Starts of words that are keys, whoever they belong to.
const KEY_PREFIXES: [&str; 10] = ["sk-", "sk_", "xai-", "gsk_", "AIza", "ya29.", "hf_", "nvapi-", "pplx-", "eyJ"];

/// Fields whose value is a key: a gateway may quote the key that it has for its own upstream.
const KEY_NAMES: [&str; 7] =
    ["authorization", "x-api-key", "api-key", "api_key", "apikey", "x-goog-api-key", "ocp-apim-subscription-key"];

/// One line of at most [`MESSAGE_CHARS_MAX`] characters: control characters gone, `keys` and all that looks like a
/// key masked.
pub(crate) fn scrub(text: &str, keys: &[ApiKey]) -> String {
    // Controls go first: a key with a control character inside would come together again afterwards.
    let mut line: String = text.chars().filter_map(line_char).collect();
    for key in keys {
        line = line.replace(key.expose(), MASK);
    }
    let line = mask_lookalikes(&line);
    match line.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some(_) => line.chars().take(MESSAGE_CHARS_MAX - 1).chain(['…']).collect(),
        None => line,
    }
}

fn line_char(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' => Some(' '),
        c if c.is_control() => None,
        // Invisible and direction-changing characters make a log line lie.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => None,
        c => Some(c),
    }
}

/// What the next word is, by the words before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Text,
    /// A key: the word before was a scheme.
    Key,
    /// A key if a colon or an equals sign comes first: the word before is the name of a field for keys.
    KeyAfterSign,
}

fn mask_lookalikes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut next = Next::Text;
    while !rest.is_empty() {
        let word_len = rest.find(|c| !is_key_char(c)).unwrap_or(rest.len());
        if word_len == 0 {
            let c = rest.chars().next().expect("it is not empty");
            out.push(c);
            rest = &rest[c.len_utf8()..];
            next = match (next, c) {
                (Next::KeyAfterSign, ':' | '=') => Next::Key,
                // `Bearer: x` and `Bearer  x` are still a bearer's key.
                (next, ' ' | ':' | '"' | '\'' | '=') => next,
                _ => Next::Text,
            };
            continue;
        }
        let (word, tail) = rest.split_at(word_len);
        let (kept, mask) = masked(word, next);
        out.push_str(kept);
        out.push_str(mask);
        next = after(word, next);
        rest = tail;
    }
    out
}

/// The part of a word that stays, and the mask of the rest.
fn masked(word: &str, this: Next) -> (&str, &'static str) {
    // A scheme stands where a header's key could: `authorization: Bearer x`.
    if this == Next::Key && !is_scheme(word) {
        return ("", MASK);
    }
    let prefixed = KEY_PREFIXES.iter().filter_map(|prefix| word.find(prefix)).min();
    match prefixed {
        Some(at) => (&word[..at], MASK),
        // Vendors quote the ends of a key and put stars between them.
        None if word.contains("***") => ("", MASK),
        None => (word, ""),
    }
}

fn after(word: &str, this: Next) -> Next {
    if is_scheme(word) {
        return Next::Key;
    }
    let is_name = KEY_NAMES.iter().any(|name| word.eq_ignore_ascii_case(name));
    if is_name && this != Next::Key { Next::KeyAfterSign } else { Next::Text }
}

fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer")
}

/// Characters of keys, and of the stars that vendors put into the keys that they quote.
fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.' | '+' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        let key = [ApiKey::new("s3cret-t0ken").expect("a key")];
        for (text, clean) in [
            ("bad key s3cret-t0ken!", "bad key [key]!"),
            ("bad key s3cret\u{0}-t0\u{200b}ken!", "bad key [key]!"),
            ("Incorrect API key provided: sk-proj-****abcd. See docs", "Incorrect API key provided: [key] See docs"),
            ("header 'Authorization: Bearer abc.def-1' refused", "header 'Authorization: Bearer [key]' refused"),
            ("bearer \"abc\"", "bearer \"[key]\""),
            ("keys sk-a, xsk-b and xai-c", "keys [key], x[key] and [key]"),
            ("https://x/?key=AIzaSy123&y", "https://x/?key=[key]&y"),
            ("Incorrect API key provided: xa***EY. You can", "Incorrect API key provided: [key] You can"),
            ("x-api-key: abc, api_key=def&x=1", "x-api-key: [key], api_key=[key]&x=1"),
            (
                "{'Authorization': 'Bearer abc', 'API-Key': 'def'}",
                "{'Authorization': 'Bearer [key]', 'API-Key': '[key]'}",
            ),
            ("authorization: abc", "authorization: [key]"),
            ("the api-key header is missing", "the api-key header is missing"),
            ("token eyJhbGciOi.x-y_z and hf_abc", "token [key] and [key]"),
            ("2 * 3 ** 4 **bold**", "2 * 3 ** 4 **bold**"),
            ("the bearer of news", "the bearer [key] news"),
            ("nothing to hide: ask-me", "nothing to hide: a[key]"),
            ("first\r\nsecond\x1b[31m", "first  second[31m"),
        ] {
            assert_eq!(scrub(text, &key), clean);
        }
    }

    #[test]
    fn messages_are_cut_after_they_were_masked() {
        let text = format!("{} sk-abcdefgh", "x".repeat(MESSAGE_CHARS_MAX - 4));
        let clean = scrub(&text, &[]);
        assert_eq!(clean.chars().count(), MESSAGE_CHARS_MAX);
        assert!(!clean.contains("sk-"), "{clean}");
        assert_eq!(scrub(&"é".repeat(1000), &[]).chars().count(), MESSAGE_CHARS_MAX);
        assert_eq!(scrub(&"é".repeat(MESSAGE_CHARS_MAX), &[]), "é".repeat(MESSAGE_CHARS_MAX));
    }
}
