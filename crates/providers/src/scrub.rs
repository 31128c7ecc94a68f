//! Makes a provider's message safe to pass on: one bounded line without keys.

use crate::keys::ApiKey;

/// The most characters of a message that are kept.
pub(crate) const MESSAGE_CHARS_MAX: usize = 300;

const MASK: &str = "[key]";

/// Starts of words that are keys, whoever they belong to.
const KEY_PREFIXES: [&str; 5] = ["sk-", "sk_", "xai-", "gsk_", "AIza"];

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

fn mask_lookalikes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut after_bearer = false;
    while !rest.is_empty() {
        let word_len = rest.find(|c| !is_key_char(c)).unwrap_or(rest.len());
        if word_len == 0 {
            let c = rest.chars().next().expect("it is not empty");
            out.push(c);
            rest = &rest[c.len_utf8()..];
            // `Bearer: x` and `Bearer  x` are still a bearer's key.
            after_bearer &= matches!(c, ' ' | ':' | '"' | '\'' | '=');
            continue;
        }
        let (word, tail) = rest.split_at(word_len);
        let prefixed = KEY_PREFIXES.iter().filter_map(|prefix| word.find(prefix)).min();
        match prefixed {
            _ if after_bearer => out.push_str(MASK),
            Some(at) => {
                out.push_str(&word[..at]);
                out.push_str(MASK);
            }
            None => out.push_str(word),
        }
        after_bearer = word.eq_ignore_ascii_case("bearer");
        rest = tail;
    }
    out
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
