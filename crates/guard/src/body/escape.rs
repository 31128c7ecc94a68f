//! JSON strings without their escapes, and the way back to where something stands in the JSON text.

use std::borrow::Cow;
use std::ops::Range;

/// The text that a JSON string stands for. What is no valid escape stands for itself.
pub(crate) fn unescaped(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(plain) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..plain]);
        let (character, spanned) = escape(&rest[plain..]);
        text.push(character);
        rest = &rest[plain + spanned..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character of the escape that a text begins with, and how many bytes it spans.
fn escape(text: &str) -> (char, usize) {
    let simple = match text.as_bytes().get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        Some(b'u') => return unicode(text),
        _ => return ('\\', 1),
    };
    (simple, 2)
}

fn unicode(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(2) else { return ('\\', 1) };
    let paired = (0xD800..0xDC00).contains(&first) && text.get(6..8) == Some("\\u");
    if let Some(second) = unit(8).filter(|unit| paired && (0xDC00..0xE000).contains(unit)) {
        let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// Finds where places of the text that a JSON string stands for are in that string. Asked in ascending order it reads
/// the string once.
pub(crate) struct Places<'a> {
    raw: &'a str,
    at_raw: usize,
    at_text: usize,
}

impl<'a> Places<'a> {
    pub(crate) fn new(raw: &'a str) -> Places<'a> {
        Places { raw, at_raw: 0, at_text: 0 }
    }

    /// The bytes of the string that give these bytes of its text.
    pub(crate) fn range(&mut self, of_text: &Range<usize>) -> Range<usize> {
        self.to(of_text.start)..self.to(of_text.end)
    }

    fn to(&mut self, text: usize) -> usize {
        if text < self.at_text {
            (self.at_raw, self.at_text) = (0, 0);
        }
        while self.at_text < text {
            let rest = &self.raw[self.at_raw..];
            let plain = memchr::memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len()).min(text - self.at_text);
            if plain == 0 {
                if rest.is_empty() {
                    break;
                }
                let (character, spanned) = escape(rest);
                self.at_raw += spanned;
                self.at_text += character.len_utf8();
            } else {
                self.at_raw += plain;
                self.at_text += plain;
            }
        }
        self.at_raw
    }
}

/// A text as it stands inside of a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_become_what_they_stand_for() {
        for (raw, text) in [
            ("plain", "plain"),
            (r#"a\n\t\"\\\/b"#, "a\n\t\"\\/b"),
            (r"john\u0040x.com", "john@x.com"),
            (r"\ud83d\ude00!", "\u{1F600}!"),
            (r"\ud83d!", "\u{FFFD}!"),
            (r"\u12", r"\u12"),
            (r"\u+123", r"\u+123"),
            (r"\x\", r"\x\"),
            ("\\u00é9", "\\u00é9"),
        ] {
            assert_eq!(unescaped(raw), text, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_as_before(text in any::<String>()) {
            let raw = escaped(&text);
            prop_assert_eq!(unescaped(&raw), text);
        }

        #[test]
        fn each_place_of_the_text_is_found_in_the_string(raw in r#"([a-cé\u{1F600}]|\\n|\\u0040|\\ud83d\\ude00|\\"|\\u12){0,20}"#) {
            let text = unescaped(&raw).into_owned();
            let borders: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
            let mut places = Places::new(&raw);
            for pair in borders.windows(2) {
                let found = places.range(&(pair[0]..pair[1]));
                prop_assert_eq!(&unescaped(&raw[found]), &text[pair[0]..pair[1]]);
            }
        }
    }
}
