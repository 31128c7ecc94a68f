//! The tokens of a JSON text, with where they stand.
//!
//! It does not check: who wants to know whether a text is JSON asks [`is_json`]. Of what is not, any tokens may come, but
//! always within the text, in order, and on borders of characters.

use std::ops::Range;

use serde::de::IgnoredAny;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// What it spans; of strings, without the quotes.
    pub(crate) range: Range<usize>,
    /// Whether it is a string with a backslash in it.
    pub(crate) escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{` or `[`.
    Open {
        object: bool,
    },
    /// `}` or `]`.
    Close,
    /// A string that names a field.
    Key,
    String,
    Number,
    /// `true`, `false`, `null`.
    Word,
}

/// Gives the tokens of a text one by one.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn string(&mut self) -> Token {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        let end = loop {
            match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                None => break bytes.len(),
                Some(ahead) if bytes[at + ahead] == b'"' => break at + ahead,
                Some(ahead) => {
                    escaped = true;
                    at = bytes.len().min(at + ahead + 2);
                }
            }
        };
        self.at = bytes.len().min(end + 1);
        let after = bytes[self.at..].iter().find(|byte| !byte.is_ascii_whitespace());
        let kind = if after == Some(&b':') { Kind::Key } else { Kind::String };
        // What is no JSON can end in half an escape, whose other half is a character of several bytes.
        Token { kind, range: start.min(end)..end, escaped }
    }

    fn run(&mut self, kind: Kind, belongs: fn(u8) -> bool) -> Token {
        let start = self.at;
        while self.byte().is_some_and(belongs) {
            self.at += 1;
        }
        Token { kind, range: start..self.at, escaped: false }
    }

    fn one(&mut self, kind: Kind) -> Token {
        self.at += 1;
        Token { kind, range: self.at - 1..self.at, escaped: false }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            return Some(match self.byte()? {
                b'"' => self.string(),
                b'{' => self.one(Kind::Open { object: true }),
                b'[' => self.one(Kind::Open { object: false }),
                b'}' | b']' => self.one(Kind::Close),
                b'-' | b'0'..=b'9' => {
                    self.run(Kind::Number, |byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                }
                b'a'..=b'z' => self.run(Kind::Word, |byte| byte.is_ascii_lowercase()),
                _ => {
                    self.at += 1;
                    continue;
                }
            });
        }
    }
}

/// Whether a text is a whole JSON object or array, as the arguments of a tool call are.
pub(crate) fn is_json(text: &str) -> bool {
    let start = text.trim_start_matches([' ', '\t', '\r', '\n']);
    // A look at the end first: prose in brackets seldom ends in one, and is not read twice.
    let end = start.trim_end_matches([' ', '\t', '\r', '\n']);
    let closes = (start.starts_with('{') && end.ends_with('}')) || (start.starts_with('[') && end.ends_with(']'));
    closes && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        Lexer::new(text).map(|token| (token.kind, &text[token.range])).collect()
    }

    #[test]
    fn tokens_come_with_their_kind_and_place() {
        use Kind::*;
        let found = kinds(r#" {"a\"b" : [1, -2.5e3, "x", true], "c":{}} "#);
        let expected = [
            (Open { object: true }, "{"),
            (Key, r#"a\"b"#),
            (Open { object: false }, "["),
            (Number, "1"),
            (Number, "-2.5e3"),
            (String, "x"),
            (Word, "true"),
            (Close, "]"),
            (Key, "c"),
            (Open { object: true }, "{"),
            (Close, "}"),
            (Close, "}"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_whole_objects_and_arrays_are_json() {
        for text in ["{}", " [1]\n", r#"{"a":"\u0040"}"#] {
            assert!(is_json(text), "{text}");
        }
        for text in ["", "1", "\"a\"", "{", "[1] said", "{name}", "[4111 1111]", "{}{}"] {
            assert!(!is_json(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_tokens_in_order_on_borders_of_characters(text in r#"[\\"{}\[\]:,a1é \u{1F600}]{0,40}"#) {
            let mut end = 0;
            for token in Lexer::new(&text) {
                prop_assert!(token.range.start >= end && text.get(token.range.clone()).is_some(), "{text:?} {token:?}");
                end = token.range.end;
            }
        }
    }
}
