//! The operator's own words and expressions.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;

use super::scan::Rank;
use super::settle::{Candidate, Claim};
use super::view::{View, is_unspaced};
use super::{Found, Rule};

/// The most bytes that a compiled expression may take: its compile time grows with them.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Why a rule cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The country of phone numbers is not one.
    #[error("{code:?} is no country with phone numbers; give two letters of ISO 3166 such as DE")]
    Country {
        /// What was given.
        code: String,
    },
    /// A list has a word without a letter or digit.
    #[error("the words of {name} include {word:?}, which has no letter and no digit")]
    EmptyWord {
        /// The rule's name.
        name: String,
        /// The word.
        word: String,
    },
    /// The lists have too many words.
    #[error("the words of {name} are too many")]
    ManyWords {
        /// The rule's name.
        name: String,
    },
    /// An expression uses what the time of a match would not be bounded with.
    #[error("the expression of {name} looks around or refers back, which is not supported")]
    LooksAround {
        /// The rule's name.
        name: String,
    },
    /// An expression is not one.
    #[error("the expression of {name} is not one: {reason}")]
    BadRegex {
        /// The rule's name.
        name: String,
        /// What is wrong with it, on one line.
        reason: String,
    },
    /// An expression is too large.
    #[error("the expression of {name} is too large; its repetitions multiply")]
    LargeRegex {
        /// The rule's name.
        name: String,
    },
    /// An expression matches where nothing is.
    #[error("the expression of {name} matches the empty text, and so everywhere")]
    EmptyMatch {
        /// The rule's name.
        name: String,
    },
}

/// The operator's own rules, ready to be looked for.
#[derive(Debug, Default)]
pub(crate) struct Own {
    words: Option<Words>,
    patterns: Vec<(usize, Regex)>,
}

/// All lists of words together.
#[derive(Debug)]
struct Words {
    words: AhoCorasick,
    /// The rule and the place in its list, by the number of the word.
    places: Vec<(usize, usize)>,
}

impl Own {
    pub(crate) fn new(rules: &[Rule<'_>]) -> Result<Own, RuleError> {
        let mut own = Own { words: words(rules)?, patterns: Vec::new() };
        for (rule, looked_for) in rules.iter().enumerate() {
            if let Rule::Pattern { name, regex } = looked_for {
                own.patterns.push((rule, compiled(name, regex)?));
            }
        }
        Ok(own)
    }

    /// Appends what is found in the text, whose folded view this is.
    pub(crate) fn find(&self, text: &str, view: &View<'_>, candidates: &mut Vec<Candidate>) {
        for (rule, regex) in &self.patterns {
            for hit in regex.find_iter(text).filter(|hit| !hit.is_empty()) {
                candidates.push(candidate(*rule, hit.range(), 0));
            }
            if view.is_original() {
                continue;
            }
            for hit in regex.find_iter(view.text()).filter(|hit| !hit.is_empty()) {
                candidates.push(candidate(*rule, view.original(hit.range()), 0));
            }
        }
        if let Some(words) = &self.words {
            words.find(view, candidates);
        }
    }
}

fn candidate(rule: usize, range: Range<usize>, word: usize) -> Candidate {
    Candidate { claim: Claim::Own { rule }, found: Found { rule, range, word }, rank: Rank::Formed, distance: 0 }
}

fn compiled(name: &str, regex: &str) -> Result<Regex, RuleError> {
    let name = || name.to_owned();
    let compiled =
        regex::RegexBuilder::new(regex).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build().map_err(
            |error| {
                let reason = error.to_string();
                match error {
                    regex::Error::CompiledTooBig(_) => RuleError::LargeRegex { name: name() },
                    _ if reason.contains("look-around") || reason.contains("backreferences") => {
                        RuleError::LooksAround { name: name() }
                    }
                    _ => {
                        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                        RuleError::BadRegex { name: name(), reason }
                    }
                }
            },
        )?;
    if compiled.is_match("") { Err(RuleError::EmptyMatch { name: name() }) } else { Ok(compiled) }
}

fn words(rules: &[Rule<'_>]) -> Result<Option<Words>, RuleError> {
    let (mut all, mut places, mut last) = (Vec::new(), Vec::new(), "");
    for (rule, looked_for) in rules.iter().enumerate() {
        let Rule::Keywords { name, words } = looked_for else { continue };
        for (place, word) in words.iter().enumerate() {
            let folded = lowered(View::of(word.trim()).text());
            if !folded.chars().any(char::is_alphanumeric) {
                return Err(RuleError::EmptyWord { name: (*name).to_owned(), word: word.clone() });
            }
            all.push(folded);
            places.push((rule, place));
        }
        last = name;
    }
    if all.is_empty() {
        return Ok(None);
    }
    let words = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .build(&all)
        .map_err(|_| RuleError::ManyWords { name: last.to_owned() })?;
    Ok(Some(Words { words, places }))
}

impl Words {
    fn find(&self, view: &View<'_>, candidates: &mut Vec<Candidate>) {
        let text = view.text();
        let lower = if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(lowered(text)) };
        for hit in self.words.find_overlapping_iter(&*lower) {
            if is_whole(&lower, hit.range()) {
                let (rule, word) = self.places[hit.pattern().as_usize()];
                candidates.push(candidate(rule, view.original(hit.range()), word));
            }
        }
    }
}

/// The text in lower case, each character at its place: one whose lower case is longer or shorter stays.
fn lowered(text: &str) -> String {
    text.chars()
        .map(|character| {
            let mut lower = character.to_lowercase();
            match (lower.next(), lower.next()) {
                // The sigma at the end of a word.
                (Some('ς'), None) => 'σ',
                (Some(lower), None) if lower.len_utf8() == character.len_utf8() => lower,
                _ => character,
            }
        })
        .collect()
}

/// Whether no letter or digit stands right beside it. A script without spaces has no such border, so only its own end of
/// the words is looked at.
fn is_whole(text: &str, range: Range<usize>) -> bool {
    let joins = |left: Option<char>, right: Option<char>| match (left, right) {
        (Some(left), Some(right)) => is_spaced(left) && is_spaced(right),
        _ => false,
    };
    let (before, word, after) = (&text[..range.start], &text[range.clone()], &text[range.end..]);
    !joins(before.chars().next_back(), word.chars().next()) && !joins(word.chars().next_back(), after.chars().next())
}

/// Whether it is part of a word in a script that puts spaces between words.
fn is_spaced(character: char) -> bool {
    (character.is_alphanumeric() || character == '_') && !is_unspaced(character)
}
