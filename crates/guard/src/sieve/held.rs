//! One text of a stream: how far it may leave, and what of it.
//!
//! A text leaves up to a place behind which nothing can be part of something that a rule may fire on. What has left is
//! remembered a while, because words before a number say what it is.

use std::sync::Arc;

use crate::body::edit::{Edit, edited};
use crate::clauses::Clauses;
use crate::detect::Found;
use crate::look::{Looker, Shape};
use crate::restore::{self, SPELT_BYTES_MAX, placeholders};
use crate::screen::replacements;
use crate::vault::{Full, Origin, Vault};

use super::guess::Guess;

/// How much of what has left is read again, for the words before a number.
const REMEMBERED_BYTES: usize = 256;
/// How many characters are held back in any case: numbers in groups, such as an account's, are shorter.
const HELD_CHARS: usize = 64;
/// How many are held back if a rule looks for whole sentences, or for what only its operator knows.
const HELD_CHARS_LONG: usize = 512;
/// How many bytes a character of what is held back may have, with what has no width around it.
const HELD_CHAR_BYTES: usize = 8;
/// The longest word that is held back until it ends: tokens and keys are shorter.
const WORD_BYTES_MAX: usize = 4096;
/// The longest run of letters without a space that is held back, in scripts that have none between words.
const RUN_BYTES_MAX: usize = 320;
/// The first line of a key and its headers, which the detector reads as far.
const PEM_HEAD_BYTES: usize = 512;
/// The first line of a file of PuTTY's and all before its private lines.
const PUTTY_HEAD_BYTES: usize = 17 * 1024;
/// The most that is held back of one text; only what is one finding or JSON comes near.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a text cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// This rule blocks it.
    Rule(Arc<str>),
    /// Too much was found.
    TooMany,
    /// Too much would have to be held back.
    TooLong,
}

impl From<Full> for Stop {
    fn from(_: Full) -> Stop {
        Stop::TooMany
    }
}

/// What all texts of a job have in common.
pub(super) struct Common<'a, 'l> {
    pub(super) looker: &'l mut Looker<'a>,
    pub(super) vault: &'l mut Vault,
    pub(super) restores: bool,
    /// How many bytes may still be put back.
    pub(super) room: &'l mut usize,
    pub(super) held_chars: usize,
}

/// One text that is being written.
#[derive(Default)]
pub(super) struct Held {
    /// What has left but is remembered, then what has not left.
    text: String,
    /// How much of it has left.
    left: usize,
    /// From which length on it is worth looking again.
    look_at: usize,
    guess: Guess,
    is_prose: bool,
    /// Whether it is held until it ends, because nobody can use a part of it.
    whole: bool,
    /// What was screened but may end within a placeholder, after one character that has left.
    screened: String,
    screened_left: usize,
}

impl Held {
    /// A text that leaves when it has ended, such as the arguments of a call.
    pub(super) fn whole() -> Held {
        Held { whole: true, ..Held::default() }
    }

    /// Takes more of the text; what may leave now.
    pub(super) fn push(&mut self, more: &str, common: &mut Common<'_, '_>) -> Result<String, Stop> {
        self.text.push_str(more);
        if self.text.len() - self.left > WAITING_BYTES_MAX {
            return Err(Stop::TooLong);
        }
        if self.whole || (!self.is_prose && self.guess.may_be_json(more)) {
            return Ok(String::new());
        }
        self.is_prose = true;
        if self.text.len() < self.look_at {
            return Ok(String::new());
        }
        let screened = self.look(false, common)?;
        // Looking at all that is held for each new word would take the square of its length.
        self.look_at = self.text.len() + (self.text.len() - self.left) / 8;
        Ok(self.restored(&screened, false, common))
    }

    /// The rest of the text, which has ended.
    pub(super) fn end(&mut self, common: &mut Common<'_, '_>) -> Result<String, Stop> {
        if self.is_prose {
            let screened = self.look(true, common)?;
            return Ok(self.restored(&screened, true, common));
        }
        let text = std::mem::take(&mut self.text);
        let mut spots = Vec::new();
        common.looker.text(&text, &mut spots);
        stop(common.looker)?;
        let edits = replacements(common.looker, spots, Origin::Answer, common.vault)?;
        let text = edited(&text, &edits);
        if !common.restores {
            return Ok(text);
        }
        let Ok(restored) = restore::text(&text, common.vault, text.len() + *common.room) else { return Ok(text) };
        *common.room -= restored.len().saturating_sub(text.len());
        Ok(restored)
    }

