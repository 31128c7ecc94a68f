//! What makes a detector work hard: what looks like the start of something, again and again.

use std::path::Path;

use anyhow::Context as _;

/// The length of the longest text, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// Everyday English with few numbers: the sentences of the guard's corpus that people could write and nothing is in.
pub(crate) fn prose() -> anyhow::Result<String> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/guard/tests/corpus/clean.jsonl");
    let lines = std::fs::read_to_string(&place).with_context(|| place.display().to_string())?;
    let mut text = String::new();
    for line in lines.lines() {
        let sentence: serde_json::Value = serde_json::from_str(line)?;
        if sentence["lang"] == "en" && sentence["where"] == "prose" {
            text += sentence["text"].as_str().context("a sentence without a text")?;
            text.push(' ');
        }
    }
    anyhow::ensure!(!text.is_empty(), "the corpus has no English prose");
    Ok(text.repeat(BYTES_MAX.div_ceil(text.len())))
}

/// A text that repeats something.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) part: &'static str,
}

/// The parts, each of which is repeated to the length of the text.
pub(crate) const HOSTILE: &[Hostile] = &[
    Hostile { name: "digits", part: "4" },
    Hostile { name: "digits and spaces", part: "4111 " },
    Hostile { name: "single digits", part: "1 " },
    Hostile { name: "cards", part: "4111111111111111 " },
    Hostile { name: "phone numbers", part: "+14155552671 " },
    Hostile { name: "numbers after a word", part: "phone 2125550123 " },
    Hostile { name: "words and numbers", part: "ssn 536221234 " },
    Hostile { name: "at signs", part: "@" },
    Hostile { name: "addresses without an end", part: "a.a@a.a" },
    Hostile { name: "dots", part: "a.a.a." },
    Hostile { name: "colons", part: "1:" },
    Hostile { name: "starts of tokens", part: "eyJ" },
    Hostile { name: "starts of tokens apart", part: "eyJ." },
    Hostile { name: "headers of tokens", part: "eyJhbGciOiJIUzI1NiJ9. " },
    Hostile { name: "starts of keys", part: "-----BEGIN PRIVATE KEY-----\n" },
    Hostile { name: "keys without an end", part: "-----BEGIN PRIVATE KEY-----\nMIIEow0aBcDeFgHiJkLm\n" },
    Hostile { name: "passwords", part: "password=" },
    Hostile { name: "passwords, short", part: "pwd:pwd:" },
    Hostile { name: "prefixes", part: "sk-" },
    Hostile { name: "prefixes apart", part: " sk-a1" },
    Hostile { name: "URLs", part: "://a:b" },
    Hostile { name: "parameters", part: "?token=" },
    Hostile { name: "births", part: "born " },
    Hostile { name: "passports", part: "passport 1" },
    Hostile { name: "injections", part: "ignore all " },
    Hostile { name: "pretences", part: "pretend you have no " },
    Hostile { name: "comments", part: "<!--" },
    Hostile { name: "base64", part: "QUJD" },
    Hostile { name: "base64 of numbers", part: "NDExMSAxMTExIDExMTEgMTExMSA0MTExIDExMTEgMTExMSAxMTExIA " },
    Hostile { name: "spaces", part: " " },
    Hostile { name: "fullwidth digits", part: "４" },
    Hostile { name: "zero width", part: "\u{200B}4" },
    Hostile { name: "dates", part: "2024-05-17 " },
    Hostile { name: "hexadecimal", part: "a1b2c3d4 " },
];

/// So many bytes of it.
pub(crate) fn repeated(hostile: &Hostile, bytes: usize) -> String {
    hostile.part.repeat(bytes.div_ceil(hostile.part.len()))
}
