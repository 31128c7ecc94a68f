//! Words that say what the number beside them is.
//!
//! Sought only around numbers that need one, stretch by stretch of the text, each once, so that many numbers cost no more
//! than the whole text.

use std::cell::OnceCell;
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
    /// The bytes of the longest.
    longest: usize,
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
    let longest = words.iter().map(String::len).max().unwrap_or_default();
    let words = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(words)
        .expect("a few hundred short words fit");
    Words { words, said, longest }
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

/// The words of a text, stretch by stretch, each of which is read when a number in it or near it asks for the first time.
pub(crate) struct Contexts<'t> {
    text: &'t str,
    stretches: Vec<OnceCell<Vec<Said>>>,
}

struct Said {
    range: Range<usize>,
    entities: Entities,
    next: bool,
}

/// How many bytes are read at once: a word about a number is seldom further away.
const STRETCH: usize = 128;

/// How far behind a word the number begins that is right behind it: a sign, a quote, or a name in the row below a header.
const NEXT_MAX: usize = 9;

impl<'t> Contexts<'t> {
    pub(crate) fn of(text: &'t str) -> Contexts<'t> {
        let count = text.len() / STRETCH + 1;
        Contexts { text, stretches: std::iter::repeat_with(OnceCell::new).take(count).collect() }
    }

    /// How far the next word is that says that what stands here is such a thing, unless a nearer one says that it is none.
    pub(crate) fn distance(&self, entity: Entity, range: &Range<usize>) -> Option<usize> {
        self.before(entity, range).or_else(|| self.behind(entity, range))
    }

    /// Whether the nearest word before it says that it is something else.
    pub(crate) fn is_other(&self, entity: Entity, range: &Range<usize>) -> bool {
        self.preceding(range).find(|said| !said.next).is_some_and(|said| !said.entities.has(entity))
    }

    /// The words that end in a stretch, by where they end.
    fn stretch(&self, stretch: usize) -> &[Said] {
        self.stretches[stretch].get_or_init(|| {
            let Words { words, said, longest } = &*SOUGHT;
            let bytes = self.text.as_bytes();
            let ends = stretch * STRETCH..(stretch + 1) * STRETCH;
            let from = ends.start.saturating_sub(*longest);
            let until = bytes.len().min(ends.end);
            let mut found: Vec<Said> = Vec::new();
            for hit in words.find_overlapping_iter(&bytes[from..until]) {
                let range = from + hit.start()..from + hit.end();
                let Word { entities, exact, next } = &said[hit.pattern().as_usize()];
                // What ends where the stretch begins belongs to the one before.
                let here = range.end > ends.start || ends.start == 0;
                let written = exact.as_ref().is_none_or(|exact| exact.as_bytes() == &bytes[range.clone()]);
                if here && written && is_word(bytes, &range) {
                    found.push(Said { range, entities: *entities, next: *next });
                }
            }
            found
        })
    }

    /// The words that end shortly before it, the nearest first; none of another paragraph.
    fn preceding(&self, range: &Range<usize>) -> impl Iterator<Item = &Said> {
        let start = range.start;
        let floor = paragraph_start(self.text.as_bytes(), start);
        let stretches = (stretch_of(floor)..=stretch_of(start)).rev();
        let said = stretches.flat_map(|stretch| self.stretch(stretch).iter().rev());
        said.skip_while(move |said| said.range.end > start).take_while(move |said| said.range.end >= floor)
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

    fn behind(&self, entity: Entity, range: &Range<usize>) -> Option<usize> {
        let last = self.text.len().min(range.end + AFTER_MAX);
        let said = (stretch_of(range.end)..=stretch_of(last))
            .flat_map(|stretch| self.stretch(stretch))
            .take_while(|said| said.range.end <= last)
            .find(|said| said.range.start >= range.end && !said.next && said.entities.has(entity))?;
        let between = &self.text.as_bytes()[range.end..said.range.start];
        let apart = |byte: &u8| b",;\n|.{}".contains(byte) || byte.is_ascii_digit();
        (!between.iter().any(apart)).then_some(between.len())
    }
}

/// The stretch that a word belongs to which ends here.
fn stretch_of(end: usize) -> usize {
    end.saturating_sub(1) / STRETCH
}

/// From where on words may end that say something of what stands behind them: a blank line is in between of no two.
fn paragraph_start(bytes: &[u8], place: usize) -> usize {
    let near = place.saturating_sub(BEFORE_MAX);
    let mut breaks = 0;
    for (at, byte) in bytes[near..place].iter().enumerate().rev() {
        match byte {
            b'\n' if breaks > 0 => return near + at + 1,
            b'\n' => breaks += 1,
            b' ' | b'\t' | b'\r' => {}
            _ => breaks = 0,
        }
    }
    near
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::check;

    #[test]
    fn words_say_nothing_of_another_paragraph() {
        check(Entity::UsSsn, "ssn\n536221234", &["536221234"]);
        check(Entity::UsSsn, "ssn\n\n536221234", &[]);
        check(Entity::UsSsn, "ssn\r\n \t\r\n536221234", &[]);
        // The word of the paragraph before would say that it is no phone number.
        check(
            Entity::Phone,
            "For wires use ABA 265197897.\n\nMei: (0)171 123 4567, call +1 206 676 9882",
            &["+1 206 676 9882"],
        );
        check(Entity::Phone, "hetu 240647-249F\n\nIvan, phone 617-513-7352", &["617-513-7352"]);
    }

    #[test]
    fn a_word_is_seen_wherever_it_stands_in_the_text() {
        for before in 0..2 * STRETCH {
            let text = format!("{}my social security number: 536221234", ". ".repeat(before));
            check(Entity::UsSsn, &text, &["536221234"]);
            let text = format!("{}536221234 is my social security", ". ".repeat(before));
            check(Entity::UsSsn, &text, &["536221234"]);
            let text =
                format!("{}my social security number{}536221234", ". ".repeat(before), " ".repeat(BEFORE_MAX + 1));
            check(Entity::UsSsn, &text, &[]);
        }
    }
}
