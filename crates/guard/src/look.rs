//! What the rules of one side fire on, text by text, and how often.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::body::escape::{Places, unescaped};
use crate::body::lexer::{Kind, Lexer, Token, is_json};
use crate::clauses::{Clause, Clauses};
use crate::detect::Found;
use crate::policy::{Action, Followed, Hit, Side};

/// The most places that are kept to be replaced in one body; each takes about a hundred bytes of memory. Repetitions of
/// one value count here, which they do not in the vault.
pub(crate) const SPOTS_MAX: usize = 100_000;
/// How far before a value words are looked at that say what it is, such as the names of its field and its neighbour.
const LEAD_BYTES: usize = 64;
/// Numbers with fewer digits say nothing about anybody; counts and years are most of them.
const NUMBER_BYTES_MIN: usize = 4;

/// A place that is to be replaced.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Which clause fired.
    pub(crate) rule: usize,
    pub(crate) range: Range<usize>,
    /// Where the value stands in its text without any escapes, so that overlaps can be measured.
    pub(crate) seen: Range<usize>,
    /// What stands there, without any escapes.
    pub(crate) value: String,
    pub(crate) shape: Shape,
}

/// How a value stands in the text around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Within a text.
    Text,
    /// As a number of the JSON text, so that what replaces it needs quotes.
    Number,
    /// As a number of a JSON text that is itself a string of another.
    NestedNumber,
    /// As the rest of a value that begins in an earlier text, and is replaced there.
    Rest,
}

/// What fired so far on one side of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How often each clause fired.
    counts: Vec<u32>,
    /// Which words of each list were found, for lists of which several must be.
    words: Vec<BTreeSet<usize>>,
}

/// Looks at the texts of one job, and counts.
pub(crate) struct Looker<'a> {
    pub(crate) clauses: &'a Clauses,
    pub(crate) tally: Tally,
    /// How many more places can be kept.
    left: usize,
    /// Whether there were more places than can be kept.
    pub(crate) overflowed: bool,
}

impl Tally {
    fn resized(mut self, rules: usize) -> Tally {
        self.counts.resize(rules, 0);
        self.words.resize(rules, BTreeSet::new());
        self
    }

    fn count(&mut self, found: &Found, clause: &Clause) {
        self.counts[found.rule] = self.counts[found.rule].saturating_add(1);
        if clause.at_least > 1 {
            self.words[found.rule].insert(found.word);
        }
    }

    fn fires(&self, rule: usize, clause: &Clause) -> bool {
        let count = self.counts.get(rule).copied().unwrap_or_default();
        count > 0 && (clause.at_least == 1 || self.words[rule].len() >= clause.at_least)
    }

    /// What fired, as it is told.
    pub(crate) fn fired(&self, clauses: &Clauses) -> Vec<Hit> {
        let all = clauses.clauses.iter().enumerate().filter(|(rule, clause)| self.fires(*rule, clause));
        all.map(|(rule, clause)| hit(&clause.name, clauses.side, clause.action, self.counts[rule])).collect()
    }
}

/// A rule that fired, with what follows.
pub(crate) fn hit(rule: &str, on: Side, action: Action, count: u32) -> Hit {
    let action = match action {
        Action::Off | Action::Flag => Followed::Flag,
        Action::Redact => Followed::Redact,
        Action::Block => Followed::Block,
    };
    Hit { rule: rule.to_owned(), on, action, count }
}

