//! Words that say what the number beside them is.
//!
//! Sought only once a number turned up that needs one, and then in the whole text at once, so that many numbers cost no
//! more than one.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::scan::Entities;
use super::words::{CONTEXTS, list};
use crate::Entity;

/// How far before a number the word may end, in bytes: about 40 characters, or 30 of a script of two bytes each.
const BEFORE_MAX: usize = 60;

/// How far behind a number the word may end, in the same clause.
const AFTER_MAX: usize = 28;

/// The shortest word that may go on: the ends of longer ones change with number and case.
const GOES_ON_FROM: usize = 6;

struct Words {
    words: AhoCorasick,
    /// By the number of the word.
    said: Vec<Word>,
}

struct Word {
    entities: Entities,
    /// How it must be written, if that matters.
    exact: Option<String>,
    /// Whether only the number right behind is meant.
    next: bool,
}

static SOUGHT: LazyLock<Words> = LazyLock::new(|| {
    let (mut words, mut said) = (Vec::new(), Vec::new());
    for (entities, sought) in CONTEXTS {
        for word in list(sought) {
            let exact = word.strip_prefix('=').map(str::to_owned);
            for form in cases(word.trim_start_matches(['=', '~'])) {
                words.push(form);
                said.push(Word { entities: Entities::of(entities), exact: exact.clone(), next: word.starts_with('~') });
            }
        }
    }
    let words = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(words)
        .expect("a few hundred short words fit");
    Words { words, said }
});

/// A word as it can be written, beyond the case of ASCII letters: with capitals, and as one name in code and data.
pub(crate) fn cases(word: &str) -> Vec<String> {
    let mut forms = vec![word.to_owned()];
    if word.trim().contains(' ') && word.is_ascii() {
        forms.extend(["_", "-", ""].map(|joint| word.trim_end().replace(' ', joint)));
    }
    if !word.is_ascii() {
        let mut letters = word.chars();
        let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
        forms.extend([capital, word.to_uppercase()]);
    }
    forms.sort();
    forms.dedup();
    forms
}

/// Whether a word of plain letters stands whole at this place; `aSsn` and `ssnOf` hold one too.
pub(crate) fn is_word(bytes: &[u8], range: &Range<usize>) -> bool {
    let (first, last) = (bytes[range.start], bytes[range.end - 1]);
    let before = range.start.checked_sub(1).map(|at| bytes[at]);
    let starts = !first.is_ascii_alphanumeric()
        || before.is_none_or(|before| {
            !before.is_ascii_alphanumeric() || (first.is_ascii_uppercase() && before.is_ascii_lowercase())
        });
    let ends = range.len() >= GOES_ON_FROM
        || !last.is_ascii_alphanumeric()
        || bytes.get(range.end).is_none_or(|after| {
            !after.is_ascii_alphabetic() || (after.is_ascii_uppercase() && last.is_ascii_lowercase())
        });
    starts && ends
}

/// Every such word of a text, by place.
pub(crate) struct Contexts {
    said: Vec<Said>,
}

struct Said {
    range: Range<usize>,
    entities: Entities,
    next: bool,
}

/// How far behind a word the number begins that is right behind it: a sign, a quote, or a name in the row below a header.
const NEXT_MAX: usize = 9;

impl Contexts {
    pub(crate) fn of(text: &str) -> Contexts {
        let bytes = text.as_bytes();
        let Words { words, said } = &*SOUGHT;
        let said = words
            .find_overlapping_iter(text)
            .filter_map(|hit| {
                let Word { entities, exact, next } = &said[hit.pattern().as_usize()];
                let written = exact.as_ref().is_none_or(|exact| exact == &text[hit.range()]);
                let word = written && is_word(bytes, &hit.range());
                word.then(|| Said { range: hit.range(), entities: *entities, next: *next })
            })
            .collect();
        Contexts { said }
    }

    /// How far the next word is that says that what stands here is such a thing, unless a nearer one says that it is none.
    pub(crate) fn distance(&self, text: &str, entity: Entity, range: &Range<usize>) -> Option<usize> {
        self.before(entity, range).or_else(|| self.behind(text, entity, range))
    }

    /// Whether the nearest word before it says that it is something else.
    pub(crate) fn is_other(&self, entity: Entity, range: &Range<usize>) -> bool {
        self.preceding(range).find(|said| !said.next).is_some_and(|said| !said.entities.has(entity))
    }

    /// The words that end shortly before it, the nearest first.
    fn preceding(&self, range: &Range<usize>) -> impl Iterator<Item = &Said> {
        let until = self.said.partition_point(|said| said.range.end <= range.start);
        self.said[..until].iter().rev().take_while(move |said| range.start - said.range.end <= BEFORE_MAX)
    }

    fn before(&self, entity: Entity, range: &Range<usize>) -> Option<usize> {
        for said in self.preceding(range) {
            let distance = range.start - said.range.end;
            if said.entities == Entities::default() {
                return None;
            }
            if said.entities.has(entity) && (!said.next || distance <= NEXT_MAX) {
                return Some(distance);
            }
        }
        None
    }

    fn behind(&self, text: &str, entity: Entity, range: &Range<usize>) -> Option<usize> {
        let from = self.said.partition_point(|said| said.range.end <= range.end);
        let said = self.said[from..]
            .iter()
            .take_while(|said| said.range.end <= range.end + AFTER_MAX)
            .find(|said| said.range.start >= range.end && !said.next && said.entities.has(entity))?;
        let between = &text.as_bytes()[range.end..said.range.start];
        let apart = |byte: &u8| b",;\n|.{}".contains(byte) || byte.is_ascii_digit();
        (!between.iter().any(apart)).then_some(between.len())
    }
}