    /// Looks at what is held, and takes off what may leave.
    fn look(&mut self, ended: bool, common: &mut Common<'_, '_>) -> Result<String, Stop> {
        let found = common.looker.find(&self.text);
        let mut cut = if ended { self.text.len() } else { self.safe_cut(common) };
        // From the last to the first, as what one of them holds back may be a part of an earlier one.
        for found in found.iter().rev().filter(|found| found.range.end > self.left) {
            if found.range.end > cut {
                cut = cut.min(found.range.start.max(self.left));
            }
        }
        let mut spots = Vec::new();
        for Found { rule, range, word } in found {
            let seen = range.start.max(self.left)..range.end;
            if range.end > self.left && range.end <= cut {
                let found = Found { rule, range: seen.clone(), word };
                common.looker.keep(&found, seen, &self.text, Shape::Text, &mut spots);
            }
        }
        stop(common.looker)?;
        for spot in &mut spots {
            spot.range = spot.range.start - self.left..spot.range.end - self.left;
        }
        let edits = replacements(common.looker, spots, Origin::Answer, common.vault)?;
        let leaving = edited(&self.text[self.left..cut], &edits);
        self.forget(cut);
        Ok(leaving)
    }

    /// The furthest place behind which everything is held back.
    fn safe_cut(&self, common: &Common<'_, '_>) -> usize {
        if common.looker.clauses.clauses.is_empty() {
            return self.text.len();
        }
        let cut = word_start(&self.text, self.text.len()).min(back(&self.text, common.held_chars));
        let key = if common.looker.clauses.private_keys { key_start(&self.text[self.left..]) } else { None };
        let key = key.map_or(usize::MAX, |key| self.left + key);
        word_start(&self.text, cut).min(key).max(self.left)
    }

    fn forget(&mut self, cut: usize) {
        let mut start = cut.saturating_sub(REMEMBERED_BYTES);
        while !self.text.is_char_boundary(start) {
            start += 1;
        }
        self.text.drain(..start);
        self.left = cut - start;
    }

    /// Puts values back into what was screened, and takes off what may leave.
    fn restored(&mut self, more: &str, ended: bool, common: &mut Common<'_, '_>) -> String {
        if !common.restores {
            return more.to_owned();
        }
        self.screened.push_str(more);
        let text = &self.screened;
        let mut cut = if ended { text.len() } else { spelt_start(text).max(self.screened_left) };
        let mut edits = Vec::new();
        for (range, kept) in placeholders(text, common.vault).filter(|(range, _)| range.end > self.screened_left) {
            if range.end > cut {
                cut = cut.min(range.start.max(self.screened_left));
            } else if let Some(room) = common.room.checked_sub(kept.value.len()) {
                *common.room = room;
                let range = range.start - self.screened_left..range.end - self.screened_left;
                edits.push(Edit { range, text: kept.value.to_owned() });
            }
        }
        let leaving = edited(&text[self.screened_left..cut], &edits);
        let before = text[..cut].char_indices().next_back().map_or(cut, |(at, _)| at);
        self.screened.drain(..before);
        self.screened_left = cut - before;
        leaving
    }
}

/// Stops at a clause that blocks, or at too many findings.
pub(super) fn stop(looker: &Looker<'_>) -> Result<(), Stop> {
    match looker.blocking() {
        Some(clause) => Err(Stop::Rule(clause.name.clone())),
        None if looker.overflowed => Err(Stop::TooMany),
        None => Ok(()),
    }
}

/// How many characters must be held back for the longest of the rules.
pub(super) fn held_chars(clauses: &Clauses) -> usize {
    clauses.longest.map_or(HELD_CHARS_LONG, |longest| longest.max(HELD_CHARS))
}

/// Where the last characters begin; those without width do not count.
fn back(text: &str, chars: usize) -> usize {
    let last = text.char_indices().rev().take_while(|(at, _)| text.len() - at <= chars * HELD_CHAR_BYTES);
    let counted = last.filter(|(_, c)| c.is_ascii() || c.is_alphanumeric() || c.is_whitespace());
    let counted: Vec<usize> = counted.map(|(at, _)| at).take(chars).collect();
    match counted.last() {
        Some(&start) if counted.len() == chars => start,
        _ => text.char_indices().map(|(at, _)| at).find(|at| text.len() - at <= chars * HELD_CHAR_BYTES).unwrap_or(0),
    }
}

/// Where a private key may begin whose body has not come yet: its headers are no secret, but part of what is replaced.
fn key_start(text: &str) -> Option<usize> {
    let within = |marker: &str, most: usize| {
        let mut from = text.len().saturating_sub(most);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text[from..].find(marker).map(|at| from + at)
    };
    let pem = within("-----BEGIN ", PEM_HEAD_BYTES);
    let putty = within("PuTTY-User-Key-File-", PUTTY_HEAD_BYTES);
    pem.into_iter().chain(putty).min()
}

/// Where the word begins that a place is in or behind, as far back as words are held.
fn word_start(text: &str, place: usize) -> usize {
    let mut start = place;
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    for (at, c) in text[..start].char_indices().rev() {
        let most = if c.is_ascii() { WORD_BYTES_MAX } else { RUN_BYTES_MAX };
        if c.is_whitespace() || place - at > most {
            break;
        }
        start = at;
    }
    start
}

/// Where what could be the beginning of a placeholder begins.
fn spelt_start(text: &str) -> usize {
    let spelt = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'\\' | b'&' | b';' | b'<');
    let run = text.bytes().rev().take(2 * SPELT_BYTES_MAX).take_while(|byte| spelt(byte)).count();
    text.len() - run
}