impl<'a> Looker<'a> {
    /// Goes on counting.
    pub(crate) fn new(clauses: &'a Clauses, tally: Tally) -> Looker<'a> {
        Looker { clauses, tally: tally.resized(clauses.clauses.len()), left: SPOTS_MAX, overflowed: false }
    }

    /// Whether a clause fires, after all that was looked at.
    pub(crate) fn fires(&self, rule: usize) -> bool {
        self.tally.fires(rule, &self.clauses.clauses[rule])
    }

    /// The clause that blocks, after all that was looked at, if one does.
    pub(crate) fn blocking(&self) -> Option<&Clause> {
        let mut all = self.clauses.clauses.iter().enumerate();
        all.find(|(rule, clause)| clause.action == Action::Block && self.fires(*rule)).map(|(_, clause)| clause)
    }

    /// Looks at a text; if it is JSON, at its strings and numbers.
    pub(crate) fn text(&mut self, text: &str, spots: &mut Vec<Spot>) {
        if is_json(text) {
            return self.json(text, spots);
        }
        for found in self.find(text) {
            self.keep(&found, found.range.clone(), text, Shape::Text, spots);
        }
    }

    /// Looks at a text as if escapes of JSON stood in it, such as lines of JSON or JSON between words: takes what only
    /// shows without them.
    pub(crate) fn hidden(&mut self, text: &str, spots: &mut Vec<Spot>) {
        if !text.contains("\\u") {
            return;
        }
        let view = unescaped(text);
        let mut places = Places::new(text);
        for found in self.find(&view) {
            let at = places.range(&found.range);
            if text[at.clone()].contains("\\u") {
                self.keep(&found, at, &view, Shape::Text, spots);
            }
        }
    }

    /// Looks at the strings and numbers of a JSON text.
    pub(crate) fn json(&mut self, text: &str, spots: &mut Vec<Spot>) {
        // One look at all of it is much faster than one at each string; only what has escapes cannot be seen so.
        let clean = self.find(text).is_empty();
        for token in Lexer::new(text).filter(|token| token.escaped || !clean) {
            match token.kind {
                Kind::Key | Kind::String => self.string(text, &token, true, spots),
                Kind::Number => self.number(text, &token, spots),
                Kind::Open { .. } | Kind::Close | Kind::Word => {}
            }
        }
    }

    /// Looks at one string of a JSON text: by itself, or together with what stands before it.
    pub(crate) fn string(&mut self, whole: &str, token: &Token, with_lead: bool, spots: &mut Vec<Spot>) {
        let range = token.range.clone();
        let lead = if with_lead { lead(whole, range.start) } else { range.start };
        let skipped = range.start - lead;
        if !token.escaped {
            let text = &whole[lead..range.end];
            for found in self.find(text) {
                let Some(found) = after(found, skipped) else { continue };
                let of_whole = lead + found.range.start..lead + found.range.end;
                self.keep(&found, of_whole, text, Shape::Text, spots);
            }
            return;
        }
        let raw = &whole[range.clone()];
        let mut places = Places::new(raw);
        let text = format!("{}{}", &whole[lead..range.start], unescaped(raw));
        for found in self.find(&text) {
            let Some(found) = after(found, skipped) else { continue };
            let of_raw = places.range(&(found.range.start - skipped..found.range.end - skipped));
            self.keep(&found, range.start + of_raw.start..range.start + of_raw.end, &text, Shape::Text, spots);
        }
    }

    /// Looks at one number of a JSON text, together with what stands before it.
    pub(crate) fn number(&mut self, whole: &str, token: &Token, spots: &mut Vec<Spot>) {
        let range = token.range.clone();
        let digits = &whole[range.clone()];
        // What has a fraction or an exponent is a measure or a vector's component.
        if range.len() < NUMBER_BYTES_MIN || digits.contains(['.', 'e', 'E']) {
            return;
        }
        let lead = lead(whole, range.start);
        let text = &whole[lead..range.end];
        for found in self.find(text) {
            let Some(found) = after(found, range.start - lead) else { continue };
            // A part of a number cannot be replaced by itself.
            let all = Found { range: range.start - lead..text.len(), ..found };
            self.keep(&all, range.clone(), text, Shape::Number, spots);
        }
    }

    /// What is in a text; not counted yet.
    pub(crate) fn find(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        self.clauses.detector.find(text, &mut found);
        found
    }

    /// Counts what was found in this text, and keeps the place `at` which it stands if it is one that may be replaced.
    pub(crate) fn keep(&mut self, found: &Found, at: Range<usize>, text: &str, shape: Shape, spots: &mut Vec<Spot>) {
        self.count(found);
        if self.clauses.clauses[found.rule].action != Action::Redact || at.is_empty() {
            return;
        }
        if self.left == 0 {
            self.overflowed = true;
            return;
        }
        self.left -= 1;
        let seen = found.range.clone();
        spots.push(Spot { rule: found.rule, range: at, value: text[seen.clone()].to_owned(), seen, shape });
    }

    /// Counts what was found.
    fn count(&mut self, found: &Found) {
        self.tally.count(found, &self.clauses.clauses[found.rule]);
    }
}

/// What of a finding lies behind the first bytes, if anything does.
fn after(found: Found, skipped: usize) -> Option<Found> {
    let Range { start, end } = found.range;
    (end > skipped).then(|| Found { range: start.max(skipped)..end, ..found })
}

/// Where to begin to read so that the words before a place are seen: not within a word.
fn lead(whole: &str, place: usize) -> usize {
    let mut start = place.saturating_sub(LEAD_BYTES);
    let bytes = whole.as_bytes();
    while start > 0 && start < place && (bytes[start - 1].is_ascii_alphanumeric() || !whole.is_char_boundary(start)) {
        start += 1;
    }
    start
}
